"""TensorBoard's logs as runs: every folder with event files is one."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from trackkit.core import records
from trackkit.core.records import AnyRecord
from trackkit.core.values import MAX_TEXT_BYTES, as_number_or_text
from trackkit.imports import tfevents
from trackkit.imports.delivery import Delivery
from trackkit.imports.tfevents import Hyperparameters, Meaning, Scalar, Text
from trackkit.version import __version__

MAIN = "import"
"""The writer that begins and ends an imported run; each file's events are a further one's."""

Progress = Callable[[int, int], None]
"""Called with the bytes read and the bytes there are to read."""


class Imported(msgspec.Struct):
    """A run that was taken over.

    Attributes
    ----------
    run, name
        Its id and its name.
    records, new
        How many records its files hold, and how many of them were not there yet.
    """

    run: str
    name: str
    records: int = 0
    new: int = 0


def import_tensorboard(
    logdir: str | os.PathLike[str],
    *,
    project: str | None = None,
    to: str = "sqlite:",
    root: str | os.PathLike[str] = ".trackkit",
    progress: Progress = lambda done, total: None,
) -> list[Imported]:
    """Take over TensorBoard's logs: scalars, texts, hyper-parameters.

    Repeated, it brings what is new since. A folder that `add_hparams` made belongs to the run of the folder it is in.

    Parameters
    ----------
    logdir
        A folder with event files, or with folders of them.
    project
        The project of the runs, by default the name of `logdir`.
    to
        The URI of the sink they go to.
    root
        The store's folder, if `to` does not name another.
    progress
        Called now and then with the bytes read and the bytes there are to read.

    Returns
    -------
    list of Imported
        The runs, in the order of their folders.

    Raises
    ------
    FileNotFoundError
        If there are no event files.
    ImportError
        If tensorboard, which reads them, is not installed.

    Examples
    --------
    >>> import_tensorboard("runs", project="digits")  # doctest: +SKIP
    [Imported(run='tb-1f0c…', name='mlp', records=200, new=200)]
    """
    tfevents.require()
    base = Path(logdir).absolute()
    files = tfevents.event_files(base)
    if not files:
        raise FileNotFoundError(f"there are no event files (*tfevents*) under {base}")
    total, done = sum(file.stat().st_size for file in files), 0
    found = []
    for folder, some in _runs(files).items():
        name = base.name if folder == base else folder.relative_to(base).as_posix()
        imported = Imported(_run_id(base, folder, some[0]), name)
        with Delivery(to, Path(root).absolute(), imported.run) as delivery:
            start = records.Start(
                _began(some[0]), imported.run, project or base.name, name, job_type="import", version=__version__
            )
            delivery.send(MAIN, [start])
            for file in some:
                sent = delivery.send(_writer(folder, file), _records(file, start))
                imported.records += sent.records
                imported.new += sent.new
                done += file.stat().st_size
                progress(done, total)
            if imported.new:
                delivery.append(MAIN, records.Finish(max(file.stat().st_mtime for file in some), "finished"))
        found.append(imported)
    return found


def _runs(files: list[Path]) -> dict[Path, list[Path]]:
    """The files of each run, by its folder."""
    folders = {file.parent for file in files}
    runs: dict[Path, list[Path]] = {}
    for file in files:
        folder = file.parent
        of_parent = folder.parent in folders and tfevents.is_time(folder.name)
        runs.setdefault(folder.parent if of_parent else folder, []).append(file)
    return runs


def _run_id(base: Path, folder: Path, first: Path) -> str:
    """An id that stays the same where the logs are moved: files are named by time, host and process."""
    source = f"{folder.relative_to(base).as_posix()}\0{first.name}"
    return f"tb-{hashlib.sha256(source.encode()).hexdigest()[:12]}"


def _writer(folder: Path, file: Path) -> str:
    return f"events-{hashlib.sha256(file.relative_to(folder).as_posix().encode()).hexdigest()[:12]}"


def _began(file: Path) -> float:
    return next((float(event.wall_time) for event in tfevents.read(file)), file.stat().st_mtime)


def _records(file: Path, start: records.Start) -> Iterator[AnyRecord]:
    yield msgspec.structs.replace(start, role="child", label=file.name)
    reader = tfevents.Reader()
    for event in tfevents.read(file):
        meanings = reader.meanings(event)
        if points := _points(event.step, event.wall_time, meanings):
            yield points
        for one in meanings:
            if isinstance(one, Hyperparameters):
                yield records.Config(event.wall_time, one.values)


def _points(step: int, time: float, meanings: list[Meaning]) -> records.Points | None:
    values = {one.tag: one.value for one in meanings if isinstance(one, Scalar) and one.tag}
    texts = {one.tag: _shortened(one) for one in meanings if isinstance(one, Text) and one.tag}
    if not values and not texts:
        return None
    return records.Points(step, time, list(values), struct.pack(f">{len(values)}d", *values.values()), texts)


def _shortened(text: Text) -> str:
    return str(as_number_or_text(text.tag, text.value[: MAX_TEXT_BYTES // 4]))

"""Runs of a store on their way to an MLflow server, by the sink for it: as if they had been sent while they ran."""

from __future__ import annotations

import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np

from trackkit.core import records
from trackkit.core.blobs import Blobs, digest_of
from trackkit.core.manifest import Manifest
from trackkit.core.records import AnyRecord
from trackkit.imports.delivery import Delivered, Delivery
from trackkit.query import Run

WRITER: Final = "export"
"""The writer that all of an exported run comes from."""
_TEXT: Final = 1 << 16
"""Characters of the console in one record."""


def export_mlflow(
    runs: Sequence[Run], to: str, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[tuple[Run, Delivered]]:
    """Send runs to an MLflow server: config, every point, texts, system metrics, console, files, media, artifacts.

    Repeated, it brings what is new since; cut off, it goes on where it stopped. A run that was sent there while it
    ran is the same MLflow run.

    Parameters
    ----------
    runs
        The runs, as `Api` gives them.
    to
        The sink, `mlflow+http://host:port`.
    progress
        Called with the runs done and the runs there are.

    Returns
    -------
    list of (Run, Delivered)
        Each run, and how many records it came to and how many of them were new.

    Raises
    ------
    ValueError
        If the URI means no MLflow server.
    SinkError
        If the server can't be reached.

    Examples
    --------
    >>> export_mlflow(trackkit.Api().runs("digits"), "mlflow+http://127.0.0.1:5000")  # doctest: +SKIP
    """
    done = []
    for number, run in enumerate(runs, start=1):
        with tempfile.TemporaryDirectory(prefix="trackkit-export-") as folder:
            root = Path(folder)
            with Delivery(to, root, run.id) as delivery:
                done.append((run, delivery.send(WRITER, records_of(run, Blobs(root)))))
        progress(number, len(runs))
    return done


def records_of(run: Run, blobs: Blobs) -> Iterator[AnyRecord]:
    """A run as the records it was made of, the lasting ones first.

    Parameters
    ----------
    blobs
        Where files are put that the records name.
    """
    began = run.created.timestamp()
    yield records.Start(
        began, run.id, run.project, run.name, run.group, run.job_type, list(run.tags), run.notes, label="export"
    )
    if config := dict(run.config):
        yield records.Config(began, config)
    if run.metadata:
        yield records.Provenance(began, run.metadata)
    yield from _points(run)
    yield from _system(run)
    yield from _texts(run)
    for stream in ("stdout", "stderr"):
        text = run.console(raw=True, stream=stream)
        for start in range(0, len(text), _TEXT):
            yield records.Lines(began, stream, text[start : start + _TEXT])
    for alert in run.alerts():
        yield records.Alert(alert.time.timestamp(), alert.level, alert.title, alert.text)
    yield from _files(run, blobs)
    yield from _artifacts(run, blobs)
    summary = {key: value for key, value in dict(run.summary).items() if key not in set(run.keys())}
    if summary:
        yield records.Summary(run.updated.timestamp(), summary)
    if run.ended is not None:
        state = run.state if run.state in ("finished", "killed") else "failed"
        yield records.Finish(run.ended.timestamp(), state, 0 if state == "finished" else 1, run.error)


def _points(run: Run) -> Iterator[records.Points]:
    """Every point, in the order of time; those of one call together."""
    keys = run.keys()
    series = [run.series(key) for key in keys]
    if not series:
        return
    owners = np.repeat(np.arange(len(keys)), [len(one.step) for one in series])
    steps, times, values = (np.concatenate(parts) for parts in zip(*series, strict=True))
    order = np.lexsort((owners, steps, times))
    held: dict[str, float] = {}
    when = (0.0, 0)
    for place in order.tolist():
        key, here = keys[owners[place]], (float(times[place]), int(steps[place]))
        if held and (here != when or key in held):
            yield _record(when, held)
            held = {}
        when = here
        held[key] = float(values[place])
    if held:
        yield _record(when, held)


def _record(when: tuple[float, int], values: dict[str, float]) -> records.Points:
    return records.Points(when[1], when[0], list(values), struct.pack(f">{len(values)}d", *values.values()))


def _system(run: Run) -> Iterator[records.System]:
    samples: dict[float, dict[str, float]] = {}
    for key, series in run.system.items():
        for time, value in zip(series.time.tolist(), series.value.tolist(), strict=True):
            samples.setdefault(time, {})[key] = value
    for time in sorted(samples):
        yield records.System(time, samples[time])


def _texts(run: Run) -> Iterator[records.Points]:
    for key in run.keys("text"):
        series = run.texts(key)
        for step, time, text in zip(series.step.tolist(), series.time.tolist(), series.value.tolist(), strict=True):
            yield records.Points(step, time, [], b"", {key: str(text)})


def _files(run: Run, blobs: Blobs) -> Iterator[records.Object]:
    for file in run.files():
        with file.open() as content, blobs.taking() as fresh:
            fresh.parent.mkdir(parents=True, exist_ok=True)
            with open(fresh, "xb") as copy:
                shutil.copyfileobj(content, copy)
            digest = digest_of(fresh)
            blobs.keep(fresh, digest)
        yield records.Object(
            file.created.timestamp(), file.key, file.kind, file.path, file.size, digest, step=file.step,
            metadata=file.metadata,
        )  # fmt: skip


def _artifacts(run: Run, blobs: Blobs) -> Iterator[records.Artifact]:
    for artifact in run.logged_artifacts():
        with tempfile.TemporaryDirectory(prefix="trackkit-export-") as folder:
            artifact.download(folder)
            for entry in artifact.files():
                if (path := Path(folder) / entry.path).is_file():
                    blobs.put_file(path)
        manifest = Manifest({each.path: each.entry for each in artifact.files()})
        yield records.Artifact(
            datetime.fromisoformat(artifact.created_at).timestamp(), f"export-{artifact.id}", artifact.collection,
            artifact.type, blobs.put_bytes(manifest.encode()), manifest.size, len(manifest), artifact.project,
            artifact.description or "", dict(artifact.metadata), list(artifact.aliases), list(artifact.tags),
        )  # fmt: skip

"""Moving house from MLflow: all there is, once, however often it is tried.

What a run is made of is sent by several writers. Points are sent in the order of their times, so that a run that has
grown since goes on where it stopped. Facts, files and models are sent by writers named after what they hold: repeated,
nothing is new, and what has changed comes again under another name.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

import msgspec

from trackkit.core import records
from trackkit.core.blobs import Blobs
from trackkit.core.manifest import Entry, Manifest, check_path
from trackkit.core.records import AnyRecord
from trackkit.imports.delivery import Delivery
from trackkit.imports.mlflow.digests import Digests
from trackkit.imports.mlflow.folder import FolderSource
from trackkit.imports.mlflow.registry import Registry
from trackkit.imports.mlflow.rest import ServerSource
from trackkit.imports.mlflow.source import (
    ENDED,
    Experiment,
    LocalFiles,
    LoggedModel,
    NotHere,
    Source,
    SourceFile,
    SourceRun,
)
from trackkit.imports.mlflow.sqlite import DatabaseSource, is_database
from trackkit.imports.mlflow.translation import (
    artifact_name,
    facts_of,
    name_of,
    points_of,
    project_names,
    signature,
    start_of,
    time_of,
)

MAIN: Final = "mlflow"
"""The writer that begins and ends an imported run."""
_POINTS: Final = "mlflow-points"
_SETTLED_SECONDS: Final = 60.0
"""Of a run that goes on, points younger than this are left for the next time: others of their time may still come."""

Progress = Callable[[int, int], None]
"""Called with the runs done and the runs there are."""


class Moved(msgspec.Struct):
    """A run that was taken over.

    Attributes
    ----------
    run, project, name
        Its id, which is MLflow's, the project it went to, and its name.
    records, new
        How many records it came to, and how many of them were not there yet.
    problems
        A sentence for each thing that could not be brought.
    """

    run: str
    project: str
    name: str
    records: int = 0
    new: int = 0
    problems: list[str] = []


def import_mlflow(
    uri: str | os.PathLike[str],
    *,
    experiments: Sequence[str] | None = None,
    to: str = "sqlite:",
    root: str | os.PathLike[str] = ".trackkit",
    artifacts: str | os.PathLike[str] | None = None,
    with_files: bool = True,
    progress: Progress = lambda done, total: None,
) -> list[Moved]:
    """Take over an MLflow store: experiments as projects, runs with every point, param, tag, dataset and file, logged
    models, and the registry. Traces stay behind.

    Repeated, it brings what is new since; cut off, it goes on where it stopped.

    Parameters
    ----------
    uri
        A server, `http(s)://host:port`, reached as MLflow's variables say (`MLFLOW_TRACKING_USERNAME`, …); the folder
        of a file store (`mlruns`); or a database, `sqlite:///mlflow.db`.
    experiments
        Names of the experiments to take over; by default all, and the registry.
    to
        The URI of the sink it goes to.
    root
        The store's folder, if `to` does not name another.
    artifacts
        The folder that `mlflow-artifacts:/` stands for, where `uri` is a database that a server used.
    with_files
        Whether artifacts and models are brought, too.
    progress
        Called now and then with the runs done and the runs there are.

    Returns
    -------
    list of Moved
        The runs, the oldest of an experiment first.

    Raises
    ------
    FileNotFoundError
        If there is no store.
    ValueError
        If the URI means none, or there is no such experiment.
    ImportError
        If PyYAML is needed and not installed.
    SinkError
        If a server can't be reached.

    Examples
    --------
    >>> import_mlflow("sqlite:///mlflow.db", artifacts="mlartifacts")  # doctest: +SKIP
    [Moved(run='0a1b…', project='digits', name='mlp', records=204, new=204, problems=[])]
    """
    source = open_source(uri, artifacts)
    known = source.experiments()
    names = project_names(known)
    if experiments is not None:
        missing = sorted(set(experiments) - {each.name for each in known})
        if missing:
            raise ValueError(f"{source.place} has no experiment {', '.join(map(repr, missing))}")
        known = [each for each in known if each.name in set(experiments)]
    found = [(experiment, source.runs(experiment)) for experiment in known]
    total, done = sum(len(runs) for _, runs in found), 0
    folder = Path(root).absolute()
    moved: list[Moved] = []
    with Digests(folder, source.place) as digests:
        mover = _Mover(source, to, folder, digests, with_files=with_files)
        models: list[LoggedModel] = []
        for experiment, runs in found:
            logged = source.models(experiment) if with_files else []
            models += logged
            for run in runs:
                own = [model for model in logged if model.run == run.id]
                moved.append(mover.move(experiment, run, names[experiment.id], own))
                done += 1
                progress(done, total)
        if experiments is None and with_files:
            registry = Registry(source, to, folder, mover.take_files)
            registry.move(source.registered(), {run.id: run for _, runs in found for run in runs}, models, moved)
    return moved


def open_source(uri: str | os.PathLike[str], artifacts: str | os.PathLike[str] | None = None) -> Source:
    """The MLflow store that a URI means; see `import_mlflow`."""
    text = os.fspath(uri)
    local = LocalFiles(None if artifacts is None else Path(artifacts).absolute())
    scheme = urlsplit(text).scheme
    if scheme in ("http", "https", "mlflow+http", "mlflow+https"):
        return ServerSource(text, local)
    if scheme == "sqlite":
        return DatabaseSource(Path(text.removeprefix("sqlite:///") or "mlflow.db"), local)
    if scheme not in ("", "file"):
        raise ValueError(
            f"{text!r} can't be read: expected a server (http://HOST:PORT), the folder of a file store, or "
            "sqlite:///PATH; for another database start `mlflow server` on it and name the server"
        )
    path = Path(url2pathname(urlsplit(text).path)) if scheme == "file" else Path(text)
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    return DatabaseSource(path, local) if is_database(path) else FolderSource(path.absolute(), local)


class _Mover:
    """Takes runs over, one after the other."""

    def __init__(self, source: Source, to: str, root: Path, digests: Digests, *, with_files: bool) -> None:
        self._source = source
        self._to = to
        self._root = root
        self._digests = digests
        self._blobs = Blobs(root)
        self._with_files = with_files

    def move(self, experiment: Experiment, run: SourceRun, project: str, models: list[LoggedModel]) -> Moved:
        """Take over a run."""
        moved = Moved(run.id, project, name_of(run))
        start = start_of(run, project)
        with Delivery(self._to, self._root, run.id) as delivery:
            self._send(delivery, moved, MAIN, [start])
            child = start_of(run, "", "child")
            facts = facts_of(experiment, run)
            self._send(delivery, moved, f"mlflow-facts-{signature(facts)}", [child, *facts])
            before = None if run.status in ENDED else round((time.time() - _SETTLED_SECONDS) * 1000)
            self._send(delivery, moved, _POINTS, self._points(child, run, before))
            if self._with_files:
                self._send_files(delivery, moved, child, run)
                self._send_models(delivery, moved, child, models)
            self._finish(delivery, moved, start, run)
        return moved

    def _points(self, child: records.Start, run: SourceRun, before: int | None) -> Iterator[AnyRecord]:
        yield child
        yield from points_of(self._source.points(run), before)

    def _send(
        self, delivery: Delivery, moved: Moved, writer: str, sent: Sequence[AnyRecord] | Iterator[AnyRecord]
    ) -> None:
        try:
            delivered = delivery.send(writer, sent)
        except ValueError:
            if writer == _POINTS:
                moved.problems.append(
                    "points were logged with times before those that were brought before; they are left out"
                )
            return  # of a run that is there under another name or project
        moved.records += delivered.records
        moved.new += delivered.new

    def _finish(self, delivery: Delivery, moved: Moved, start: records.Start, run: SourceRun) -> None:
        if run.status not in ENDED:
            return
        state = ENDED[run.status]
        end = records.Finish(time_of(run.ended or run.started), state, 0 if state == "finished" else 1)
        try:
            delivered = delivery.send(MAIN, [start, end])
        except ValueError:  # it was ended before, and has gone on since
            if moved.new:
                delivery.append(MAIN, end)
            return
        moved.records += 1
        moved.new += delivered.new

    def _send_files(self, delivery: Delivery, moved: Moved, child: records.Start, run: SourceRun) -> None:
        try:
            listed = self._source.files(run.artifacts)
        except NotHere as error:
            if run.artifacts:
                moved.problems.append(f"its files are not brought: {error}")
            return
        if not listed:
            return

        def sent() -> Iterator[AnyRecord]:
            yield child
            for file, digest in self.take_files(run.artifacts, listed, moved.problems):
                yield records.Object(time_of(run.ended or run.started), file.path, "file", file.path, file.size, digest)

        self._send(delivery, moved, f"mlflow-files-{signature(listed)}", sent())

    def _send_models(self, delivery: Delivery, moved: Moved, child: records.Start, models: list[LoggedModel]) -> None:
        made = []
        for model in models:
            try:
                listed = self._source.files(model.artifacts)
            except NotHere as error:
                moved.problems.append(f"the model {model.name} is not brought: {error}")
                continue
            taken = self.take_files(model.artifacts, listed, moved.problems)
            entries = {file.path or "model": Entry(file.size, digest) for file, digest in taken}
            manifest = Manifest(entries)
            facts = {"model_id": model.id, "name": model.name, "model_type": model.type, "status": model.status}
            metadata = {"mlflow": {**facts, "params": model.params, "tags": model.tags}}
            token = f"mlflow-{model.id}-{manifest.digest[:16]}"
            made.append(
                records.Artifact(
                    time_of(model.created), token, artifact_name(model.name), "model",
                    self._blobs.put_bytes(manifest.encode()), manifest.size, len(manifest), metadata=metadata,
                    aliases=[model.id],
                )
            )  # fmt: skip
        if made:
            self._send(delivery, moved, f"mlflow-models-{signature(made)}", [child, *made])

    def take_files(
        self, uri: str, listed: Sequence[SourceFile], problems: list[str]
    ) -> Iterator[tuple[SourceFile, str]]:
        """Bring files below a URI into the blobs; each with its digest."""
        for file in listed:
            try:
                if file.path:
                    check_path(file.path)
            except ValueError as error:
                problems.append(f"a file is left out: {error}")
                continue
            digest = self._digests.find(uri, file)
            if digest is None or not self._blobs.touch(digest):
                try:
                    digest = self._fetch(uri, file)
                except (NotHere, FileNotFoundError) as error:
                    problems.append(f"the file {file.path!r} is left out: {error}")
                    continue
                self._digests.note(uri, file, digest)
            yield file, digest

    def _fetch(self, uri: str, file: SourceFile) -> str:
        self._blobs.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._blobs.folder, prefix=".mlflow-") as folder:
            target = Path(folder) / "file"
            self._source.fetch(uri, file.path, target)
            return self._blobs.put_file(target, link=True)

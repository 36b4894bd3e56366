"""What there is to take over of an MLflow store, whatever kind it is of."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import msgspec

ENDED: Final = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "killed"}
"""What statuses of ended runs are called here."""


class Experiment(msgspec.Struct):
    """A set of runs."""

    id: str
    name: str
    deleted: bool = False
    tags: dict[str, str] = {}


class SourceRun(msgspec.Struct):
    """A run; times in milliseconds since the epoch."""

    id: str
    experiment: str
    name: str
    user: str
    status: str
    started: int
    ended: int | None
    deleted: bool
    artifacts: str
    """The URI of its artifacts."""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: list[str] = []
    """Keys, sorted."""
    inputs: list[dict[str, Any]] = []
    """Datasets: name, digest, source, schema, profile, tags."""


class Point(NamedTuple):
    """A value of a metric; time in milliseconds since the epoch. Sorts by time."""

    timestamp: int
    step: int
    key: str
    value: float


class LoggedModel(msgspec.Struct):
    """A model as MLflow 3 keeps it, apart from its run; times in milliseconds since the epoch."""

    id: str
    name: str
    run: str
    status: str
    created: int
    artifacts: str
    type: str = ""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}


class ModelVersion(msgspec.Struct):
    """A version of a registered model."""

    version: int
    created: int
    source: str
    location: str
    """Where its files are, if that is known apart from `source`."""
    run: str = ""
    stage: str = "None"
    status: str = "READY"
    description: str = ""
    user: str = ""
    tags: dict[str, str] = {}


class RegisteredModel(msgspec.Struct):
    """A name in the registry, and what it means."""

    name: str
    description: str = ""
    tags: dict[str, str] = {}
    aliases: dict[str, int] = {}
    versions: list[ModelVersion] = []


class SourceFile(NamedTuple):
    """A file below a URI; `mark` is what tells a changed one, besides its size, where there is anything."""

    path: str
    size: int
    mark: str = ""


class NotHere(Exception):
    """Files are kept where this machine does not reach them."""


class Source(Protocol):
    """An MLflow store."""

    place: str
    """What people call it."""

    def experiments(self) -> list[Experiment]:
        """All experiments, deleted ones too."""
        ...

    def runs(self, experiment: Experiment) -> list[SourceRun]:
        """All runs of one, the oldest first, deleted ones too."""
        ...

    def points(self, run: SourceRun) -> Iterator[Point]:
        """Every point of a run, sorted."""
        ...

    def models(self, experiment: Experiment) -> list[LoggedModel]:
        """The models logged by its runs."""
        ...

    def registered(self) -> list[RegisteredModel]:
        """The registry, the versions of a name in their order."""
        ...

    def files(self, uri: str) -> list[SourceFile]:
        """The files below a URI, sorted by path.

        Raises
        ------
        NotHere
            If they can't be reached.
        """
        ...

    def fetch(self, uri: str, path: str, target: Path) -> None:
        """Write a file below a URI to a new file; raises as `files`."""
        ...


class LocalFiles:
    """Files that a store's URIs mean on this machine.

    Parameters
    ----------
    artifacts
        The folder that `mlflow-artifacts:/` stands for, if it is known.
    """

    def __init__(self, artifacts: Path | None = None) -> None:
        self._artifacts = artifacts

    def folder(self, uri: str) -> Path:
        """The folder a URI means.

        Raises
        ------
        NotHere
            If it is none of this machine.
        """
        parts = urlsplit(uri)
        if parts.scheme == "mlflow-artifacts" and self._artifacts is not None:
            inner = [part for part in unquote(parts.path).split("/") if part not in ("", ".", "..")]
            return self._artifacts.joinpath(*inner)
        if parts.scheme == "mlflow-artifacts":
            raise NotHere(f"{uri} is behind a server; name its --artifacts-destination with --artifacts")
        if parts.scheme in ("", "file") or (os.name == "nt" and len(parts.scheme) == 1):
            path = Path(url2pathname(parts.path) if parts.scheme == "file" else uri)
            if path.is_absolute():
                return path
        raise NotHere(f"{uri} is no place of this machine")

    def files(self, uri: str) -> list[SourceFile]:
        """See `Source.files`."""
        folder = self.folder(uri)
        if folder.is_file():
            return [SourceFile("", folder.stat().st_size, str(folder.stat().st_mtime_ns))]
        found = []
        for path in folder.rglob("*"):
            if path.is_file():
                known = path.stat()
                found.append(SourceFile(path.relative_to(folder).as_posix(), known.st_size, str(known.st_mtime_ns)))
        return sorted(found)

    def fetch(self, uri: str, path: str, target: Path) -> None:
        """See `Source.fetch`."""
        folder = self.folder(uri)
        shutil.copyfile(folder / path if path else folder, target)


def joined(uri: str, path: str) -> str:
    """A URI of what lies below another."""
    return f"{uri.rstrip('/')}/{path}" if path else uri

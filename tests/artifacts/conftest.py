"""Artifacts on every way they can go: into a SQLite file, to a server, and with files in an object store."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import trackkit
from tests.objects import ObjectStore, object_store
from tests.servers import serving
from trackkit.core.sink import Shelf, find_factory

QUIET: dict[str, Any] = {
    "system": False, "console": "off", "git": False, "code": False, "packages": False, "quiet": True, "interval": 0.05,
}  # fmt: skip


class Place:
    """Where runs log artifacts to."""

    def __init__(self, root: Path, sink: str, store: Path, settings: dict[str, Any]) -> None:
        self.root = root
        self.sink = sink
        self.store = store
        """The folder of the store in the end."""
        self.settings = settings
        self._numbers = itertools.count(1)
        self._runs: list[trackkit.Run] = []

    def run(self, id: str = "", **more: Any) -> trackkit.Run:
        """A run that captures nothing by itself."""
        settings = {**QUIET, **self.settings, **more.pop("settings", {})}
        run = trackkit.init(
            id=id or f"run{next(self._numbers)}", project=more.pop("project", "p"), dir=self.root, sink=self.sink,
            settings=settings, reinit="create_new", **more,
        )  # fmt: skip
        self._runs.append(run)
        return run

    def shelf(self) -> Shelf:
        sink: Any = find_factory(self.sink)(self.sink, self.root)
        shelf: Shelf = sink.shelf()
        return shelf

    def api(self) -> trackkit.Api:
        """The store in the end, once the runs so far are finished."""
        self.finish()
        return trackkit.Api(self.store)

    def finish(self) -> None:
        for run in self._runs:
            run.finish()


@pytest.fixture
def objects() -> Iterator[ObjectStore]:
    """An S3 server."""
    with object_store() as found:
        yield found


@pytest.fixture(params=["sqlite", "elsewhere", "http", "http+s3", "sqlite+s3"])
def place(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with contextlib.ExitStack() as stack:
        root = folder / "root"
        kind = request.param
        sink, store, settings = "sqlite:", root, {}
        if kind.endswith("s3"):
            uri = request.getfixturevalue("objects").uri
        if kind == "elsewhere":
            store = folder / "elsewhere"
            sink = f"sqlite:///{store}/trackkit.db"
        elif kind.startswith("http"):
            store = folder / "server"
            sink = stack.enter_context(serving(store, blobs=uri if kind.endswith("s3") else "")).address
        elif kind == "sqlite+s3":
            monkeypatch.setenv("TRACKKIT_BLOBS", uri)
        made = Place(root, sink, store, settings)
        yield made
        made.finish()


@pytest.fixture
def local(folder: Path) -> Iterator[Place]:
    """The store that needs nothing."""
    made = Place(folder / "root", "sqlite:", folder / "root", {})
    yield made
    made.finish()


@pytest.fixture
def tree(folder: Path) -> Path:
    """A folder with files, some alike."""
    top = folder / "tree"
    for path, content in {"a.txt": "a", "b.txt": "b", "deep/er/c.txt": "c", "deep/again.txt": "a"}.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(content)
    return top


Make = Callable[..., trackkit.Artifact]


@pytest.fixture
def make() -> Make:
    """A draft with files of given contents, by path."""

    def made(files: dict[str, str | bytes], name: str = "data", **more: Any) -> trackkit.Artifact:
        artifact = trackkit.Artifact(name, more.pop("type", "dataset"), **more)
        for path, content in files.items():
            with artifact.new_file(path, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
        return artifact

    return made

"""Runs in a folder: the store's functions on a connection."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, cast

from trackkit.backend.store import gradients, history, lines, media, objects, runs, series
from trackkit.backend.store.database import Database
from trackkit.backend.store.filters import Node
from trackkit.backend.store.history import History
from trackkit.backend.store.media import MediaKey
from trackkit.backend.store.objects import ObjectRow
from trackkit.backend.store.runs import AlertRow, Flat, ProjectRow, RunRow
from trackkit.backend.store.series import Points
from trackkit.backend.store.shelf import StoreShelf
from trackkit.core.sink import Catalogue
from trackkit.query.source import Handle, RunNotFound
from trackkit.query.store import Store


class LocalSource:
    """Runs of an opened store; see `Source`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.place = str(store.path)
        self.name = str(store.root)
        self.artifacts: Catalogue = StoreShelf(self._reading, store.changing, store.blobs)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Database]:
        yield self._store.db

    def projects(self) -> list[ProjectRow]:
        return runs.projects(self._store.db)

    def handles(self, filters: Node | None, order: str | Sequence[str], limit: int | None) -> list[Handle]:
        return list(runs.numbers(self._store.db, filters, order, limit))

    def handle(self, row: RunRow) -> Handle:
        return row.run

    def load(self, handles: Sequence[Handle]) -> list[RunRow]:
        return runs.load(self._store.db, cast("Sequence[int]", handles))

    def find(self, path: str) -> RunRow | None:
        project, _, id = path.rpartition("/")
        db = self._store.db
        number = runs.find(db, path)
        if number is None and project:
            number = runs.find(db, id, project)
        return next(iter([] if number is None else runs.load(db, [number])), None)

    def keys(self, run: RunRow, kind: str) -> list[str]:
        return series.keys(self._store.db, run.run, kind)

    def points(self, run: RunRow, key: str, kind: str, *, superseded: bool = False) -> Points | None:
        if kind == "text":
            return series.texts(self._store.db, run.run, [key]).get(key)
        found = series.points(self._store.db, run.run, key, kind, superseded=superseded)
        return found if len(found.steps) else None

    def history(self, run: RunRow, keys: Sequence[str] | None) -> History:
        return history.read(self._store.db, run.run, keys)

    def scan(self, run: RunRow, keys: Sequence[str] | None, first: int, last: int, rows: int) -> Iterator[History]:
        return history.scan(self._store.db, run.run, keys, first, last, rows)

    def console(self, run: RunRow, stream: str | None, *, raw: bool) -> str:
        read = lines.text if raw else lines.screen
        return read(self._store.db, run.run, stream)

    def alerts(self, run: RunRow) -> list[AlertRow]:
        return runs.alerts(self._store.db, run.run)

    def accounting(self, run: RunRow) -> list[dict[str, float]]:
        return list(runs.accounting(self._store.db, run.run).values())

    def files(self, run: RunRow) -> list[ObjectRow]:
        return objects.files(self._store.db, run.run)

    def media_keys(self, run: RunRow) -> list[MediaKey]:
        return media.keys(self._store.db, [run.run])

    def media(self, run: RunRow, key: str) -> list[ObjectRow]:
        return media.items(self._store.db, run.run, key)

    def watched_keys(self, run: RunRow) -> list[str]:
        return [one.key for one in gradients.keys(self._store.db, run.run)]

    def watched(self, run: RunRow, key: str) -> gradients.Watched:
        return gradients.read(self._store.db, self._store.blobs, run.run, key, histograms=True)

    def open(self, run: RunRow, file: ObjectRow) -> BinaryIO:
        if file.digest:
            return self.open_blob(run, file.digest, file.path)
        content = objects.inline(self._store.db, run.run, file.writer, file.seq)
        if content is None:
            raise FileNotFoundError(f"{file.path} is no longer in the store")
        return io.BytesIO(content)

    def open_blob(self, run: RunRow, digest: str, name: str) -> BinaryIO:
        blob = self._store.blob(digest)
        if not blob.is_file():
            raise FileNotFoundError(f"the content of {name} is not in the store: {blob} is missing")
        return blob.open("rb")

    def change(
        self,
        run: RunRow,
        described: dict[str, str],
        tags: Iterable[str] | None,
        config: tuple[Flat, Sequence[str]],
        summary: tuple[Flat, Sequence[str]],
    ) -> None:
        with self._store.changing() as db:
            if runs.find(db, run.id) != run.run:
                raise RunNotFound(f"run {run.project}/{run.id} is no longer in the store")
            runs.edit(db, run.run, described, tags, config, summary)

    def delete(self, run: RunRow) -> None:
        """Delete a run with its journals."""
        if run.id == self._store.journals(run.id).name:
            shutil.rmtree(self._store.journals(run.id), ignore_errors=True)
        with self._store.changing() as db:
            runs.delete(db, run.run)

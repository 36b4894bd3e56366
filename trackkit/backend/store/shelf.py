"""The artifacts of a store, as training processes and analyses read them: see `core.sink.Catalogue`."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from trackkit.backend.store import artifacts, budgets, lineage, objects, runs, submissions
from trackkit.backend.store.artifacts import Refusal, VersionRow
from trackkit.backend.store.blobstore import BlobStore, FolderBlobs
from trackkit.backend.store.database import Database
from trackkit.core.blobs import BlobDamaged, digest_of
from trackkit.core.manifest import Reference
from trackkit.core.sink import BudgetState, CollectionState, Edit, Move, RunName, Shelved, Submitted

Opening = Callable[[], AbstractContextManager[Database]]


class StoreShelf:
    """The artifacts of a store.

    Parameters
    ----------
    reading, changing
        Give a connection to read with, and one within a transaction.
    blobs
        Where the files are.
    actor
        Who moves aliases, for their history.
    """

    def __init__(self, reading: Opening, changing: Opening, blobs: BlobStore, actor: str = "") -> None:
        self._reading = reading
        self._changing = changing
        self._blobs = blobs
        self._actor = actor or os.environ.get("USER", "") or "somebody"

    def find(self, reference: str, project: str, type: str | None = None) -> Shelved | None:
        with self._reading() as db:
            row = artifacts.find(db, Reference.parse(reference), project, type)
            return None if row is None else shelved(db, row)

    def submitted(self, run: str, token: str) -> Submitted:
        with self._reading() as db:
            number = runs.find(db, run)
            found = None if number is None else submissions.find(db, number, token)
            if found is None:
                return Submitted("unknown")
            row = None if found.version is None else artifacts.get(db, found.version)
            return Submitted(found.state, found.reason, None if row is None else shelved(db, row))

    def fetch(self, id: str, digest: str, size: int, target: Path) -> None:
        if isinstance(self._blobs, FolderBlobs):
            self._blobs.blobs.write_to(digest, target)
            return
        with open(target, "xb") as copy:
            for piece in self._blobs.read(digest):
                copy.write(piece)
        if digest_of(target) != digest:
            target.unlink()
            raise BlobDamaged(f"the blob {digest} in {self._blobs.name} is damaged")

    def edit(self, id: str, edit: Edit) -> Shelved:
        with self._changing() as db:
            return shelved(db, artifacts.edit(db, int(id), edit, self._actor))

    def delete(self, id: str, *, aliases: bool) -> None:
        with self._changing() as db:
            artifacts.delete(db, int(id), self._actor, aliases=aliases)

    def link(self, id: str, project: str, name: str, aliases: list[str]) -> Shelved:
        with self._changing() as db:
            return shelved(db, artifacts.link(db, int(id), project, name, aliases, self._actor))

    def producer(self, id: str) -> RunName | None:
        with self._reading() as db:
            return lineage.producer(db, int(id))

    def consumers(self, id: str) -> list[RunName]:
        with self._reading() as db:
            return lineage.consumers(db, int(id))

    def restore(self, run: str, path: str, target: Path) -> bool:
        with self._reading() as db:
            number = runs.find(db, run)
            row = None if number is None else next((r for r in objects.files(db, number) if r.path == path), None)
            if number is None or row is None:
                return False
            content = b"" if row.digest else objects.inline(db, number, row.writer, row.seq) or b""
        if row.digest:
            self.fetch("", row.digest, row.size, target)
        else:
            target.write_bytes(content)
        return True

    def collections(self, project: str | None = None, type: str | None = None) -> list[CollectionState]:
        with self._reading() as db:
            return [
                CollectionState(
                    row.project, row.name, row.type, row.description, row.created / 1e6, row.updated / 1e6,
                    row.versions, row.size, row.latest,
                )
                for row in artifacts.collections(db, project, type)
            ]  # fmt: skip

    def versions(self, project: str, name: str) -> list[Shelved]:
        with self._reading() as db:
            collection = artifacts.find_collection(db, project, name)
            rows = [] if collection is None else artifacts.versions(db, collection)
            return [shelved(db, row) for row in rows]

    def moves(self, project: str, name: str) -> list[Move]:
        with self._reading() as db:
            collection = artifacts.find_collection(db, project, name)
            rows = [] if collection is None else artifacts.moves(db, collection)
            return [Move(row.alias, row.before, row.after, row.actor, row.time / 1e6) for row in rows]

    def protect(self, id: str, alias: str, protected: bool) -> Shelved:
        with self._changing() as db:
            artifacts.set_alias(db, int(id), alias, self._actor, force=True, protect=protected)
            row = artifacts.get(db, int(id))
            assert row is not None
            return shelved(db, row)

    def budgets(self) -> list[BudgetState]:
        with self._reading() as db:
            return [
                BudgetState(each.project, each.bytes, each.rule, budgets.usage(db, self._blobs, each.project))
                for each in budgets.all_budgets(db)
            ]

    def set_budget(self, project: str, limit: int, rule: str) -> None:
        with self._changing() as db:
            budgets.set_budget(db, project, limit, rule)

    def of_run(self, run: str) -> tuple[list[Shelved], list[Shelved]]:
        with self._reading() as db:
            number = runs.find(db, run)
            if number is None:
                return [], []
            logged, used = lineage.logged(db, number), lineage.used(db, number)
            return [shelved(db, row) for row in logged], [shelved(db, row) for row in used]

    def close(self) -> None:
        """Nothing is held open between calls."""


def shelved(db: Database, row: VersionRow) -> Shelved:
    """A version as a training process gets it."""
    made_by = lineage.producer(db, row.version)
    source = None if row.source is None else artifacts.get(db, row.source)
    return Shelved(
        str(row.version), row.project, row.name, row.type, row.number, row.digest, row.size, row.count,
        row.created / 1e6, row.description, msgspec.json.decode(row.metadata), row.aliases, row.tags,
        None if row.expires is None else row.expires / 1e6, "" if made_by is None else made_by.id,
        "" if source is None else source.path,
    )  # fmt: skip


__all__ = ["Refusal", "StoreShelf", "shelved"]

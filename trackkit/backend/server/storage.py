"""The store behind a server: connections for its threads, and the one way into it for writers.

Handlers run on a pool of threads. Each reads on a connection of its own; writing goes one at a time, as SQLite
has it anyway, so that requests wait in line here instead of trying against each other's locks.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from trackkit.backend.server.matching import Matcher
from trackkit.backend.store import changes, plugin, recovery
from trackkit.backend.store.blobstore import BlobStore, open_blobs
from trackkit.backend.store.changes import Change
from trackkit.backend.store.database import Busy, Database
from trackkit.backend.store.ingest import Ingest
from trackkit.backend.store.sqlite import DATABASE_NAME, SQLiteDatabase
from trackkit.core.sink import Batch

_WRITERS_KEPT: Final = 1024
"""Writers whose series are remembered between two batches, which saves reading them back."""
_CLOSE_SECONDS: Final = 10.0
"""How long `close` waits for whoever uses a connection."""


class Storage(Protocol):
    """What a server needs of a store. All methods may be called from any thread."""

    name: str
    """What people call the store: its path, or its database without the password."""
    blobs: BlobStore

    def reading(self) -> contextlib.AbstractContextManager[Database]:
        """A connection to read with.

        Raises
        ------
        FilterError
            At the end of the block, if a search was given up that took too long.
        """
        ...

    def changing(self) -> contextlib.AbstractContextManager[Database]:
        """A connection in a transaction: all that is done with it or, on an exception, none."""
        ...

    def working(self) -> contextlib.AbstractContextManager[Database]:
        """A connection to write with that is in no transaction: whoever has it makes some."""
        ...

    def write(self, run: str, writer: str, batch: Batch) -> int:
        """Take a batch of a writer's journal; see `Ingest.write`."""
        ...

    def abandon(self, run: str, writer: str, when: float | None) -> bool:
        """Mark a writer crashed; see `Ingest.abandon`."""
        ...

    def sync(self) -> None:
        """Make everything taken so far survive a power cut."""
        ...

    def changes(self, since: int) -> list[Change]:
        """The runs changed after a version; empty, and cheap, if nothing was."""
        ...

    def recover(self) -> None:
        """Bring in what dead writers on this machine left in their journals."""
        ...

    def close(self) -> None: ...


def open_storage(store: str, root: Path, blobs: str = "") -> Storage:
    """The storage of a store.

    Parameters
    ----------
    store
        A folder, or the URL of a PostgreSQL database.
    root
        The folder of blobs.
    blobs
        Where blobs are instead; see `open_blobs`.
    """
    if is_postgres(store):
        from trackkit.backend.server.postgres_storage import PostgresStorage

        return PostgresStorage(store, root, blobs)
    return SQLiteStorage(root, blobs)


def is_postgres(store: str) -> bool:
    """Whether a store is named by the URL of a PostgreSQL database."""
    return store.startswith(("postgresql://", "postgres://"))


class SQLiteStorage:
    """A store that is a SQLite file.

    Parameters
    ----------
    root
        The store's folder; made with its database if there is none.
    blobs
        Where its blobs are; see `open_blobs`.
    """

    def __init__(self, root: Path, blobs: str = "") -> None:
        self.root = root.absolute()
        self.path = self.root / DATABASE_NAME
        self.name = str(self.root)
        self.blobs = open_blobs(self.root, blobs)
        self._local = threading.local()
        self._opened: list[tuple[SQLiteDatabase, threading.RLock]] = []
        self._opening = threading.Lock()
        self._closed = False
        self._writing = threading.Lock()
        self._writer = SQLiteDatabase(self.path)
        self._writer.migrate()
        plugin.prepare_connection(self._writer.connection)
        self._ingests: OrderedDict[tuple[str, str], Ingest] = OrderedDict()
        self._watching = threading.Lock()
        self._watcher = SQLiteDatabase(self.path, read_only=True)
        self._seen: tuple[int, int] | None = None

    @contextlib.contextmanager
    def reading(self) -> Iterator[Database]:
        db, matcher, in_use = self._reader()
        with in_use:
            if self._closed:
                raise _stopping()
            matcher.begin()
            try:
                yield db
            except sqlite3.OperationalError:
                if matcher.failure is not None:
                    raise matcher.failure from None
                if self._closed:  # `close` interrupts what takes long
                    raise _stopping() from None
                raise

    def _reader(self) -> tuple[SQLiteDatabase, Matcher, threading.RLock]:
        found: tuple[SQLiteDatabase, Matcher, threading.RLock] | None = getattr(self._local, "reader", None)
        if found is None:
            with self._opening:
                if self._closed:
                    raise _stopping()
                db, matcher, in_use = SQLiteDatabase(self.path, read_only=True), Matcher(), threading.RLock()
                self._opened.append((db, in_use))
            plugin.prepare_connection(db.connection)
            matcher.attach(db.connection)
            found = self._local.reader = db, matcher, in_use
        return found

    @contextlib.contextmanager
    def changing(self) -> Iterator[Database]:
        with self._writes(), self._writer.atomic():
            yield self._writer

    @contextlib.contextmanager
    def _writes(self) -> Iterator[None]:
        with self._writing:
            if self._closed:
                raise _stopping()
            yield

    @contextlib.contextmanager
    def working(self) -> Iterator[Database]:
        # A connection of its own: what it does may take long, and must not keep batches waiting.
        with contextlib.closing(SQLiteDatabase(self.path)) as db:
            yield db

    def write(self, run: str, writer: str, batch: Batch) -> int:
        with self._writes():
            return self._ingest(run, writer).write(batch)

    def abandon(self, run: str, writer: str, when: float | None) -> bool:
        with self._writes():
            return self._ingest(run, writer).abandon(when)

    def _ingest(self, run: str, writer: str) -> Ingest:
        ingest = self._ingests.pop((run, writer), None) or Ingest(self._writer, run, writer)
        self._ingests[run, writer] = ingest
        if len(self._ingests) > _WRITERS_KEPT:
            self._ingests.popitem(last=False)
        return ingest

    def sync(self) -> None:
        self._writer.sync()

    def changes(self, since: int) -> list[Change]:
        """The runs changed after a version. SQLite counts the changes to its file, so asking in vain is cheap."""
        with self._watching:
            if self._closed:
                raise _stopping()
            seen = (int(self._watcher.query("pragma data_version")[0][0]), since)
            if seen == self._seen:
                return []
            found = changes.since(self._watcher, since)
            self._seen = seen
            return found

    def recover(self) -> None:
        recovery.recover(self.root)

    def close(self) -> None:
        """Close the store. Reads are broken off, and writes waited for: SQLite takes no closing under a query."""
        with self._opening:
            self._closed = True
            opened, self._opened = self._opened, []
        for db, in_use in opened:
            _close(db, in_use, interrupt=True)
        _close(self._writer, self._writing)
        _close(self._watcher, self._watching)


def _close(db: SQLiteDatabase, in_use: threading.Lock | threading.RLock, *, interrupt: bool = False) -> None:
    """Close a connection once nobody uses it. One that is in use for longer ends with the process."""
    end = time.monotonic() + _CLOSE_SECONDS
    while not in_use.acquire(timeout=0.05 if interrupt else _CLOSE_SECONDS):
        if not interrupt or time.monotonic() > end:
            return
        db.connection.interrupt()  # again: whoever has the connection may come to its query only now
    try:
        db.close()
    finally:
        in_use.release()


def _stopping() -> Busy:
    return Busy("the server is stopping; try again in a moment")

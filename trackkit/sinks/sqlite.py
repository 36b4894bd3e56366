"""The default sink: a SQLite file, written by as many processes at once as like."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from trackkit.backend.store import entries, freight, series, submissions, writers
from trackkit.backend.store.blobstore import BlobStore, FolderBlobs, open_blobs
from trackkit.backend.store.columns import is_record
from trackkit.backend.store.database import Busy
from trackkit.backend.store.ingest import Ingest
from trackkit.backend.store.recovery import recover
from trackkit.backend.store.shelf import StoreShelf
from trackkit.backend.store.sqlite import SQLiteDatabase, database_path
from trackkit.core.blobs import Blobs
from trackkit.core.settings import load
from trackkit.core.sink import Batch, Known, Shelf, SinkBusy
from trackkit.sinks.uploads import Uploads

PATIENCE_SECONDS = 1.0
"""How long a call waits for other writers; longer waits are the pump's, whose thread has other work."""


ASK_SECONDS = 2.0
"""Between two looks whether the run is to stop."""


class SQLiteSink:
    """Writes runs into a SQLite store; see `core.sink.Sink` for the contract.

    Parameters
    ----------
    uri
        See `backend.store.sqlite.database_path`.
    root
        The store's folder: where the blobs are that records name.
    """

    local = True

    def __init__(self, uri: str, root: Path) -> None:
        self.path = database_path(uri, root)
        self.stop_requested = False
        self._root = root.absolute()
        self._run = ""
        self._asked = 0.0
        self._db: SQLiteDatabase | None = None
        self._ingest: Ingest | None = None
        self._blobs: BlobStore | None = None
        self._uploads: Uploads | None = None

    def open(self, run: str, writer: str) -> int:
        self.close()
        self._run = run
        with _as_sink_errors():
            self._db = SQLiteDatabase(self.path, patience=PATIENCE_SECONDS)
            self._db.migrate()
            self._ingest = Ingest(self._db, run, writer)
            position = self._ingest.position()
            self._take_up(writer)
            return position

    def _take_up(self, writer: str) -> None:
        """Go on with artifacts that a sink before this one did not bring to an end."""
        assert self._db is not None
        number = writers.find(self._db, self._run)
        waiting = [] if number is None else submissions.waiting(self._db, number, writer)
        if waiting and number is not None and not self._is_remote:
            submissions.commit_waiting(self._db, self._store_blobs, number, writer)
        elif waiting:
            for each in waiting:
                self._sending().add_version(each.token, each.digest, 0)

    def write(self, batch: Batch) -> int:
        assert self._ingest is not None, "open() comes first"
        assert self._db is not None
        if not self._is_remote:
            freight.bring(batch, Blobs(self._root), self._folder)
        with _as_sink_errors():
            position = self._ingest.write(batch)
            if self._is_remote:
                self._send_files(batch)
            elif any(is_record(payload, b"artifact") for payload in batch.payloads):
                number = writers.find(self._db, self._run)
                submissions.commit_waiting(self._db, self._store_blobs, number, self._ingest.writer)
        return position

    @property
    def _store_blobs(self) -> BlobStore:
        if self._blobs is None:
            own = load().blobs if self.path.parent == self._root else ""
            self._blobs = open_blobs(self.path.parent, own)
        return self._blobs

    @property
    def _folder(self) -> Blobs:
        blobs = self._store_blobs
        assert isinstance(blobs, FolderBlobs)
        return blobs.blobs

    @property
    def _is_remote(self) -> bool:
        """Whether the store's files lie where a network is between."""
        return not isinstance(self._store_blobs, FolderBlobs)

    def _sending(self) -> Uploads:
        if self._uploads is None:
            self._uploads = Uploads(lambda: StoreTarget(self.path, self._run, self._store_blobs), self._root)
        return self._uploads

    def _send_files(self, batch: Batch) -> None:
        for offset, item in freight.items(batch):
            self._sending().add_item(item, offset)

    @property
    def held(self) -> int | None:
        """The offset of the first record whose file is still on its way; None if all are there."""
        return None if self._uploads is None else self._uploads.first

    @property
    def files_waiting(self) -> int:
        """How many files are still on their way."""
        return 0 if self._uploads is None else self._uploads.count

    def shelf(self) -> Shelf:
        """The store's artifacts; see `core.sink.Shelving`."""
        return StoreShelf(lambda: _opened(self.path), lambda: _changing(self.path), self._store_blobs)

    def idle(self) -> None:
        """Look now and then whether somebody asked that the run be stopped."""
        if self._db is None or time.monotonic() - self._asked < ASK_SECONDS:
            return
        self._asked = time.monotonic()
        number = writers.find(self._db, self._run)
        self.stop_requested = number is not None and writers.is_asked_to_stop(self._db, number)

    def abandon(self, when: float | None = None) -> bool:
        """Mark the writer crashed, if it is dead and left no Finish record; see `Ingest.abandon`."""
        assert self._ingest is not None, "open() comes first"
        with _as_sink_errors():
            return self._ingest.abandon(when)

    def sync(self) -> None:
        if self._db is not None:
            self._db.sync()

    def close(self) -> None:
        db, self._db, self._ingest = self._db, None, None
        if db is not None:
            db.close()
        if self._uploads is not None:
            self._uploads.close()
            self._uploads = None

    def tidy(self, rest: Callable[[], None] = lambda: None) -> None:
        """Take over what dead writers that sent here left in their journals; see `core.sink.Tidy`."""
        recover(self._root, self.path, rest=rest)

    def lookup(self, run: str) -> Known | None:
        """What the store knows of a run, or None; see `core.sink.Resumable`."""
        if not self.path.exists():
            return None
        with _as_sink_errors(), contextlib.closing(SQLiteDatabase(self.path, patience=PATIENCE_SECONDS)) as db:
            db.migrate()
            number = writers.find(db, run)
            return None if number is None else _known(db, number)


class StoreTarget:
    """A SQLite store whose files lie in an object store, for `Uploads`."""

    def __init__(self, path: Path, run: str, blobs: BlobStore) -> None:
        self._path = path
        self._run = run
        self._blobs = blobs

    def lacking(self, digests: list[str]) -> list[str]:
        return self._blobs.lacking(digests)

    def put(self, digest: str, file: Path) -> None:
        fresh = self._blobs.spool / f"{digest}-{secrets.token_hex(4)}"
        self._blobs.spool.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, fresh)
        except OSError:
            shutil.copyfile(file, fresh)
        self._blobs.keep(fresh, digest)

    def commit(self, token: str) -> tuple[str, list[str]]:
        with _opened(self._path, read_only=False) as db:
            number = writers.find(db, self._run)
            found = None if number is None else submissions.find(db, number, token)
            if found is None:
                return "unknown", []
            try:
                return submissions.commit(db, self._blobs, found).state, []
            except submissions.Lacking as error:
                return "pending", error.digests

    def reset(self) -> None:
        """Nothing is kept between calls."""

    def close(self) -> None:
        """Nothing is held open."""


@contextlib.contextmanager
def _opened(path: Path, *, read_only: bool = True) -> Iterator[SQLiteDatabase]:
    if read_only and not _is_migrated(path):
        read_only = False  # the sink is about to make the tables, or an older version did
    with _as_sink_errors(), contextlib.closing(SQLiteDatabase(path, read_only=read_only)) as db:
        db.migrate()
        yield db


def _is_migrated(path: Path) -> bool:
    if not path.exists():
        return False
    with contextlib.closing(SQLiteDatabase(path, read_only=True)) as db:
        try:
            db.migrate()
        except sqlite3.OperationalError:
            return False
    return True


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[SQLiteDatabase]:
    with _opened(path, read_only=False) as db, db.atomic():
        yield db


@contextlib.contextmanager
def _as_sink_errors() -> Iterator[None]:
    try:
        yield
    except Busy as error:
        raise SinkBusy(str(error)) from error
    except sqlite3.OperationalError as error:  # a read may have to wait, too, while the log is emptied
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise SinkBusy(str(error)) from error
        raise


def _known(db: SQLiteDatabase, number: int) -> Known:
    columns = "project, name, run_group, job_type, notes, state"
    project, name, group, job_type, notes, state = db.query(f"select {columns} from runs where run = ?", [number])[0]
    tags = [tag for (tag,) in db.query("select tag from tags where run = ? order by tag", [number])]
    last = series.last_step(db, number)
    values = {}
    for table in ("config", "summary"):
        rows = db.query(f"select key, type, number, text from {table} where run = ? order by key", [number])
        values[table] = entries.unflatten({key: entries.decode(*columns) for key, *columns in rows})
    return Known(project, name, group, job_type, notes, tags, state, last, values["config"], values["summary"])

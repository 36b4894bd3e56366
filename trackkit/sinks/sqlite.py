"""The default sink: a SQLite file, written by as many processes at once as like."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from trackkit.backend.store import entries, series, writers
from trackkit.backend.store.columns import is_record
from trackkit.backend.store.database import Busy
from trackkit.backend.store.ingest import Ingest
from trackkit.backend.store.recovery import recover
from trackkit.backend.store.sqlite import SQLiteDatabase, database_path
from trackkit.core import records
from trackkit.core.blobs import Blobs
from trackkit.core.sink import Batch, Known, SinkBusy

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

    def open(self, run: str, writer: str) -> int:
        self.close()
        self._run = run
        with _as_sink_errors():
            self._db = SQLiteDatabase(self.path, patience=PATIENCE_SECONDS)
            self._db.migrate()
            self._ingest = Ingest(self._db, run, writer)
            return self._ingest.position()

    def write(self, batch: Batch) -> int:
        assert self._ingest is not None, "open() comes first"
        self._bring_blobs(batch)
        with _as_sink_errors():
            return self._ingest.write(batch)

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

    def _bring_blobs(self, batch: Batch) -> None:
        """Copy the blobs a batch names to the database's folder, if that is another than ours."""
        if self.path.parent == self._root:
            return
        here, there = Blobs(self._root), Blobs(self.path.parent)
        for payload in batch.payloads:
            if not is_record(payload, b"object"):
                continue
            with contextlib.suppress(msgspec.MsgspecError, FileNotFoundError):  # `doctor` tells of lost ones
                record = records.decode(payload)
                if isinstance(record, records.Object) and record.digest:
                    there.put_file(here.path(record.digest), digest=record.digest, link=True)


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

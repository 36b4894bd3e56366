"""The store behind a team's server, on PostgreSQL: several servers may share it."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from trackkit.backend.store import changes
from trackkit.backend.store.blobstore import BlobStore, open_blobs
from trackkit.backend.store.changes import Change
from trackkit.backend.store.database import Busy, Database, Unavailable
from trackkit.backend.store.ingest import Ingest
from trackkit.backend.store.notices import Listener
from trackkit.backend.store.postgres import PostgresDatabase, PostgresPool
from trackkit.core.sink import Batch

logger = logging.getLogger("trackkit.server")

CHANNEL: Final = "trackkit_changes"
"""On which every process tells the others that there is news; what it is, they read."""
CONNECTIONS: Final = 16
PATIENCE_SECONDS: Final = 10.0
STATEMENT_SECONDS: Final = 60.0
"""A statement that takes longer is given up: nothing that is asked or written here does, unless it was meant to."""
UNTOLD_SECONDS: Final = 5.0
"""The store is asked for changes this often though none was told of: a notice may be lost with a connection."""

_WRITERS_KEPT: Final = 1024
_NOTICE_SECONDS: Final = 1.0


class _Writer:
    """One writer's ingest, for one thread at a time."""

    def __init__(self, ingest: Ingest) -> None:
        self.ingest = ingest
        self.lock = threading.Lock()


class PostgresStorage:
    """A store on PostgreSQL; see `Storage`.

    Parameters
    ----------
    url
        As of `PostgresDatabase`.
    root
        The folder of blobs, which servers that share the database have to share, too.
    blobs
        Where blobs are instead; see `open_blobs`.

    Raises
    ------
    Unavailable
        If PostgreSQL can't be reached.
    """

    blobs: BlobStore

    def __init__(self, url: str, root: Path, blobs: str = "") -> None:
        parts = urlsplit(url)
        self.name = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
        self.blobs = open_blobs(root.absolute(), blobs)
        with contextlib.closing(PostgresDatabase(url)) as db:
            db.migrate()
        self._pool = PostgresPool(url, CONNECTIONS, patience=PATIENCE_SECONDS, limit=STATEMENT_SECONDS)
        self._writers: OrderedDict[tuple[str, str], _Writer] = OrderedDict()
        self._registry = threading.Lock()
        self._news = threading.Event()
        self._asked = 0.0
        self._closing = False
        self._url = url
        self._thread = threading.Thread(target=self._listen, name="trackkit-notices", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Database]:
        with self._pool.connection() as db:
            yield db

    @contextlib.contextmanager
    def changing(self) -> Iterator[Database]:
        with self._pool.connection() as db, db.atomic():
            yield db
            db.notify(CHANNEL, "")

    @contextlib.contextmanager
    def working(self) -> Iterator[Database]:
        with self._pool.connection() as db:
            yield db
            db.notify(CHANNEL, "")

    def write(self, run: str, writer: str, batch: Batch) -> int:
        with self._using(run, writer) as (ingest, db):
            position = ingest.write(batch)
            db.notify(CHANNEL, "")
            return position

    def abandon(self, run: str, writer: str, when: float | None) -> bool:
        with self._using(run, writer) as (ingest, db):
            changed = ingest.abandon(when)
            db.notify(CHANNEL, "")
            return changed

    @contextlib.contextmanager
    def _using(self, run: str, writer: str) -> Iterator[tuple[Ingest, PostgresDatabase]]:
        """The writer's ingest on a connection of the pool, while no other thread uses it.

        What it remembers may be out of date, as any server takes any batch; it notices by the offset.
        """
        with self._pool.connection() as db:
            with self._registry:
                found = self._writers.pop((run, writer), None) or _Writer(Ingest(db, run, writer))
                self._writers[run, writer] = found
                if len(self._writers) > _WRITERS_KEPT:
                    self._writers.popitem(last=False)
            if not found.lock.acquire(timeout=PATIENCE_SECONDS):
                raise Busy(f"another batch of run {run}, writer {writer} is being taken")
            try:
                found.ingest.db = db
                yield found.ingest, db
            finally:
                found.lock.release()

    def sync(self) -> None:
        with self._pool.connection() as db:
            db.sync()

    def changes(self, since: int) -> list[Change]:
        now = time.monotonic()
        if not self._news.is_set() and now - self._asked < UNTOLD_SECONDS:
            return []
        self._news.clear()
        try:
            with self._pool.connection() as db:
                found = changes.since(db, since)
        except BaseException:
            self._news.set()
            raise
        self._asked = now
        return found

    def recover(self) -> None:
        """Nothing to do: no script writes to the database but through a server."""

    def close(self) -> None:
        self._closing = True
        with contextlib.suppress(Unavailable), self._pool.connection() as db:
            db.notify(CHANNEL, "")  # wakes the listener, which else would wait for its turn to end
        self._thread.join(2 * _NOTICE_SECONDS)
        self._pool.close()

    def _listen(self) -> None:
        listener: Listener | None = None
        while not self._closing:
            try:
                listener = listener or Listener(self._url, CHANNEL)
                if listener.wait(_NOTICE_SECONDS):
                    self._news.set()
            except Unavailable as error:
                logger.warning("%s", error)
                self._news.set()
                time.sleep(_NOTICE_SECONDS)
            except Exception:
                logger.warning("notices can't be heard", exc_info=True)
                time.sleep(_NOTICE_SECONDS)
        if listener is not None:
            listener.close()

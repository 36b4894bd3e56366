"""An opened store: connections for reading that hold no transaction, and for the moment of a change."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from trackkit.backend.store import plugin
from trackkit.backend.store.blobstore import local_file, open_blobs
from trackkit.backend.store.database import Busy, Database
from trackkit.backend.store.sqlite import SQLiteDatabase

DATABASE: Final = "trackkit.db"
RECOVERY_PAUSE: Final = 2.0
"""Seconds within which a store opened again is not searched for orphaned journals again."""

_recovered: dict[Path, float] = {}


class Store:
    """A store's folder, and this thread's connection to its database.

    Parameters
    ----------
    uri
        The store's folder, its database file or `sqlite:///path`; None for the folder the settings name.
    progress
        Called now and then with the bytes done and to do, while journals are taken over.

    Raises
    ------
    FileNotFoundError
        If there is no store.
    ValueError
        If the URI is of a kind that can't be read.
    """

    def __init__(
        self, uri: str | os.PathLike[str] | None = None, *, progress: Callable[[int, int], None] | None = None
    ) -> None:
        self.path = _database_path(uri)
        self.root = self.path.parent
        self.blobs = open_blobs(self.root)
        self._local = threading.local()
        _recover(self.root, progress)
        if not self.path.is_file():
            raise FileNotFoundError(self._absence())
        self.db  # noqa: B018  opened now, so that a file that can't be read is reported here

    @property
    def db(self) -> Database:
        """A connection for reading, of this thread in this process."""
        if getattr(self._local, "process", None) != os.getpid():
            self._local.db = _open_for_reading(self.path)
            self._local.process = os.getpid()
        db: Database = self._local.db
        return db

    @contextlib.contextmanager
    def changing(self) -> Iterator[Database]:
        """A connection for one change: all of it or, on an exception, none of it."""
        db = SQLiteDatabase(self.path)
        try:
            with db.atomic():
                yield db
        finally:
            db.close()

    def journals(self, run: str) -> Path:
        """The folder of a run's journals."""
        return self.root / "journals" / run

    def blob(self, digest: str) -> Path:
        """The file of a blob, or where it would be."""
        try:
            return local_file(self.blobs, digest)
        except FileNotFoundError:
            return self.root / "blobs" / digest[:2] / digest

    def _absence(self) -> str:
        if (self.root / "journals").is_dir():
            return f"{self.root} has journals but no database yet; 'trackkit sync {self.root}' makes one from them"
        return (
            f"there is no trackkit store at {self.path}; "
            "name the folder that runs were written to (.trackkit beside the script, unless set otherwise)"
        )


class ImmutableDatabase(SQLiteDatabase):
    """A database in a folder that can't be written, where SQLite can't make the file readers coordinate by.

    It is taken for unchanging. SQLite then leaves out the write-ahead log, so where there is one, database and
    log are read from a copy.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read_only = True
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        log = path.with_name(f"{path.name}-wal")
        if log.is_file() and log.stat().st_size:
            self._copy = tempfile.TemporaryDirectory(prefix="trackkit-", ignore_cleanup_errors=True)
            uri = Path(shutil.copy(path, self._copy.name)).as_uri()
            shutil.copy(log, self._copy.name)
        else:
            uri = f"{path.as_uri()}?mode=ro&immutable=1"
        self.connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        self.connection.isolation_level = None

    def close(self) -> None:
        super().close()
        if self._copy is not None:
            self._copy.cleanup()


def _database_path(uri: str | os.PathLike[str] | None) -> Path:
    if uri is None:
        from trackkit.core.settings import load

        uri = load().dir
    if isinstance(uri, str) and "://" in uri:
        uri = _local_path(uri)
    path = Path(uri).expanduser().absolute()
    return path if path.suffix in (".db", ".sqlite", ".sqlite3") or path.is_file() else path / DATABASE


def _local_path(uri: str) -> str:
    scheme = urlsplit(uri).scheme
    if scheme == "sqlite":
        return unquote(uri.removeprefix("sqlite://").removeprefix("/"))
    if scheme in ("http", "https"):
        raise ValueError(f"{uri} is a server; here a store is a folder or a database file")
    raise ValueError(
        f"{uri} can't be read: a store is a folder, a database file, sqlite:///path, or a server's http://host:port"
    )


def _recover(root: Path, progress: Callable[[int, int], None] | None) -> None:
    """Take over what dead writers left in their journals, where that can be done."""
    if time.monotonic() - _recovered.get(root, -RECOVERY_PAUSE) < RECOVERY_PAUSE or not root.is_dir():
        return
    try:
        from trackkit.backend.store.recovery import recover
    except ModuleNotFoundError:
        return
    _recovered[root] = time.monotonic()
    with contextlib.suppress(OSError, sqlite3.OperationalError, Busy):
        recover(root, progress=progress)


def _open_for_reading(path: Path) -> SQLiteDatabase:
    try:
        db = SQLiteDatabase(path, read_only=True)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
        db = ImmutableDatabase(path)
    _bring_up_to_date(db)
    plugin.prepare_connection(db.connection)
    return db


def _bring_up_to_date(db: SQLiteDatabase) -> None:
    """Migrate a store of an older version, which takes a connection that may write."""
    try:
        db.migrate()
    except sqlite3.OperationalError:
        writer = SQLiteDatabase(db.path)
        writer.migrate()
        writer.close()

"""The embedded database: one SQLite file in WAL mode.

Writing uses the standard library's `sqlite3` alone: sqlite-utils imports pandas where it is
installed, which costs a training process most of a second and 100 MB. The bookkeeping of
migrations is sqlite-utils' own table, so its tools understand the file, and `tables()` hands out
a `sqlite_utils.Database` on the same connection to code that runs elsewhere.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from trackkit.backend.store.database import Busy, Row, check_known
from trackkit.backend.store.schema import MIGRATIONS, SQLITE_VIEWS

if TYPE_CHECKING:
    import sqlite_utils

DATABASE_NAME = "trackkit.db"
"""The database's file in a store's folder."""

_MIGRATION_SET = "trackkit"
_TYPES = {
    "integer": "integer",
    "real": "real",
    "text": "text",
    "blob": "blob",
    "strict": " strict",
    "clustered": " strict, without rowid",
}
_ROWS_PER_STATEMENT = (256, 32, 4, 1)
"""Sizes of multi-row inserts. sqlite3 drops and takes the GIL once a statement, not once a row, so
a few large statements disturb a training thread less than `executemany` and are faster."""


def database_path(uri: str, root: Path) -> Path:
    """The file a sink's URI means.

    Parameters
    ----------
    uri
        `sqlite:///relative/path.db`, `sqlite:////absolute/path.db`, `sqlite:` for the store's own file, or a
        plain path.
    root
        The store's folder.

    Examples
    --------
    >>> database_path("sqlite:", Path("/data/.trackkit")).as_posix()
    '/data/.trackkit/trackkit.db'
    >>> database_path("sqlite:////tmp/all.db", Path(".trackkit")).as_posix()
    '/tmp/all.db'
    """
    rest = uri.removeprefix("sqlite:")
    if rest == uri:
        return Path(uri).expanduser().absolute()
    rest = unquote(rest.removeprefix("//").removeprefix("/") if rest.startswith("///") else rest.removeprefix("//"))
    return (Path(rest).expanduser() if rest else root / DATABASE_NAME).absolute()


class SQLiteDatabase:
    """A connection to a SQLite file.

    Parameters
    ----------
    path
        The file; made with its folder if it does not exist and `read_only` is false.
    read_only
        Open for reading: nothing is created, migrated or changed.
    patience
        Seconds to wait for another process's write lock before `Busy` is raised.
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False, patience: float = 30.0) -> None:
        self.path = Path(path).absolute()
        self.read_only = read_only
        if read_only:
            uri = f"{self.path.as_uri()}?mode=ro"
            self.connection = sqlite3.connect(uri, uri=True, timeout=patience, check_same_thread=False)
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(self.path, timeout=patience, check_same_thread=False)
        self.connection.isolation_level = None
        try:
            if not read_only:
                self._use_write_ahead_log()
            self.connection.execute("pragma synchronous = normal")
            self.connection.execute("pragma temp_store = memory")
        except BaseException:
            self.connection.close()
            raise

    def _use_write_ahead_log(self) -> None:
        """Switch the file to WAL, which lasts; only the first opener has anything to do."""
        if self.connection.execute("pragma journal_mode").fetchone()[0] != "wal":
            with _busy_named(self.path):
                self.connection.execute("pragma journal_mode = wal")

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return self.connection.execute(sql, parameters).fetchall()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        return self.connection.execute(sql, parameters).rowcount

    def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        self.connection.executemany(sql, rows)

    def insert_many(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self._insert(table, columns, rows, "")

    def upsert_many(
        self, table: str, keys: Sequence[str], columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        changes = ", ".join(f"{column} = excluded.{column}" for column in columns)
        conflict = f" on conflict ({', '.join(keys)}) do " + (f"update set {changes}" if changes else "nothing")
        self._insert(table, [*keys, *columns], rows, conflict)

    def _insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], conflict: str) -> None:
        start = 0
        for size in _ROWS_PER_STATEMENT:
            if len(rows) - start < size:
                continue
            sql = _insertion(table, tuple(columns), size, conflict)
            while len(rows) - start >= size:
                flat = [value for row in rows[start : start + size] for value in row]
                self.connection.execute(sql, flat)
                start += size

    @contextlib.contextmanager
    def atomic(self) -> Iterator[None]:
        with _busy_named(self.path):
            self.connection.execute("begin immediate")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self.connection.execute("rollback")
            raise
        with _busy_named(self.path):
            self.connection.execute("commit")

    def sync(self) -> None:
        """Flush the write-ahead log to the disk: WAL commits alone survive a crash, not a power cut."""
        log = f"{self.path}-wal"
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(log, os.O_RDWR)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def migrate(self) -> None:
        known = [name for name, _ in MIGRATIONS]
        applied = self._applied_migrations()
        check_known(applied, known, str(self.path))
        if applied == set(known):
            return
        with self.atomic():
            self.connection.execute(
                "create table if not exists _sqlite_migrations ("
                "id integer primary key, migration_set text, name text, applied_at text)"
            )
            self.connection.execute(
                "create unique index if not exists idx__sqlite_migrations_migration_set_name "
                "on _sqlite_migrations (migration_set, name)"
            )
            applied = self._applied_migrations()
            check_known(applied, known, str(self.path))
            for name, statements in MIGRATIONS:
                if name in applied:
                    continue
                for statement in statements:
                    self.connection.execute(statement.format(**_TYPES))
                now = datetime.datetime.now(datetime.UTC).isoformat()
                self.connection.execute(
                    "insert into _sqlite_migrations (migration_set, name, applied_at) values (?, ?, ?)",
                    (_MIGRATION_SET, name, now),
                )
            for view in SQLITE_VIEWS:
                self.connection.execute(view)

    def _applied_migrations(self) -> set[str]:
        if not self.query("select 1 from sqlite_master where name = '_sqlite_migrations'"):
            return set()
        sql = "select name from _sqlite_migrations where migration_set = ?"
        return {row[0] for row in self.query(sql, (_MIGRATION_SET,))}

    def tables(self) -> sqlite_utils.Database:
        """The same connection as a `sqlite_utils.Database`."""
        import sqlite_utils

        return sqlite_utils.Database(self.connection)

    def close(self) -> None:
        self.connection.close()


@functools.lru_cache(maxsize=256)
def _insertion(table: str, columns: tuple[str, ...], size: int, conflict: str) -> str:
    """A statement that inserts so many rows."""
    one = f"({', '.join('?' * len(columns))})"
    return f"insert into {table} ({', '.join(columns)}) values {', '.join([one] * size)}{conflict}"


@contextlib.contextmanager
def _busy_named(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise Busy(f"{path} is being written by another process") from error
        raise

"""Saving what can still be read of a damaged SQLite file into a new one."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trackkit.backend.store.database import SchemaTooNew, check_known
from trackkit.backend.store.schema import MIGRATIONS
from trackkit.backend.store.sqlite import SQLiteDatabase

_PAGE = 200
"""Rows read by one statement, which a damaged page ends."""
_MIGRATIONS = "_sqlite_migrations"
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR)


class Unsalvageable(RuntimeError):
    """Nothing can be saved, or not now; the message says why."""


class Salvaged(msgspec.Struct):
    """What was saved.

    Attributes
    ----------
    rows
        Rows in the new database.
    torn
        The tables of which a part could not be read.
    kept
        Where the damaged file is now.
    """

    rows: int
    torn: list[str]
    kept: Path


def salvage(path: Path) -> Salvaged:
    """Put a new database with all rows that can be read in the place of a damaged one, which is kept beside it.

    Rows are read in the order of their keys, around pages that can't be read: by skipping ahead where keys are
    numbers, and otherwise from both ends of what belongs to a run.

    Parameters
    ----------
    path
        The database's file. No other process may have it open.

    Raises
    ------
    Unsalvageable
        If other processes use the file, or not even its schema can be read.
    """
    _check_unused(path)
    fresh = path.with_name(f"{path.name}.salvage")
    _remove(fresh)
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as damaged,
            contextlib.closing(SQLiteDatabase(fresh)) as db,
        ):
            db.migrate()
            torn = _copy_all(damaged, db)
            rows = sum(db.query(f"select count(*) from {table}")[0][0] for table in _tables(db))
            db.query("pragma wal_checkpoint(truncate)")
    except (sqlite3.DatabaseError, SchemaTooNew) as error:
        _remove(fresh)
        raise Unsalvageable(f"it can't be saved ({error}); restore it from a copy") from error
    kept = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    for suffix in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(f"{path.name}{suffix}").rename(kept.with_name(f"{kept.name}{suffix}"))
    fresh.rename(path)
    return Salvaged(rows, torn, kept)


def _check_unused(path: Path) -> None:
    """Refuse a file that others have open: they would go on writing to the old one."""
    import psutil

    users = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            opened = any(file.path == str(path.resolve()) for file in process.open_files())
            if opened and process.pid != psutil.Process().pid:
                users.append(str(process.pid))
    if users:
        raise Unsalvageable(f"{path} is in use by process {', '.join(users)}; end it first, then repair again")


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)


def _tables(db: SQLiteDatabase) -> list[str]:
    sql = "select name from sqlite_master where type = 'table' and name <> ? and name not like 'sqlite_%'"
    return [name for (name,) in db.query(sql, [_MIGRATIONS])]


def _copy_all(damaged: sqlite3.Connection, db: SQLiteDatabase) -> list[str]:
    torn = []
    names = "select name from _sqlite_migrations where migration_set = 'trackkit'"
    check_known({name for (name,) in damaged.execute(names)}, [name for name, _ in MIGRATIONS], "the damaged database")
    for table in _tables(db):
        # An older schema has fewer columns, and fewer tables.
        columns = [row[1] for row in damaged.execute(f"pragma table_info({table})")]
        if not columns:
            continue
        reader = _Reader(damaged, table, columns, _key(db, table))
        places = ", ".join("?" * len(columns))
        sql = f"insert or ignore into {table} ({', '.join(columns)}) values ({places})"
        with db.atomic():
            db.execute_many(sql, reader.rows())
        if reader.torn:
            torn.append(table)
    return torn


def _key(db: SQLiteDatabase, table: str) -> list[str]:
    """The columns in whose order a table lies on the disk."""
    sql = db.query("select sql from sqlite_master where name = ?", [table])[0][0]
    if "without rowid" not in sql.lower():
        return ["rowid"]
    keyed = sorted((row[5], row[1]) for row in db.query(f"pragma table_info({table})") if row[5])
    return [name for _, name in keyed]


class _Reader:
    """Reads a table around what is damaged.

    Attributes
    ----------
    torn
        Whether something could not be read.
    """

    def __init__(self, db: sqlite3.Connection, table: str, columns: Sequence[str], key: list[str]) -> None:
        self.torn = False
        self._db = db
        self._key = key
        self._select = f"select {', '.join(key)}, {', '.join(columns)} from {table}"

    def rows(self) -> Iterator[Sequence[Any]]:
        """All rows that can be read; one may come twice."""
        if self._key == ["rowid"]:
            return self._by_number("rowid")
        if self._key[0] == "run":
            return (row for run in self._runs() for row in self._from_both_ends("run = ?", [run]))
        return self._from_both_ends("1 = 1", [])

    def _by_number(self, column: str) -> Iterator[Sequence[Any]]:
        """Rows by a number, past each damaged place by the smallest power of two that leads out of it."""
        last, skip, size = 0, 0, _PAGE
        while last + skip < 2**62:
            try:
                found = self._page(f"{column} > ?", [last + skip], f"{column} asc", size)
            except sqlite3.DatabaseError as error:
                self._note(error)
                skip = max(1, skip * 2) if size == 1 else skip
                size = 1
                continue
            if not found:
                return
            last, skip, size = found[-1][0], 0, min(size * 2, _PAGE)
            yield from (row[1:] for row in found)

    def _runs(self) -> Iterable[int]:
        """The numbers of the runs that the table has rows of, or may have."""
        table, last = self._select.rpartition(" ")[2], -(2**62)
        found: dict[int, None] = {}
        while True:
            try:
                (run,) = self._db.execute(f"select min(run) from {table} where run > ?", [last]).fetchone()
            except sqlite3.DatabaseError:
                # The table can't be looked through; other tables, and the runs themselves, may say who there is.
                self.torn = True
                found.update(dict.fromkeys(_known_runs(self._db)))
                return found
            if run is None:
                return found
            found[run] = None
            last = run

    def _from_both_ends(self, condition: str, parameters: list[Any]) -> Iterator[Sequence[Any]]:
        ahead = yield from self._walk(condition, parameters, "asc", ">")
        if not ahead:
            yield from self._walk(condition, parameters, "desc", "<")

    def _walk(
        self, condition: str, parameters: list[Any], direction: str, beyond: str
    ) -> Generator[Sequence[Any], None, bool]:
        """Rows from one end on; whether it came to the other."""
        names, places = ", ".join(self._key), ", ".join("?" * len(self._key))
        order = ", ".join(f"{name} {direction}" for name in self._key)
        after: Sequence[Any] = ()
        size = _PAGE
        while True:
            reached = f" and ({names}) {beyond} ({places})" if after else ""
            try:
                found = self._page(condition + reached, [*parameters, *after], order, size)
            except sqlite3.DatabaseError as error:
                self._note(error)
                if size == 1:
                    return False
                size = 1
                continue
            if not found:
                return True
            after, size = found[-1][: len(self._key)], min(size * 2, _PAGE)
            yield from (row[len(self._key) :] for row in found)

    def _note(self, error: sqlite3.DatabaseError) -> None:
        """Note that a page can't be read; any other trouble is raised."""
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGE:
            raise error
        self.torn = True

    def _page(self, condition: str, parameters: list[Any], order: str, size: int) -> list[Any]:
        return self._db.execute(
            f"{self._select} where {condition} order by {order} limit {size}", parameters
        ).fetchall()


def _known_runs(db: sqlite3.Connection) -> list[int]:
    reader = _Reader(db, "runs", ["run"], ["rowid"])
    return [row[0] for row in reader.rows()]

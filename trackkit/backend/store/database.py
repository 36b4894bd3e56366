"""The port between the store's SQL and a database.

SQL is written once, in the subset SQLite and PostgreSQL share, with `?` for parameters. An
implementation brings its own connection handling, its column types and its migrations' lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

Row = tuple[Any, ...]


class SchemaTooNew(RuntimeError):
    """The store was written by a newer trackkit whose schema this version does not know."""


class Busy(RuntimeError):
    """Another process holds the database's write lock; try again."""


class Database(Protocol):
    """One connection to a store's database. Not thread-safe: a thread that wants one opens its own."""

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows of a select. No read transaction outlives the call."""
        ...

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run one statement; the number of rows it changed."""
        ...

    def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement per row of parameters."""
        ...

    def insert_many(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Append rows that are known to be new, as fast as the database can."""
        ...

    def upsert_many(
        self, table: str, keys: Sequence[str], columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        """Insert rows of `keys + columns`; where the keys exist, replace the columns."""
        ...

    def atomic(self) -> AbstractContextManager[None]:
        """A write transaction: all of it or, on an exception, none of it.

        Raises
        ------
        Busy
            If the write lock was not free within the connection's patience.
        """
        ...

    def sync(self) -> None:
        """Make what is committed survive a power cut."""
        ...

    def migrate(self) -> None:
        """Bring the schema up to this version's, once, however many processes try.

        Raises
        ------
        SchemaTooNew
            If the database has migrations this version does not know.
        """
        ...

    def close(self) -> None: ...

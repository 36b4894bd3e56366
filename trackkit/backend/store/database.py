"""The port between the store's SQL and a database.

SQL is written once, in the subset SQLite and PostgreSQL share, with `?` for parameters. An
implementation brings its own connection handling, its column types and its migrations' lock.

Beyond the shared subset there is one thing, which every implementation has: `regexp(?, column)`, whether
Python's `re.search` finds a pattern in a column. And three rules every implementation keeps: NaN is written as
NULL; text is ordered and compared by its code points; `lower` and `like` know the letters of ASCII alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

Row = tuple[Any, ...]


class SchemaTooNew(RuntimeError):
    """The store was written by a newer trackkit whose schema this version does not know."""


class Busy(RuntimeError):
    """The database can't do it now, as another process holds a lock; try again."""


class Unavailable(Busy):
    """The database can't be reached, or ended the connection; try again.

    What was in a transaction is lost, unless it happened while committing: then it may be there or not.
    """


def check_known(applied: set[str], known: Iterable[str], database: str) -> None:
    """Refuse a database that has migrations which are not known.

    Raises
    ------
    SchemaTooNew
        If it has.
    """
    unknown = sorted(applied.difference(known))
    if unknown:
        raise SchemaTooNew(
            f"{database} was written by a newer trackkit (its schema has {unknown[-1]!r}); upgrade trackkit to read it"
        )


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

        SQLite lets one process write at a time. PostgreSQL lets all, and makes those wait that change the same
        row: what must not happen at once for one run begins by changing the run's row (`changes.touch`).

        Raises
        ------
        Busy
            If a lock was not free within the connection's patience.
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

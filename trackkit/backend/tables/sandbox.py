"""DuckDB, locked up with some Parquet files: it reads these and reaches nothing else.

Each set of files has a database of its own, in memory, whose settings are locked once these files, and no others, are
allowed. Queries are cut off after a time. DuckDB is imported with the first table: a server that shows none is a
quarter smaller without it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

SECONDS: Final = 15.0
"""A query may take."""
MEMORY: Final = "1GB"
THREADS: Final = 2
_AT_ONCE = 4
"""Queries that run at the same time; others wait."""


class TooSlow(Exception):
    """A query took too long and was cut off."""


class TooLarge(Exception):
    """A query would need more memory than it may have."""


class CannotAnswer(Exception):
    """A query means nothing to the engine, such as a pattern that its regular expressions have no word for."""


class CannotRead(Exception):
    """A file is no Parquet, or is damaged."""


class Sandbox:
    """A database in memory that reads the Parquet files it was made for.

    Parameters
    ----------
    paths
        The files.
    seconds
        How long a query may take.

    Raises
    ------
    CannotRead
        If they can't be read.
    """

    def __init__(self, paths: Sequence[Path], seconds: float = SECONDS) -> None:
        import duckdb

        self.paths = [str(path.resolve()) for path in paths]
        self._seconds = seconds
        self._db = duckdb.connect(":memory:", config={"threads": THREADS, "memory_limit": MEMORY})
        self._made: set[str] = set()
        self._making = threading.Lock()
        allowed = ", ".join(literal(path) for path in self.paths)
        for setting in (
            f"allowed_paths = [{allowed}]",
            "temp_directory = ''",
            "autoinstall_known_extensions = false",
            "autoload_known_extensions = false",
            "allow_community_extensions = false",
            "enable_external_access = false",
            "lock_configuration = true",  # last: from here on nothing can be set
        ):
            self._db.execute(f"set {setting}")

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query.

        Raises
        ------
        TooSlow
            If it took too long.
        TooLarge
            If it would need too much memory.
        """
        with self.cursor() as cursor:
            rows: list[tuple[Any, ...]] = cursor.execute(sql, list(parameters)).fetchall()
            return rows

    @contextlib.contextmanager
    def cursor(self, seconds: float | None = None, turns: threading.Semaphore | None = None) -> Iterator[Any]:
        """A connection for one query, which waits for its turn and is cut off in time; raises as `query`."""
        import duckdb

        cut = threading.Event()
        with turns or _turns, contextlib.closing(self._db.cursor()) as cursor:

            def interrupt() -> None:
                cut.set()
                cursor.interrupt()

            limit = self._seconds if seconds is None else seconds
            timer = threading.Timer(limit, interrupt)
            timer.start()
            try:
                yield cursor
            except duckdb.InterruptException as error:
                if cut.is_set():
                    raise TooSlow(f"the query took longer than {limit:g} seconds and was cut off") from error
                raise
            except (duckdb.InvalidInputException, duckdb.ConversionException, duckdb.OutOfRangeException) as error:
                raise CannotAnswer(str(error).splitlines()[0]) from error
            except duckdb.OutOfMemoryException as error:
                raise TooLarge(f"the query needs more memory than the {MEMORY} it may have") from error
            finally:
                timer.cancel()

    def make_once(self, name: str, sql: str) -> None:
        """Make a view, unless that was done."""
        with self._making:
            if name not in self._made:
                self._db.execute(sql)
                self._made.add(name)


def literal(text: str) -> str:
    """Text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


_turns = threading.BoundedSemaphore(_AT_ONCE)

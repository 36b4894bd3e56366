"""Regular expressions of people who ask a server: those that would search for ever are given up.

`re` can't be interrupted and holds the interpreter's lock, so a single filter with nested repeats would freeze every
page and every run that is being sent. The library `regex` understands the same expressions, lets go of the lock
and takes a time limit.
"""

from __future__ import annotations

import functools
import sqlite3
import time
from typing import Any, Final

import regex

from trackkit.backend.store.filters import FilterError

ANSWER_SECONDS: Final = 5.0
"""How long the regular expressions of one request may search in all."""


class Matcher:
    """SQL's `regexp` for one connection.

    Parameters
    ----------
    seconds
        How long it searches, from `begin` on, before it gives up.
    """

    def __init__(self, seconds: float = ANSWER_SECONDS) -> None:
        self.failure: FilterError | None = None
        """Why the search was given up; SQLite itself tells only that a function failed."""
        self._seconds = seconds
        self._until = 0.0

    def attach(self, connection: sqlite3.Connection) -> None:
        """Become the connection's `regexp`."""
        connection.create_function("regexp", 2, self, deterministic=True)

    def begin(self) -> None:
        """Begin to count the time."""
        self.failure = None
        self._until = time.monotonic() + self._seconds

    def __call__(self, pattern: str | None, value: str | float | None) -> bool | None:
        if pattern is None or value is None:
            return None
        try:
            left = max(self._until - time.monotonic(), 1e-6)
            return _compiled(pattern).search(str(value), timeout=left, concurrent=True) is not None
        except TimeoutError:
            self.failure = FilterError(
                f"searching with {pattern!r} took longer than {self._seconds:g} s and was given up; "
                "write it without repeats of what repeats"
            )
        except regex.error as error:
            self.failure = FilterError(f"{pattern!r} can't be searched for: {error}")
        raise self.failure


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    return regex.compile(pattern)

"""How the store's SQL and its values get to PostgreSQL.

SQL runs as it is, with `?` numbered. Values are sent and read in the binary format: an int as a bigint, a float
as a double precision, NaN as NULL. PostgreSQL's text can't hold the character NUL, which is written as ␀ (U+2400),
so that a console line with one is kept.
"""

from __future__ import annotations

import functools
import itertools
import re
import struct
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import psycopg
from psycopg.adapt import AdaptersMap, Dumper
from psycopg.pq import Format
from psycopg.types.numeric import Int8BinaryDumper, NumericBinaryLoader

from trackkit.backend.store.database import Row

TYPES: Final = {
    "integer": "bigint",
    "real": "double precision",
    "text": 'text collate "C"',  # ordered by code points, as in SQLite
    "blob": "bytea",
    "strict": "",
    "clustered": "",
}
"""What stands for the names in the migrations."""

_TOKEN = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*")|regexp\(\?, ([\w.]+)\)|\?""")


def adapt(adapters: AdaptersMap) -> None:
    """Have a connection send and read values as stores do."""
    for type, dumper in _DUMPERS.items():
        adapters.register_dumper(type, dumper)
    adapters.register_loader("numeric", _NumberLoader)


@functools.lru_cache(maxsize=1024)
def translated(sql: str) -> tuple[str, frozenset[int]]:
    """The statement for PostgreSQL, and which of its parameters are regular expressions.

    PostgreSQL's operator for them takes a collation that knows every letter, which the columns' own does not.

    Examples
    --------
    >>> translated("select run from runs where state = ? and regexp(?, runs.name)")[0]
    'select run from runs where state = $1 and (runs.name collate "default" ~ $2)'
    """
    numbers = itertools.count(1)
    patterns = set()

    def replaced(found: re.Match[str]) -> str:
        literal: str | None = found[1]
        column: str | None = found[2]
        if literal is not None:
            return literal
        number = next(numbers)
        if column is None:
            return f"${number}"
        patterns.add(number - 1)
        return f'({column} collate "default" ~ ${number})'

    return _TOKEN.sub(replaced, sql), frozenset(patterns)


@functools.lru_cache(maxsize=256)
def insertion(table: str, columns: tuple[str, ...], rows: int, conflict: str) -> str:
    """A statement that inserts so many rows.

    Examples
    --------
    >>> insertion("tags", ("run", "tag"), 2, " on conflict (run, tag) do nothing")
    'insert into tags (run, tag) values ($1, $2), ($3, $4) on conflict (run, tag) do nothing'
    """
    numbers = itertools.count(1)
    values = [f"({', '.join([f'${next(numbers)}' for _ in columns])})" for _ in range(rows)]
    return f"insert into {table} ({', '.join(columns)}) values {', '.join(values)}{conflict}"


def identity(keys: Sequence[Any]) -> Row:
    """The values of a row's keys as PostgreSQL has them."""
    return tuple([_without_nul(key) if isinstance(key, str) else key for key in keys])


def _without_nul(text: str) -> str:
    return text.replace("\0", "␀")


class _FloatDumper(Dumper):
    """A float; NaN is NULL, as in SQLite."""

    format = Format.BINARY
    oid = psycopg.adapters.types["float8"].oid
    _pack = struct.Struct("!d").pack

    def dump(self, obj: float) -> bytes | None:
        return self._pack(obj) if obj == obj else None


class _TextDumper(Dumper):
    format = Format.BINARY
    oid = psycopg.adapters.types["text"].oid

    def dump(self, obj: str) -> bytes:
        return _without_nul(obj).encode()


class _NumberLoader(NumericBinaryLoader):
    """What PostgreSQL makes of the sum of integers: an int, as in SQLite; a float where there are decimals."""

    def load(self, data: Any) -> Any:
        number: Decimal = super().load(data)
        return int(number) if number.as_tuple().exponent == 0 else float(number)


_DUMPERS: Final[dict[type, type[Dumper]]] = {
    int: Int8BinaryDumper,
    bool: Int8BinaryDumper,
    float: _FloatDumper,
    str: _TextDumper,
}

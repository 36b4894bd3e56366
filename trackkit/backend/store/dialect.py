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
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

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

_UNCOUNTED = {
    "series": ("run", "series", "key"),
    "points": ("run", "series"),
    "chunks": ("run", "series"),
    "blocks": ("run", "series"),
    "texts": ("run", "key"),
    "lines": ("run",),
}
TUNING: Final = [
    f"alter table {table} {', '.join(f'alter {column} set statistics 0' for column in columns)}"
    for table, columns in _UNCOUNTED.items()
]
"""What is set once the tables are there.

Statistics of which runs and series a table has are always old: what is looked at is the run that began since. By them
PostgreSQL expects nearly nothing of it, and reads all points of a run for those of one series. Without them it expects
much of any run, and little of a series.
"""

_OIDS = psycopg.adapters.types
_TOKEN = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*")|regexp\(\?, ([\w.]+)\)|(lower\()?\?""")


def adapt(adapters: AdaptersMap) -> None:
    """Have a connection send and read values as stores do."""
    for type, dumper in _DUMPERS.items():
        adapters.register_dumper(type, dumper)
    adapters.register_loader("numeric", _NumberLoader)


class Statement(NamedTuple):
    """A statement of the store for PostgreSQL.

    Attributes
    ----------
    patterns
        Which of its parameters are regular expressions.
    prepare
        False if it is planned anew each time, None if psycopg may have PostgreSQL prepare it.
    """

    sql: str
    patterns: frozenset[int]
    prepare: bool | None


@functools.lru_cache(maxsize=1024)
def translated(sql: str) -> Statement:
    """The statement for PostgreSQL.

    PostgreSQL's operator for regular expressions takes a collation that knows every letter, which the columns' own
    does not; `lower` of a parameter takes the columns', as it is compared with them. The plan of a prepared statement
    is kept for long: a join planned while a table was empty would read all points of a run for those of one series.

    Examples
    --------
    >>> translated("select run from runs where state = ? and regexp(?, runs.name)").sql
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
        if column is not None:
            patterns.add(number - 1)
            return f'({column} collate "default" ~ ${number})'
        return f'lower(${number} collate "C"' if found[3] else f"${number}"

    made = _TOKEN.sub(replaced, sql)
    return Statement(made, frozenset(patterns), False if re.search(r"\b(join|exists)\b", made) else None)


@functools.lru_cache(maxsize=256)
def insertion(table: str, columns: tuple[str, ...], types: tuple[int, ...], conflict: str = "") -> str:
    """A statement that inserts any number of rows, which it is given as an array per column; see `arrays`."""
    given = ", ".join([f"${number}::{_ELEMENTS[type][0]}[]" for number, type in enumerate(types, 1)])
    return f"insert into {table} ({', '.join(columns)}) select * from unnest({given}){conflict}"


def arrays(types: Sequence[int], rows: Sequence[Sequence[Any]]) -> list[Array]:
    """Rows, of which there is at least one, as an array per column."""
    return [
        Array(_ARRAY_HEADER.pack(1, 1, type, len(rows), 1) + b"".join(map(_ELEMENTS[type][1], column)))
        for type, column in zip(types, zip(*rows, strict=True), strict=True)
    ]


class Array(bytes):
    """A PostgreSQL array of one dimension in the binary format."""


def identity(keys: Sequence[Any]) -> Row:
    """The values of a row's keys as PostgreSQL has them."""
    return tuple([_without_nul(key) if isinstance(key, str) else key for key in keys])


def _integer(value: int | None) -> bytes:
    return _NULL if value is None else _INTEGER.pack(8, value)


def _double(value: float | None) -> bytes:
    return _NULL if value is None or value != value else _DOUBLE.pack(8, value)


def _text(value: str | None) -> bytes:
    return _NULL if value is None else _bytes(_without_nul(value).encode())


def _bytes(value: bytes | None) -> bytes:
    return _NULL if value is None else _LENGTH.pack(len(value)) + value


def _without_nul(text: str) -> str:
    return text.replace("\0", "␀")


_ARRAY_HEADER = struct.Struct("!5i")
"""Dimensions, whether there may be NULLs, the elements' type, how many there are, the number of the first."""
_INTEGER, _DOUBLE, _LENGTH = struct.Struct("!iq"), struct.Struct("!id"), struct.Struct("!i")
_NULL = _LENGTH.pack(-1)
_ELEMENTS: Final[dict[int, tuple[str, Callable[[Any], bytes]]]] = {
    _OIDS["int8"].oid: ("bigint", _integer),
    _OIDS["float8"].oid: ("double precision", _double),
    _OIDS["text"].oid: ("text", _text),
    _OIDS["bytea"].oid: ("bytea", _bytes),
}
"""By the number of a type its name, and how a value of it is written in an array: its length and its bytes."""


class _FloatDumper(Dumper):
    """A float; NaN is NULL, as in SQLite."""

    format = Format.BINARY
    oid = _OIDS["float8"].oid
    _pack = struct.Struct("!d").pack

    def dump(self, obj: float) -> bytes | None:
        return self._pack(obj) if obj == obj else None


class _TextDumper(Dumper):
    format = Format.BINARY
    oid = _OIDS["text"].oid

    def dump(self, obj: str) -> bytes:
        return _without_nul(obj).encode()


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Array) -> bytes:
        return obj


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
    Array: _ArrayDumper,
}

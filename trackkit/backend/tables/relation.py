"""A table of Parquet files as a view with columns c0, c1, …, and n, a number for each row.

Users' names never stand in a query: a column is its place.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from trackkit.backend.store.filters.nodes import Column, FilterError, Kind
from trackkit.backend.tables.sandbox import CannotAnswer, CannotRead, Sandbox, identifier, literal
from trackkit.core.table.parquet import METADATA_KEY

logger = logging.getLogger("trackkit.server")

_KINDS: Final[dict[str, Kind]] = {"number": "number", "text": "text", "bool": "bool", "time": "time"}
_RESERVED: Final = frozenset(["file_row_number", "filename"])
"""What DuckDB calls the columns it can add."""
_REMEMBERED = 100
_INTEGERS: Final = frozenset(
    f"{sign}{name}" for sign in ("", "U") for name in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
)


class Relation:
    """A table in a sandbox.

    Parameters
    ----------
    sandbox
        Where it is read.
    paths
        Its Parquet files, in order.
    name
        What the view is called.

    Attributes
    ----------
    columns
        By name, in order.
    types
        Of each column: number, text, bool, time, json, binary, or a kind of media.
    rows
        How many there are.

    Raises
    ------
    CannotRead
        If a file is no Parquet.
    """

    def __init__(self, sandbox: Sandbox, paths: Sequence[Path], name: str = "t") -> None:
        import duckdb

        self.sandbox = sandbox
        self.name = name
        self._remembered: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        files = [str(path.resolve()) for path in paths]
        try:
            found, engine = self._describe(files)
            self.types, self.engine_types = found, engine
            self.rows = sum(rows for _, rows in self._row_counts(files))
            self._make(files)
        except (CannotAnswer, duckdb.Error, ValueError, LookupError) as error:
            logger.info("a table can't be read: %s", error)
            raise CannotRead("the table can't be read: a file of it is damaged, or is no Parquet") from error
        self.columns = {
            column: Column(column, _KINDS.get(kind, "text"), position)
            for position, (column, kind) in enumerate(self.types.items())
        }

    def _describe(self, files: list[str]) -> tuple[dict[str, str], list[str]]:
        described = self.sandbox.query(f"describe select * from {_source(files)}")
        self._names = [str(name) for name, *_ in described]
        engine = [str(kind) for _, kind, *_ in described]
        sql = f"select value from parquet_kv_metadata({literal(files[-1])}) where key = ?"
        noted = self.sandbox.query(sql, [METADATA_KEY.encode()])
        types = {name: column["type"] for name, column in json.loads(noted[0][0])["columns"].items()} if noted else {}
        if len(types) != len(engine):
            types = {name: _type_of(kind) for name, kind in zip(self._names, engine, strict=True)}
        return types, engine

    def _row_counts(self, files: list[str]) -> list[tuple[str, int]]:
        listed = ", ".join(map(literal, files))
        sql = f"select file_name, num_rows from parquet_file_metadata([{listed}])"
        rows = dict(self.sandbox.query(sql))
        return [(file, int(rows[file])) for file in files]

    def _make(self, files: list[str]) -> None:
        shown = ", ".join(
            f"{_brought_to_basics(identifier(name), kind)} as c{position}"
            for position, (name, kind) in enumerate(zip(self._names, self.engine_types, strict=True))
        )
        source = _source(files, "file_row_number = true")
        number = "file_row_number"
        if not _RESERVED.isdisjoint(name.lower() for name in self._names):
            source, number = _source(files), "row_number() over () - 1"  # slower: all before a row has to be read
        elif len(files) > 1:
            starts, start = [], 0
            for file, rows in self._row_counts(files):
                starts.append(f"when {literal(file)} then {start}")
                start += rows
            number = f"file_row_number + case filename {' '.join(starts)} end"
            source = _source(files, "file_row_number = true, filename = true")
        self.sandbox.make_once(self.name, f"create view {self.name} as select {shown}, {number} as n from {source}")

    def count(self, where: str, parameters: Sequence[Any]) -> int:
        """How many rows meet a condition."""
        if where == "true":
            return self.rows
        return int(self.remembered(f"select count(*) from {self.name} where {where}", parameters)[0])

    def remembered(self, sql: str, parameters: Sequence[Any]) -> tuple[Any, ...]:
        """The only row of a query, which is run once: the files never change."""
        asked = (sql, *parameters)
        found = self._remembered.get(asked)
        if found is None:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            found = self._remembered[asked] = self.sandbox.query(sql, parameters)[0]
        return found

    def column(self, name: str) -> Column:
        """The column of a name.

        Raises
        ------
        FilterError
            If there is none.
        """
        if name not in self.columns:
            known = ", ".join(list(self.columns)[:20]) or "none"
            raise FilterError(f"the table has no column {name!r}; it has {known}")
        return self.columns[name]

    def is_whole(self, column: Column) -> bool:
        """Whether a column holds whole numbers."""
        return self.engine_types[column.position] in _INTEGERS

    def is_media(self, column: Column) -> bool:
        """Whether a column's cells are media, as JSON."""
        return self.types[column.name] not in ("number", "text", "bool", "time", "json", "binary")


def sql_of(column: Column, table: str = "") -> str:
    """A column in a query."""
    return f"{table}.c{column.position}" if table else f"c{column.position}"


def _source(files: list[str], options: str = "") -> str:
    listed = ", ".join(map(literal, files))
    more = [each for each in (options, "union_by_name = true" if len(files) > 1 else "") if each]
    return f"read_parquet({', '.join([f'[{listed}]', *more])})"


def _type_of(engine: str) -> str:
    if engine in _INTEGERS or engine.startswith(("FLOAT", "DOUBLE", "DECIMAL")):
        return "number"
    if engine.startswith(("TIMESTAMP", "DATE", "TIME")):
        return "time"
    named = {"BOOLEAN": "bool", "VARCHAR": "text", "BLOB": "binary"}
    return named.get(engine, "json")


def _brought_to_basics(column: str, engine: str) -> str:
    """A column in a type that Python, JSON and comparisons all know."""
    if engine.startswith(("DECIMAL", "UHUGEINT", "HUGEINT")):
        return f"cast({column} as double)"
    if engine.startswith("TIMESTAMP"):
        return f"make_timestamp(epoch_us({column}))"
    if engine == "DATE":
        return f"cast({column} as timestamp)"
    if engine.endswith("]") or engine.startswith(("TIME", "STRUCT", "MAP", "UUID", "INTERVAL")):
        return f"cast({column} as varchar)"
    return column

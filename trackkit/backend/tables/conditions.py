"""Filters of rows: an expression over columns, or text to search for, as a condition with parameters.

As in filters of runs, logic is two-valued: a comparison with a cell that has no value is false, and `not` makes it
true. NULL counts as false wherever it is not under a `not`, so only there anything is done about it, and the engine can
use its statistics.
"""

from __future__ import annotations

import time
from typing import Any

from trackkit.backend.store.filters.nodes import (
    Among,
    And,
    Column,
    Compare,
    FilterError,
    Missing,
    Node,
    Not,
    NotANumber,
    Or,
    Span,
    Value,
    time_of,
)
from trackkit.backend.store.filters.sql import MAX_CONDITIONS
from trackkit.backend.store.filters.syntax import parse
from trackkit.backend.tables.relation import Relation, sql_of

Sql = tuple[str, list[Any]]

MOST_SEARCHED = 500
"""Characters of a text to search for."""


def condition(relation: Relation, expression: str = "", search: str = "", table: str = "") -> Sql:
    """The condition that rows must meet.

    Parameters
    ----------
    relation
        Whose rows.
    expression
        A filter over its columns.
    search
        What one of the cells must have: texts somewhere, in letters of any case; numbers exactly.
    table
        What the query calls the relation.

    Raises
    ------
    FilterError
        If the expression means nothing, or is too large.
    """
    parts: list[Sql] = []
    if expression.strip():
        parts.append(_Compiler(table).condition(parse(expression, relation.columns)))
    if search:
        parts.append(_containing(relation, search[:MOST_SEARCHED], table))
    if not parts:
        return "true", []
    return " and ".join(f"({sql})" for sql, _ in parts), [value for _, values in parts for value in values]


def _containing(relation: Relation, search: str, table: str) -> Sql:
    tests: list[str] = []
    parameters: list[Any] = []
    for column in relation.columns.values():
        if relation.types[column.name] in ("text", "json"):
            tests.append(f"contains(lower(cast({sql_of(column, table)} as varchar)), ?)")
            parameters.append(search.lower())
        elif column.kind == "number" and (number := _number(search)) is not None:
            tests.append(f"{sql_of(column, table)} = ?")
            parameters.append(number)
    return " or ".join(tests) or "false", parameters


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


class _Compiler:
    def __init__(self, table: str) -> None:
        self._table = table
        self._conditions = 0
        self._now = time.time()

    def condition(self, node: Node) -> Sql:
        match node:
            case And(parts):
                return self._joined(" and ", parts)
            case Or(parts):
                return self._joined(" or ", parts)
            case Not(part):
                sql, parameters = self.condition(part)
                return f"(not coalesce({sql}, false))", parameters
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise FilterError(f"the filter has more than {MAX_CONDITIONS} conditions; use 'in (...)' for long lists")
        column = node.target
        assert isinstance(column, Column), "tables have columns alone"
        cell = sql_of(column, self._table)
        match node:
            case Missing():
                return f"({cell} is null)", []
            case NotANumber():
                return f"isnan(cast({cell} as double))", []
            case Among(_, values):
                marks = ", ".join([self._mark(column)] * len(values))
                return f"{cell} in ({marks})", [self._parameter(column, value) for value in values]
            case Compare(_, "!=", value):
                return f"(not coalesce({cell} = {self._mark(column)}, false))", [self._parameter(column, value)]
            case Compare(_, "like", value):
                return f"lower({cell}) like lower(?) escape '\\'", [str(value)]
            case Compare(_, "matches", value):
                return f"regexp_matches({cell}, ?)", [str(value)]
            case Compare(_, order, value):
                sql = f"{cell} {order} {self._mark(column)}"
                if column.kind == "number" and order in (">", ">="):  # NaN, which DuckDB puts above all numbers
                    sql += f" and not isnan(cast({cell} as double))"
                return f"({sql})", [self._parameter(column, value)]
        raise AssertionError(node)

    def _joined(self, word: str, parts: tuple[Node, ...]) -> Sql:
        compiled = [self.condition(part) for part in parts]
        return f"({word.join(sql for sql, _ in compiled)})", [value for _, values in compiled for value in values]

    @staticmethod
    def _mark(column: Column) -> str:
        return "make_timestamp(cast(? as bigint))" if column.kind == "time" else "?"

    def _parameter(self, column: Column, value: Value) -> Any:
        if column.kind == "time":
            seconds = self._now + value.seconds if isinstance(value, Span) else time_of(str(value))
            return max(-(2**62), min(2**62, round(seconds * 1e6)))
        if column.kind == "number" and isinstance(value, int) and abs(value) >= 2**63:
            try:
                return float(value)
            except OverflowError:
                raise FilterError(f"{value!r:.40} is too large for a number") from None
        return value

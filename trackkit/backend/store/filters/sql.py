"""From nodes to SQL: a condition on a row of `runs`, with every value of the user's as a parameter.

Logic is two-valued: a comparison with a value that is missing or of another type is false, and
`not` makes it true. So no subexpression may be NULL, which SQL's own logic would carry upwards.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from trackkit.backend.store.entries import EXACT, nearest_double
from trackkit.backend.store.filters.nodes import (
    Among,
    And,
    Column,
    Compare,
    Entry,
    Field,
    FilterError,
    Missing,
    Node,
    Not,
    NotANumber,
    Or,
    Order,
    Span,
    Target,
    Value,
    time_of,
)
from trackkit.backend.store.filters.syntax import MAX_DEPTH

MAX_CONDITIONS: Final = 500

_COLUMNS = {"group": "runs.run_group", "duration": "(coalesce(runs.ended, runs.updated) - runs.created)"}
_MANY = {"tags": ("tags", "tag"), "host": ("writers", "host")}
"""Fields of which a run has several: their table and column."""
_MAY_BE_EMPTY = frozenset({"group", "host", "job_type", "notes"})
"""Fields that are empty, which is null to who asks, where nothing was given."""

Sql = tuple[str, list[Any]]
"""A condition and its parameters."""


def where(node: Node | None, now: float | None = None) -> Sql:
    """The condition on a row of `runs` that a filter means, and its parameters.

    Parameters
    ----------
    node
        The filter; None is true of every run.
    now
        What relative times are relative to, in seconds since the epoch.

    Raises
    ------
    FilterError
        If the filter is too large for a database to take.
    """
    if node is None:
        return "1 = 1", []
    compiler = _Compiler(time.time() if now is None else now)
    return compiler.condition(node, 0)


def column_of(field: Field) -> str:
    """The column that holds a field of a run: of `runs`, or of `e` if a run has several."""
    if field.name in _MANY:
        return f"e.{_MANY[field.name][1]}"
    return _COLUMNS.get(field.name, f"runs.{field.name}")


class _Compiler:
    def __init__(self, now: float) -> None:
        self.now = now
        self.conditions = 0

    def condition(self, node: Node, depth: int) -> Sql:
        if depth > MAX_DEPTH:
            raise FilterError(f"the filter is nested more than {MAX_DEPTH} deep")
        match node:
            case And(parts):
                return self._joined(" and ", parts, depth)
            case Or(parts):
                return self._joined(" or ", parts, depth)
            case Not(part):
                sql, parameters = self.condition(part, depth + 1)
                return f"not {sql}", parameters
        self.conditions += 1
        if self.conditions > MAX_CONDITIONS:
            raise FilterError(f"the filter has more than {MAX_CONDITIONS} conditions; use 'in (...)' for long lists")
        return self._single(node)

    def _joined(self, word: str, parts: tuple[Node, ...], depth: int) -> Sql:
        compiled = [self.condition(part, depth + 1) for part in parts]
        return f"({word.join(sql for sql, _ in compiled)})", [value for _, values in compiled for value in values]

    def _single(self, node: Compare | Among | Missing | NotANumber) -> Sql:
        match node:
            case Compare(target, "!=", value):
                sql, parameters = self._compare(target, "=", value)
                return f"not {sql}", parameters
            case Compare(target, order, value):
                return self._compare(target, order, value)
            case Among(target, values):
                return _holds(target, *self._among(target, values))
            case Missing(target):
                sql, parameters = _holds(target, *_known(target))
                return f"not {sql}", parameters
            case NotANumber(target):
                return _holds(target, "e.type = 'float' and e.number is null", [])

    def _compare(self, target: Target, order: Order, value: Value) -> Sql:
        return _holds(target, *self._matches(target, order, value))

    def _matches(self, target: Target, order: Order, value: Value) -> Sql:
        """What must hold of the target's own column."""
        if not isinstance(target, Field):
            return _entry_matches(order, value)
        if order == "has":
            order = "="
        return _ordered(column_of(target), order, self._parameter(target, value))

    def _among(self, target: Target, values: tuple[Value, ...]) -> Sql:
        if not isinstance(target, Field):
            return _entry_among(values)
        return f"{column_of(target)} in ({_marks(values)})", [self._parameter(target, value) for value in values]

    def _parameter(self, field: Field, value: Value) -> Any:
        match field.kind:
            case "time":
                seconds = self.now + value.seconds if isinstance(value, Span) else time_of(str(value))
                return max(-(2**63), min(2**63 - 1, round(seconds * 1e6)))
            case "number":
                number = value.seconds if isinstance(value, Span) else _double(value)
                return number * 1e6 if field.name == "duration" else number
        return value


def _holds(target: Target, condition: str, parameters: list[Any]) -> Sql:
    """The condition on the target's column as one on the run: false, not NULL, where it has no value."""
    assert not isinstance(target, Column), "runs have no columns"
    if isinstance(target, Entry):
        inner = f"select 1 from {target.table} e where e.run = runs.run and e.key = ? and ({condition})"
        return f"exists ({inner})", [target.key, *parameters]
    if target.name in _MANY:
        table, _ = _MANY[target.name]
        return f"exists (select 1 from {table} e where e.run = runs.run and ({condition}))", parameters
    return f"({column_of(target)} is not null and ({condition}))", parameters


def _known(target: Target) -> Sql:
    if not isinstance(target, Field):
        return "e.type <> 'null'", []
    return (f"{column_of(target)} <> ''", []) if target.name in _MAY_BE_EMPTY else ("1 = 1", [])


def _entry_matches(order: Order, value: Value) -> Sql:
    if order == "=":
        return _entry_among((value,))
    if isinstance(value, str):
        sql, parameters = _ordered("e.text", order, value)
        return f"e.type = 'str' and {sql}", parameters
    return _ordered("e.number", order, _double(value))


def _entry_among(values: tuple[Value, ...]) -> Sql:
    """Values sorted by how rows hold them, so that a long list stays a list for the database."""
    texts = [value for value in values if isinstance(value, str)]
    bools = [_double(value) for value in values if isinstance(value, bool)]
    exact = [_double(value) for value in values if not isinstance(value, str | bool) and not _is_long(value)]
    longs = [value for value in values if _is_long(value)]
    digits = [str(value) for value in longs]
    alternatives: list[Sql] = [
        (f"e.type = 'str' and e.text in ({_marks(texts)})", texts),
        (f"e.type = 'bool' and e.number in ({_marks(bools)})", bools),
        (f"e.number in ({_marks(exact)})", exact),
        (
            f"e.number in ({_marks(longs)}) and (e.text is null or e.text in ({_marks(digits)}))",
            [*map(_double, longs), *digits],
        ),
    ]
    held = [(sql, parameters) for sql, parameters in alternatives if parameters]
    return " or ".join(sql for sql, _ in held), [value for _, parameters in held for value in parameters]


def _is_long(value: Value) -> bool:
    return isinstance(value, int) and abs(value) > EXACT


def _double(value: Value) -> float:
    assert not isinstance(value, str | Span)
    return nearest_double(value)


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _ordered(column: str, order: Order, parameter: Any) -> Sql:
    match order:
        case "like":
            return f"lower({column}) like lower(?) escape '\\'", [parameter]
        case "matches":
            return f"regexp(?, {column})", [parameter]
    return f"{column} {order} ?", [parameter]

"""Rows of a table gathered by the values of columns, and what is computed of each group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import msgspec

from trackkit.backend.store.filters.nodes import Column, FilterError
from trackkit.backend.tables.conditions import condition
from trackkit.backend.tables.pages import MOST_ROWS, batches, plain_cells, plain_value
from trackkit.backend.tables.relation import Relation, sql_of

Function = Literal["count", "distinct", "mean", "sum", "min", "max", "median", "std"]
FUNCTIONS: Final[dict[str, str]] = {
    "count": "count({})",
    "distinct": "count(distinct {})",
    "mean": "avg({})",
    "sum": "sum({})",
    "min": "min({})",
    "max": "max({})",
    "median": "median({})",
    "std": "stddev_samp({})",
}
_OF_ANYTHING = ("count", "distinct", "min", "max")


class Aggregate(msgspec.Struct, forbid_unknown_fields=True):
    """A column, and what is computed of it in each group."""

    column: str
    function: Function


class Group(msgspec.Struct):
    """Rows that agree in the values of some columns: how many there are, and what was computed of them."""

    values: list[Any]
    count: int
    aggregates: list[Any]


class Groups(msgspec.Struct):
    """Some groups, and how many there are in all."""

    groups: list[Group]
    total: int


def groups(
    relation: Relation,
    by: Sequence[str],
    aggregates: Sequence[Aggregate] = (),
    sort: str = "-count",
    expression: str = "",
    search: str = "",
    offset: int = 0,
    limit: int = 100,
) -> Groups:
    """Rows gathered by the values of columns.

    Parameters
    ----------
    by
        Columns.
    aggregates
        What to compute in each group.
    sort
        `count`, a column of `by`, or the number of an aggregate, after a `-` for falling order.

    Raises
    ------
    FilterError
        If the filter, a column's name or the order means nothing.
    """
    sql, parameters, keys = _gathered(relation, by, aggregates, sort, expression, search)
    page = [max(0, min(limit, MOST_ROWS)), max(0, min(offset, 2**62))]
    found = relation.sandbox.query(f"select *, count(*) over () {sql} limit ? offset ?", [*parameters, *page])
    width = len(keys)
    return Groups(
        [
            Group(
                plain_cells(relation, keys, each[:width]),
                each[width],
                [plain_value(value) for value in each[width + 1 : -1]],
            )
            for each in found
        ],
        int(found[0][-1]) if found else 0,
    )


def export_groups(
    relation: Relation,
    by: Sequence[str],
    aggregates: Sequence[Aggregate] = (),
    sort: str = "-count",
    expression: str = "",
    search: str = "",
) -> Iterator[Any]:
    """All groups as Arrow record batches: the columns of `by`, `count`, `mean(loss)`…; raises as `groups`."""
    sql, parameters, _ = _gathered(relation, by, aggregates, sort, expression, search)
    names = [*dict.fromkeys(by), "count", *(f"{each.function}({each.column})" for each in aggregates)]
    return batches(relation, f"select * {sql}", parameters, _distinct(names))


def _gathered(
    relation: Relation, by: Sequence[str], aggregates: Sequence[Aggregate], sort: str, expression: str, search: str
) -> tuple[str, list[Any], list[Column]]:
    """The groups in order, as the end of a query that begins with what to select, and the columns of `by`."""
    keys = [_by_column(relation, name) for name in dict.fromkeys(by)]
    computed = [_computed(relation, aggregate) for aggregate in aggregates]
    where, parameters = condition(relation, expression, search)
    named = [f"{sql_of(column)} as k{number}" for number, column in enumerate(keys)]
    named += ["count(*) as count", *(f"{sql} as a{number}" for number, sql in enumerate(computed))]
    inner = f"select {', '.join(named)} from {relation.name} where {where} group by all"
    places = {"count": "count", **{column.name: f"k{place}" for place, column in enumerate(keys)}}
    places |= {str(place): f"a{place}" for place in range(len(computed))}
    falling = sort.startswith("-") and sort not in places
    name = sort if sort in places else sort[1:] if sort[:1] in ("+", "-") else sort
    if name not in places:
        raise FilterError(f"groups can be sorted by {', '.join(places)}, not by {name!r}")
    order = ", ".join(
        [f"{places[name]} {'desc' if falling else 'asc'} nulls last", *(f"k{place}" for place in range(len(keys)))]
    )
    return f"from ({inner}) order by {order}", parameters, keys


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of which none is there twice: a column may be called `count`, too."""
    found: list[str] = []
    for name in names:
        number, own = 1, name
        while own in found:
            number, own = number + 1, f"{name} {number + 1}"
        found.append(own)
    return found


def _by_column(relation: Relation, name: str) -> Column:
    column = relation.column(name)
    if relation.types[name] == "binary":
        raise FilterError(f"rows can't be gathered by {name!r}, which holds bytes")
    return column


def _computed(relation: Relation, aggregate: Aggregate) -> str:
    column = relation.column(aggregate.column)
    cell = sql_of(column)
    if column.kind == "bool" and aggregate.function not in _OF_ANYTHING:
        cell = f"cast({cell} as integer)"
    elif column.kind != "number" and aggregate.function not in _OF_ANYTHING:
        raise FilterError(f"the {aggregate.function} of {aggregate.column!r}, which holds {column.kind}, means nothing")
    elif aggregate.function in ("mean", "sum", "std", "median"):
        cell = f"cast({cell} as double)"
    return FUNCTIONS[aggregate.function].format(cell)

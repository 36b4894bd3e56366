"""What a table shows: its columns, a page of rows, distributions, one row in full, all rows to take along."""

from __future__ import annotations

import datetime
import json
import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from trackkit.backend.store.filters.nodes import Column, FilterError
from trackkit.backend.tables.conditions import condition
from trackkit.backend.tables.relation import Relation, sql_of

MOST_ROWS: Final = 1000
"""Of a page."""
MOST_COLUMNS: Final = 500
"""Of a page."""
MOST_CHARACTERS: Final = 500
"""Of a cell in a page; a row in full has all."""
MOST_BINS: Final = 200
TOP_VALUES: Final = 20
_EXPORT_SECONDS = 600.0
_BATCH = 50_000
_MOST_EXACT = 2**53
"""Beyond this, readers of JSON such as browsers round whole numbers."""
_exports = threading.BoundedSemaphore(4)
"""Wait for whoever takes them, so they have turns of their own."""


class ColumnInfo(msgspec.Struct):
    """A column: its name, and number, text, bool, time, json, binary, or the kind of media its cells hold."""

    name: str
    type: str


class Row(msgspec.Struct):
    """A row: its number in the table, and its cells in the order asked for.

    Times are ISO 8601, in UTC where the column has a time zone; long texts are cut off; media are objects; NaN,
    infinities and whole numbers beyond 2^53 are text.
    """

    number: int
    cells: list[Any]


class Page(msgspec.Struct):
    """Some rows, and how many match in all."""

    matching: int
    rows: list[Row]


class ValueCount(msgspec.Struct):
    """A value, and how many rows have it."""

    value: Any
    count: int


class Distribution(msgspec.Struct):
    """What a column's cells are like.

    Numbers and times (seconds since the epoch) have `edges` and `counts`, others their most frequent `values`.
    """

    name: str
    type: str
    rows: int
    missing: int
    nan: int = 0
    distinct: int | None = None
    edges: list[float] = []
    counts: list[int] = []
    values: list[ValueCount] = []


def columns(relation: Relation) -> list[ColumnInfo]:
    """The table's columns."""
    return [ColumnInfo(name, kind) for name, kind in relation.types.items()]


def rows(
    relation: Relation,
    names: Sequence[str] | None = None,
    sort: Sequence[str] = (),
    expression: str = "",
    search: str = "",
    offset: int = 0,
    limit: int = 100,
) -> Page:
    """A page of rows.

    Parameters
    ----------
    relation
        The table.
    names
        Columns; by default all, up to 500.
    sort
        Columns to sort by, each after a `-` for falling order; then by the row's number. Cells without a value are
        last.
    expression, search
        See `conditions.condition`.
    offset, limit
        Which of the matching rows.

    Raises
    ------
    FilterError
        If the filter or a column's name means nothing.
    """
    chosen = _chosen(relation, names)
    where, parameters = condition(relation, expression, search)
    matching = relation.count(where, parameters)
    shown = "".join(f", {_shown(relation, column)}" for column in chosen)
    # The page is found by its numbers first, so that only its own rows are read in full.
    inner = f"select n from {relation.name} where {where} order by {_order(relation, sort)} limit ? offset ?"
    page = [max(0, min(limit, MOST_ROWS)), max(0, min(offset, 2**62))]
    if where == "true" and not sort:
        inner = f"select n from {relation.name} where n >= ? and n < ?"
        page = [page[1], page[1] + page[0]]
    numbers = [number for (number,) in relation.sandbox.query(inner, [*parameters, *page])]
    found = _by_number(relation, numbers, shown)
    cells = {number: [_cut(cell) for cell in plain_cells(relation, chosen, each)] for number, each in found.items()}
    return Page(matching, [Row(number, cells[number]) for number in numbers])


def row(relation: Relation, number: int) -> Row | None:
    """A row in full; None if there is none of that number."""
    chosen = list(relation.columns.values())
    shown = "".join(f", {_in_full(relation, column)}" for column in chosen)
    found = _by_number(relation, [number], shown)
    return Row(number, plain_cells(relation, chosen, found[number])) if number in found else None


def distribution(relation: Relation, name: str, bins: int = 30, expression: str = "", search: str = "") -> Distribution:
    """What the cells of a column are like, of all rows that match; raises as `rows`."""
    column = relation.column(name)
    where, parameters = condition(relation, expression, search)
    cell = sql_of(column)
    total, present = relation.sandbox.query(
        f"select count(*), count({cell}) from {relation.name} where {where}", parameters
    )[0]
    found = Distribution(name, relation.types[name], total, total - present)
    if column.kind in ("number", "time"):
        _count_in_bins(relation, column, max(1, min(bins, MOST_BINS)), where, parameters, found)
        return found
    if relation.is_media(column) or relation.types[name] == "binary":
        return found
    inner = f"select left(cast({cell} as varchar), {MOST_CHARACTERS}) as value, count(*) as count from {relation.name}"
    inner += f" where {where} and {cell} is not null group by 1"
    top = relation.sandbox.query(
        f"select value, count, count(*) over () from ({inner}) order by count desc, value limit {TOP_VALUES}",
        parameters,
    )
    found.distinct = int(top[0][2]) if top else 0
    found.values = [ValueCount(value == "true" if column.kind == "bool" else value, count) for value, count, _ in top]
    return found


def _count_in_bins(
    relation: Relation, column: Column, bins: int, where: str, parameters: list[Any], found: Distribution
) -> None:
    value = f"cast({sql_of(column)} as double)" if column.kind == "number" else f"epoch({sql_of(column)})"
    finite = f"{where} and {sql_of(column)} is not null and isfinite({value})"
    sql = f"""select min({value}) filter ({finite}), max({value}) filter ({finite}), approx_count_distinct({value}),
              count(*) filter (isnan({value})) from {relation.name} where {where}"""
    low, high, found.distinct, found.nan = relation.sandbox.query(sql, [*parameters, *parameters, *parameters])[0]
    if low is None:
        return
    if relation.is_whole(column) and high - low < bins:  # a bin for each
        bins = int(high - low) + 1
        low, high = low - 0.5, high + 0.5
    elif low == high:
        low, high = low - 0.5, high + 0.5
    width = high / bins - low / bins
    if not width or not math.isfinite(width):
        return
    place = f"least({bins - 1}, cast(floor(({value} - ?) / ?) as integer))"
    counted = relation.sandbox.query(
        f"select {place}, count(*) from {relation.name} where {finite} group by 1", [low, width, *parameters]
    )
    counts = dict(counted)
    found.counts = [int(counts.get(place, 0)) for place in range(bins)]
    found.edges = [low + width * place for place in range(bins)] + [high]


def export(
    relation: Relation,
    names: Sequence[str] | None = None,
    sort: Sequence[str] = (),
    expression: str = "",
    search: str = "",
) -> Iterator[Any]:
    """All rows that match, as Arrow record batches under the columns' own names; raises as `rows`."""
    chosen = _chosen(relation, names, most=None)
    if not chosen:
        raise FilterError("no column is chosen")
    where, parameters = condition(relation, expression, search)
    order = f" order by {_order(relation, sort)}" if sort else ""
    shown = ", ".join(sql_of(column) for column in chosen)
    sql = f"select {shown} from {relation.name} where {where}{order}"
    yield from batches(relation, sql, parameters, [column.name for column in chosen])


def batches(relation: Relation, sql: str, parameters: Sequence[Any], names: Sequence[str]) -> Iterator[Any]:
    """All rows of a query as Arrow record batches whose columns have these names."""
    with relation.sandbox.cursor(_EXPORT_SECONDS, _exports) as cursor:
        found = cursor.sql(sql, params=list(parameters))
        reader = found.to_arrow_reader if hasattr(found, "to_arrow_reader") else found.fetch_arrow_reader  # as it was
        for batch in reader(_BATCH):
            yield batch.rename_columns(list(names))


def _by_number(relation: Relation, numbers: Sequence[int], shown: str) -> dict[int, tuple[Any, ...]]:
    """What is shown of some rows, by their numbers."""
    if not numbers:
        return {}
    low, high = min(numbers), max(numbers)
    sql = f"select n{shown} from {relation.name} where n between ? and ? and n in (select unnest(?))"
    return {found[0]: found[1:] for found in relation.sandbox.query(sql, [low, high, list(numbers)])}


def _chosen(relation: Relation, names: Sequence[str] | None, most: int | None = MOST_COLUMNS) -> list[Column]:
    if names is None:
        return list(relation.columns.values())[:most]
    return [relation.column(name) for name in dict.fromkeys(names)][:most]


def _order(relation: Relation, sort: Sequence[str]) -> str:
    terms = []
    for term in sort:
        falling = term.startswith("-") and term not in relation.columns
        name = term if term in relation.columns else term[1:] if term[:1] in "+-" else term
        terms.append(f"{sql_of(relation.column(name))} {'desc' if falling else 'asc'} nulls last")
    return ", ".join([*terms, "n"])


def _shown(relation: Relation, column: Column) -> str:
    if relation.types[column.name] in ("text", "json"):
        return f"left(cast({sql_of(column)} as varchar), {MOST_CHARACTERS + 1})"
    return _in_full(relation, column)


def _in_full(relation: Relation, column: Column) -> str:
    if relation.types[column.name] == "binary":
        return f"octet_length({sql_of(column)}) || ' bytes'"
    return sql_of(column)


def plain_cells(relation: Relation, chosen: Sequence[Column], cells: Sequence[Any]) -> list[Any]:
    """Cells as JSON can hold them; media as what they stand for."""
    return [
        _media(cell) if cell is not None and relation.is_media(column) else plain_value(cell)
        for column, cell in zip(chosen, cells, strict=True)
    ]


def _cut(cell: Any) -> Any:
    return f"{cell[:MOST_CHARACTERS]}…" if isinstance(cell, str) and len(cell) > MOST_CHARACTERS else cell


def _media(cell: Any) -> Any:
    try:
        return json.loads(cell)
    except (TypeError, ValueError):
        return None


def plain_value(cell: Any) -> Any:
    """A cell as JSON can hold it; whole numbers that a browser would round are text."""
    if isinstance(cell, int) and abs(cell) > _MOST_EXACT:
        return str(cell)
    if isinstance(cell, float) and not math.isfinite(cell):
        return "NaN" if math.isnan(cell) else "Infinity" if cell > 0 else "-Infinity"
    if isinstance(cell, datetime.datetime | datetime.date | datetime.time):
        return cell.isoformat()
    return cell if cell is None or isinstance(cell, bool | int | float | str) else str(cell)

"""The same table of several runs or steps beside each other: joined by a key or by the row's number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from trackkit.backend.store.filters.nodes import Column, FilterError
from trackkit.backend.tables.conditions import condition
from trackkit.backend.tables.pages import MOST_CHARACTERS, MOST_ROWS, plain_cells
from trackkit.backend.tables.relation import Relation, sql_of

MOST_SIDES: Final = 8


class SideRow(msgspec.Struct):
    """What one side has under a key: its row's number, its cells, and which of them differ from the first side's.

    `changed` holds places in `cells`; of a row that the first side lacks it is empty.
    """

    number: int
    cells: list[Any]
    changed: list[int]


class ComparedRow(msgspec.Struct):
    """Rows of one key, one for each side; None where a side has none."""

    key: list[Any]
    sides: list[SideRow | None]


class Comparison(msgspec.Struct):
    """Rows compared: which columns they have, how many there are, how many are alike on all sides.

    `total` counts keys, `same` those whose row is on all sides and has no changed cell, `missing` those that a side
    lacks.
    """

    columns: list[str]
    total: int
    same: int
    missing: int
    rows: list[ComparedRow]


def compare(
    sides: Sequence[Relation],
    on: Sequence[str] = (),
    names: Sequence[str] | None = None,
    expression: str = "",
    changed: bool = False,
    offset: int = 0,
    limit: int = 100,
) -> Comparison:
    """Tables joined.

    Rows of equal keys are paired in their order where a side has several.

    Parameters
    ----------
    sides
        The tables, in one sandbox.
    on
        The columns whose values make the key; without any, the row's number does.
    names
        The columns to compare; by default those that all sides have.
    expression
        A filter over the columns of the first side.
    changed
        Leave out what is the same on all sides.
    offset, limit
        Which of the rows, in the order of the first side, then of the others.

    Raises
    ------
    FilterError
        If the filter or a column's name means nothing, or there are too few or too many sides.
    """
    if not 2 <= len(sides) <= MOST_SIDES:
        raise FilterError(f"a comparison is of 2 to {MOST_SIDES} tables, not of {len(sides)}")
    first = sides[0]
    keys = [[side.column(name) for name in on] for side in sides]
    shared = [name for name in first.columns if all(name in side.columns for side in sides) and name not in on]
    chosen = list(dict.fromkeys(names)) if names is not None else shared
    columns = [[side.column(name) for name in chosen] for side in sides]
    joined, parameters = _joined(sides, keys, columns, expression)
    differences = [
        [_differs(sides, columns, side, place) for place in range(len(chosen))] for side in range(1, len(sides))
    ]
    there = " and ".join(f"n{side} is not null" for side in range(len(sides)))
    alike = " and ".join([there, *(f"not ({sql})" for of_side in differences for sql in of_side)])
    sql = f"select count(*), count(*) filter ({alike}), count(*) filter (not ({there})) from ({joined})"
    counted = first.remembered(sql, parameters)
    shown = [
        "coalesce(" + ", ".join(f"k{side}_{place}" for side in range(len(sides))) + ")" for place in range(len(on))
    ]
    order = ", ".join(f"n{side} nulls last" for side in range(len(sides)))
    flags = [f"[{', '.join(of_side) or 'false'}]" for of_side in differences]
    cells = [
        f"left(cast(v{side}_{place} as varchar), {MOST_CHARACTERS})"
        if sides[side].types[column.name] in ("text", "json", "binary")
        else f"v{side}_{place}"
        for side in range(len(sides))
        for place, column in enumerate(columns[side])
    ]
    numbers = [f"n{side}" for side in range(len(sides))]
    which = f" where not ({alike})" if changed else ""
    sql = f"select {', '.join([*numbers, *flags, *shown, *cells])} from ({joined})"
    page = [max(0, min(limit, MOST_ROWS)), max(0, min(offset, 2**62))]
    found = first.sandbox.query(f"{sql}{which} order by {order} limit ? offset ?", [*parameters, *page])
    total, same, missing = (int(number) for number in counted)
    return Comparison(chosen, total, same, missing, [_row(sides, keys, columns, each) for each in found])


def _joined(
    sides: Sequence[Relation], keys: list[list[Column]], columns: list[list[Column]], expression: str
) -> tuple[str, list[Any]]:
    """Each key with the numbers of its rows (n0, n1, …) and the cells to compare (v0_0, v0_1, …), as a query."""
    where, parameters = condition(sides[0], expression)
    pairs = any(not _is_unique(side, keys[number]) for number, side in enumerate(sides))
    native = all(
        len({side.engine_types[keys[number][place].position] for number, side in enumerate(sides)}) == 1
        for place in range(len(keys[0]))
    )
    parts = []
    for number, side in enumerate(sides):
        matched = [sql_of(column) if native else f"cast({sql_of(column)} as varchar)" for column in keys[number]]
        if pairs:  # the first of one side with the first of the other, and so on
            matched.append(f"row_number() over (partition by {', '.join(matched)} order by n)")
        shown = [f"n as n{number}"]
        shown += [f"{sql} as m{number}_{place}" for place, sql in enumerate(matched or ["n"])]
        shown += [f"{sql_of(column)} as k{number}_{place}" for place, column in enumerate(keys[number])]
        shown += [f"{sql_of(column)} as v{number}_{place}" for place, column in enumerate(columns[number])]
        which = where if number == 0 else "true"
        parts.append(f"(select {', '.join(shown)} from {side.name} where {which})")
    how = "left join" if where != "true" else "full join"
    sql = parts[0]
    for number in range(1, len(sides)):
        matches = [
            f"m{number}_{place} is not distinct from {_first_of(f'_{place}', number)}"
            for place in range(max(1, len(keys[0]) + pairs))
        ]
        sql += f" {how} {parts[number]} on {' and '.join(matches)}"
    return f"select * from {sql}", parameters


def _is_unique(side: Relation, keys: list[Column]) -> bool:
    """Whether no two rows have the same key."""
    if not keys:
        return True
    named = ", ".join(sql_of(column) for column in keys)
    most = side.remembered(f"select max(count) from (select count(*) as count from {side.name} group by {named})", [])
    return most[0] in (None, 1)


def _first_of(place: str, count: int) -> str:
    if count == 1:
        return f"m0{place}"
    return f"coalesce({', '.join(f'm{number}{place}' for number in range(count))})"


def _differs(sides: Sequence[Relation], columns: list[list[Column]], side: int, place: int) -> str:
    """Whether a side's cell is another than the first side's, both rows being there."""
    ours, theirs = columns[0][place], columns[side][place]
    left, right = f"v0_{place}", f"v{side}_{place}"
    if sides[0].is_media(ours) and sides[side].is_media(theirs):  # the same content may lie under another path
        left, right = (f'regexp_extract_all({cell}, \'"digest": ?"([0-9a-f]+)"\', 1)' for cell in (left, right))
    elif sides[0].types[ours.name] != sides[side].types[theirs.name]:
        left, right = f"cast({left} as varchar)", f"cast({right} as varchar)"
    return f"(n0 is not null and n{side} is not null and {left} is distinct from {right})"


def _row(
    sides: Sequence[Relation], keys: list[list[Column]], columns: list[list[Column]], found: tuple[Any, ...]
) -> ComparedRow:
    count, width = len(sides), len(columns[0])
    numbers, flags = found[:count], [[], *found[count : 2 * count - 1]]
    start = 2 * count - 1
    key = plain_cells(sides[0], keys[0], found[start : start + len(keys[0])])
    start += len(keys[0])
    rows: list[SideRow | None] = []
    for side, relation in enumerate(sides):
        cells = plain_cells(relation, columns[side], found[start + side * width : start + (side + 1) * width])
        changed = [place for place, differs in enumerate(flags[side][:width]) if differs]
        rows.append(None if numbers[side] is None else SideRow(int(numbers[side]), cells, changed))
    return ComparedRow(key, rows)

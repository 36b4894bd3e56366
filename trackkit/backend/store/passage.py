"""Series read a page at a time, so that one of any length takes bounded memory.

Each page is a statement of its own, and none holds a transaction for the next one. A series' points come in the order
they were logged, writer after writer: put in time order by a stable sort, they are what `series.between` gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from trackkit.backend.store import series
from trackkit.backend.store.database import Database, Row
from trackkit.backend.store.series import Points

CHUNKS: Final = 32
"""Sealed chunks of a page."""
ROWS: Final = 32_768
"""Points of a page that are rows."""
TEXTS: Final = 2048
"""Texts of a page, which may be long."""

_PAGE = """
    select * from (
        select '' as key, chunks.series, 0 as level, chunks.seq, chunks.steps, chunks.times, chunks.vals, chunks.count,
               cast(null as bigint) as time, cast(null as double precision) as value
        from chunks where chunks.run = ? and chunks.series = ? and chunks.seq + chunks.count > ?
                          and chunks.max_step >= ? and chunks.min_step <= ?
        order by chunks.seq limit ?) as sealed
    union all
    select * from (
        select '' as key, points.series, 1 as level, points.seq, cast(null as bytea), cast(null as bytea),
               cast(null as bytea), points.step, points.time, points.value
        from points where points.run = ? and points.series = ? and points.seq >= ?
                          and points.step >= ? and points.step <= ?
        order by points.seq limit ?) as loose"""
"""Both levels by one statement, as a point moves from the one to the other. Loose points come after all sealed ones.

The types of nulls are for PostgreSQL, which would take them for text in a subquery.
"""


class Text(NamedTuple):
    """A place among a run's texts: after one."""

    key: str
    writer: str
    seq: int


def numbers(db: Database, run: int, keys: Sequence[str] | None, kind: str) -> list[tuple[int, str]]:
    """The run's series of a kind, of some keys or of all, and their keys, in order."""
    chosen, named = series.chosen_keys("key", keys)
    sql = f"select series, key from series where run = ? and kind = ?{chosen} order by series"
    return [(number, key) for number, key in db.query(sql, [run, kind, *named])]


def page(db: Database, run: int, number: int, start: int, first: int, last: int) -> tuple[Points, int | None]:
    """The next points of a series whose step is `first` to `last`, as they were logged.

    Parameters
    ----------
    number
        The series.
    start
        How many of its points were read, or passed over.

    Returns
    -------
    Points and the next `start`; None if there are no more.
    """
    rows = db.query(_PAGE, [run, number, start, first, last, CHUNKS, run, number, start, first, last, ROWS])
    sealed = sorted((row for row in rows if not row[2]), key=_seq)
    loose = [row for row in rows if row[2]]
    if len(sealed) == CHUNKS:
        loose = []
    found = series.gathered([*sealed, *loose])
    overlap = max(0, start - sealed[0][3]) if sealed else 0
    following: int | None = None
    if len(sealed) == CHUNKS:
        following = sealed[-1][3] + sealed[-1][7]
    elif len(loose) == ROWS:
        following = max(map(_seq, loose)) + 1
    return series.within(found.where(slice(overlap, None)), first, last), following


def texts(
    db: Database, run: int, keys: Sequence[str] | None, after: Text | None, first: int, last: int
) -> tuple[dict[str, Points], Text | None]:
    """The next texts of several keys, or of all, by key, each key's as they were logged.

    Returns
    -------
    Texts and the place after them; None if there are no more.
    """
    chosen, named = series.chosen_keys("key", keys)
    place = "" if after is None else " and (key, writer, seq) > (?, ?, ?)"
    sql = f"""select key, writer, seq, step, time, value from texts
              where run = ?{chosen} and step >= ? and step <= ?{place}
              order by key, writer, seq limit ?"""
    rows = db.query(sql, [run, *named, first, last, *(after or ()), TEXTS])
    by_key: dict[str, list[Row]] = {}
    for row in rows:
        by_key.setdefault(row[0], []).append(row)
    found = {key: series.text_points([row[3:] for row in some]) for key, some in by_key.items()}
    return found, Text(*rows[-1][:3]) if len(rows) == TEXTS else None


def _seq(row: Row) -> int:
    seq: int = row[3]
    return seq

"""Series read back: every point of one key, over both levels and all writers, in time order.

A point moves from a row to a sealed chunk while a writer goes on, so both levels are read by one
statement: whatever is in the one at that moment is not in the other.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from trackkit.backend.store import codec, rewinds
from trackkit.backend.store.database import Database, Row
from trackkit.backend.store.rewinds import Rewinds

Steps = NDArray[np.int64]
Times = NDArray[np.int64]
"""Microseconds since the epoch."""
Values = NDArray[Any]
"""float64 for numbers, object (str) for texts."""

LOWEST: Final = -(2**63)
HIGHEST: Final = 2**63 - 1

LOOSE_POINTS: Final = 200_000
"""About how many points that are rows are read at once."""

_BOTH_LEVELS = """
    select series.key, chunks.series, 0, chunks.seq, chunks.steps, chunks.times, chunks.vals,
           chunks.count, null as time, null as value
    from series cross join chunks
    where series.run = ? and series.kind = ?{keys} and chunks.run = series.run and chunks.series = series.series
          and chunks.max_step >= ? and chunks.min_step <= ?
    union all
    select series.key, points.series, 1, points.seq, null, null, null, points.step, points.time, points.value
    from series cross join points
    where series.run = ? and series.kind = ?{keys} and points.run = series.run and points.series = series.series
          and points.step >= ? and points.step <= ?"""
"""`cross join` holds SQLite to the order: it would rather read every point of a run and then look for the key."""


class Points(NamedTuple):
    """Points of one key: equally long arrays."""

    steps: Steps
    times: Times
    values: Values

    def where(self, chosen: NDArray[Any] | slice) -> Points:
        """The points chosen by a mask, positions or a slice."""
        return Points(self.steps[chosen], self.times[chosen], self.values[chosen])


NOTHING = Points(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))


def keys(db: Database, run: int, kind: str = "metric") -> list[str]:
    """The keys the run has of a kind: `metric`, `system` or `text`."""
    if kind == "text":
        return [key for (key,) in db.query("select distinct key from texts where run = ? order by key", [run])]
    sql = "select distinct key from series where run = ? and kind = ? order by key"
    return [key for (key,) in db.query(sql, [run, kind])]


class Overview(msgspec.Struct):
    """A key over all writers of a run; NaN is None."""

    key: str
    count: int
    min: float | None
    max: float | None
    last: float | None
    last_step: int


def overview(db: Database, run: int, kind: str = "metric") -> list[Overview]:
    """The keys the run has of a kind (`metric` or `system`), with their extremes and their latest value."""
    sql = """select key, count, min, max, last, last_step from series where run = ? and kind = ?
             order by key, last_time"""
    found: dict[str, Overview] = {}
    for key, count, low, high, last, step in db.query(sql, [run, kind]):
        before = found.get(key)
        if before is not None:
            count += before.count
            low = min((value for value in (low, before.min) if value is not None), default=None)
            high = max((value for value in (high, before.max) if value is not None), default=None)
        found[key] = Overview(key, count, low, high, last, step)
    return list(found.values())


def last_step(db: Database, run: int) -> int | None:
    """The greatest step of the run's metrics and media; None if it has none."""
    sql = """select max(step) from (select max(max_step) as step from series where run = ? and kind = 'metric'
             union all select max(step) from objects where run = ?) as steps"""
    found: int | None = db.query(sql, [run, run])[0][0]
    return found


def points(db: Database, run: int, key: str, kind: str = "metric", *, superseded: bool = False) -> Points:
    """Every point of one key, of all writers, in time order; points of the same time as they were logged.

    Points that a rewind superseded are among them only if asked for.
    """
    return between(db, run, [key], kind, superseded=superseded).get(key, NOTHING)


def between(
    db: Database,
    run: int,
    keys: Sequence[str] | None = None,
    kind: str = "metric",
    first: int = LOWEST,
    last: int = HIGHEST,
    *,
    superseded: bool = False,
) -> dict[str, Points]:
    """The points of several keys, or of all, whose step is `first` to `last`, each in time order.

    Points that a rewind superseded are among them only if asked for.
    """
    chosen, named = chosen_keys("series.key", keys)
    parameters = [run, kind, *named, first, last]
    rows: defaultdict[str, list[Row]] = defaultdict(list)
    for row in db.query(_BOTH_LEVELS.format(keys=chosen), parameters * 2):
        rows[row[0]].append(row)
    back = rewinds.NONE if superseded or kind != "metric" else rewinds.load(db, run)
    found = {key: in_time_order(standing(within(gathered(rows[key]), first, last), back)) for key in rows}
    return {key: found for key, found in found.items() if len(found.steps)}


def by_writer(db: Database, run: int, key: str) -> dict[int, Points]:
    """Every point of a metric, superseded or not, by the number of its series, each as it was logged."""
    parameters = [run, "metric", key, LOWEST, HIGHEST]
    rows: defaultdict[int, list[Row]] = defaultdict(list)
    for row in db.query(_BOTH_LEVELS.format(keys=" and series.key in (?)"), parameters * 2):
        rows[row[1]].append(row)
    return {number: gathered(found) for number, found in rows.items()}


def texts(
    db: Database, run: int, keys: Sequence[str] | None = None, first: int = LOWEST, last: int = HIGHEST
) -> dict[str, Points]:
    """The logged texts of several keys, or of all, whose step is `first` to `last`, each in time order."""
    chosen, named = chosen_keys("key", keys)
    sql = f"""select key, step, time, value from texts where run = ?{chosen} and step >= ? and step <= ?
              order by key, time, writer, seq"""
    rows: defaultdict[str, list[Row]] = defaultdict(list)
    for key, *point in db.query(sql, [run, *named, first, last]):
        rows[key].append(tuple(point))
    back = rewinds.load(db, run)
    points = {key: standing(text_points(found), back) for key, found in rows.items()}
    return {key: found for key, found in points.items() if len(found.steps)}


def windows(
    db: Database, run: int, keys: Sequence[str] | None = None, first: int = LOWEST, rows: int = 1
) -> Iterator[tuple[int, int]]:
    """Consecutive ranges of steps, first and last, that together hold every step of a metric or text from `first` on.

    A range holds at least `rows` points of some key and otherwise as few as chunks allow, so that
    reading range by range takes bounded memory. The last range is open at its end.
    """
    while True:
        ends = _chunk_ends(db, run, keys, first)
        loose = min(_loose_end(db, run, keys, first, rows), _text_end(db, run, keys, first, rows))
        last = min([loose, *(_end_after(chunks, rows) for chunks in ends.values())])
        yield first, last
        if last == HIGHEST:
            return
        first = last + 1


def last_by_step(found: Points) -> Points:
    """Of each step the point latest in time, in step order; `found` is in time order."""
    if len(found.steps) < 2 or bool(np.all(found.steps[1:] > found.steps[:-1])):
        return found
    order = np.argsort(found.steps, kind="stable")
    steps = found.steps[order]
    return found.where(order[np.append(steps[1:] != steps[:-1], True)])


def chosen_keys(column: str, keys: Sequence[str] | None) -> tuple[str, list[str]]:
    if keys is None:
        return "", []
    return f" and {column} in ({', '.join('?' * len(keys)) or 'null'})", list(keys)


def gathered(rows: list[Row]) -> Points:
    """The rows of both levels of one key as arrays, writer after writer, each in the order it logged.

    Chunks are decompressed to where they belong: joining them afterwards costs more than decompressing.
    """
    rows.sort(key=lambda row: row[1:4])
    count = sum(1 if row[2] else row[7] for row in rows)
    found = Points(np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.float64))
    start = 0
    for (_, level), group in itertools.groupby(rows, key=lambda row: row[1:3]):
        fill = _fill_from_rows if level else _fill_from_chunks
        start = fill(found, start, list(group))
    return found


def _fill_from_chunks(found: Points, start: int, chunks: list[Row]) -> int:
    """Fill the arrays from a position on; the position after."""
    for chunk in chunks:
        part = slice(start, start + chunk[7])
        for column, data in zip(found, chunk[4:7], strict=True):
            codec.decompress_into(column[part], data)
        start = part.stop
    return start


def _fill_from_rows(found: Points, start: int, rows: list[Row]) -> int:
    """Fill the arrays from a position on; the position after."""
    part = slice(start, start + len(rows))
    for column, values in zip(found, zip(*(row[7:10] for row in rows), strict=True), strict=True):
        column[part] = np.array(values, column.dtype)
    return part.stop


def text_points(rows: list[Row]) -> Points:
    steps, times, values = zip(*rows, strict=True)
    return Points(np.array(steps, np.int64), np.array(times, np.int64), np.array(values, object))


def within(found: Points, first: int, last: int) -> Points:
    if first == LOWEST and last == HIGHEST:
        return found
    return found.where((found.steps >= first) & (found.steps <= last))


def standing(found: Points, back: Rewinds) -> Points:
    """The points that no rewind superseded."""
    if not back:
        return found
    live = back.live(found.steps, found.times)
    return found if live.all() else found.where(live)


def in_time_order(found: Points) -> Points:
    if bool(np.all(found.times[1:] >= found.times[:-1])):
        return found
    return found.where(np.argsort(found.times, kind="stable"))


def _chunk_ends(db: Database, run: int, keys: Sequence[str] | None, first: int) -> dict[int, list[Row]]:
    """Of each metric's series the last step and the length of its chunks, by last step."""
    chosen, named = chosen_keys("series.key", keys)
    sql = f"""select chunks.series, chunks.max_step, chunks.count
              from series cross join chunks
              where series.run = ? and series.kind = 'metric'{chosen} and chunks.run = series.run
                    and chunks.series = series.series and chunks.max_step >= ?
              order by chunks.series, chunks.max_step"""
    ends: defaultdict[int, list[Row]] = defaultdict(list)
    for series, last, count in db.query(sql, [run, *named, first]):
        ends[series].append((last, count))
    return ends


def _end_after(chunks: list[Row], rows: int) -> int:
    """The last step of as many of the next chunks as it takes to have so many points, or of them all."""
    lengths = itertools.accumulate(count for _, count in chunks)
    enough = next((position for position, held in enumerate(lengths) if held >= rows), -1)
    last: int = chunks[enough][0]
    return last


def _loose_end(db: Database, run: int, keys: Sequence[str] | None, first: int, rows: int) -> int:
    """Where to stop among points that are rows: runs with very many keys have many of them.

    The series with the most such points stands for all, as most are logged side by side.
    """
    chosen, named = chosen_keys("key", keys)
    sql = f"""select series, count(*) over () from series where run = ? and kind = 'metric'{chosen}
              order by count - sealed desc limit 1"""
    for longest, count in db.query(sql, [run, *named]):
        page = max(rows, LOOSE_POINTS // count)
        sql = "select step from points where run = ? and series = ? and step >= ? order by step limit 1 offset ?"
        return _first_of(db.query(sql, [run, longest, first, page - 1]))
    return HIGHEST


def _text_end(db: Database, run: int, keys: Sequence[str] | None, first: int, rows: int) -> int:
    chosen, named = chosen_keys("key", keys)
    sql = f"select step from texts where run = ?{chosen} and step >= ? order by step limit 1 offset ?"
    return _first_of(db.query(sql, [run, *named, first, rows - 1]))


def _first_of(found: list[Row]) -> int:
    return found[0][0] if found else HIGHEST

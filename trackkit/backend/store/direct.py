"""Points that come from a client without a journal, some at a time: they become rows of series as any others do.

Unlike a writer's journal such a client has no offset, so a point that is there already is known by what it is.
What MLflow calls the latest point is the greatest by step, time and value, not the last one written; where the two
differ, the table `latest_points` has it. A series without a row there was written in that order.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from trackkit.backend.store import codec, seal, summaries
from trackkit.backend.store.columns import Column
from trackkit.backend.store.database import Database
from trackkit.backend.store.seal import Plan, Series, Span
from trackkit.core.summary import Statistics

WRITER: Final = "mlflow"
"""The writer whose series these are."""


_FEW: Final = 32
"""Points of one metric in a call, up to which they are rows."""


class Point(NamedTuple):
    """A value of a metric; time in microseconds since the epoch."""

    key: str
    step: int
    time: int
    value: float


class _Latest(NamedTuple):
    """A row of `latest_points`; `newest` is the latest time of any point."""

    step: int
    time: int
    value: float
    newest: int


def log(db: Database, run: int, points: Iterable[Point]) -> None:
    """Add points to a run, within a transaction that has changed the run's row; what is there already is left out."""
    by_key: dict[str, list[Point]] = {}
    for point in points:
        by_key.setdefault(point.key.replace("\0", "␀"), []).append(point)
    numbers = {key: seal.series_number("metric", key, WRITER) for key in by_key}
    known: dict[tuple[str, str], Series] = {}
    latest: dict[str, _Latest] = {}
    names, codes = list(by_key), list(numbers.values())
    for start in range(0, len(names), 500):
        known.update(seal.load(db, run, WRITER, codes[start : start + 500]))
        latest.update(_load(db, run, names[start : start + 500]))
    columns, disordered, few = [], [], Plan()
    for key, some in by_key.items():
        series = known.get(("metric", key))
        fresh, after = _fresh(db, run, series, latest.get(key), some)
        if fresh and not _add_few(few, run, series or Series.new("metric", key, WRITER), fresh):
            columns.append(_column(key, fresh))
        if after is not None and after != latest.get(key):
            disordered.append((run, key, *after))
    if any(("metric", key) not in known for key in by_key):
        _join(db, run)
    made = seal.plan(db, run, WRITER, known, columns, ending=False, rest=_nothing)
    made.rows += few.rows
    made.series += few.series
    seal.write(db, run, WRITER, made)
    db.upsert_many("latest_points", ["run", "key"], ["step", "time", "value", "newest"], disordered)
    summaries.write(db, run, WRITER, {one.key: one for one in made.series}, set(), {})


def finish(db: Database, run: int) -> None:
    """Compress long series of a run that has ended, within a transaction."""
    known = seal.load(db, run, WRITER)
    seal.write(db, run, WRITER, seal.plan(db, run, WRITER, known, [], ending=True, rest=_nothing))


def _join(db: Database, run: int) -> None:
    """Have the client be one of the run's writers. It says nothing of how the run stands, if others do."""
    sql = """insert into writers (run, writer, role, label, host, pid, state, started, position, accounting)
             values (?, ?, 'child', '', '', 0, 'finished', ?, 0, '{}') on conflict (run, writer) do nothing"""
    db.execute(sql, [run, WRITER, time.time_ns() // 1000])


def _nothing() -> None:
    """There is no training thread to make room for."""


def _load(db: Database, run: int, keys: Sequence[str]) -> dict[str, _Latest]:
    marks = ", ".join("?" * len(keys))
    sql = f"select key, step, time, value, newest from latest_points where run = ? and key in ({marks})"
    return {
        key: _Latest(step, time, math.nan if value is None else value, newest)
        for key, step, time, value, newest in db.query(sql, [run, *keys])
    }


def _fresh(
    db: Database, run: int, series: Series | None, latest: _Latest | None, points: list[Point]
) -> tuple[list[Point], _Latest | None]:
    """Those of some points that are not there yet, and what the series' latest point is then, if not the last one."""
    span = series.span if series is not None else None
    newest = latest.newest if latest is not None else span.last_time if span is not None else None
    top = latest
    last = None
    if span is not None and series is not None:
        last = Point(series.key, span.last_step, span.last_time, series.statistics.last)
    fresh: list[Point] = []
    seen: set[Any] = set()
    for point in points:
        identity = (point.step, point.time, _comparable(point.value))
        if identity in seen:
            continue
        seen.add(identity)
        if newest is not None and series is not None and point.time <= newest and _is_there(db, run, series, point):
            continue
        fresh.append(point)
        if top is None and last is not None and (_rank(point) < _rank(last) or point.time < (newest or 0)):
            top = _Latest(last.step, last.time, last.value, newest or 0)
        if top is not None:
            best = max(Point("", top.step, top.time, top.value), point, key=_rank)
            top = _Latest(best.step, best.time, best.value, max(top.newest, point.time))
        newest = point.time if newest is None else max(newest, point.time)
        last = point
    return fresh, top


def _rank(point: Point) -> tuple[int, int, float]:
    """What MLflow calls later, which has NaN as a zero that is marked."""
    return point.step, point.time, 0.0 if point.value != point.value else point.value


def _comparable(value: float) -> float | str:
    return "nan" if value != value else value


def _is_there(db: Database, run: int, series: Series, point: Point) -> bool:
    span = series.span
    if span is None or not span.min_step <= point.step <= span.max_step:
        return False
    same = "value is null" if point.value != point.value else "value = ?"
    sql = f"select 1 from points where run = ? and series = ? and step = ? and time = ? and {same} limit 1"
    values = [] if point.value != point.value else [point.value]
    if db.query(sql, [run, series.number, point.step, point.time, *values]):
        return True
    if not series.sealed:
        return False
    sql = "select steps, times, vals from chunks where run = ? and series = ? and min_step <= ? and max_step >= ?"
    for steps, times, vals in db.query(sql, [run, series.number, point.step, point.step]):
        here = (codec.decompress_ints(steps) == point.step) & (codec.decompress_ints(times) == point.time)
        if here.any():
            found = codec.decompress_floats(vals)[here]
            if bool(np.isnan(found).any() if point.value != point.value else (found == point.value).any()):
                return True
    return False


def _add_few(plan: Plan, run: int, before: Series, points: list[Point]) -> bool:
    """Plan some points that become rows, the usual case, without arrays, which cost most of it; whether they do."""
    if len(points) > _FEW or before.count - before.sealed + len(points) >= seal.CHUNK:
        return False
    if any(point.value == 0 and math.copysign(1.0, point.value) < 0 for point in points):
        return False  # a row would lose the sign
    statistics = before.statistics.copy()
    span, seq = before.span, before.count
    for point in points:
        statistics.add(point.value)
        step, moment = point.step, point.time
        if span is None:
            span = Span(step, step, step, step, moment, moment)
        else:
            lowest, highest = min(span.min_step, step), max(span.max_step, step)
            span = Span(span.first_step, step, lowest, highest, span.first_time, moment)
        plan.rows.append((run, before.number, seq, step, moment, point.value))
        seq += 1
    plan.series.append(Series(before.number, before.kind, before.key, before.sealed, statistics, span))
    return True


def _column(key: str, points: list[Point]) -> Column:
    statistics = Statistics()
    for point in points:
        statistics.add(point.value)
    return Column(
        "metric",
        key,
        0,
        np.array([point.step for point in points], np.int64),
        np.array([point.time for point in points], np.int64),
        np.array([point.value for point in points], np.float64),
        statistics,
    )

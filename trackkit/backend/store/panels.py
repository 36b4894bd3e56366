"""What a chart shows: several metrics of several runs on one grid of buckets.

A chart has some hundreds of pixels, a series up to millions of points. So the points that fall into the
same bucket of the x axis become their mean, least, greatest and last value, of which no spike is lost,
and all series of a chart share their buckets, as a plot of lines needs one x for all. Where no bucket
would hold two points, the points themselves are the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from trackkit.backend.store import blocks, codec, rewinds, series
from trackkit.backend.store.blocks import BLOCK, Pieces
from trackkit.backend.store.database import Database, Row

MOST_BUCKETS: Final = 1500
"""More than a screen is wide shows nothing more."""

_BLOCKS_PER_BUCKET = 2
"""Where a bucket would hold fewer blocks than this, points are read: a block lies in one bucket, so a point
may be drawn up to a quarter of a bucket away."""

Scale = Literal["linear", "log"]
Band = Literal["std", "sem", "minmax"]
Array = NDArray[np.float64]


@dataclass(slots=True, frozen=True)
class Axis:
    """The x axis of a chart.

    Parameters
    ----------
    kind
        `step`; `time`, in seconds since the epoch; `relative`, in seconds since the run began; or `metric`.
    key
        The metric whose values are on the axis, which every point takes from the latest step not after its own.
    first, last
        The part of the axis to show; None for all there is.
    scale
        Whether buckets are equally wide, or each wider than the one before by the same factor.
    """

    kind: Literal["step", "time", "relative", "metric"] = "step"
    key: str = ""
    first: float | None = None
    last: float | None = None
    scale: Scale = "linear"


@dataclass(slots=True, frozen=True)
class Wanted:
    """A series to draw: a key of a run, and when the run began in microseconds since the epoch."""

    run: int
    began: int
    key: str


@dataclass(slots=True)
class Line:
    """A series on the grid: a value per bucket, NaN where the bucket has no point."""

    points: int
    """How many, but NaN, lie within the shown part of the axis."""
    mean: Array
    min: Array
    max: Array
    last: Array


@dataclass(slots=True)
class Panel:
    """What a chart shows: `x` of each bucket, in order, and the wanted series on it, in order."""

    x: Array
    width: float
    """The width of a bucket on a linear scale; 0 if buckets are single points."""
    lines: list[Line] = field(default_factory=list)


def panel(db: Database, wanted: Sequence[Wanted], axis: Axis, buckets: int, kind: str = "metric") -> Panel:
    """Series on one grid.

    Parameters
    ----------
    buckets
        How many buckets at most, up to `MOST_BUCKETS`.
    kind
        `metric` or `system`.
    """
    buckets = max(1, min(buckets, MOST_BUCKETS))
    back = rewinds.load_many(db, [one.run for one in wanted]) if kind == "metric" else {}
    found = [_read(db, one, axis, buckets, kind, whole=one.run not in back) for one in wanted]
    x, width, edges = _grid([pieces.x for pieces in found], axis, buckets)
    return Panel(x, width, [_line(pieces, x, edges) for pieces in found])


@dataclass(slots=True)
class Group:
    """Several runs as one: in each bucket the mean of their means, and a band around it."""

    members: int
    points: int
    mean: Array
    low: Array
    high: Array


def grouped(lines: Sequence[Line], band: Band) -> Group:
    """Lines of one grid as one.

    Parameters
    ----------
    band
        What lies around the mean: `std`, one standard deviation of the sample; `sem`, one standard error of the
        mean; `minmax`, from the least to the greatest point of any line.
    """
    means = np.stack([line.mean for line in lines])
    known = np.sum(~np.isnan(means), axis=0)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean = np.nansum(means, axis=0) / np.where(known, known, np.nan)
        if band == "minmax":
            low = np.fmin.reduce([line.min for line in lines])
            high = np.fmax.reduce([line.max for line in lines])
        else:
            squares = np.nansum((means - mean) ** 2, axis=0)
            spread = np.sqrt(squares / np.maximum(known - 1, 1))
            spread = spread / np.sqrt(np.maximum(known, 1)) if band == "sem" else spread
            low, high = mean - spread, mean + spread
    return Group(len(lines), sum(line.points for line in lines), mean, low, high)


# Reading

_EXTENT = """
    select sum(chunks.count), min(chunks.{low}), max(chunks.{high}), count(*), count(blocks.seq),
           sum(case when chunks.first_step = chunks.min_step and chunks.last_step = chunks.max_step then 1 else 0 end)
    from series join chunks on chunks.run = series.run and chunks.series = series.series
         left join blocks on blocks.run = chunks.run and blocks.series = chunks.series and blocks.seq = chunks.seq
    where series.run = ? and series.kind = ? and series.key = ? and chunks.{high} >= ? and chunks.{low} <= ?"""
_PIECES = """
    select 0 as level, chunks.series as series, chunks.seq as seq, chunks.count as count, chunks.{x}s as x,
           chunks.vals as stats, cast(null as bigint) as point, cast(null as double precision) as value
    from series cross join chunks
    where series.run = ? and series.kind = ? and series.key = ? and chunks.run = series.run
          and chunks.series = series.series and chunks.{high} >= ? and chunks.{low} <= ? and chunks.{low} < ?
    union all
    select 1, chunks.series, chunks.seq, 0, null, blocks.stats, null, null
    from series cross join chunks cross join blocks
    where series.run = ? and series.kind = ? and series.key = ? and chunks.run = series.run
          and chunks.series = series.series and chunks.{high} >= ? and chunks.{low} <= ? and chunks.{low} >= ?
          and blocks.run = chunks.run and blocks.series = chunks.series and blocks.seq = chunks.seq
    union all
    select 2, points.series, points.seq, 0, null, null, points.{x}, points.value
    from series cross join points
    where series.run = ? and series.kind = ? and series.key = ? and points.run = series.run
          and points.series = series.series and points.{x} >= ? and points.{x} <= ?"""
"""Chunks up to some place, blocks from there on, and points that are rows: one statement, so that a point
sealed meanwhile is in exactly one of them. PostgreSQL wants to know what kind of nothing the first select has."""
_BY_STEP = {"x": "step", "low": "min_step", "high": "max_step"}
_BY_TIME = {"x": "time", "low": "first_time", "high": "last_time"}


def _read(db: Database, wanted: Wanted, axis: Axis, buckets: int, kind: str, *, whole: bool) -> Pieces:
    """A series within the shown part of the axis, as fine as the buckets need and in the order of the axis.

    Of a run that went back to an earlier step, which is not `whole`, points are read, as a block may hold some
    that are superseded.
    """
    if axis.kind == "metric":
        found = _read_against_metric(db, wanted, axis, kind)
    else:
        found = _read_pieces(db, wanted, axis, buckets, kind) if whole else _read_points(db, wanted, axis, kind)
        if axis.kind != "step":
            found = found._replace(x=(found.x - (wanted.began if axis.kind == "relative" else 0)) / 1e6)
    return _in_order(_within(found, axis))


def _read_pieces(db: Database, wanted: Wanted, axis: Axis, buckets: int, kind: str) -> Pieces:
    names = _BY_STEP if axis.kind == "step" else _BY_TIME
    chosen = [wanted.run, kind, wanted.key, *_bounds(wanted, axis)]
    coarse_from = _coarse_from(db.query(_EXTENT.format(**names), chosen)[0], wanted, axis, buckets)
    rows = db.query(_PIECES.format(**names), [*chosen, coarse_from, *chosen, coarse_from, *chosen])
    rows.sort(key=lambda row: row[:3])
    levels: tuple[list[Row], list[Row], list[Row]] = [], [], []
    for row in rows:
        levels[row[0]].append(row)
    chunks, coarse, loose = levels
    parts = []
    if chunks:
        parts.append(_of_chunks(chunks))
    if coarse:
        parts.append(blocks.decode([row[5] for row in coarse], by_time=axis.kind != "step"))
    if loose:
        x, values = zip(*(row[6:8] for row in loose), strict=True)
        parts.append(blocks.of_points(np.array(x, np.float64), np.array(values, np.float64)))
    return blocks.concatenate(parts)


def _read_points(db: Database, wanted: Wanted, axis: Axis, kind: str) -> Pieces:
    bounds = _bounds(wanted, axis) if axis.kind == "step" else (series.LOWEST, series.HIGHEST)
    found = series.between(db, wanted.run, [wanted.key], kind, *bounds).get(wanted.key, series.NOTHING)
    return blocks.of_points(found.steps if axis.kind == "step" else found.times, found.values)


def _of_chunks(rows: list[Row]) -> Pieces:
    count = sum(row[3] for row in rows)
    x, values = np.empty(count, np.int64), np.empty(count, np.float64)
    start = 0
    for row in rows:
        part = slice(start, start + row[3])
        codec.decompress_into(x[part], row[4])
        codec.decompress_into(values[part], row[5])
        start = part.stop
    return blocks.of_points(x, values)


def _bounds(wanted: Wanted, axis: Axis) -> tuple[int, int]:
    """The shown part of the axis as steps or as microseconds since the epoch."""

    def bound(value: float | None, default: int) -> int:
        if value is None or not np.isfinite(value):
            return default
        if axis.kind != "step":
            value = value * 1e6 + (wanted.began if axis.kind == "relative" else 0)
        return int(max(series.LOWEST, min(series.HIGHEST, value)))

    first, last = bound(axis.first, series.LOWEST), bound(axis.last, series.HIGHEST)
    return first, min(last, series.HIGHEST - 1) + 1  # a bound between two steps


def _coarse_from(extent: Row, wanted: Wanted, axis: Axis, buckets: int) -> int:
    """The step or time from which on blocks are fine enough, as a bucket holds several of them."""
    count, start, end, chunks, with_blocks, ordered = extent
    nowhere, everywhere = series.HIGHEST, series.LOWEST
    by_step = axis.kind == "step"
    if not count or with_blocks < chunks or (by_step and ordered < chunks) or end <= start:
        return nowhere
    first, last = _bounds(wanted, axis)
    low, high = max(start, first), min(end, last)
    needed = _BLOCKS_PER_BUCKET * BLOCK * (end - start) / float(count)  # how wide a bucket must be
    if axis.scale == "linear":
        return everywhere if high - low >= needed * buckets else nowhere
    # The bucket at x is x * (ratio - 1) wide, where x is counted from where the axis has its zero.
    zero = wanted.began if axis.kind == "relative" else 0
    unit = 1 if by_step else 1_000_000
    if high - zero <= unit:
        return nowhere
    ratio = ((high - zero) / max(low - zero, unit)) ** (1 / buckets)
    return nowhere if ratio <= 1 else min(nowhere, zero + int(needed / (ratio - 1)))


def _read_against_metric(db: Database, wanted: Wanted, axis: Axis, kind: str) -> Pieces:
    both = series.between(db, wanted.run, [wanted.key, axis.key], kind)
    found = both.get(wanted.key, series.NOTHING)
    other = series.last_by_step(both.get(axis.key, series.NOTHING))
    if not len(other.steps):
        return blocks.NOTHING
    positions = np.searchsorted(other.steps, found.steps, side="right") - 1
    x = np.where(positions >= 0, other.values[np.maximum(positions, 0)], np.nan)
    return blocks.of_points(x, found.values)


def _within(found: Pieces, axis: Axis) -> Pieces:
    inside = np.isfinite(found.x)
    if axis.scale == "log":
        inside &= found.x > 0
    if axis.first is not None:
        inside &= found.x >= axis.first
    if axis.last is not None:
        inside &= found.x <= axis.last
    return found if inside.all() else found.where(inside)


def _in_order(found: Pieces) -> Pieces:
    if bool(np.all(found.x[1:] >= found.x[:-1])):
        return found
    return found.where(np.argsort(found.x, kind="stable"))


# The grid


def _grid(xs: Sequence[Array], axis: Axis, buckets: int) -> tuple[Array, float, Array | None]:
    """The x of each bucket, their width, and the edges between them; None where each x is a bucket of its own."""
    distinct = _distinct(xs, buckets)
    if distinct is not None:
        return distinct, 0.0, None
    low, high = min(float(x[0]) for x in xs if len(x)), max(float(x[-1]) for x in xs if len(x))
    if axis.scale == "log":
        edges: Array = np.geomspace(low, high, buckets + 1, dtype=np.float64)
        middles: Array = np.sqrt(edges[:-1] * edges[1:])
        return middles, 0.0, edges
    width = (high - low) / buckets
    if axis.kind == "step":  # whole numbers of steps, or buckets would take turns in how many they hold
        width = float(np.ceil((high - low + 1) / buckets))
        buckets = int((high - low) // width) + 1
    edges = low + width * np.arange(buckets + 1, dtype=np.float64)
    return edges[:-1] + (width - 1 if axis.kind == "step" else width) / 2, float(width), edges


def _distinct(xs: Sequence[Array], buckets: int) -> Array | None:
    """The different x of all series, or None if there are more than buckets."""
    known = np.empty(0)
    for x in xs:
        distinct = x[np.append(True, x[1:] != x[:-1])] if len(x) else x
        if len(distinct) > buckets or len(known := np.union1d(known, distinct)) > buckets:
            return None
    return known


def _line(found: Pieces, x: Array, edges: Array | None) -> Line:
    empty = np.full(len(x), np.nan)
    line = Line(int(found.known.sum()), empty, empty.copy(), empty.copy(), empty.copy())
    if not len(found.x):
        return line
    if edges is None:
        starts, ends = np.searchsorted(found.x, x, "left"), np.searchsorted(found.x, x, "right")
    else:
        starts = np.searchsorted(found.x, edges[:-1], "left")
        ends = np.append(starts[1:], len(found.x))
        starts[0] = 0  # the first edge may be a rounding error above the least x
    filled = starts < ends
    starts, ends = starts[filled], ends[filled]
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        known = np.add.reduceat(found.known, starts)
        line.mean[filled] = np.add.reduceat(found.totals, starts) / np.where(known, known, np.nan)
        line.min[filled] = np.fmin.reduceat(found.min, starts)
        line.max[filled] = np.fmax.reduceat(found.max, starts)
    line.last[filled] = found.last[ends - 1]
    return line

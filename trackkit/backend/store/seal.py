"""What a batch does to a writer's series: rows for their newest points, sealed chunks for the rest.

All chunks of a series hold 4,096 points but the last, which grows until it does. A slow series gathers
rows first, which cost less than compressing a chunk anew for every point; they are sealed once there
are 4,096. What arrives by the hundreds is sealed at once. A -0.0 is too, as SQLite's rows lose its sign.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from trackkit.backend.store import blocks, codec
from trackkit.backend.store.codec import Floats, Ints
from trackkit.backend.store.columns import Column
from trackkit.backend.store.database import Database, Row
from trackkit.core.summary import Statistics

CHUNK = 4096
"""Points of a full chunk."""
LONG = 512
"""A series of fewer points is kept in rows, which nothing but SQL is needed to read."""
AT_ONCE = 128
"""From so many new points on, compressing a chunk anew (0.5 ms) is cheaper than rows, written and later sealed."""

_SERIES_AT_ONCE = 32
_STATISTICS = ["finite", "total", "min", "max"]
_SPAN = ["first_step", "last_step", "min_step", "max_step", "first_time", "last_time"]
_SERIES_COLUMNS = ["kind", "key", "writer", "count", "sealed", *_STATISTICS, "first", "last", *_SPAN]
_CHUNK_COLUMNS = ["count", *_STATISTICS, "last", *_SPAN, "steps", "times", "vals"]


@dataclass(slots=True)
class Span:
    """The steps and times (µs) of consecutive points."""

    first_step: int
    last_step: int
    min_step: int
    max_step: int
    first_time: int
    last_time: int

    @classmethod
    def of(cls, steps: Ints, times: Ints) -> Span:
        """The span of some points, at least one."""
        return cls(int(steps[0]), int(steps[-1]), int(steps.min()), int(steps.max()), int(times[0]), int(times[-1]))

    def followed_by(self, later: Span) -> Span:
        """The span of these points and of later ones."""
        return Span(
            self.first_step,
            later.last_step,
            min(self.min_step, later.min_step),
            max(self.max_step, later.max_step),
            self.first_time,
            later.last_time,
        )

    def row(self) -> Row:
        """The values of the columns that hold it."""
        return (
            self.first_step, self.last_step, self.min_step, self.max_step, self.first_time, self.last_time,
        )  # fmt: skip


@dataclass(slots=True)
class Series:
    """A series as the store has it: `count` points, the first `sealed` of them in chunks."""

    number: int
    kind: str
    key: str
    sealed: int
    statistics: Statistics
    span: Span | None

    @property
    def count(self) -> int:
        """Points in all."""
        return self.statistics.count

    @classmethod
    def new(cls, kind: str, key: str, writer: str) -> Series:
        """A series without points."""
        return cls(series_number(kind, key, writer), kind, key, 0, Statistics(), None)

    def grown(self, column: Column, span: Span) -> Series:
        """The series with more points."""
        statistics = self.statistics.copy()
        statistics.merge(column.statistics)
        return Series(
            self.number,
            self.kind,
            self.key,
            self.sealed,
            statistics,
            self.span.followed_by(span) if self.span else span,
        )


@dataclass(slots=True)
class Plan:
    """The changes to a writer's series that one batch brings, ready to be written."""

    series: list[Series] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    chunks: list[Row] = field(default_factory=list)
    blocks: list[Row] = field(default_factory=list)
    emptied: list[int] = field(default_factory=list)
    """Series whose rows have all been sealed."""


@dataclass(slots=True)
class _Tail:
    """The points of a series that are not in full chunks yet; `seq` is the number of the first."""

    seq: int
    steps: list[Ints] = field(default_factory=list)
    times: list[Ints] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)

    def extend(self, steps: Ints, times: Ints, values: Floats) -> None:
        self.steps.append(steps)
        self.times.append(times)
        self.values.append(values)


def series_number(kind: str, key: str, writer: str) -> int:
    """The number of a series: 63 bits of a hash, so that no two writers need to agree on it."""
    digest = hashlib.blake2b(f"{kind}\0{writer}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def load(db: Database, run: int, writer: str, numbers: Sequence[int] | None = None) -> dict[tuple[str, str], Series]:
    """A writer's series by kind and key; all, or those of some numbers."""
    chosen = "" if numbers is None else f" and series in ({', '.join('?' * len(numbers))})"
    sql = f"select series, kind, key, sealed, {statistics_columns()}, {', '.join(_SPAN)} from series where run = ?"
    found = {}
    for number, kind, key, sealed, *rest in db.query(f"{sql} and writer = ?{chosen}", [run, writer, *(numbers or [])]):
        found[kind, key] = Series(number, kind, key, sealed, statistics_of(rest[:7]), Span(*rest[7:]))
    return found


def statistics_columns() -> str:
    """The columns `statistics_of` reads, for a select."""
    return "count, finite, total, min, max, first, last"


def statistics_of(row: Sequence[float | None]) -> Statistics:
    """The statistics in a row of the table `series`; NULL is NaN."""
    count, finite, *rest = row
    return Statistics(int(count or 0), int(finite or 0), *[math.nan if value is None else value for value in rest])


def plan(
    db: Database,
    run: int,
    writer: str,
    known: dict[tuple[str, str], Series],
    columns: Iterable[Column],
    *,
    ending: bool,
    rest: Callable[[], None],
) -> Plan:
    """What the points of a batch change. Reads what has to be sealed with them, and writes nothing.

    Parameters
    ----------
    known
        The writer's series as they are.
    ending
        Whether these are the writer's last points, so that series of more than a few are sealed.
    rest
        Called about every 100 µs.
    """
    made = Plan()
    sealing: list[tuple[Series, Column | None]] = []
    touched = set()
    spans: dict[int, Span] = {}  # by the identity of the steps' array, which the columns of one record share
    for number, column in enumerate(columns):
        if not number % 16:
            rest()
        before = known.get((column.kind, column.key)) or Series.new(column.kind, column.key, writer)
        touched.add(before.number)
        if column.kind == "system":
            column.steps = np.arange(before.count, before.count + len(column.times))
            span = Span.of(column.steps, column.times)
        else:
            span = spans.get(id(column.steps)) or spans.setdefault(
                id(column.steps), Span.of(column.steps, column.times)
            )
        after = before.grown(column, span)
        if _is_sealed_now(after, column, ending):
            sealing.append((after, column))
        else:
            made.series.append(after)
            made.rows += _rows(run, after.number, before.count, column.steps, column.times, column.values)
    if ending:
        for series in known.values():
            if series.number not in touched and series.count - series.sealed >= LONG:
                sealing.append((series, None))
    _seal(db, run, sealing, made, rest)
    return made


def write(db: Database, run: int, writer: str, made: Plan) -> None:
    """Write a plan, within a transaction."""
    for start in range(0, len(made.emptied), _SERIES_AT_ONCE):
        numbers = made.emptied[start : start + _SERIES_AT_ONCE]
        marks = ", ".join("?" * len(numbers))
        db.execute(f"delete from points where run = ? and series in ({marks})", [run, *numbers])
    db.insert_many("points", ["run", "series", "seq", "step", "time", "value"], made.rows)
    db.upsert_many("chunks", ["run", "series", "seq"], _CHUNK_COLUMNS, made.chunks)
    db.upsert_many("blocks", ["run", "series", "seq"], ["stats"], made.blocks)
    rows = [
        (run, one.number, one.kind, one.key, writer, one.count, one.sealed, *_numbers(one.statistics),
         one.statistics.first, one.statistics.last, *(one.span.row() if one.span else ()))
        for one in made.series
    ]  # fmt: skip
    db.upsert_many("series", ["run", "series"], _SERIES_COLUMNS, rows)


def _is_sealed_now(after: Series, column: Column, ending: bool) -> bool:
    loose = after.count - after.sealed
    fast = len(column.values) >= AT_ONCE and after.count >= LONG
    return fast or loose >= CHUNK or (ending and loose >= LONG) or _has_negative_zero(column)


def _has_negative_zero(column: Column) -> bool:
    """Whether a value is -0.0, which SQLite's rows turn into 0.0; chunks keep it."""
    if not column.statistics.min <= 0.0 <= column.statistics.max:
        return False
    return bool(np.any(np.signbit(column.values) & (column.values == 0.0)))


def _seal(
    db: Database, run: int, sealing: list[tuple[Series, Column | None]], made: Plan, rest: Callable[[], None]
) -> None:
    """Plan the chunks of some series, whose columns hold what is new, and the rows left over."""
    compressed: dict[bytes, bytes] = {}
    for start in range(0, len(sealing), _SERIES_AT_ONCE):
        some = sealing[start : start + _SERIES_AT_ONCE]
        tails = _read_tails(db, run, [(series, column) for series, column in some], made)
        for series, column in some:
            rest()
            tail = tails[series.number]
            if column is not None:
                tail.extend(column.steps, column.times, column.values)
            _cut(run, series, tail, compressed, made)


def _read_tails(db: Database, run: int, some: list[tuple[Series, Column | None]], made: Plan) -> dict[int, _Tail]:
    """What the store has of each series beyond its full chunks: its last chunk, if that is not full, and its rows."""
    tails: dict[int, _Tail] = {}
    loose = []
    for series, column in some:
        started = series.sealed % CHUNK
        tail = tails[series.number] = _Tail(series.sealed - started)
        if started:
            sql = "select steps, times, vals from chunks where run = ? and series = ? and seq = ?"
            for steps, times, values in db.query(sql, [run, series.number, tail.seq]):
                tail.extend(codec.decompress_ints(steps), codec.decompress_ints(times), codec.decompress_floats(values))
        if series.count - series.sealed > (0 if column is None else len(column.values)):
            loose.append(series.number)
    made.emptied += loose
    marks = ", ".join("?" * len(loose))
    sql = f"select series, step, time, value from points where run = ? and series in ({marks}) order by series, seq"
    rows = db.query(sql, [run, *loose]) if loose else []
    for number, group in itertools.groupby(rows, key=lambda row: int(row[0])):
        _, steps, times, values = zip(*group, strict=True)
        tails[number].extend(np.array(steps, np.int64), np.array(times, np.int64), np.array(values, np.float64))
    return tails


def _cut(run: int, series: Series, tail: _Tail, compressed: dict[bytes, bytes], made: Plan) -> None:
    """Cut the points of a series that are not in full chunks into chunks."""
    steps, times, values = np.concatenate(tail.steps), np.concatenate(tail.times), np.concatenate(tail.values)
    for start in range(0, len(values), CHUNK):
        part = slice(start, start + CHUNK)
        seq = tail.seq + start
        made.chunks.append(_chunk(run, series, seq, steps[part], times[part], values[part], compressed))
        made.blocks.append((run, series.number, seq, blocks.encode(steps[part], times[part], values[part])))
    series.sealed = series.count
    made.series.append(series)


def _chunk(
    run: int, series: Series, seq: int, steps: Ints, times: Ints, values: Floats, compressed: dict[bytes, bytes]
) -> Row:
    known = values[~np.isnan(values)]
    statistics = Statistics(len(values), len(known), last=float(values[-1]))
    if len(known):
        with np.errstate(invalid="ignore", over="ignore"):
            statistics.total = float(known.sum())
        statistics.min, statistics.max = float(known.min()), float(known.max())
    # Metrics logged together have the same steps and times; compressing those costs as much as the values.
    shared = [_compressed(column, compressed) for column in (steps, times)]
    return (
        run, series.number, seq, len(values), *_numbers(statistics), statistics.last,
        *Span.of(steps, times).row(), *shared, codec.compress(values),
    )  # fmt: skip


def _compressed(column: Ints, known: dict[bytes, bytes]) -> bytes:
    raw = column.tobytes()
    found = known.get(raw)
    if found is None:
        found = known[raw] = codec.compress(column)
    return found


def _numbers(statistics: Statistics) -> Row:
    """The columns finite, total, min and max."""
    return statistics.finite, statistics.total, statistics.min, statistics.max


def _rows(run: int, number: int, seq: int, steps: Ints, times: Ints, values: Floats) -> Iterable[Row]:
    """Rows of the table `points`; databases write a NaN as NULL."""
    repeated = itertools.repeat
    seqs = itertools.count(seq)
    return zip(repeated(run), repeated(number), seqs, steps.tolist(), times.tolist(), values.tolist(), strict=False)

"""What runs recorded of the models they watched: statistics and histograms over steps, as matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from trackkit.backend.store.blobstore import Contents, read_all
from trackkit.backend.store.database import Database
from trackkit.backend.store.series import HIGHEST, LOWEST
from trackkit.core.gradients import frames
from trackkit.core.gradients.frames import BINS, Frame, Layers

MOST_OCTAVES: Final = 64
"""Powers of two that a histogram over steps spans on each side of zero; smaller numbers share a row."""
SMALLEST_SHARE: Final = 0.0005
"""The part of all elements other than zeros that a distribution may put into the row of the smallest."""

Statistic = Literal["norm", "mean", "std", "min", "max", "zeros", "nan", "inf", "update_ratio"]
How = Literal["mean", "max", "min", "last"]
Matrix = NDArray[np.float64]


class WatchedKey(NamedTuple):
    """Something a run watched: `gradients`, `parameters`, `activations`, or one of these of a further model."""

    key: str
    steps: int
    first_step: int
    last_step: int


class Step(NamedTuple):
    """One watched step, as one writer recorded it."""

    step: int
    time: int
    writer: str
    layers: str
    """The digest of the names."""
    content: Callable[[], bytes]


@dataclass
class Watched:
    """What was watched under a key, step by step, of the layers by name."""

    layers: Layers
    steps: NDArray[np.int64]
    times: NDArray[np.int64]
    frames: list[Frame]
    """One per step, all with the columns of `layers`."""


class HeatMap(NamedTuple):
    """A statistic over steps: rows are layers, columns buckets of steps.

    `values` is NaN where a layer took no part, or was not finite; `nonfinite` counts the NaN and infinite elements.
    `steps` is the first step of each bucket, and `width` its length in steps, 0 where each bucket is a step.
    """

    layers: Layers
    steps: Matrix
    width: float
    values: Matrix
    nonfinite: Matrix


class Distribution(NamedTuple):
    """A layer's histogram over steps: rows are ranges of values, columns buckets of steps, entries shares.

    Rows are negative numbers from large to small, numbers closer to zero than 2**low, positive numbers from small to
    large. Row `i` steps away from the middle holds magnitudes from 2**(low + i - 1) to 2**(low + i).
    """

    steps: Matrix
    width: float
    low: int
    high: int
    shares: Matrix


def keys(db: Database, run: int) -> list[WatchedKey]:
    """What the run watched, by key."""
    sql = """select key, count(distinct step), min(step), max(step) from objects
             where run = ? and kind = 'watch' group by key order by key"""
    return [WatchedKey(*row) for row in db.query(sql, [run])]


def steps(db: Database, blobs: Contents, run: int, key: str, first: int = LOWEST, last: int = HIGHEST) -> list[Step]:
    """The watched steps in a range, in the order of steps and then of time; content that is not here is left out."""
    sql = """select step, time, writer, metadata, digest, inline from objects
             where run = ? and kind = 'watch' and key = ? and step >= ? and step <= ?
             order by step, time, writer, seq"""
    found = []
    for step, time, writer, metadata, digest, inline in db.query(sql, [run, key, first, last]):
        if digest and blobs.size(digest) is None:
            continue
        layers = str(msgspec.json.decode(metadata).get("layers", ""))
        found.append(Step(step, time, writer, layers, _content(blobs, digest, inline)))
    return found


def page(db: Database, run: int, key: str, first: int, limit: int) -> tuple[list[int], int | None]:
    """The next watched steps from one on, at most so many, and the step that follows them, if there is one."""
    sql = """select distinct step from objects
             where run = ? and kind = 'watch' and key = ? and step >= ? order by step limit ?"""
    found = [int(step) for (step,) in db.query(sql, [run, key, first, limit + 1])]
    return found[:limit], found[limit] if len(found) > limit else None


def _content(blobs: Contents, digest: str, inline: Any) -> Callable[[], bytes]:
    if not digest:
        return lambda: bytes(inline or b"")

    return lambda: read_all(blobs, digest)


def layers(db: Database, blobs: Contents, run: int, key: str) -> dict[str, Layers]:
    """The names of layers, by the digest that steps refer to them by."""
    sql = """select metadata, digest, inline from objects
             where run = ? and kind = 'layers' and key = ? order by time, writer, seq"""
    found: dict[str, Layers] = {}
    for metadata, digest, inline in db.query(sql, [run, key]):
        if digest and blobs.size(digest) is None:
            continue
        try:
            decoded = msgspec.json.decode(_content(blobs, digest, inline)(), type=Layers)
        except msgspec.MsgspecError:
            continue
        if len(decoded.names) == len(decoded.sizes) == len(decoded.shapes) == len(decoded.kinds):
            found[str(msgspec.json.decode(metadata).get("digest", ""))] = decoded
    return found


def read(
    db: Database, blobs: Contents, run: int, key: str, first: int = LOWEST, last: int = HIGHEST, *, histograms: bool
) -> Watched:
    """What was watched under a key in a range of steps.

    Of a step recorded several times the last is taken, of sharded models the shards of all writers together.
    """
    names = layers(db, blobs, run, key)
    found: dict[int, dict[str, tuple[int, Layers, Frame]]] = {}
    for one in steps(db, blobs, run, key, first, last):
        its = names.get(one.layers)
        if its is None:
            continue
        try:
            frame = frames.decode(one.content(), histograms=histograms)
        except ValueError:
            continue
        if frame.statistics.shape[1] == len(its.names):
            found.setdefault(one.step, {})[one.writer] = (one.time, its, frame)
    union = _union([its for writers in found.values() for _, its, _ in writers.values()])
    whole = Watched(union, np.array(sorted(found), np.int64), np.zeros(len(found), np.int64), [])
    for place, step in enumerate(whole.steps.tolist()):
        parts = sorted(found[step].values(), key=lambda part: part[0])
        whole.times[place] = parts[-1][0]
        if parts[-1][1].sharded and len(parts) > 1:
            shards = [(_aligned(frame, its, union), _sizes(its, union)) for _, its, frame in parts]
            whole.frames.append(joined(shards))
        else:
            whole.frames.append(_aligned(parts[-1][2], parts[-1][1], union))
    return whole


def strung(pieces: Sequence[Watched]) -> Watched:
    """What was read in several ranges of steps, which follow each other, as one."""
    union = _union([piece.layers for piece in pieces])
    return Watched(
        union,
        np.concatenate([np.zeros(0, np.int64), *(piece.steps for piece in pieces)]),
        np.concatenate([np.zeros(0, np.int64), *(piece.times for piece in pieces)]),
        [_aligned(frame, piece.layers, union) for piece in pieces for frame in piece.frames],
    )


def _union(several: Sequence[Layers]) -> Layers:
    """All layers by name, in the order in which they first appear; shapes as they were last."""
    found: dict[str, tuple[list[int], int, str]] = {}
    seen: set[int] = set()
    for its in several:
        if id(its) not in seen:
            seen.add(id(its))
            found.update(zip(its.names, zip(its.shapes, its.sizes, its.kinds, strict=True), strict=True))
    columns = list(zip(*found.values(), strict=True)) or [(), (), ()]
    return Layers(
        list(found), list(columns[0]), list(columns[1]), list(columns[2]), any(its.sharded for its in several)
    )


def _positions(its: Layers, union: Layers) -> NDArray[np.int64]:
    place = {name: number for number, name in enumerate(union.names)}
    return np.array([place[name] for name in its.names], np.int64)


def _sizes(its: Layers, union: Layers) -> Matrix:
    sizes = np.zeros(len(union.names))
    sizes[_positions(its, union)] = its.sizes
    return sizes


def _aligned(frame: Frame, its: Layers, union: Layers) -> Frame:
    """A frame with the columns of all layers."""
    if its.names == union.names and frame.columns == frames.STATISTICS:
        return frame
    count, at = len(union.names), _positions(its, union)
    statistics = np.full((len(frames.STATISTICS), count), np.nan, np.float32)
    for number, name in enumerate(frames.STATISTICS):
        statistics[number, at] = frame.of(name)
    found = Frame(statistics)
    if frame.histograms is not None and frame.tops is not None:
        found.tops = np.zeros(count, np.int16)
        found.histograms = np.zeros((count, BINS), np.uint32)
        found.tops[at], found.histograms[at] = frame.tops, frame.histograms
    return found


def joined(shards: Sequence[tuple[Frame, Matrix]]) -> Frame:
    """Frames of shards, with the elements each has of a layer, as one.

    All statistics are those of the whole but `update_ratio`, which is the root of the mean square, weighted by
    elements.
    """
    sizes = np.array([size for _, size in shards])
    with np.errstate(all="ignore"):
        stacked = np.array([frame.statistics for frame, _ in shards], np.float64)
        there = (sizes > 0) & ~(np.isnan(stacked[:, 0]) & (stacked[:, 6] == 0))
        weights = np.where(there, sizes, 0.0)
        share = weights / weights.sum(0)

        def column(name: str) -> Matrix:
            return np.where(there, stacked[:, frames.STATISTICS.index(name)], 0.0)

        mean = (share * column("mean")).sum(0)
        statistics = {
            "norm": np.sqrt((column("norm") ** 2).sum(0)),
            "mean": mean,
            "std": np.sqrt(np.maximum((share * (column("std") ** 2 + column("mean") ** 2)).sum(0) - mean**2, 0)),
            "min": np.where(there, column("min"), np.inf).min(0),
            "max": np.where(there, column("max"), -np.inf).max(0),
            "zeros": (share * column("zeros")).sum(0),
            "nan": column("nan").sum(0),
            "inf": column("inf").sum(0),
            "update_ratio": np.sqrt((share * column("update_ratio") ** 2).sum(0)),
        }
        matrix = np.array([statistics[name] for name in frames.STATISTICS])
        matrix[:, ~there.any(0)] = np.nan
    whole = Frame(matrix.astype(np.float32))
    with_histograms = [frame for frame, _ in shards if frame.histograms is not None and frame.tops is not None]
    if len(with_histograms) == len(shards):
        whole.tops, whole.histograms = _joined_histograms(with_histograms)
    return whole


def _joined_histograms(shards: Sequence[Frame]) -> tuple[NDArray[np.int16], NDArray[np.uint32]]:
    tops = np.array([frame.tops for frame in shards if frame.tops is not None], np.int64).max(axis=0)
    side = BINS // 2
    whole = np.zeros((len(tops), BINS), np.uint32)
    for frame in shards:
        assert frame.histograms is not None
        assert frame.tops is not None
        fall = (tops - frame.tops).reshape(-1, 1)
        places = np.maximum(np.arange(side) - fall, 0)
        rows = np.repeat(np.arange(len(tops)), side)
        np.add.at(whole, (rows, (side + places).ravel()), frame.histograms[:, side:].ravel())
        np.add.at(whole, (rows, (side - 1 - places).ravel()), frame.histograms[:, side - 1 :: -1].ravel())
    return tops.astype(np.int16), whole


def heat_map(watched: Watched, statistic: Statistic, buckets: int, how: How = "max") -> HeatMap:
    """A statistic of all layers over buckets of steps."""
    edges, width, owner = _buckets(watched.steps, buckets)
    count = len(watched.layers.names)
    values = np.array([frame.of(statistic) for frame in watched.frames], np.float64).reshape(len(watched.frames), count)
    bad = np.zeros((count, len(edges)))
    for one, frame in zip(owner.tolist(), watched.frames, strict=True):
        bad[:, one] += np.nan_to_num(frame.of("nan") + frame.of("inf"))
    matrix = np.full((count, len(edges)), np.nan)
    for bucket, rows in _by_bucket(owner):
        some = values[rows]
        finite = np.isfinite(some)
        there = finite.any(0)
        if how == "mean":
            with np.errstate(all="ignore"):
                matrix[:, bucket] = np.where(finite, some, 0).sum(0) / finite.sum(0)
        elif how == "last":
            last = len(some) - 1 - finite[::-1].argmax(0)
            matrix[:, bucket] = some[last, np.arange(count)]
        else:
            beyond, reduce = (-np.inf, np.max) if how == "max" else (np.inf, np.min)
            matrix[:, bucket] = reduce(np.where(finite, some, beyond), axis=0)
        matrix[~there, bucket] = np.nan
    return HeatMap(watched.layers, edges, width, matrix, bad)


def distribution(watched: Watched, name: str, buckets: int) -> Distribution:
    """The histogram of one layer over buckets of steps.

    Raises
    ------
    KeyError
        If there is no such layer.
    """
    if name not in watched.layers.names:
        raise KeyError(name)
    at = watched.layers.names.index(name)
    chosen = [
        (place, int(frame.tops[at]), frame.histograms[at].astype(np.float64))
        for place, frame in enumerate(watched.frames)
        if frame.tops is not None and frame.histograms is not None and frame.histograms[at].any()
    ]
    edges, width, owner = _buckets(watched.steps, buckets)
    side = BINS // 2
    tops = [top for _, top, counts in chosen if counts[: side - 1].any() or counts[side + 1 :].any()]
    high = max(tops, default=0)
    low = max(min(tops, default=0) - side + 2, high - MOST_OCTAVES + 1)
    octaves = high - low + 1
    shares = np.zeros((2 * octaves + 1, len(edges)))
    for place, top, counts in chosen:
        away = np.clip(top - side + 1 + np.arange(side) - low + 1, 0, octaves)
        away[0] = 0  # the innermost bin holds all that is smaller
        np.add.at(shares[:, owner[place]], octaves + away, counts[side:])
        np.add.at(shares[:, owner[place]], octaves - away, counts[side - 1 :: -1])
    with np.errstate(all="ignore"):
        shares /= shares.sum(0)
    trimmed = _sparse(shares)
    middle = slice(octaves - trimmed, octaves + trimmed + 1)
    inner = shares[middle].sum(0, keepdims=True)
    shares = np.vstack([shares[: middle.start], inner, shares[middle.stop :]])
    return Distribution(edges, width, low + trimmed, high, shares)


def _sparse(shares: Matrix) -> int:
    """How many powers of two next to zero hold next to nothing in all steps together."""
    octaves = len(shares) // 2
    sums = np.nansum(shares, axis=1)
    outwards = sums[octaves + 1 :] + sums[octaves - 1 :: -1] if octaves else np.zeros(0)
    total = outwards.sum()
    if not total:
        return max(0, octaves - 1)
    return int(np.argmax(np.cumsum(outwards) > SMALLEST_SHARE * total))


def _buckets(steps: NDArray[np.int64], most: int) -> tuple[Matrix, float, NDArray[np.int64]]:
    """The first steps of buckets, their width, and which bucket each step is in."""
    if len(steps) <= most:
        return steps.astype(np.float64), 0.0, np.arange(len(steps))
    first, last = float(steps[0]), float(steps[-1])
    width = (last - first + 1) / most
    owner = np.minimum(((steps - first) / width).astype(np.int64), most - 1)
    edges: Matrix = first + width * np.arange(most, dtype=np.float64)
    return edges, width, owner


def _by_bucket(owner: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    if len(owner):
        starts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
        for begin, end in zip(starts, [*starts[1:], len(owner)], strict=True):
            yield int(owner[begin]), np.arange(begin, end)

"""The statistics of a chunk's points in blocks of 128, from which charts of long series are drawn.

A chart of a million points in a thousand buckets needs of each bucket its mean, least, greatest and last
value. Reading every point for that takes a hundred times as long as reading what is kept here, which
takes half a byte a point.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackkit.backend.store.codec import Floats, Ints

BLOCK: Final = 128
"""Points of a block; a chunk's last may have fewer."""

_COLUMNS: Final = 7


class Pieces(NamedTuple):
    """Consecutive points of a series as a chart needs them, one or several to a piece: equally long arrays.

    A piece without a number that is not NaN has `known` 0, and NaN for `min` and `max`.
    """

    x: Floats
    """Where on the axis: the step or the time (microseconds since the epoch) in the middle of the piece."""
    known: Floats
    """How many values are not NaN."""
    totals: Floats
    """Their sum."""
    min: Floats
    max: Floats
    last: Floats

    def where(self, chosen: NDArray[Any]) -> Pieces:
        """The pieces chosen by a mask or by positions."""
        return Pieces(*(column[chosen] for column in self))


def of_points(x: NDArray[Any], values: Floats) -> Pieces:
    """Points as pieces of one."""
    known = ~np.isnan(values)
    totals = values if known.all() else np.where(known, values, 0.0)
    return Pieces(x.astype(np.float64), known.astype(np.float64), totals, values, values, values)


def encode(steps: Ints, times: Ints, values: Floats) -> bytes:
    """The blocks of a chunk, of at least one point, for the table `blocks`: columns of little-endian doubles."""
    starts = np.arange(0, len(values), BLOCK)
    ends = np.append(starts[1:], len(values))
    middles = (starts + ends) // 2
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore", over="ignore"):
        columns = (
            steps[middles],
            times[middles],
            np.add.reduceat(known.astype(np.float64), starts),
            np.add.reduceat(np.where(known, values, 0.0), starts),
            np.fmin.reduceat(values, starts),
            np.fmax.reduceat(values, starts),
            values[ends - 1],
        )
    return np.stack(columns).astype("<f8").tobytes()


def decode(rows: list[bytes], *, by_time: bool) -> Pieces:
    """The blocks of consecutive chunks, by their steps or by their times."""
    parts = [np.frombuffer(row, "<f8").reshape(_COLUMNS, -1) for row in rows]
    steps, times, *rest = np.concatenate(parts, axis=1)
    return Pieces(times if by_time else steps, *rest)


def concatenate(parts: list[Pieces]) -> Pieces:
    """Pieces one after the other."""
    if len(parts) == 1:
        return parts[0]
    return Pieces(*(np.concatenate(columns) for columns in zip(*parts, strict=True))) if parts else NOTHING


NOTHING: Final = Pieces(*(np.empty(0) for _ in range(6)))

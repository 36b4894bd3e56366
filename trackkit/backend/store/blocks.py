"""The statistics of a chunk's points in blocks of 128, from which charts of long series are drawn.

A chart of a million points in a thousand buckets needs of each bucket its mean, least, greatest and last
value. Reading every point for that takes a hundred times as long as reading what is kept here, which
takes half a byte a point.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackkit.backend.store.codec import Floats, Ints

BLOCK: Final = 128
"""Points of a block; a chunk's last may have fewer."""

_COLUMNS: Final = 7


class Blocks(NamedTuple):
    """Consecutive points of a series, several or one to a block: equally long arrays.

    A block without a number that is not NaN has `known` 0 and NaN for `min` and `max`.
    """

    steps: Floats
    """The step in the middle of the block."""
    times: Floats
    """The time there, microseconds since the epoch."""
    known: Floats
    """How many values are not NaN."""
    totals: Floats
    """Their sum."""
    min: Floats
    max: Floats
    last: Floats

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Blocks:
        """The blocks chosen by a mask or by positions."""
        return Blocks(*(column[chosen] for column in self))


def of_points(steps: Ints, times: Ints, values: Floats) -> Blocks:
    """Points as blocks of one."""
    known = ~np.isnan(values)
    return Blocks(
        steps.astype(np.float64),
        times.astype(np.float64),
        known.astype(np.float64),
        np.where(known, values, 0.0),
        values,
        values,
        values,
    )


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


def decode(rows: list[bytes]) -> Blocks:
    """The blocks of consecutive chunks."""
    parts = [np.frombuffer(row, "<f8").reshape(_COLUMNS, -1) for row in rows]
    return Blocks(*np.concatenate(parts, axis=1)) if parts else EMPTY


def concatenate(parts: list[Blocks]) -> Blocks:
    """Blocks one after the other."""
    return Blocks(*(np.concatenate(columns) for columns in zip(*parts, strict=True))) if parts else EMPTY


EMPTY: Final = Blocks(*(np.empty(0) for _ in range(_COLUMNS)))

"""Series: the points of one key as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackkit.backend.store.runs import RunRow
from trackkit.backend.store.series import Points
from trackkit.query.source import Source


class Series(NamedTuple):
    """Every point of one key, of all the run's writers, in time order: equally long arrays."""

    step: NDArray[np.int64]
    time: NDArray[np.float64]
    """Seconds since the Unix epoch, UTC."""
    value: NDArray[Any]
    """float64; of a text key, `str` objects."""

    def __repr__(self) -> str:
        if not len(self.step):
            return "Series(0 points)"
        first, last = self.value[[0, -1]].tolist()
        ends = f"{first!r} … {last!r}"
        return f"Series({len(self.step)} points, steps {self.step[0]} … {self.step[-1]}, values {ends})"


def of(points: Points) -> Series:
    """The points with times in seconds."""
    return Series(points.steps, points.times / 1e6, points.values)


class SystemMetrics(Mapping[str, Series]):
    """The machine's and the process tree's metrics by key, each read when it is asked for."""

    def __init__(self, source: Source, run: RunRow) -> None:
        self._source = source
        self._run = run

    def __getitem__(self, key: str) -> Series:
        points = self._source.points(self._run, key, "system")
        if points is None:
            raise KeyError(key)
        return of(points)

    def __iter__(self) -> Iterator[str]:
        return iter(self._source.keys(self._run, "system"))

    def __len__(self) -> int:
        return len(self._source.keys(self._run, "system"))

    def __repr__(self) -> str:
        return f"SystemMetrics({', '.join(self)})"

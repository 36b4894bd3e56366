"""A run's history: its metrics and texts joined into one row per step."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackkit.backend.store import series
from trackkit.backend.store.database import Database
from trackkit.backend.store.series import HIGHEST, LOWEST, Points, Steps, Times, Values


class Column(NamedTuple):
    """One key's values; `present` is false in rows where the key was not logged."""

    values: Values
    present: NDArray[np.bool_]


class History(NamedTuple):
    """One row per step: of each key the value latest in time, and the latest time of any."""

    steps: Steps
    times: Times
    columns: dict[str, Column]

    def where(self, chosen: NDArray[Any]) -> History:
        """The rows chosen by a mask or positions."""
        columns = {key: Column(values[chosen], present[chosen]) for key, (values, present) in self.columns.items()}
        return History(self.steps[chosen], self.times[chosen], columns)


def read(
    db: Database, run: int, keys: Sequence[str] | None = None, first: int = LOWEST, last: int = HIGHEST
) -> History:
    """The rows of steps `first` to `last`, in step order; of the given keys or of every metric and text."""
    found = {**series.texts(db, run, keys, first, last), **series.between(db, run, keys, "metric", first, last)}
    return of_keys(found, keys)


def of_keys(found: Mapping[str, Points], keys: Sequence[str] | None) -> History:
    """The rows of the keys that were asked for, in their order; of all, by name."""
    return join({key: found[key] for key in (sorted(found) if keys is None else keys) if key in found})


def scan(
    db: Database, run: int, keys: Sequence[str] | None, first: int = LOWEST, last: int = HIGHEST, page: int = 1000
) -> Iterator[History]:
    """`read`, in consecutive pieces of about `page` rows or a chunk, whichever is longer."""
    for begin, end in series.windows(db, run, keys, first, page):
        if begin > last:
            return
        piece = read(db, run, keys, begin, min(end, last))
        if len(piece.steps):
            yield piece


def join(found: Mapping[str, Points]) -> History:
    """Keys joined on their steps; each key's points are in time order."""
    latest = {key: series.last_by_step(points) for key, points in found.items()}
    steps = _union([points.steps for points in latest.values()])
    times = np.full(len(steps), LOWEST, np.int64)
    columns: dict[str, Column] = {}
    for key, points in latest.items():
        rows = np.searchsorted(steps, points.steps)
        times[rows] = np.maximum(times[rows], points.times)
        values = np.full(len(steps), None if points.values.dtype == object else np.nan, points.values.dtype)
        values[rows] = points.values
        present = np.zeros(len(steps), np.bool_)
        present[rows] = True
        columns[key] = Column(values, present)
    return History(steps, times, columns)


def order_by(history: History, x_axis: str) -> History:
    """The rows in order of `_step`, `_timestamp`, or a metric's key; then without rows that lack it."""
    if x_axis == "_step":
        return history
    if x_axis == "_timestamp":
        return history.where(np.argsort(history.times, kind="stable"))
    values, present = history.columns[x_axis]
    rows = np.flatnonzero(present)
    return history.where(rows[np.argsort(values[rows], kind="stable")])


def sample(history: History, samples: int) -> History:
    """At most so many rows, evenly spread, the first and the last among them."""
    count = len(history.steps)
    if count <= samples:
        return history
    return history.where(np.unique(np.linspace(0, count - 1, samples).round().astype(np.int64)))


def _union(steps: list[Steps]) -> Steps:
    """The distinct steps in order; keys logged side by side share theirs, which is quick to see."""
    if not steps:
        return np.empty(0, np.int64)
    if all(np.array_equal(steps[0], other) for other in steps[1:]):
        return steps[0]
    return functools.reduce(np.union1d, steps)

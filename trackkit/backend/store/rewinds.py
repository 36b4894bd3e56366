"""Runs that went back to an earlier step, as one resumed from a checkpoint does, and the points that leaves behind.

Nothing is deleted: a rewind to step 100 says that points from step 100 on that are older than itself are
superseded. Readers leave those out unless they are asked for them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from trackkit.backend.store.codec import Ints
from trackkit.backend.store.database import Database

_NO_STEP = np.iinfo(np.int64).max


class Rewinds(NamedTuple):
    """A run's rewinds in the order of time: when each was, in microseconds, and where it leads.

    `steps` holds of each rewind the least step that it or any later one leads to.
    """

    times: Ints
    steps: Ints

    @classmethod
    def of(cls, found: Iterable[tuple[int, int]]) -> Self:
        """Rewinds from their times and steps, in the order of time."""
        times, steps = np.array(list(found), np.int64).reshape(-1, 2).T
        return cls(times, np.minimum.accumulate(steps[::-1])[::-1])

    def __bool__(self) -> bool:
        return len(self.times) > 0

    @property
    def last(self) -> int:
        """When the last one was."""
        return int(self.times[-1])

    def live(self, steps: Ints, times: Ints) -> NDArray[np.bool_]:
        """Of each point whether it still stands."""
        later = np.searchsorted(self.times, times, side="right")
        standing = steps < np.append(self.steps, _NO_STEP)[later]
        found: NDArray[np.bool_] = standing | (later == len(self.times))
        return found


NONE = Rewinds(np.empty(0, np.int64), np.empty(0, np.int64))


def load(db: Database, run: int) -> Rewinds:
    """The rewinds of a run."""
    return Rewinds.of(db.query("select time, step from rewinds where run = ? order by time", [run]))


def load_many(db: Database, runs: Sequence[int]) -> dict[int, Rewinds]:
    """The rewinds of those of some runs that have any."""
    numbers = list(dict.fromkeys(runs))
    marks = ", ".join("?" * len(numbers))
    sql = f"select run, time, step from rewinds where run in ({marks or 'null'}) order by time"
    found: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for run, time, step in db.query(sql, numbers):
        found[run].append((time, step))
    return {run: Rewinds.of(some) for run, some in found.items()}

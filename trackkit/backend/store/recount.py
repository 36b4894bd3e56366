"""Statistics of the points that still stand, after a run went back to an earlier step.

Statistics only ever take in more points, so what a rewind takes away makes them wrong. They are then made anew
from the points, which is work, and rare.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from trackkit.backend.store import rewinds, series
from trackkit.backend.store.database import Database, Row
from trackkit.backend.store.rewinds import Rewinds
from trackkit.backend.store.series import Points
from trackkit.core.summary import entry_keys

_COLUMNS = ["finite", "total", "min", "max", "first", "last", "min_step", "max_step"]


def recount(db: Database, run: int, keys: Iterable[str] | None = None) -> tuple[set[str], set[str]]:
    """Make statistics anew, within a transaction.

    Parameters
    ----------
    keys
        Whose; by default those of all metrics that a rewind may have taken points from.

    Returns
    -------
    set of str, set of str
        The metrics that still have points, and those that have none left: their entries in the summary are gone.
    """
    back = rewinds.load(db, run)
    if keys is None:
        sql = "select distinct key from series where run = ? and kind = 'metric' and max_step >= ? and first_time < ?"
        keys = [key for (key,) in db.query(sql, [run, int(back.steps[0]), back.last])]
    standing: set[str] = set()
    gone: set[str] = set()
    for key in keys:
        (standing if _recount_one(db, run, key, back) else gone).add(key)
    stale = [(run, entry) for key in sorted(gone) for entry in entry_keys(key)]
    db.execute_many("delete from summary where run = ? and key = ? and edited = 0", stale)
    return standing, gone


def _recount_one(db: Database, run: int, key: str, back: Rewinds) -> bool:
    """Whether the metric has points left."""
    changes = ", ".join(f"{column} = ?" for column in _COLUMNS)
    left = False
    for number, points in series.by_writer(db, run, key).items():
        live = points.where(back.live(points.steps, points.times))
        left = left or len(live.steps) > 0
        row = _statistics(live, int(back.steps[0]))
        db.execute(f"update series set {changes} where run = ? and series = ?", [*row, run, number])
    return left


def _statistics(live: Points, back_to: int) -> Row:
    known = live.values[~np.isnan(live.values)]
    if not len(live.steps):  # the run goes on where it went back to
        return 0, 0.0, math.nan, math.nan, math.nan, math.nan, back_to - 1, back_to - 1
    with np.errstate(invalid="ignore", over="ignore"):
        total = float(known.sum())
    low, high = (float(known.min()), float(known.max())) if len(known) else (math.nan, math.nan)
    first, last = float(live.values[0]), float(live.values[-1])
    return len(known), total, low, high, first, last, int(live.steps.min()), int(live.steps.max())

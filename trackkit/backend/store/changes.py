"""Which runs changed lately: what live views ask a store, and what makes an answer stale.

Every change to a run, by its writers or by hand, moves its version: the time of the change in
microseconds since the epoch, always later than the one before. Processes on several machines set it
by their own clocks, so whoever asks for changes since a version looks back a little further.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import msgspec

from trackkit.backend.store.database import Database

OVERLAP: Final = 2_000_000
"""Microseconds by which a change may be entered after a later one was seen: clocks and slow transactions."""


class Change(msgspec.Struct, frozen=True):
    """A run as it was changed last."""

    version: int
    run: str
    project: str
    state: str
    deleted: bool


def touch(db: Database, run: int) -> None:
    """Move the run's version, within the transaction of the change."""
    now = time.time_ns() // 1000
    db.execute(
        "update runs set touched = case when touched >= ? then touched + 1 else ? end where run = ?", [now, now, run]
    )


def since(db: Database, version: int, limit: int = 100_000) -> list[Change]:
    """The runs changed after a version, each once, in the order of their changes; at most so many."""
    sql = """select touched, id, project, state, deleted is not null from runs where touched > ?
             order by touched limit ?"""
    rows = db.query(sql, [version, limit])
    return [Change(version, id, project, state, bool(deleted)) for version, id, project, state, deleted in rows]


def latest(db: Database) -> int:
    """The version of the last change to any run; 0 of an empty store."""
    return int(db.query("select coalesce(max(touched), 0) from runs")[0][0])


def versions(db: Database, runs: Sequence[int]) -> dict[int, int]:
    """The versions of some runs by number."""
    found: dict[int, int] = {}
    for start in range(0, len(runs), 500):
        some = runs[start : start + 500]
        marks = ", ".join("?" * len(some))
        found.update(db.query(f"select run, touched from runs where run in ({marks})", some))
    return found

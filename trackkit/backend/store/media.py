"""Media of runs: which keys there are, and what lies under one at which step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from trackkit.backend.store.database import Database
from trackkit.backend.store.objects import COLUMNS, ObjectRow

KINDS = (
    "image", "audio", "video", "html", "text", "histogram", "figure", "plotly", "object3d", "molecule", "graph",
    "chart", "table",
)  # fmt: skip
"""Objects that are values of a step, not files."""

_OF_KINDS = f"kind in ({', '.join(repr(kind) for kind in KINDS)})"
_STANDING = """not exists (select 1 from rewinds where rewinds.run = objects.run
             and objects.step >= rewinds.step and objects.time < rewinds.time)"""
"""Media that a rewind superseded are left out, like points."""
_RUNS_AT_ONCE = 500


class MediaKey(msgspec.Struct):
    """A key under which runs logged media of a kind: in how many runs, how many values, from which step to which."""

    key: str
    kind: str
    runs: int
    count: int
    first_step: int
    last_step: int


def keys(db: Database, runs: Sequence[int], kinds: Sequence[str] = ()) -> list[MediaKey]:
    """The keys of media of some runs, by key and kind."""
    found: dict[tuple[str, str], MediaKey] = {}
    for some in _chunked(runs):
        of_kinds = f"kind in ({_marks(kinds)})" if kinds else _OF_KINDS
        sql = f"""select key, kind, count(distinct run), count(*), min(step), max(step) from objects
                  where run in ({_marks(some)}) and {of_kinds} and step is not null and {_STANDING}
                  group by key, kind"""
        for key, kind, number, count, first, last in db.query(sql, [*some, *kinds]):
            known = found.get((key, kind))
            if known is None:
                found[key, kind] = MediaKey(key, kind, number, count, first, last)
                continue
            known.runs += number
            known.count += count
            known.first_step, known.last_step = min(known.first_step, first), max(known.last_step, last)
    return [found[name] for name in sorted(found)]


def steps(db: Database, runs: Sequence[int], key: str, limit: int) -> list[int]:
    """The steps at which runs logged media under a key, in order; of more than `limit` an even choice."""
    found: set[int] = set()
    for some in _chunked(runs):
        sql = f"""select distinct step from objects
                  where run in ({_marks(some)}) and {_OF_KINDS} and key = ? and step is not null and {_STANDING}"""
        found.update(step for (step,) in db.query(sql, [*some, key]))
    ordered = sorted(found)
    if len(ordered) <= limit:
        return ordered
    return [ordered[round(place * (len(ordered) - 1) / (limit - 1))] for place in range(limit)]


def spans(db: Database, runs: Sequence[int], key: str, kind: str) -> dict[int, tuple[int, int]]:
    """For each run that logged media of a kind under a key: the last step, and how many steps there are."""
    found: dict[int, tuple[int, int]] = {}
    for some in _chunked(runs):
        sql = f"""select run, max(step), count(distinct step) from objects
                  where run in ({_marks(some)}) and kind = ? and key = ? and step is not null and {_STANDING}
                  group by run"""
        found |= {run: (last, count) for run, last, count in db.query(sql, [*some, kind, key])}
    return found


def items(
    db: Database, run: int, key: str, *, kind: str = "", first: int | None = None, last: int | None = None
) -> list[ObjectRow]:
    """The media a run logged under a key, by step, time and place in their list."""
    conditions, parameters = [f"kind = {kind!r}" if kind in KINDS else _OF_KINDS], [run, key]
    for order, step in ((">=", first), ("<=", last)):
        if step is not None:
            conditions.append(f"step {order} ?")
            parameters.append(step)
    sql = f"select {COLUMNS} from objects where run = ? and key = ? and {' and '.join(conditions)} and {_STANDING}"
    return sorted((ObjectRow(*row) for row in db.query(sql, parameters)), key=_place)


def at_step(
    db: Database, runs: Sequence[int], key: str, step: int | None, *, kind: str = ""
) -> dict[int, list[ObjectRow]]:
    """What each run logged under a key at its last step that is not after another; the very last without one."""
    latest: dict[int, int] = {}
    before = "" if step is None else " and step <= ?"
    for some in _chunked(runs):
        sql = f"""select run, max(step) from objects
                  where run in ({_marks(some)}) and {_OF_KINDS} and key = ?{before} and {_STANDING} group by run"""
        latest.update(dict(db.query(sql, [*some, key, *([] if step is None else [step])])))
    found: dict[int, list[ObjectRow]] = defaultdict(list)
    for run in runs:
        if latest.get(run) is not None:
            found[run] = _newest(items(db, run, key, kind=kind, first=latest[run], last=latest[run]))
    return {run: rows for run, rows in found.items() if rows}


def _newest(rows: list[ObjectRow]) -> list[ObjectRow]:
    """Of what several calls logged at one step, each writer's last call's; of a table, every increment."""
    if rows and rows[-1].kind == "table":
        return rows
    last: dict[str, int] = {}
    for row in rows:
        last[row.writer] = max(row.time, last.get(row.writer, row.time))
    return [row for row in rows if row.time == last[row.writer]]


def _place(row: ObjectRow) -> tuple[int, int, str, int]:
    return (row.step or 0, row.time, row.writer, row.seq)


def _chunked(runs: Sequence[int]) -> list[Sequence[int]]:
    return [runs[start : start + _RUNS_AT_ONCE] for start in range(0, len(runs), _RUNS_AT_ONCE)]


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))

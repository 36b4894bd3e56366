"""What a project's runs have in common: the keys of their configs, summaries and metrics, their tags and groups."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trackkit.backend.store import entries
from trackkit.backend.store.database import Database
from trackkit.backend.store.filters import Entry

_LISTED = "runs.project = ? and runs.deleted is null"


class Column(msgspec.Struct):
    """A config or summary key: in how many runs it is, with values of which types, and the range of its numbers."""

    key: str
    count: int
    kinds: list[str]
    min: float | None
    max: float | None


class Metric(msgspec.Struct):
    """A metric's key, and how many runs have logged it."""

    key: str
    runs: int


class Count(msgspec.Struct):
    """A tag, group or state, and how many runs have it."""

    value: str
    count: int


class Mark(msgspec.Struct, frozen=True):
    """What differs once a run of a project has changed; see `changes`."""

    runs: int
    latest: int
    changes: int


def mark(db: Database, project: str) -> Mark:
    """A project's mark, which tells at little cost whether a run of it has changed."""
    sql = """select count(*), coalesce(max(touched), 0), coalesce(sum(touched % 1000000007), 0)
             from runs where project = ?"""
    runs, latest, changes = db.query(sql, [project])[0]
    return Mark(int(runs), int(latest), int(changes))


def columns(db: Database, project: str, table: str) -> list[Column]:
    """The keys of a project's configs or summaries (`config` or `summary`), by key."""
    sql = f"""select e.key, e.type, count(*), min(e.number), max(e.number)
              from runs cross join {table} e where {_LISTED} and e.run = runs.run
              group by e.key, e.type order by e.key, e.type"""
    found: dict[str, Column] = {}
    for key, kind, count, low, high in db.query(sql, [project]):
        column = found.setdefault(key, Column(key, 0, [], None, None))
        column.count += count
        column.kinds.append(kind)
        column.min = low if column.min is None else column.min if low is None else min(column.min, low)
        column.max = high if column.max is None else column.max if high is None else max(column.max, high)
    return list(found.values())


def metrics(db: Database, project: str, kind: str = "metric") -> list[Metric]:
    """The metrics of a project's runs, by key."""
    sql = f"""select series.key, count(distinct runs.run) from runs cross join series
              where {_LISTED} and series.run = runs.run and series.kind = ?
              group by series.key order by series.key"""
    return [Metric(*row) for row in db.query(sql, [project, kind])]


def tags(db: Database, project: str) -> list[Count]:
    """The tags of a project's runs, the most used first."""
    sql = f"""select tags.tag, count(*) from runs cross join tags where {_LISTED} and tags.run = runs.run
              group by tags.tag order by count(*) desc, tags.tag"""
    return [Count(*row) for row in db.query(sql, [project])]


def groups(db: Database, project: str) -> list[Count]:
    """The groups of a project's runs, the newest first."""
    sql = f"""select run_group, count(*) from runs where {_LISTED} and run_group <> ''
              group by run_group order by max(created) desc"""
    return [Count(*row) for row in db.query(sql, [project])]


def values(db: Database, project: str, entry: Entry, prefix: str = "", limit: int = 20) -> list[object]:
    """Values that runs of a project have for a key, the most frequent first; of texts those that begin alike."""
    pattern = prefix.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    sql = f"""select e.type, e.number, e.text from runs cross join {entry.table} e
              where {_LISTED} and e.run = runs.run and e.key = ? and e.type <> 'json'
                    and (? = '' or lower(e.text) like lower(?) escape '\\')
              group by e.type, e.number, e.text
              order by count(*) desc, e.number nulls last, e.text nulls last limit ?"""
    rows = db.query(sql, [project, entry.key, prefix, pattern, limit])
    return [entries.decode(*row) for row in rows]


def created_per_day(db: Database, projects: Sequence[str], since: int, days: int) -> dict[str, list[int]]:
    """How many runs of each project began on each of the days from a time (µs) on."""
    day = 86_400_000_000
    found = {project: [0] * days for project in projects}
    sql = """select project, (created - ?) / ?, count(*) from runs
             where deleted is null and created >= ? and created < ? group by 1, 2"""
    for project, number, count in db.query(sql, [since, day, since, since + days * day]):
        if project in found:
            found[project][int(number)] = count
    return found

"""Runs: found, ordered, loaded a page at a time, changed and deleted.

A listing is the numbers of the runs in order, one integer each; what is shown of a run is loaded
for a page of numbers at once, with one query each for the rows, config, summary and tags.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from trackkit.backend.store import changes, entries
from trackkit.backend.store.database import Database
from trackkit.backend.store.filters import Entry, FilterError, Node, where
from trackkit.backend.store.filters.nodes import FIELDS
from trackkit.backend.store.filters.sql import column_of
from trackkit.backend.store.filters.syntax import parse_target

Flat = dict[str, Any]
"""Config or summary entries with the keys of nested dicts joined by "."."""

PAGE: Final = 500
"""Runs loaded by one query; databases limit the parameters of a statement."""

TABLES: Final = (
    "tags", "config", "summary", "metrics", "points", "chunks", "blocks", "series", "texts", "lines", "objects",
    "alerts", "submissions", "uses", "rewinds", "run_tags", "latest_points", "run_datasets", "run_models", "writers",
    "runs",
)  # fmt: skip
"""Every table that has rows of a run."""

TRASH_SECONDS: Final = 7 * 86400.0
"""How long a run stays in the trash before `gc` takes it away for good."""

MOST_ORDERS: Final = 16
"""Keys of an order, each of which may join a table; SQLite joins up to 64."""

_LISTED, _TRASHED = "runs.deleted is null", "runs.deleted is not null"
_UNORDERED = ("host", "tags")
_COLUMNS = (
    "run, id, project, name, run_group, job_type, notes, state, created, updated, ended, exit_code, error, metadata"
)


class RunRow(msgspec.Struct):
    """A run as the store has it; times in microseconds since the epoch."""

    run: int
    id: str
    project: str
    name: str
    group: str
    job_type: str
    notes: str
    state: str
    created: int
    updated: int
    ended: int | None
    exit_code: int | None
    error: str
    metadata: str
    """A JSON object."""
    tags: list[str] = []
    config: Flat = {}
    summary: Flat = {}


class ProjectRow(msgspec.Struct):
    """A project: how many runs it has, how many of them are running, and when one last changed."""

    name: str
    runs: int
    running: int
    updated: int


class AlertRow(msgspec.Struct):
    """A message a run gave for people; time in microseconds since the epoch."""

    time: int
    level: str
    title: str
    text: str


def numbers(
    db: Database,
    filters: Node | None = None,
    order: str | Sequence[str] = "-created",
    limit: int | None = None,
    *,
    trash: bool = False,
) -> list[int]:
    """The numbers of the runs that match, in order; none that is in the trash, unless `trash` asks for those.

    Parameters
    ----------
    order
        Keys such as `-created`, `+name`, `config.lr` or `-summary.acc`, in a list or separated by
        commas. Runs without a value come last either way; ties keep the order in which runs began.

    Raises
    ------
    FilterError
        If the order names no key.
    """
    condition, parameters = where(filters)
    joins, ordering, keys = _ordering(order)
    limited = "" if limit is None else " limit ?"
    listed = _TRASHED if trash else _LISTED
    sql = f"select runs.run from runs{joins} where {listed} and {condition} order by {ordering}{limited}"
    rows = db.query(sql, [*keys, *parameters, *([] if limit is None else [limit])])
    return [run for (run,) in rows]


def check_order(order: str | Sequence[str]) -> None:
    """Raise what `numbers` would, before a database is asked."""
    _ordering(order)


def count(db: Database, filters: Node | None = None) -> int:
    """How many runs match."""
    condition, parameters = where(filters)
    found: int = db.query(f"select count(*) from runs where {_LISTED} and {condition}", parameters)[0][0]
    return found


def load(db: Database, runs: Sequence[int], keys: Iterable[Entry] | None = None) -> list[RunRow]:
    """The runs of these numbers, with tags, config and summary; those deleted since are left out.

    Parameters
    ----------
    keys
        The config and summary entries to load; None for all.
    """
    chosen: dict[str, list[str] | None] = {"config": None, "summary": None}
    if keys is not None:
        wanted = list(keys)
        chosen = {table: [entry.key for entry in wanted if entry.table == table] for table in chosen}
    loaded: list[RunRow] = []
    for start in range(0, len(runs), PAGE):
        loaded.extend(_page(db, runs[start : start + PAGE], chosen))
    return loaded


def find(db: Database, id: str, project: str | None = None) -> int | None:
    """The number of the run of this id, or None if there is none in the project."""
    sql = "select run from runs where id = ?" + ("" if project is None else " and project = ?")
    found = db.query(sql, [id] if project is None else [id, project])
    return found[0][0] if found else None


def ids(db: Database, runs: Sequence[int]) -> list[str]:
    """The ids of runs by their numbers; those deleted since are left out."""
    found: dict[int, str] = {}
    for start in range(0, len(runs), PAGE):
        some = runs[start : start + PAGE]
        found.update(db.query(f"select run, id from runs where run in ({', '.join('?' * len(some))})", some))
    return [found[run] for run in runs if run in found]


def projects(db: Database) -> list[ProjectRow]:
    """The projects, the one with the latest activity first."""
    sql = f"""select project, count(*), sum(case when state = 'running' then 1 else 0 end), max(updated)
             from runs where {_LISTED} group by project order by max(updated) desc, project"""
    return [ProjectRow(*row) for row in db.query(sql)]


def alerts(db: Database, run: int) -> list[AlertRow]:
    """The run's alerts in the order they were given."""
    sql = "select time, level, title, text from alerts where run = ? order by time, writer, seq"
    return [AlertRow(*row) for row in db.query(sql, [run])]


def accounting(db: Database, run: int) -> dict[str, dict[str, float]]:
    """What tracking cost each writer of the run."""
    sql = "select writer, accounting from writers where run = ? order by started, writer"
    return {writer: msgspec.json.decode(text) for writer, text in db.query(sql, [run])}


def describe(db: Database, run: int, changes: Mapping[str, str]) -> None:
    """Change the run's `name`, `notes`, `group` or `job_type`."""
    _touch(db, run)
    columns = {"name": "name", "notes": "notes", "group": "run_group", "job_type": "job_type"}
    for field, value in changes.items():
        db.execute(f"update runs set {columns[field]} = ? where run = ?", [value, run])


def set_tags(db: Database, run: int, tags: Iterable[str]) -> None:
    """Replace the run's tags."""
    _touch(db, run)
    db.execute("delete from tags where run = ?", [run])
    db.insert_many("tags", ["run", "tag"], [(run, tag) for tag in dict.fromkeys(tags)])


def move(db: Database, run: int, project: str) -> None:
    """Give the run to another project."""
    _touch(db, run)
    db.execute("update runs set project = ? where run = ?", [project, run])


def hosts(db: Database, runs: Sequence[int]) -> dict[int, str]:
    """Where the first writer of each run ran."""
    found: dict[int, str] = {}
    for start in range(0, len(runs), PAGE):
        some = runs[start : start + PAGE]
        marks = ", ".join("?" * len(some))
        sql = f"select run, host from writers where run in ({marks}) and host <> '' order by run, started desc"
        found.update((run, host) for run, host in db.query(sql, some))
    return found


def edit_config(db: Database, run: int, values: Flat, removed: Iterable[str] = ()) -> None:
    """Set flat config entries, and take others away."""
    _touch(db, run)
    db.execute_many("delete from config where run = ? and key = ?", [(run, key) for key in removed])
    rows = [(run, key, *entries.encode(value)) for key, value in values.items()]
    db.upsert_many("config", ["run", "key"], ["type", "number", "text"], rows)


def edit_summary(db: Database, run: int, values: Flat, removed: Iterable[str] = ()) -> None:
    """Set flat summary entries by hand, which take precedence over what the points imply, and take others away."""
    _touch(db, run)
    db.execute_many("delete from summary where run = ? and key = ?", [(run, key) for key in removed])
    rows = [(run, key, *entries.encode(value), 1) for key, value in values.items()]
    db.upsert_many("summary", ["run", "key"], ["type", "number", "text", "edited"], rows)


def edit(
    db: Database,
    run: int,
    described: Mapping[str, str],
    tags: Iterable[str] | None,
    config: tuple[Flat, Sequence[str]],
    summary: tuple[Flat, Sequence[str]],
) -> None:
    """Change what `describe`, `set_tags`, `edit_config` and `edit_summary` do: entries to set, and keys to remove."""
    if described:
        describe(db, run, described)
    if tags is not None:
        set_tags(db, run, tags)
    if any(config):
        edit_config(db, run, *config)
    if any(summary):
        edit_summary(db, run, *summary)


def trash(db: Database, runs: Iterable[int]) -> None:
    """Put runs into the trash: no listing has them, and `restore` brings them back."""
    now = time.time_ns() // 1000
    for run in runs:
        db.execute("update runs set deleted = ? where run = ? and deleted is null", [now, run])
        changes.touch(db, run)


def restore(db: Database, runs: Iterable[int]) -> None:
    """Take runs out of the trash."""
    for run in runs:
        db.execute("update runs set deleted = null where run = ?", [run])
        changes.touch(db, run)


def expired(db: Database, now: float) -> list[int]:
    """The runs that have been in the trash for so long that they may go for good."""
    before = round((now - TRASH_SECONDS) * 1e6)
    return [run for (run,) in db.query(f"select run from runs where {_TRASHED} and deleted < ?", [before])]


def delete(db: Database, run: int) -> None:
    """Take away every row of the run. Its blobs stay until they are collected: others may share them."""
    changes.touch(db, run)
    for table in TABLES:
        db.execute(f"delete from {table} where run = ?", [run])


def _touch(db: Database, run: int) -> None:
    """Note that the run is changed. Comes first in a change, so that who changes the same run waits there."""
    now = int(time.time() * 1e6)
    db.execute("update runs set updated = ? where run = ? and updated < ?", [now, run, now])
    changes.touch(db, run)


def _page(db: Database, runs: Sequence[int], keys: Mapping[str, list[str] | None]) -> list[RunRow]:
    marks = ", ".join("?" * len(runs))
    found = {row[0]: RunRow(*row) for row in db.query(f"select {_COLUMNS} from runs where run in ({marks})", runs)}
    tags: defaultdict[int, list[str]] = defaultdict(list)
    for run, tag in db.query(f"select run, tag from tags where run in ({marks}) order by run, tag", runs):
        tags[run].append(tag)
    config, summary = (_entries(db, table, marks, runs, keys[table]) for table in ("config", "summary"))
    for run, row in found.items():
        row.tags, row.config, row.summary = tags[run], config[run], summary[run]
    return [found[run] for run in runs if run in found]


def _entries(
    db: Database, table: str, marks: str, runs: Sequence[int], keys: list[str] | None
) -> defaultdict[int, Flat]:
    loaded: defaultdict[int, Flat] = defaultdict(dict)
    if keys == []:
        return loaded
    chosen = "" if keys is None else f" and key in ({', '.join('?' * len(keys))})"
    sql = f"select run, key, type, number, text from {table} where run in ({marks}){chosen} order by run, key"
    for run, key, *columns in db.query(sql, [*runs, *(keys or [])]):
        loaded[run][key] = entries.decode(*columns)
    return loaded


def _ordering(order: str | Sequence[str]) -> tuple[str, str, list[str]]:
    """The joins, the `order by` and the joins' parameters."""
    given = order.split(",") if isinstance(order, str) else order
    terms = [term.strip() for term in given if term.strip()]
    if len(terms) > MOST_ORDERS:
        raise FilterError(f"runs can be ordered by at most {MOST_ORDERS} keys, not {len(terms)}")
    joins, columns, keys = "", [], []
    direction = "asc"
    for position, term in enumerate(terms):
        direction = "desc" if term.startswith("-") else "asc"
        target = parse_target(term.lstrip("+-"))
        if isinstance(target, Entry):
            alias = f"o{position}"
            joins += f" left join {target.table} {alias} on {alias}.run = runs.run and {alias}.key = ?"
            keys.append(target.key)
            columns += [f"{alias}.number {direction} nulls last", f"{alias}.text {direction} nulls last"]
        elif target.name in _UNORDERED:
            orderable = ", ".join(name for name in FIELDS if name not in _UNORDERED)
            raise FilterError(f"runs can't be ordered by {target}; order by {orderable}, config.<key> or summary.<key>")
        else:
            columns.append(f"{column_of(target)} {direction} nulls last")
    return joins, ", ".join([*columns, f"runs.run {direction}"]), keys

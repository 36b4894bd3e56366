"""Config and summary rows as ingest keeps them: what records set, and what the points come to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

import msgspec

from trackkit.backend.store import entries, seal
from trackkit.backend.store.database import Database, Row
from trackkit.core import records
from trackkit.core.summary import Definition, Statistics, define, entry_keys, match, summarise

_KEYS_AT_ONCE = 500
_LONGEST_TEXT = 1024
"""Characters of a logged text that the summary, which is indexed, shows."""


def set_config(db: Database, run: int, record: records.Config) -> None:
    """Take a Config record: what it sets replaces what the keys held, nested entries included."""
    _remove(db, "config", run, [*record.removed, *record.values], "")
    rows = [(run, key, *entries.encode(value)) for key, value in entries.flatten(record.values).items()]
    db.upsert_many("config", ["run", "key"], ["type", "number", "text"], rows)


def set_summary(db: Database, run: int, record: records.Summary) -> None:
    """Take a Summary record: entries set by hand, which points do not change."""
    _remove(db, "summary", run, record.removed, "")
    _remove(db, "summary", run, record.values, " and edited = 1")
    rows = [(run, key, *entries.encode(value), 1) for key, value in entries.flatten(record.values).items()]
    db.upsert_many("summary", ["run", "key"], ["type", "number", "text", "edited"], rows)


def _remove(db: Database, table: str, run: int, keys: Iterable[str], only: str) -> None:
    """Delete entries and what is nested in them; "/" is the character after "."."""
    sql = f"delete from {table} where run = ? and (key = ? or (key >= ? and key < ?)){only}"
    for key in keys:
        db.execute(sql, [run, key, f"{key}.", f"{key}/"])


def load_definitions(db: Database, run: int) -> list[Definition]:
    """The run's metric definitions, the latest last."""
    sql = "select name, step_metric, summary, goal, hidden from metrics where run = ? order by position"
    return [
        Definition(name, step_metric, None if rules is None else msgspec.json.decode(rules), goal, bool(hidden))
        for name, step_metric, rules, goal, hidden in db.query(sql, [run])
    ]


def set_definition(db: Database, run: int, record: records.Define) -> list[str]:
    """Take a Define record; the metrics whose summary it changes."""
    latest = define(load_definitions(db, run), record)[-1]
    rules = None if latest.summary is None else msgspec.json.encode(list(latest.summary)).decode()
    newest = db.query("select coalesce(max(position), 0) from metrics where run = ?", [run])[0][0]
    row = (run, latest.name, latest.step_metric, rules, latest.goal, int(latest.hidden), newest + 1)
    columns = ["step_metric", "summary", "goal", "hidden", "position"]
    db.upsert_many("metrics", ["run", "name"], columns, [row])
    keys = db.query("select distinct key from series where run = ? and kind = 'metric'", [run])
    changed = [key for (key,) in keys if key == record.name or fnmatchcase(key, record.name)]
    stale = [(run, entry) for key in changed for entry in entry_keys(key)]
    db.execute_many("delete from summary where run = ? and key = ? and edited = 0", stale)
    return changed


def write(
    db: Database, run: int, writer: str, own: Mapping[str, seal.Series], redefined: set[str], texts: Mapping[str, str]
) -> None:
    """Bring the summary up to date, within a transaction.

    Parameters
    ----------
    own
        The writer's metrics that have new points.
    redefined
        Metrics whose definition changed.
    texts
        The last text logged of each key.
    """
    definitions = load_definitions(db, run)
    edited = {key for (key,) in db.query("select key from summary where run = ? and edited = 1", [run])}
    values: dict[str, float | str] = {}
    for key, statistics in _merged(db, run, writer, own, redefined).items():
        values.update(summarise(key, statistics, match(definitions, key)))
    for key, text in texts.items():
        definition = match(definitions, key)
        if definition is None or definition.summary is None or "last" in definition.summary:
            values[key] = text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
    rows = [(run, key, *entries.encode(value), 0) for key, value in values.items() if key not in edited]
    db.upsert_many("summary", ["run", "key"], ["type", "number", "text", "edited"], rows)


def _merged(
    db: Database, run: int, writer: str, own: Mapping[str, seal.Series], redefined: set[str]
) -> dict[str, Statistics]:
    """The statistics of metrics over all writers of the run."""
    parts: defaultdict[str, list[tuple[int, int, Statistics]]] = defaultdict(list)
    for key, series in own.items():
        if series.span is not None:
            parts[key].append((series.span.last_time, series.span.first_time, series.statistics))
    for key, first_time, last_time, *row in _stored(db, run, writer, own, redefined):
        parts[key].append((last_time, first_time, seal.statistics_of(row)))
    return {key: _merge(some) if len(some) > 1 else some[0][2] for key, some in parts.items()}


def _stored(db: Database, run: int, writer: str, own: Mapping[str, seal.Series], redefined: set[str]) -> Iterable[Row]:
    """Statistics of the metrics that other writers have too, and of those redefined."""
    sql = f"""select key, first_time, last_time, {seal.statistics_columns()} from series
              where run = ? and kind = 'metric'"""
    keys = list(own)
    if db.query("select 1 from writers where run = ? and writer <> ? limit 1", [run, writer]):
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            some = keys[start : start + _KEYS_AT_ONCE]
            marks = ", ".join("?" * len(some))
            yield from db.query(f"{sql} and writer <> ? and key in ({marks})", [run, writer, *some])
    for key in redefined - own.keys():
        yield from db.query(f"{sql} and key = ?", [run, key])


def _merge(parts: list[tuple[int, int, Statistics]]) -> Statistics:
    standing = [part for part in parts if part[2].finite or part[2].first == part[2].first]
    parts = standing or parts  # a writer all of whose points are superseded has nothing to say
    parts.sort(key=lambda part: part[:2])
    merged = Statistics()
    for _, _, statistics in parts:
        merged.merge(statistics)
    merged.first = min(parts, key=lambda part: part[1])[2].first
    return merged

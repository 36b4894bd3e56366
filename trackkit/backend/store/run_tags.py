"""Tags of runs that have a value, as MLflow's clients set them, beside tags that are a name alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from trackkit.backend.store.database import Database

NAME: Final = "mlflow.runName"
NOTE: Final = "mlflow.note.content"
PARENT: Final = "mlflow.parentRunId"
PLAIN: Final = "true"
"""The value of a tag that is a name alone."""
COLUMNS: Final = {NAME: "name", NOTE: "notes"}
"""Tags that are columns of the run."""
_MANY: Final = 500


def set_all(db: Database, run: int, tags: Mapping[str, str]) -> None:
    """Set tags of a run, within a transaction; some are what the run is called, or what is noted of it."""
    for key, column in COLUMNS.items():
        if key in tags:
            db.execute(f"update runs set {column} = ? where run = ?", [tags[key], run])
    if tags.get(PARENT):
        db.execute("update runs set run_group = ? where run = ? and run_group = ''", [tags[PARENT], run])
    rows = [(run, key, value) for key, value in tags.items() if key not in COLUMNS]
    if rows:
        db.upsert_many("run_tags", ["run", "key"], ["value"], rows)


def drop(db: Database, run: int, key: str) -> bool:
    """Take a tag away; whether there was one."""
    if key == NOTE:
        return db.execute("update runs set notes = '' where run = ? and notes <> ''", [run]) > 0
    if key == NAME:
        return True  # a run is always called something
    gone = db.execute("delete from run_tags where run = ? and key = ?", [run, key])
    return gone + db.execute("delete from tags where run = ? and tag = ?", [run, key]) > 0


def load(db: Database, runs: Sequence[int]) -> dict[int, dict[str, str]]:
    """The tags of runs by number, but for those that are columns of the run."""
    found: defaultdict[int, dict[str, str]] = defaultdict(dict)
    for start in range(0, len(runs), _MANY):
        some = runs[start : start + _MANY]
        marks = ", ".join("?" * len(some))
        _fill(found, db.query(f"select run, tag, '{PLAIN}' from tags where run in ({marks}) order by run, tag", some))
        _fill(found, db.query(f"select run, key, value from run_tags where run in ({marks}) order by run, key", some))
    return found


def _fill(found: defaultdict[int, dict[str, str]], rows: Iterable[Sequence[object]]) -> None:
    for run, key, value in rows:
        found[run][str(key)] = str(value)  # type: ignore[index]

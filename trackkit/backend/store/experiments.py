"""Projects as MLflow's clients know them: experiments with a number, tags and times.

A project is where runs say they belong, and needs no row of its own. Its experiment is made when it is first asked for,
so that every project has one, whoever made it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from trackkit.backend.store import changes, writers
from trackkit.backend.store.database import Database

DEFAULT: Final = 0
"""The number of the experiment of runs that name none."""
DEFAULT_PROJECT: Final = "Default"

_COLUMNS: Final = "experiment, project, location, created, updated, deleted"
_MANY: Final = 500
_HOLDERS: Final = (
    "runs", "collections", "views", "budgets", "submissions", "uses", "datasets", "logged_models", "experiments",
)  # fmt: skip
"""Tables with a column `project`."""


class ExperimentRow(msgspec.Struct):
    """An experiment; times in microseconds since the epoch."""

    experiment: int
    project: str
    location: str
    """Where its files are as MLflow's clients are told; empty for the server's own place."""
    created: int
    updated: int
    deleted: int | None
    tags: dict[str, str] = {}

    @property
    def uri(self) -> str:
        """Where its runs' files are as MLflow's clients are told."""
        return self.location or f"mlflow-artifacts:/{self.experiment}"


def untracked(db: Database) -> list[str]:
    """The projects that have no experiment yet."""
    sql = """select distinct project from runs where not exists
             (select 1 from experiments where experiments.project = runs.project) order by project"""
    return [project for (project,) in db.query(sql)]


def adopt(db: Database, projects: Iterable[str]) -> None:
    """Make the experiments of projects that have runs already, within a transaction."""
    for project in projects:
        sql = "select min(created), max(updated) from runs where project = ?"
        created, updated = db.query(sql, [project])[0]
        _insert(db, project, "", created or _now(), updated or _now())


def create(db: Database, project: str, location: str, tags: dict[str, str]) -> int | None:
    """The number of a new experiment; None if the project has one."""
    now = _now()
    number = _insert(db, project, location, now, now)
    if number is not None:
        set_tags(db, number, tags)
    return number


def _insert(db: Database, project: str, location: str, created: int, updated: int) -> int | None:
    number = writers.new_number()
    sql = """insert into experiments (experiment, project, location, created, updated) values (?, ?, ?, ?, ?)
             on conflict (project) do nothing"""
    return number if db.execute(sql, [number, project, location, created, updated]) else None


def get(db: Database, number: int) -> ExperimentRow | None:
    """An experiment by its number, deleted or not."""
    found = load(db, [number])
    return found[0] if found else None


def find(db: Database, project: str) -> ExperimentRow | None:
    """A project's experiment, deleted or not; None if it has none yet."""
    found = db.query("select experiment from experiments where project = ?", [project])
    return get(db, found[0][0]) if found else None


def load(db: Database, numbers: Sequence[int]) -> list[ExperimentRow]:
    """Some experiments, in the order of their numbers' list."""
    rows: dict[int, ExperimentRow] = {}
    for start in range(0, len(numbers), _MANY):
        some = numbers[start : start + _MANY]
        marks = ", ".join("?" * len(some))
        for row in db.query(f"select {_COLUMNS} from experiments where experiment in ({marks})", some):
            rows[row[0]] = ExperimentRow(*row)
        sql = f"select experiment, key, value from experiment_tags where experiment in ({marks}) order by key"
        for number, key, value in db.query(sql, some):
            if number in rows:
                rows[number].tags[key] = value
    return [rows[number] for number in numbers if number in rows]


def projects_of(db: Database, numbers: Sequence[int]) -> dict[int, str]:
    """The projects of some experiments by number."""
    found: dict[int, str] = {}
    for start in range(0, len(numbers), _MANY):
        some = numbers[start : start + _MANY]
        marks = ", ".join("?" * len(some))
        found.update(db.query(f"select experiment, project from experiments where experiment in ({marks})", some))
    return found


def numbers_of(db: Database, projects: Iterable[str]) -> dict[str, int]:
    """The numbers of some projects' experiments, by project; those that have none are left out."""
    wanted = list(dict.fromkeys(projects))
    found: dict[str, int] = {}
    for start in range(0, len(wanted), _MANY):
        some = wanted[start : start + _MANY]
        marks = ", ".join("?" * len(some))
        found.update(db.query(f"select project, experiment from experiments where project in ({marks})", some))
    return found


def set_tags(db: Database, number: int, tags: dict[str, str]) -> None:
    """Set tags of an experiment."""
    rows = [(number, key, value) for key, value in tags.items()]
    db.upsert_many("experiment_tags", ["experiment", "key"], ["value"], rows)


def drop_tag(db: Database, number: int, key: str) -> bool:
    """Take a tag away; whether there was one."""
    return db.execute("delete from experiment_tags where experiment = ? and key = ?", [number, key]) > 0


def delete(db: Database, row: ExperimentRow) -> None:
    """Delete an experiment, and put its runs into the trash."""
    now = _now()
    sql = "update experiments set deleted = ?, updated = ? where experiment = ?"
    db.execute(sql, [now, now, row.experiment])
    _move_runs(db, row.project, "deleted is null", now)


def restore(db: Database, row: ExperimentRow) -> None:
    """Restore an experiment with its runs."""
    sql = "update experiments set deleted = null, updated = ? where experiment = ?"
    db.execute(sql, [_now(), row.experiment])
    _move_runs(db, row.project, "deleted is not null", None)


def _move_runs(db: Database, project: str, which: str, deleted: int | None) -> None:
    for (run,) in db.query(f"select run from runs where project = ? and {which}", [project]):
        db.execute("update runs set deleted = ? where run = ?", [deleted, run])
        changes.touch(db, run)


def rename(db: Database, row: ExperimentRow, project: str) -> bool:
    """Give a project another name, with all it has; whether that name was free."""
    taken = "select 1 from runs where project = ? union all select 1 from experiments where project = ? limit 1"
    if db.query(taken, [project, project]):
        return False
    for (run,) in db.query("select run from runs where project = ?", [row.project]):
        changes.touch(db, run)
    for table in _HOLDERS:
        db.execute(f"update {table} set project = ? where project = ?", [project, row.project])
    db.execute("update experiments set updated = ? where experiment = ?", [_now(), row.experiment])
    return True


def expired(db: Database, before: int) -> list[int]:
    """The experiments deleted before a time whose runs are gone for good."""
    sql = """select experiment from experiments where deleted < ? and experiment <> 0
             and not exists (select 1 from runs where runs.project = experiments.project)"""
    return [number for (number,) in db.query(sql, [before])]


def forget(db: Database, numbers: Iterable[int]) -> None:
    """Take away experiments for good, so that their names are free again."""
    for number in numbers:
        for table in ("experiment_tags", "experiments"):
            db.execute(f"delete from {table} where experiment = ?", [number])


def numbers(db: Database, condition: str, parameters: Sequence[Any], order: str, limit: int, offset: int) -> list[int]:
    """The numbers of the experiments that match a condition in SQL, in order."""
    sql = f"select experiment from experiments where {condition} order by {order} limit ? offset ?"
    return [number for (number,) in db.query(sql, [*parameters, limit, offset])]


def _now() -> int:
    return time.time_ns() // 1000

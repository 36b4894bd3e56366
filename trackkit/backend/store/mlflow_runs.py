"""Runs as MLflow's clients see them: made, searched, loaded a page at a time, and ended."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from trackkit.backend.store import changes, direct, mlflow_search, params, run_tags, writers
from trackkit.backend.store.database import Database
from trackkit.backend.store.mlflow_filters import Condition, Ordering

_MANY: Final = 500
_COLUMNS: Final = "run, id, project, name, notes, state, created, ended, deleted, user_id"
_ENDED: Final = {"finished": 0, "failed": 1, "killed": 1}
"""The exit codes of runs that somebody says have ended."""


class Latest(msgspec.Struct):
    """The latest value of a metric; time in microseconds since the epoch."""

    key: str
    value: float
    time: int
    step: int


class DatasetInput(msgspec.Struct):
    """A dataset that a run used; `tags` are pairs of key and value."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None
    profile: str | None
    tags: list[tuple[str, str]]


class MlflowRun(msgspec.Struct):
    """A run; times in microseconds since the epoch."""

    run: int
    id: str
    project: str
    name: str
    notes: str
    state: str
    created: int
    ended: int | None
    deleted: int | None
    user_id: str
    tags: dict[str, str] = {}
    params: list[tuple[str, str]] = []
    metrics: list[Latest] = []
    datasets: list[DatasetInput] = []
    inputs: list[str] = []
    """Ids of logged models."""
    outputs: list[tuple[str, int]] = []
    """Ids of logged models, and the step of each."""


def head(db: Database, id: str) -> MlflowRun | None:
    """A run without what it has logged; None if there is none of this id."""
    found = db.query(f"select {_COLUMNS} from runs where id = ?", [id])
    return MlflowRun(*found[0]) if found else None


def load(db: Database, runs: Sequence[int], *, everything: bool = True) -> list[MlflowRun]:
    """Runs with what they have logged, in the order of their numbers' list.

    Parameters
    ----------
    everything
        Whether logged models that went in are loaded, too, which searches leave out.
    """
    loaded: list[MlflowRun] = []
    for start in range(0, len(runs), _MANY):
        some = runs[start : start + _MANY]
        marks = ", ".join("?" * len(some))
        sql = f"select {_COLUMNS} from runs where run in ({marks})"
        found = {row[0]: MlflowRun(*row) for row in db.query(sql, some)}
        for run, tags in run_tags.load(db, some).items():
            if run in found:
                found[run].tags = tags
        _add_params(db, found, marks, some)
        _add_metrics(db, found, marks, some)
        _add_datasets(db, found, marks, some)
        _add_models(db, found, marks, some, everything)
        loaded += [found[run] for run in some if run in found]
    return loaded


def _add_params(db: Database, found: dict[int, MlflowRun], marks: str, some: Sequence[int]) -> None:
    sql = f"select run, key, type, number, text from config where run in ({marks}) order by run, key"
    for run, key, *columns in db.query(sql, some):
        if run in found:
            found[run].params.append((key, params.decode(*columns)))


def _add_metrics(db: Database, found: dict[int, MlflowRun], marks: str, some: Sequence[int]) -> None:
    sql = f"select run, key, step, time, value from latest_points where run in ({marks})"
    disordered = {row[:2]: row[2:] for row in db.query(sql, some)}
    sql = f"""select run, key, last_step, last_time, last, writer from series
              where run in ({marks}) and kind = 'metric' order by run, key, last_step, last_time"""
    for run, key, step, moment, value, writer in db.query(sql, some):
        if run not in found:
            continue
        if disordered and writer == direct.WRITER and (run, key) in disordered:
            step, moment, value = disordered[run, key]
        latest = Latest(key, math.nan if value is None else value, moment, step)
        metrics = found[run].metrics
        if metrics and metrics[-1].key == key:  # of several writers the later one counts
            if (metrics[-1].step, metrics[-1].time) <= (step, moment):
                metrics[-1] = latest
        else:
            metrics.append(latest)


def _add_datasets(db: Database, found: dict[int, MlflowRun], marks: str, some: Sequence[int]) -> None:
    sql = f"""select r.run, d.name, d.digest, d.source_type, d.source, d.schema, d.profile, r.tags
              from run_datasets r join datasets d on d.dataset = r.dataset
              where r.run in ({marks}) order by r.run, r.dataset"""
    for run, *columns, tags in db.query(sql, some):
        if run in found:
            row = [*columns, msgspec.json.decode(tags, type=list[tuple[str, str]])]
            found[run].datasets.append(DatasetInput(*row))


def _add_models(db: Database, found: dict[int, MlflowRun], marks: str, some: Sequence[int], everything: bool) -> None:
    sql = f"select run, role, model, step from run_models where run in ({marks}) order by run, role, model"
    for run, role, model, step in db.query(sql, some):
        if run in found and role == "output":
            found[run].outputs.append((model, step))
        elif run in found and everything:
            found[run].inputs.append(model)


def search(
    db: Database,
    projects: Sequence[str],
    conditions: Sequence[Condition],
    orderings: Sequence[Ordering],
    stages: str,
    limit: int,
    offset: int,
) -> list[int]:
    """The numbers of the runs that match, in order.

    Parameters
    ----------
    stages
        `active`, `deleted` or `all`.

    Raises
    ------
    FilterError
        If runs can't be ordered so.
    """
    joins, order, keys = mlflow_search.order_of_runs(orderings)
    where = [f"runs.project in ({', '.join('?' * len(projects))})"]
    parameters: list[Any] = [*keys, *projects]
    if stages != "all":
        where.append("runs.deleted is null" if stages == "active" else "runs.deleted is not null")
    for condition in conditions:
        sql, values = mlflow_search.of_run(condition)
        where.append(sql)
        parameters += values
    sql = f"select runs.run from runs{joins} where {' and '.join(where)} order by {order} limit ? offset ?"
    return [run for (run,) in db.query(sql, [*parameters, limit, offset])]


def create(db: Database, id: str, project: str, name: str, user_id: str, started: int, tags: dict[str, str]) -> int:
    """Make a run that an MLflow client writes to, within a transaction; its number."""
    number = writers.create(db, writers.new_number(), id, direct.WRITER, started)
    sql = "update runs set project = ?, name = ?, user_id = ? where run = ?"
    db.execute(sql, [project, name, user_id, number])
    run_tags.set_all(db, number, tags)
    changes.touch(db, number)
    return number


def change(db: Database, run: int) -> None:
    """Begin to change a run, within a transaction; whoever else changes it waits from here on."""
    changes.touch(db, run)
    now = time.time_ns() // 1000
    db.execute("update runs set updated = ? where run = ? and updated < ?", [now, run, now])


def set_state(db: Database, run: int, state: str | None, ended: int | None) -> None:
    """Say how a run stands, within a transaction. It is what was last said, whoever else writes to it."""
    if state in _ENDED:
        when = ended if ended is not None else time.time_ns() // 1000
        values = [state, when, _ENDED[state], run]
        db.execute("update runs set state = ?, ended = ?, exit_code = ? where run = ?", values)
        db.execute(
            "update writers set state = ?, ended = ?, exit_code = ? where run = ? and writer = ?",
            [*values, direct.WRITER],
        )
        direct.finish(db, run)
    elif state is not None:
        sql = "update runs set state = ?, ended = null, exit_code = null, stop = null where run = ?"
        db.execute(sql, [state, run])
        sql = "update writers set state = ?, ended = null, exit_code = null where run = ? and writer = ?"
        db.execute(sql, [state, run, direct.WRITER])
    elif ended is not None:
        db.execute("update runs set ended = ? where run = ? and state not in ('running', 'scheduled')", [ended, run])


def set_params(db: Database, run: int, values: dict[str, str]) -> list[tuple[str, str, str]]:
    """Add parameters, within a transaction; those that are there with another value: key, old and new value.

    Nothing is added if there is one of those.
    """
    known: dict[str, str] = {}
    keys = list(values)
    for start in range(0, len(keys), _MANY):
        some = keys[start : start + _MANY]
        sql = f"select key, type, number, text from config where run = ? and key in ({', '.join('?' * len(some))})"
        known.update({key: params.decode(*columns) for key, *columns in db.query(sql, [run, *some])})
    clashes = [(key, known[key], value) for key, value in values.items() if known.get(key, value) != value]
    if not clashes:
        rows = [(run, key, *params.encode(value)) for key, value in values.items() if key not in known]
        db.upsert_many("config", ["run", "key"], ["type", "number", "text"], rows)
    return clashes


def param(db: Database, run: int, key: str) -> str | None:
    """The value of a parameter."""
    found = db.query("select type, number, text from config where run = ? and key = ?", [run, key])
    return params.decode(*found[0]) if found else None


def add_datasets(db: Database, run: int, project: str, found: Sequence[DatasetInput]) -> None:
    """Note that a run used datasets, within a transaction; a dataset is known by its name and digest."""
    for one in {(each.name, each.digest): each for each in reversed(found)}.values():
        sql = """insert into datasets (dataset, project, name, digest, source_type, source, schema, profile)
                 values (?, ?, ?, ?, ?, ?, ?, ?) on conflict (project, name, digest) do nothing"""
        number = writers.new_number()
        db.execute(
            sql, [number, project, one.name, one.digest, one.source_type, one.source, one.schema, one.profile]
        )  # fmt: skip
        sql = "select dataset from datasets where project = ? and name = ? and digest = ?"
        dataset = db.query(sql, [project, one.name, one.digest])[0][0]
        context = next((value for key, value in one.tags if key == "mlflow.data.context"), None)
        sql = """insert into run_datasets (run, dataset, tags, context) values (?, ?, ?, ?)
                 on conflict (run, dataset) do nothing"""
        db.execute(sql, [run, dataset, msgspec.json.encode(one.tags).decode(), context])


def add_models(db: Database, run: int, role: str, found: Sequence[tuple[str, int]]) -> None:
    """Note that logged models went into a run (`input`) or came out of it (`output`): ids and steps."""
    rows = [(run, role, model, step) for model, step in found]
    db.upsert_many("run_models", ["run", "role", "model"], ["step"], rows)

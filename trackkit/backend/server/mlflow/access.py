"""Finding the experiments and runs that a request names, for whoever may see them."""

from __future__ import annotations

from collections.abc import Iterable

from trackkit.backend.server.mlflow.errors import absent, invalid
from trackkit.backend.server.mlflow.limits import experiment_number
from trackkit.backend.server.mlflow.routing import Call
from trackkit.backend.store import experiments, mlflow_runs
from trackkit.backend.store.database import Database
from trackkit.backend.store.experiments import ExperimentRow
from trackkit.backend.store.mlflow_runs import MlflowRun


def experiment_of(call: Call, db: Database, id: str) -> ExperimentRow:
    """An experiment, deleted or not.

    Raises
    ------
    MlflowError
        404 if there is none, or the asker may not see it.
    """
    row = experiments.get(db, experiment_number(id))
    if row is None or not call.identity.may_see(row.project):
        raise absent(f"No Experiment with id={experiment_number(id)} exists")
    return row


def adopt_all(call: Call) -> None:
    """Have every project that has runs be an experiment."""
    with call.services.storage.reading() as db:
        found = experiments.untracked(db)
    if found:
        with call.services.storage.changing() as db:
            experiments.adopt(db, experiments.untracked(db))


def of_projects(call: Call, db: Database, projects: Iterable[str]) -> dict[str, ExperimentRow]:
    """The experiments of some projects by project; a project that has none gets one when it is next asked for."""
    numbers = experiments.numbers_of(db, projects)
    return {row.project: row for row in experiments.load(db, list(numbers.values()))}


def of_run(call: Call, db: Database, row: MlflowRun) -> ExperimentRow:
    """The experiment of a run; made, if the run's project has none yet."""
    found = experiments.find(db, row.project)
    if found is None:
        with call.services.storage.changing() as writing:
            experiments.adopt(writing, [row.project])
            found = experiments.find(writing, row.project)
    assert found is not None
    return found


def run_head(call: Call, db: Database, id: str) -> MlflowRun:
    """A run without what it has logged.

    Raises
    ------
    MlflowError
        404 if there is none, or the asker may not see it.
    """
    row = mlflow_runs.head(db, id)
    if row is None or not call.identity.may_see(row.project):
        raise absent(f"Run with id={id} not found")
    return row


def active_run(call: Call, db: Database, id: str) -> MlflowRun:
    """A run that may be written to.

    Raises
    ------
    MlflowError
        400 if it is deleted.
    """
    row = run_head(call, db, id)
    if row.deleted is not None:
        raise invalid(f"The run {id} must be in the 'active' state. Current state is deleted.")
    return row

"""Runs in the environment that has mlflow, and does with its own client what lines of JSON ask for.

What it reads is what MLflow's users would: nothing here knows of trackkit.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import sys
import tempfile
import traceback
from typing import Any

import mlflow
from mlflow import MlflowClient

SERIES = 150
"""Metrics of a run whose history is read: a request each."""


def runs(uri: str, experiment: str) -> list[dict[str, Any]]:
    """All runs of an experiment, the oldest first, with every point and every file."""
    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    return [_run(client, run) for run in reversed(client.search_runs([found.experiment_id], order_by=["start_time"]))][
        ::-1
    ]


def _run(client: MlflowClient, run: Any) -> dict[str, Any]:
    id = run.info.run_id
    return {
        "id": id,
        "name": run.info.run_name,
        "user": run.info.user_id,
        "status": run.info.status,
        "start_time": run.info.start_time,
        "end_time": run.info.end_time,
        "params": run.data.params,
        "tags": run.data.tags,
        "metrics": run.data.metrics,
        "history": {
            key: [[point.step, point.timestamp, point.value] for point in client.get_metric_history(id, key)]
            for key in sorted(run.data.metrics)[:SERIES]
        },
        "files": _files(client, id),
        "inputs": [
            {"name": each.dataset.name, "digest": each.dataset.digest}
            for each in getattr(getattr(run, "inputs", None), "dataset_inputs", [])
        ],
    }


def _files(client: MlflowClient, id: str, folder: str | None = None) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in client.list_artifacts(id, folder):
        if each.is_dir:
            found.update(_files(client, id, each.path))
        else:
            found[each.path] = each.file_size or 0
    return found


def text(uri: str, run: str, path: str) -> str:
    """The content of a run's artifact, as text."""
    mlflow.set_tracking_uri(uri)
    with tempfile.TemporaryDirectory() as folder:
        return (
            pathlib.Path(MlflowClient().download_artifacts(run, path, folder)).read_bytes().decode("utf-8", "replace")
        )


def digest(uri: str, run: str, path: str) -> str:
    """The SHA-256 of a run's artifact."""
    mlflow.set_tracking_uri(uri)
    with tempfile.TemporaryDirectory() as folder:
        local = pathlib.Path(MlflowClient().download_artifacts(run, path, folder))
        return hashlib.sha256(local.read_bytes()).hexdigest()


def delete_run(uri: str, run: str) -> None:
    """Delete a run."""
    mlflow.set_tracking_uri(uri)
    MlflowClient().delete_run(run)


def delete_experiment(uri: str, name: str) -> None:
    """Delete an experiment."""
    mlflow.set_tracking_uri(uri)
    MlflowClient().delete_experiment(MlflowClient().get_experiment_by_name(name).experiment_id)


def train(uri: str, experiment: str) -> str:
    """A run as people log one with mlflow; its id."""
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name="theirs") as run:
        mlflow.log_param("lr", 0.1)
        for step in range(3):
            mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
    return str(run.info.run_id)


def log_model(uri: str) -> list[str]:
    """A model of MLflow 3, logged by a run and registered: their ids."""
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("models")

    class Doubling(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: Any) -> Any:
            return [2 * each for each in model_input]

    with mlflow.start_run() as run:
        logged = mlflow.pyfunc.log_model(
            name="mine", python_model=Doubling(), registered_model_name="known", pip_requirements=["mlflow"]
        )
    return [run.info.run_id, logged.model_id]


def version() -> str:
    """MLflow's version."""
    return str(mlflow.__version__)


if __name__ == "__main__":
    answers = sys.stdout
    sys.stdout = sys.stderr
    for line in sys.stdin:
        number, name, arguments = json.loads(line)
        try:
            answer = {"value": globals()[name](*arguments)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps([number, answer]) + "\n")
        answers.flush()

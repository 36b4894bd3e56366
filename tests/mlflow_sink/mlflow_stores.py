"""Runs in the environment that has mlflow: makes a store with its own client, and tells all that is in one.

Arguments: `make URI` or `dump URI`. Nothing here knows of trackkit.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
import tempfile
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException


def make(uri: str) -> None:
    """Runs of several kinds, and a registry."""
    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
    experiment = client.create_experiment("digits/first", tags={"team": "vision"})
    plain = client.create_run(experiment, tags={"mlflow.note.content": "a note", "kind": "mlp", "größe": "groß"}).info
    client.set_tag(plain.run_id, "mlflow.runName", "plain")
    for key, value in {"lr": "0.1", "depth": 3, "model.act": "relu", "flag": True, "none": None, "odd": "007"}.items():
        client.log_param(plain.run_id, key, value)
    began = plain.start_time
    for step in range(120):
        points = [Metric("loss", 1 / (step + 1), began + step, step), Metric("val/acc", step / 7, began + step, step)]
        client.log_batch(plain.run_id, points)
    client.log_metric(plain.run_id, "odd", float("nan"), began + 5, -3)
    client.log_metric(plain.run_id, "odd", float("inf"), began + 6, 2**40)
    client.log_metric(plain.run_id, "odd", 1.0, began + 6, 2**40)
    client.log_metric(plain.run_id, "odd", 1.0, began + 4, 7)
    with tempfile.TemporaryDirectory() as folder:
        inner = pathlib.Path(folder) / "inner"
        inner.mkdir()
        (inner / "weights.bin").write_bytes(os.urandom(50_000))
        (pathlib.Path(folder) / "größe.txt").write_text("groß", encoding="utf-8")
        (pathlib.Path(folder) / "empty").write_bytes(b"")
        client.log_artifacts(plain.run_id, folder)
    client.set_terminated(plain.run_id, "FINISHED", plain.start_time + 1000)
    child = client.create_run(experiment, tags={"mlflow.parentRunId": plain.run_id}).info
    client.log_metric(child.run_id, "loss", 0.5)
    client.set_terminated(child.run_id, "FAILED")
    gone = client.create_run(experiment).info
    client.log_param(gone.run_id, "lr", "9")
    client.set_terminated(gone.run_id, "KILLED")
    client.delete_run(gone.run_id)
    going = client.create_run(experiment).info
    client.log_metric(going.run_id, "loss", 0.25, began - 200_000)
    other = client.create_experiment("gone")
    client.set_terminated(client.create_run(other).info.run_id)
    client.delete_experiment(other)
    if hasattr(client, "log_inputs"):
        import pandas as pd

        data = mlflow.data.from_pandas(pd.DataFrame({"x": [1, 2]}), name="numbers", targets=None)
        mlflow.set_experiment("digits/first")
        with mlflow.start_run(run_name="with data"):
            mlflow.log_input(data, context="training")
    if _has_registry(client):
        _register(client, plain)


def _has_registry(client: MlflowClient) -> bool:
    """Whether there is a registry; file stores of MLflow 2.0 have none."""
    try:
        client.search_registered_models()
    except MlflowException as error:
        if "not supported by the store" in str(error):
            return False
        raise
    return True


def _register(client: MlflowClient, run: Any) -> None:
    client.create_registered_model("digits", tags={"owner": "jo"}, description="all digits")
    source = f"{client.get_run(run.run_id).info.artifact_uri}/inner"
    for number in range(1, 4):
        client.create_model_version("digits", source, run.run_id, tags={"n": str(number)}, description=f"no {number}")
    client.delete_model_version("digits", "2")
    if hasattr(client, "set_registered_model_alias"):
        client.set_registered_model_alias("digits", "champion", "1")
    client.transition_model_version_stage("digits", "3", "Production")


def grow(uri: str) -> None:
    """More of the run that goes on, which then ends."""
    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
    experiment = client.get_experiment_by_name("digits/first").experiment_id
    (run,) = client.search_runs([experiment], "attributes.status = 'RUNNING'")
    last = client.get_metric_history(run.info.run_id, "loss")[-1].timestamp
    client.log_metric(run.info.run_id, "loss", 0.125, last + 10, 1)
    client.set_terminated(run.info.run_id)


def dump(uri: str) -> dict[str, Any]:
    """All that MLflow's client tells of a store."""
    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
    found: dict[str, Any] = {"experiments": {}, "runs": {}, "models": {}}
    for experiment in client.search_experiments(view_type=3):
        found["experiments"][experiment.experiment_id] = {
            "name": experiment.name, "tags": experiment.tags, "deleted": experiment.lifecycle_stage == "deleted"
        }  # fmt: skip
        for run in client.search_runs([experiment.experiment_id], run_view_type=3):
            found["runs"][run.info.run_id] = _told(client, run)
    for model in client.search_registered_models() if _has_registry(client) else ():
        name = model.name
        versions = client.search_model_versions(f"name='{name}'")
        found["models"][name] = {
            "description": model.description,
            "tags": model.tags,
            "aliases": getattr(client.get_registered_model(name), "aliases", {}) or {},
            "versions": {
                int(one.version): {
                    "run": one.run_id, "stage": one.current_stage, "tags": one.tags, "description": one.description,
                    "source": one.source, "created": one.creation_timestamp,
                }
                for one in versions
            },
        }  # fmt: skip
    return found


def _told(client: MlflowClient, run: Any) -> dict[str, Any]:
    info = run.info
    inputs = getattr(getattr(run, "inputs", None), "dataset_inputs", [])
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        if info.lifecycle_stage == "active":
            for path in _paths(client, info.run_id):
                local = pathlib.Path(client.download_artifacts(info.run_id, path, folder))
                files[path] = local.read_bytes().hex()[:400] + f" {local.stat().st_size}"
    return {
        "experiment": info.experiment_id, "name": info.run_name, "status": info.status, "start": info.start_time,
        "end": info.end_time, "deleted": info.lifecycle_stage == "deleted", "params": run.data.params,
        "tags": run.data.tags, "files": files,
        "history": {
            key: sorted(
                [point.timestamp, point.step, str(point.value)]
                for point in client.get_metric_history(info.run_id, key)
            )
            for key in run.data.metrics
        },
        "inputs": [
            {"name": one.dataset.name, "digest": one.dataset.digest, "source": one.dataset.source} for one in inputs
        ],
    }  # fmt: skip


def _paths(client: MlflowClient, run: str, folder: str | None = None) -> list[str]:
    found = []
    for each in client.list_artifacts(run, folder):
        found += _paths(client, run, each.path) if each.is_dir else [each.path]
    return found


if __name__ == "__main__":
    answers = sys.stdout
    sys.stdout = sys.stderr
    answers.write(json.dumps(globals()[sys.argv[1]](sys.argv[2])))

"""What people do with MLflow's client, done to `mlflow server` and to ours with the same outcome."""

from __future__ import annotations

import json
import math
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException, RestException


def test_the_quickstart(client: MlflowClient, experiment: str) -> None:
    with mlflow.start_run(run_name="first") as run:
        mlflow.log_param("lr", 0.1)
        mlflow.log_params({"optimizer": "adam", "layers": [1, 2]})
        for step in range(5):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metrics({"acc": 0.5, "bad": math.nan, "worse": -math.inf}, step=4)
        mlflow.set_tag("kind", "test")
        mlflow.set_tags({"a b": "c", "mlflow.note.content": "a note"})
    found = client.get_run(run.info.run_id)
    assert found.info.status == "FINISHED"
    assert found.info.end_time >= found.info.start_time
    assert found.info.run_name == "first"
    assert found.info.experiment_id == experiment
    assert found.data.params == {"lr": "0.1", "optimizer": "adam", "layers": "[1, 2]"}
    assert found.data.metrics["loss"] == 0.2
    assert math.isnan(found.data.metrics["bad"])
    assert found.data.metrics["worse"] <= -1.797e308
    assert {"kind": "test", "a b": "c", "mlflow.note.content": "a note", "mlflow.runName": "first"}.items() <= (
        found.data.tags.items()
    )
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(one.step, one.value) for one in history] == [(step, 1 / (step + 1)) for step in range(5)]


def test_nested_runs(client: MlflowClient, experiment: str) -> None:
    with mlflow.start_run() as parent:
        for number in range(2):
            with mlflow.start_run(nested=True, run_name=f"child {number}"):
                mlflow.log_metric("m", number)
    children = client.search_runs(
        [experiment], f"tags.mlflow.parentRunId = '{parent.info.run_id}'", order_by=["run_name"]
    )
    assert [run.info.run_name for run in children] == ["child 0", "child 1"]
    assert {run.info.status for run in children} == {"FINISHED"}


def test_a_run_that_fails_and_one_that_is_killed(client: MlflowClient, experiment: str) -> None:
    with pytest.raises(ZeroDivisionError), mlflow.start_run() as failed:
        1 / 0  # noqa: B018
    assert client.get_run(failed.info.run_id).info.status == "FAILED"
    killed = client.create_run(experiment)
    client.set_terminated(killed.info.run_id, "KILLED", end_time=killed.info.start_time + 5000)
    found = client.get_run(killed.info.run_id).info
    assert (found.status, found.end_time - found.start_time) == ("KILLED", 5000)
    client.update_run(killed.info.run_id, status="SCHEDULED", name="again")
    found = client.get_run(killed.info.run_id).info
    assert (found.status, found.run_name) == ("SCHEDULED", "again")


def test_resuming_a_run(client: MlflowClient, experiment: str) -> None:
    with mlflow.start_run() as run:
        mlflow.log_metric("m", 1, step=1)
    with mlflow.start_run(run_id=run.info.run_id):
        assert client.get_run(run.info.run_id).info.status == "RUNNING"
        mlflow.log_metric("m", 2, step=2)
    assert client.get_run(run.info.run_id).info.status == "FINISHED"
    assert [one.value for one in client.get_metric_history(run.info.run_id, "m")] == [1, 2]


def test_parameters_are_written_once(client: MlflowClient, experiment: str) -> None:
    run = client.create_run(experiment).info.run_id
    client.log_param(run, "a", 1)
    client.log_param(run, "a", 1)
    with pytest.raises(MlflowException, match="Changing param values is not allowed"):
        client.log_param(run, "a", 2)
    assert client.get_run(run).data.params == {"a": "1"}


def test_batches_and_steps_out_of_order(client: MlflowClient, experiment: str) -> None:
    run = client.create_run(experiment).info.run_id
    points = [Metric("m", float(step), 1000 + step, step) for step in range(900)]
    client.log_batch(run, points, [Param("p", "v")], [RunTag("t", "v")])
    client.log_batch(run, points)  # a retry changes nothing
    client.log_metric(run, "m", -1.0, timestamp=5000, step=3)
    assert client.get_run(run).data.metrics == {"m": 899.0}
    history = client.get_metric_history(run, "m")
    assert len(history) == 901
    assert (history[-1].value, history[-1].step) == (-1.0, 3)
    found = client.search_runs([experiment], "metrics.m > 898")
    assert [one.info.run_id for one in found] == [run]
    client.log_metric(run, "m", 7.0, timestamp=1, step=1000)
    assert client.get_run(run).data.metrics == {"m": 7.0}


def test_a_history_of_several_pages(client: MlflowClient, experiment: str) -> None:
    run = client.create_run(experiment).info.run_id
    for start in range(0, 30_000, 1000):
        client.log_batch(run, [Metric("m", float(step), step, step) for step in range(start, start + 1000)])
    client.set_terminated(run)
    history = client.get_metric_history(run, "m")
    assert [one.step for one in history] == list(range(30_000))
    assert [one.value for one in history[::1000]] == [float(step) for step in range(0, 30_000, 1000)]


def test_searching(client: MlflowClient, experiment: str) -> None:
    for number in range(8):
        with mlflow.start_run(run_name=f"run {number}"):
            mlflow.log_param("lr", 0.1 * (number % 2))
            mlflow.log_metric("acc", number / 10)
            mlflow.set_tag("parity", "odd" if number % 2 else "even")
    frame = mlflow.search_runs([experiment], "metrics.acc > 0.25 and params.lr = '0.1' and tags.parity LIKE '%d'",
                               order_by=["metrics.acc DESC"])  # fmt: skip
    assert list(frame["metrics.acc"]) == [0.7, 0.5, 0.3]
    assert list(frame["tags.mlflow.runName"]) == ["run 7", "run 5", "run 3"]
    first = client.search_runs([experiment], max_results=5, order_by=["attributes.start_time"])
    rest = client.search_runs([experiment], max_results=5, order_by=["attributes.start_time"], page_token=first.token)
    assert [run.info.run_name for run in [*first, *rest]] == [f"run {number}" for number in range(8)]
    assert rest.token is None
    with pytest.raises(MlflowException, match="Invalid clause"):
        client.search_runs([experiment], "metrics.acc > 0.1 OR metrics.acc < 0")


def test_deleting_and_restoring(client: MlflowClient, experiment: str) -> None:
    run = client.create_run(experiment).info.run_id
    client.delete_run(run)
    assert client.search_runs([experiment]) == []
    assert client.search_runs([experiment], run_view_type=ViewType.DELETED_ONLY)[0].info.run_id == run
    with pytest.raises(MlflowException, match="must be in the 'active' state"):
        client.log_metric(run, "m", 1)
    client.restore_run(run)
    client.log_metric(run, "m", 1)
    client.delete_experiment(experiment)
    assert client.get_experiment(experiment).lifecycle_stage == "deleted"
    assert client.get_run(run).info.lifecycle_stage == "deleted"
    client.restore_experiment(experiment)
    assert client.get_run(run).info.lifecycle_stage == "active"
    name = f"renamed {uuid.uuid4().hex[:6]}"
    client.rename_experiment(experiment, name)
    assert client.get_experiment_by_name(name).experiment_id == experiment
    assert client.get_run(run).info.experiment_id == experiment


def test_experiments(client: MlflowClient, experiment: str) -> None:
    assert client.get_experiment("0").name == "Default"
    client.set_experiment_tag(experiment, "team", "vision")
    found = client.search_experiments(filter_string=f"tags.team = 'vision' and experiment_id = '{experiment}'")
    assert [(one.experiment_id, one.tags) for one in found] == [(experiment, {"team": "vision"})]
    assert experiment in [one.experiment_id for one in client.search_experiments()]
    with pytest.raises(RestException, match="already exists"):
        client.create_experiment(found[0].name)


def test_artifacts_up_and_down(client: MlflowClient, experiment: str, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("hello")
    (folder / "sub" / "b +% é.bin").write_bytes(bytes(range(256)) * 400)
    (folder / "sub" / "empty").touch()
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(folder), "all")
        mlflow.log_artifact(str(folder / "a.txt"))
        mlflow.log_text("some text", "notes/t.txt")
        mlflow.log_dict({"a": [1, 2]}, "d.json")
        mlflow.log_image(np.zeros((4, 4, 3), np.uint8), "i.png")
        mlflow.log_image(np.zeros((4, 4, 3), np.uint8), key="seen", step=2)
    top = {one.path: (one.is_dir, one.file_size) for one in client.list_artifacts(run.info.run_id)}
    assert top["a.txt"] == (False, 5)
    assert top["all"] == (True, None)
    assert set(top) >= {"a.txt", "all", "notes", "d.json", "i.png", "images"}
    assert [one.path for one in client.list_artifacts(run.info.run_id, "all")] == ["all/a.txt", "all/sub"]
    down = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    assert (down / "all/sub/b +% é.bin").read_bytes() == bytes(range(256)) * 400
    assert (down / "all/sub/empty").read_bytes() == b""
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/notes/t.txt") == "some text"
    assert mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/d.json") == {"a": [1, 2]}
    assert len(client.list_artifacts(run.info.run_id, "images")) == 2
    with pytest.raises(Exception, match="nope"):
        client.download_artifacts(run.info.run_id, "nope.txt", str(tmp_path))


def test_tables_and_figures(client: MlflowClient, experiment: str) -> None:
    figure = Figure()
    figure.subplots().plot([1, 2, 3])
    with mlflow.start_run() as run:
        mlflow.log_figure(figure, "plots/line.png")
        mlflow.log_table({"x": [1, 2], "y": ["a", "b"]}, "t.json")
        mlflow.log_table(pd.DataFrame({"x": [3], "y": ["c"]}), "t.json")
    table = mlflow.load_table("t.json", run_ids=[run.info.run_id])
    assert table.to_dict("list") == {"x": [1, 2, 3], "y": ["a", "b", "c"]}
    assert "t.json" in client.get_run(run.info.run_id).data.tags["mlflow.loggedArtifacts"]
    assert [one.path for one in client.list_artifacts(run.info.run_id, "plots")] == ["plots/line.png"]


def test_system_metrics(client: MlflowClient, experiment: str) -> None:
    mlflow.set_system_metrics_sampling_interval(0.2)
    mlflow.set_system_metrics_samples_before_logging(1)
    with mlflow.start_run(log_system_metrics=True) as run:
        time.sleep(1.5)
    assert "system/cpu_utilization_percentage" in client.get_run(run.info.run_id).data.metrics


def test_datasets(client: MlflowClient, experiment: str) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0], "y": [0, 1]})
    dataset = mlflow.data.from_pandas(frame, source="https://example.org/x.csv", name="points", targets="y")
    with mlflow.start_run() as run:
        mlflow.log_input(dataset, context="training")
    (found,) = client.get_run(run.info.run_id).inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest) == ("points", dataset.digest)
    assert found.tags[0].value == "training"
    assert json.loads(found.dataset.profile) == {"num_rows": 2, "num_elements": 4}
    hits = client.search_runs([experiment], "dataset.name = 'points' and dataset.context = 'training'")
    assert [one.info.run_id for one in hits] == [run.info.run_id]


def test_many_writers_of_one_run(client: MlflowClient, experiment: str, uri: str) -> None:
    run = client.create_run(experiment).info.run_id

    def write(number: int) -> None:
        own = MlflowClient(uri)
        for step in range(10):
            own.log_metric(run, "shared", number, timestamp=step, step=number * 100 + step)
            own.log_metric(run, f"own {number}", step, step=step)
            own.set_tag(run, f"t{number}", str(step))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    found = client.get_run(run)
    assert len(client.get_metric_history(run, "shared")) == 60
    assert found.data.metrics == {"shared": 5.0, **{f"own {number}": 9.0 for number in range(6)}}
    assert all(found.data.tags[f"t{number}"] == "9" for number in range(6))


def test_asynchronous_logging(client: MlflowClient, experiment: str) -> None:
    with mlflow.start_run() as run:
        for step in range(50):
            mlflow.log_metric("m", step, step=step, synchronous=False)
        mlflow.log_params({f"p{number}": number for number in range(150)})
        mlflow.flush_async_logging()
    found = client.get_run(run.info.run_id)
    assert len(client.get_metric_history(run.info.run_id, "m")) == 50
    assert len(found.data.params) == 150

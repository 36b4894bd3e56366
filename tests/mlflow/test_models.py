"""Models logged, loaded, registered and promoted with MLflow's client, on `mlflow server` and on ours."""

from __future__ import annotations

import uuid

import mlflow
import numpy as np
import pytest
import xgboost
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

X, Y = load_iris(return_X_y=True)


@pytest.fixture
def name() -> str:
    return f"iris-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def model() -> LogisticRegression:
    return LogisticRegression(max_iter=300).fit(X, Y)


def test_a_model_is_logged_and_loaded(client: MlflowClient, experiment: str, model: LogisticRegression) -> None:
    with mlflow.start_run() as run:
        info = mlflow.sklearn.log_model(
            model, name="iris", signature=infer_signature(X, Y), params={"c": 1.0}, serialization_format="cloudpickle"
        )
        mlflow.log_metric("acc", 0.9, model_id=info.model_id)
    loaded = mlflow.sklearn.load_model(info.model_uri)
    assert np.array_equal(loaded.predict(X), model.predict(X))
    assert np.array_equal(mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/iris").predict(X), model.predict(X))
    found = mlflow.get_logged_model(info.model_id)
    assert found.status.value == "READY"
    assert found.source_run_id == run.info.run_id
    assert {one.key: one.value for one in found.metrics} == {"acc": 0.9}
    (other,) = client.search_logged_models([experiment], "name = 'iris' and metrics.acc > 0.5")
    assert other.model_id == info.model_id
    assert client.get_run(run.info.run_id).outputs.model_outputs[0].model_id == info.model_id


def test_autolog_of_scikit_learn(client: MlflowClient, experiment: str) -> None:
    mlflow.sklearn.autolog(serialization_format="cloudpickle")
    try:
        with mlflow.start_run() as run:
            LogisticRegression(max_iter=300, C=0.5).fit(X, Y)
    finally:
        mlflow.sklearn.autolog(disable=True)
    found = client.get_run(run.info.run_id)
    assert found.data.params["C"] == "0.5"
    assert found.data.metrics["training_accuracy_score"] > 0.9
    assert found.inputs.dataset_inputs[0].tags[0].value == "train"
    assert len(found.outputs.model_outputs) == 1
    (logged,) = client.search_logged_models([experiment])
    assert np.array_equal(mlflow.sklearn.load_model(logged.model_uri).predict(X).shape, Y.shape)


def test_autolog_of_xgboost(client: MlflowClient, experiment: str) -> None:
    mlflow.xgboost.autolog()
    try:
        with mlflow.start_run() as run:
            data = xgboost.DMatrix(X, Y)
            params = {"objective": "multi:softprob", "num_class": 3, "max_depth": 2}
            xgboost.train(params, data, num_boost_round=5, evals=[(data, "train")])
    finally:
        mlflow.xgboost.autolog(disable=True)
    found = client.get_run(run.info.run_id)
    assert found.data.params["max_depth"] == "2"
    assert len(client.get_metric_history(run.info.run_id, "train-mlogloss")) == 5
    (logged,) = client.search_logged_models([experiment])
    assert mlflow.xgboost.load_model(logged.model_uri).num_boosted_rounds() == 5


def test_the_registry(client: MlflowClient, experiment: str, model: LogisticRegression, name: str) -> None:
    with mlflow.start_run() as run:
        log = mlflow.sklearn.log_model
        first = log(model, name="iris", registered_model_name=name, serialization_format="cloudpickle")
    mlflow.register_model(first.model_uri, name)
    client.set_registered_model_alias(name, "champion", 1)
    client.set_registered_model_tag(name, "task", "iris")
    client.set_model_version_tag(name, "1", "checked", "yes")
    client.update_registered_model(name, "classifies irises")
    client.update_model_version(name, "1", "the first")
    found = client.get_registered_model(name)
    assert (found.description, found.tags, found.aliases) == ("classifies irises", {"task": "iris"}, {"champion": "1"})
    assert sorted(version.version for version in client.search_model_versions(f"name = '{name}'")) == ["1", "2"]
    by_alias = client.get_model_version_by_alias(name, "champion")
    assert (by_alias.version, by_alias.description, by_alias.tags) == ("1", "the first", {"checked": "yes"})
    assert by_alias.run_id == run.info.run_id
    for uri in (f"models:/{name}/1", f"models:/{name}@champion", f"models:/{name}/latest"):
        assert np.array_equal(mlflow.sklearn.load_model(uri).predict(X), model.predict(X))
    client.transition_model_version_stage(name, "2", "Production")
    assert [one.version for one in client.get_latest_versions(name, ["Production"])] == ["2"]
    assert [one.name for one in client.search_registered_models(f"name = '{name}'")] == [name]
    client.delete_registered_model_alias(name, "champion")
    client.delete_model_version(name, "1")
    with pytest.raises(MlflowException, match="not found"):
        client.get_model_version(name, "1")
    client.rename_registered_model(name, f"{name}-renamed")
    client.delete_registered_model(f"{name}-renamed")
    with pytest.raises(MlflowException, match="not found"):
        client.get_registered_model(f"{name}-renamed")


def test_a_model_among_a_runs_artifacts_is_registered(client: MlflowClient, experiment: str, name: str) -> None:
    with mlflow.start_run() as run:
        mlflow.log_text("weights", "model/MLmodel")
    client.create_registered_model(name)
    version = client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id)
    assert version.version == "1"
    assert client.get_model_version_download_uri(name, "1") == f"{run.info.artifact_uri}/model"


def test_prompts_are_registered_apart_from_models(client: MlflowClient, name: str) -> None:
    mlflow.genai.register_prompt(name, "Say {{what}}.")
    prompt = mlflow.genai.load_prompt(f"prompts:/{name}/1")
    assert prompt.format(what="hello") == "Say hello."
    assert client.search_registered_models(f"name = '{name}'") == []

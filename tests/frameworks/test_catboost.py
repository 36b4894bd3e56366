"""CatBoost's trainings are logged iteration by iteration, and go on in their run from a model or a snapshot."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import catboost
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV

import trackkit
from tests.conftest import RunScript
from tests.frameworks.tracking import BROKEN_INIT, FAULTS, INIT, break_tracking, only, recorded, values, versions
from trackkit.integrations.catboost import TrackkitCallback, autolog, log_training

PARAMS: dict[str, Any] = {
    "depth": 2, "learning_rate": 0.2, "custom_metric": "AUC", "thread_count": 1, "random_seed": 0, "verbose": False,
    "allow_writing_files": False,
}  # fmt: skip
X, Y = load_breast_cancer(return_X_y=True)
HELD = (X[400:], Y[400:])


@pytest.fixture(autouse=True)
def _autolog_ends() -> Iterator[None]:
    yield
    autolog(disable=True)


def fit(iterations: int = 8, *, params: Any = None, **named: Any) -> catboost.CatBoostClassifier:
    model = catboost.CatBoostClassifier(iterations=iterations, **{**PARAMS, **(params or {})})
    return model.fit(X[:400], Y[:400], **{"eval_set": HELD, **named})


def test_every_iteration_s_metrics_are_those_catboost_reports(folder: Path) -> None:
    model = fit(callbacks=[TrackkitCallback(**INIT)], use_best_model=False)
    run, told = only(), model.get_evals_result()
    assert run.state == "finished"
    for data, scores in told.items():
        for metric, history in scores.items():
            assert list(values(run, f"{data}/{metric}").items()) == list(enumerate(history))
    assert {"validation/AUC", "validation/Logloss", "learn/Logloss"} <= set(run.keys())
    assert values(run, "epoch") == {step: step for step in range(8)}


def test_iterations_can_be_left_out(folder: Path) -> None:
    fit(callbacks=[TrackkitCallback(metric_period=3, prefix="trees/", define_metric=False, **INIT)])
    run = only()
    assert list(values(run, "trees/learn/Logloss")) == [0, 2, 5]
    assert "trees/validation/AUC.max" not in run.summary


def test_all_parameters_are_in_the_config_and_the_best_in_the_summary(folder: Path) -> None:
    model = fit(200, callbacks=[TrackkitCallback(**INIT)], early_stopping_rounds=5)
    run = only()
    assert run.state == "finished"
    assert run.config["model"] == "catboost.CatBoostClassifier"
    assert run.config["params"]["depth"] == 2
    assert run.config["params"]["bootstrap_type"] == model.get_all_params()["bootstrap_type"]
    assert run.config["features"]["count"] == X.shape[1]
    assert run.summary["best_iteration"] == model.get_best_iteration()
    assert run.summary["best/validation/Logloss"] == model.get_best_score()["validation"]["Logloss"]
    assert run.summary["rounds"] == model.tree_count_
    assert run.summary["validation/AUC.max"] == max(values(run, "validation/AUC").values())


def test_importances_are_those_of_catboost(folder: Path) -> None:
    model = fit(callbacks=[TrackkitCallback(**INIT)])
    run = only()
    table = run.table("importances").pandas()
    assert table["prediction_values_change"].tolist() == pytest.approx(model.get_feature_importance().tolist())
    (chart,) = run.media("importance/prediction_values_change")
    assert chart.json()["data"]["importance"][0] == pytest.approx(model.get_feature_importance().max())
    with trackkit.init(**INIT):
        fit(callbacks=[TrackkitCallback(log_feature_importance=False)])
    assert recorded()[1].media_keys() == {}


def test_the_model_is_logged(folder: Path) -> None:
    model = fit(callbacks=[TrackkitCallback(log_model=True, **INIT)])
    (version,) = versions(only()).values()
    assert set(version.aliases) == {"latest", "best", f"round_{model.tree_count_}"}
    loaded = catboost.CatBoostClassifier().load_model(str(Path(version.download()) / "model.cbm"))
    assert loaded.predict_proba(X).tolist() == model.predict_proba(X).tolist()
    assert loaded.get_metadata()["trackkit_run"] == only().id


def test_a_run_going_on_is_used_and_left_open(folder: Path) -> None:
    with trackkit.init(**INIT) as run:
        fit(callbacks=[TrackkitCallback()])
        assert run.state == "running"
    assert len(values(only(), "learn/Logloss")) == 8


def test_regressors_and_pools_are_logged(folder: Path) -> None:
    pool = catboost.Pool(X, Y)
    model = catboost.CatBoostRegressor(iterations=3, thread_count=1, verbose=False, allow_writing_files=False)
    autolog(**INIT)
    model.fit(pool)
    run = only()
    assert run.config["model"] == "catboost.CatBoostRegressor"
    assert len(values(run, "learn/RMSE")) == 3
    data = run.config["data"]["learn"]
    assert (data["rows"], data["columns"], data["target"]["classes"]) == (569, 30, {"0": 212, "1": 357})


def test_training_goes_on_in_the_same_run_from_a_model(folder: Path) -> None:
    fit(4, callbacks=[TrackkitCallback(**INIT)], use_best_model=False).save_model("model.cbm")
    fit(3, callbacks=[TrackkitCallback(**INIT)], use_best_model=False, init_model="model.cbm")
    run = only()
    assert list(values(run, "learn/Logloss")) == list(range(7))
    assert run.summary["rounds"] == 7
    fit(2, callbacks=[TrackkitCallback(resume=False, **INIT)], use_best_model=False, init_model="model.cbm")
    assert list(values(recorded()[1], "learn/Logloss")) == [4, 5]


def test_a_training_that_was_killed_goes_on_in_its_run_from_the_snapshot(folder: Path, run_script: RunScript) -> None:
    script = f"""
        import os, sys, time, catboost
        from sklearn.datasets import load_breast_cancer
        from trackkit.integrations.catboost import TrackkitCallback

        class Crash:
            def after_iteration(self, info):
                time.sleep(0.2)
                if sys.argv[1] == "first" and info.iteration == 15:
                    os._exit(9)
                return True

        params = {PARAMS!r} | {{"allow_writing_files": True, "train_dir": "info"}}
        model = catboost.CatBoostClassifier(iterations=20, **params)
        model.fit(
            *load_breast_cancer(return_X_y=True), save_snapshot=True, snapshot_file="snap", snapshot_interval=1,
            callbacks=[TrackkitCallback(**{INIT!r}), Crash()],
        )
    """
    crashed = run_script(script, "first")
    assert crashed.returncode == 9, crashed.stderr
    assert list(values(only(), "learn/Logloss")) == list(range(15))
    resumed = run_script(script, "again")
    assert resumed.returncode == 0, resumed.stderr

    run = only()
    assert run.state == "finished"
    assert list(values(run, "learn/Logloss")) == list(range(20))
    assert len(run.series("learn/Logloss", superseded=True).value) >= 20


class Broken:
    """Ends a training by an exception."""

    def after_iteration(self, info: Any) -> bool:
        if info.iteration == 3:
            raise ZeroDivisionError("in the third iteration")
        return True


def test_an_exception_in_training_fails_the_run(folder: Path) -> None:
    with pytest.raises(Exception, match="third iteration"):
        fit(callbacks=[TrackkitCallback(**INIT), Broken()])
    assert only().state == "failed"
    assert "in the third iteration" in only().error


def test_autolog_has_the_traceback_of_an_exception(folder: Path) -> None:
    autolog(**INIT)
    with pytest.raises(Exception, match="third iteration"):
        fit(callbacks=[Broken()])
    assert only().state == "failed"
    assert "in the third iteration" in only().error


@pytest.mark.parametrize("how", FAULTS)
def test_a_fault_of_the_tracker_does_not_stop_training(folder: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    expected = fit().predict_proba(X).tolist()
    break_tracking(monkeypatch, how)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tracked = fit(callbacks=[TrackkitCallback(**BROKEN_INIT)])
        autolog(**BROKEN_INIT)
        logged = fit()
        log_training(logged, **BROKEN_INIT)
    assert tracked.predict_proba(X).tolist() == logged.predict_proba(X).tolist() == expected


def test_autolog_logs_every_fit_with_facts_about_the_data_and_then_stops(folder: Path) -> None:
    autolog(**INIT)
    fit(3)
    model = catboost.CatBoostClassifier(iterations=2, **PARAMS)
    GridSearchCV(model, {"depth": [1, 2]}, cv=2, refit=False).fit(X, Y)
    autolog(disable=True)
    fit(3)

    first, *searched = recorded()
    assert len(values(first, "validation/AUC")) == 3
    assert first.config["data"]["learn"]["rows"] == 400
    assert first.config["data"]["validation"]["rows"] == len(X) - 400
    assert sorted(run.config["params"]["depth"] for run in searched) == [1, 1, 2, 2]


def test_autolog_leaves_a_training_with_a_callback_to_it(folder: Path) -> None:
    autolog(**INIT)
    fit(2, callbacks=[TrackkitCallback(prefix="mine/", **INIT)])
    assert "mine/validation/AUC" in only().keys()


def test_a_model_can_be_logged_after_its_training(folder: Path) -> None:
    model = fit(5)
    run = log_training(model, **INIT)
    assert run is not None
    assert run.state == "finished"
    assert list(values(only(), "validation/Logloss").values()) == model.get_evals_result()["validation"]["Logloss"]
    assert only().config["params"]["depth"] == 2
    with pytest.raises(ValueError, match="takes a trained model"):
        log_training(catboost.CatBoostClassifier())


def test_a_wrong_option_is_told_at_once() -> None:
    with pytest.raises(TypeError, match="log_datasetss"):
        autolog(log_datasetss=True)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        TrackkitCallback(metric_period=0)


def test_the_callback_can_be_pickled_before_a_worker_is_started(folder: Path) -> None:
    with trackkit.init(**INIT) as run:
        callback = TrackkitCallback()
        fit(2, callbacks=[callback])
        assert pickle.loads(pickle.dumps(callback)).run.id == run.id

"""XGBoost's trainings are logged round by round, by the callback and by autolog, and go on from their checkpoints."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV

import trackkit
from tests.conftest import RunScript
from tests.frameworks.tracking import BROKEN_INIT, FAULTS, INIT, break_tracking, only, recorded, values, versions
from trackkit.integrations.xgboost import TrackkitCallback, autolog

PARAMS = {"objective": "binary:logistic", "max_depth": 2, "eta": 0.3, "eval_metric": ["logloss", "auc"], "nthread": 1}
X, Y = load_breast_cancer(return_X_y=True)


@pytest.fixture
def data() -> tuple[xgboost.DMatrix, xgboost.DMatrix]:
    return xgboost.DMatrix(X[:400], Y[:400]), xgboost.DMatrix(X[400:], Y[400:])


@pytest.fixture(autouse=True)
def _autolog_ends() -> Iterator[None]:
    yield
    autolog(disable=True)


def train(data: Any, rounds: int = 8, **named: Any) -> xgboost.Booster:
    named.setdefault("evals", [(data[0], "train"), (data[1], "valid")])
    return xgboost.train(PARAMS, data[0], rounds, verbose_eval=False, **named)


def test_every_round_s_metrics_are_those_xgboost_reports(folder: Path, data: Any) -> None:
    told: dict[str, Any] = {}
    train(data, callbacks=[TrackkitCallback(**INIT)], evals_result=told)

    run = only()
    assert run.state == "finished"
    for part in ("train", "valid"):
        for metric in ("logloss", "auc"):
            assert list(values(run, f"{part}/{metric}").items()) == list(enumerate(told[part][metric]))
    assert values(run, "epoch") == {step: step for step in range(8)}


def test_all_parameters_are_in_the_config(folder: Path, data: Any) -> None:
    train(data, callbacks=[TrackkitCallback(**INIT)])
    config = only().config
    assert config["params"] | PARAMS == config["params"]
    assert config["params"]["min_child_weight"] == 1
    assert config["xgboost"]["learner"]["learner_train_param"]["objective"] == "binary:logistic"
    assert config["features"]["count"] == X.shape[1]


def test_the_summary_has_the_best_of_each_metric_and_the_best_round(folder: Path, data: Any) -> None:
    booster = train(data, 200, early_stopping_rounds=5, callbacks=[TrackkitCallback(**INIT)])
    run = only()
    assert run.summary["best_iteration"] == booster.best_iteration
    assert run.summary["best_score"] == booster.best_score
    assert run.summary["stopped_iteration"] == booster.best_iteration + 5
    assert run.summary["valid/logloss.min"] == min(values(run, "valid/logloss").values())
    assert run.summary["valid/auc.max"] == max(values(run, "valid/auc").values())


def test_importances_are_those_of_xgboost(folder: Path, data: Any) -> None:
    types = ["gain", "weight", "cover", "total_gain", "total_cover"]
    booster = train(data, callbacks=[TrackkitCallback(importance_type=types, **INIT)])
    run = only()
    table = run.table("importances").pandas().set_index("feature")
    for name in types:
        expected = booster.get_score(importance_type=name)
        assert table[name].to_dict() == expected
        (chart,) = run.media(f"importance/{name}")
        assert chart.step == 7
        assert dict(zip(*chart.json()["data"].values(), strict=True)) == expected


def test_of_a_linear_model_the_coefficients_are_the_importances(folder: Path, data: Any) -> None:
    params = {"booster": "gblinear", "objective": "binary:logistic", "nthread": 1}
    booster = xgboost.train(params, data[0], 3, callbacks=[TrackkitCallback(**INIT)])
    assert set(only().media_keys()) == {"importance/weight", "importances"}
    table = only().table("importances").pandas().set_index("feature")
    assert table["weight"].to_dict() == pytest.approx(booster.get_score(importance_type="weight"))


def test_importances_need_not_be_logged(folder: Path, data: Any) -> None:
    train(data, callbacks=[TrackkitCallback(log_feature_importance=False, **INIT)])
    assert only().media_keys() == {}
    with pytest.raises(ValueError, match="not 'gian'"):
        TrackkitCallback(importance_type="gian")


@pytest.mark.parametrize("ending", ["ubj", "json"])
def test_models_are_logged_as_they_are_made_and_the_best_is_called_so(folder: Path, data: Any, ending: Any) -> None:
    callback = TrackkitCallback(log_model=True, checkpoint_every=4, model_format=ending, **INIT)
    booster = train(data, 10, callbacks=[callback])
    run = only()
    made = versions(run)
    assert [one.metadata["rounds"] for one in made.values()] == [4, 8, 10]
    scores = list(values(run, "valid/auc").values())
    assert [one.metadata["score"] for one in made.values()] == [scores[3], scores[7], scores[9]]
    best = max(range(3), key=lambda index: [scores[3], scores[7], scores[9]][index])
    assert [version for version, one in made.items() if "best" in one.aliases] == [f"v{best}"]
    assert {"latest", "round_10"} <= set(made["v2"].aliases)
    loaded = xgboost.Booster(model_file=str(Path(made["v2"].download()) / f"model.{ending}"))
    assert loaded.predict(data[1]).tolist() == booster.predict(data[1]).tolist()
    assert loaded.attr("trackkit_run") == run.id


def test_models_made_before_an_exception_are_kept(folder: Path, data: Any) -> None:
    autolog(log_model=True, checkpoint_every=2, **INIT)
    with pytest.raises(ZeroDivisionError):
        train(data, callbacks=[Broken()])
    assert only().state == "failed"
    rounds = [one.metadata["rounds"] for one in versions(only()).values()]
    assert rounds in ([2], [2, 4])  # XGBoost 2.1 calls the callbacks of a round in no order


def test_metrics_need_not_be_defined_and_can_have_a_prefix(folder: Path, data: Any) -> None:
    train(data, callbacks=[TrackkitCallback(define_metric=False, prefix="trees/", **INIT)])
    summary = only().summary
    assert "trees/valid/auc" in summary
    assert "trees/valid/auc.max" not in summary


def test_a_run_going_on_is_used_and_left_open(folder: Path, data: Any) -> None:
    with trackkit.init(**INIT) as run:
        train(data, callbacks=[TrackkitCallback()])
        assert run.state == "running"
    assert len(values(only(), "valid/auc")) == 8


def test_the_scikit_learn_api_takes_the_callback(folder: Path) -> None:
    model = xgboost.XGBClassifier(n_estimators=5, n_jobs=1, callbacks=[TrackkitCallback(**INIT)])
    model.fit(X, Y, eval_set=[(X, Y)], verbose=False)
    assert list(values(only(), "validation_0/logloss").values()) == model.evals_result()["validation_0"]["logloss"]


def test_a_search_over_parameters_clones_the_callback(folder: Path) -> None:
    model = xgboost.XGBClassifier(n_estimators=3, n_jobs=1, callbacks=[TrackkitCallback()])
    with trackkit.init(**INIT):
        GridSearchCV(model, {"max_depth": [1, 2]}, cv=2).fit(X, Y)
    assert only().state == "finished"


def test_every_training_of_one_callback_has_a_run_of_its_own(folder: Path) -> None:
    model = xgboost.XGBClassifier(n_estimators=3, n_jobs=1, callbacks=[TrackkitCallback(**INIT)])
    GridSearchCV(model, {"max_depth": [1, 2]}, cv=2, refit=False).fit(X, Y)
    runs = recorded()
    assert sorted(run.config["params"]["max_depth"] for run in runs) == [1, 1, 2, 2]
    assert {run.state for run in runs} == {"finished"}


def test_cross_validation_logs_mean_and_deviation(folder: Path, data: Any) -> None:
    told = xgboost.cv(PARAMS, data[0], 6, nfold=3, callbacks=[TrackkitCallback(**INIT)])
    run = only()
    assert list(values(run, "test/auc").values()) == told["test-auc-mean"].tolist()
    assert list(values(run, "test/auc-std").values()) == told["test-auc-std"].tolist()
    assert run.config["params"]["max_depth"] == 2


def test_cross_validation_tells_its_best_round(folder: Path, data: Any) -> None:
    xgboost.cv(PARAMS, data[0], 300, nfold=3, early_stopping_rounds=3, callbacks=[TrackkitCallback(**INIT)])
    run = only()
    best = int(run.summary["best_iteration"])
    assert run.summary["best_score"] == pytest.approx(values(run, "test/auc")[best])


def test_training_goes_on_in_the_same_run_from_a_checkpoint(folder: Path, run_script: RunScript) -> None:
    script = f"""
        import os, sys, xgboost
        from sklearn.datasets import load_breast_cancer
        from trackkit.integrations.xgboost import TrackkitCallback

        class Crash(xgboost.callback.TrainingCallback):
            def after_iteration(self, model, epoch, log):
                if epoch == 4:
                    model.save_model("checkpoint.ubj")
                if epoch == 8:
                    os._exit(9)
                return False

        data = xgboost.DMatrix(*load_breast_cancer(return_X_y=True))
        again = {{"xgb_model": "checkpoint.ubj"}} if sys.argv[1] == "again" else {{}}
        callbacks = [TrackkitCallback(**{INIT!r})] if again else [Crash(), TrackkitCallback(**{INIT!r})]
        xgboost.train({PARAMS!r}, data, 5 if again else 20, evals=[(data, "train")], callbacks=callbacks, **again)
    """
    crashed = run_script(script, "first")
    assert crashed.returncode == 9, crashed.stderr
    resumed = run_script(script, "again")
    assert resumed.returncode == 0, resumed.stderr

    run = only()
    assert run.state == "finished"
    assert list(values(run, "train/logloss")) == list(range(10))
    assert len(run.series("train/logloss", superseded=True).value) > 10
    assert run.summary["rounds"] == 10


def test_a_model_can_be_trained_on_in_a_run_of_its_own(folder: Path, data: Any) -> None:
    first = train(data, 4, callbacks=[TrackkitCallback(**INIT)])
    train(data, 3, xgb_model=first, callbacks=[TrackkitCallback(resume=False, **INIT)])
    assert [list(values(run, "valid/auc")) for run in recorded()] == [[0, 1, 2, 3], [4, 5, 6]]


class Broken(xgboost.callback.TrainingCallback):  # type: ignore[misc]
    """Ends a training by an exception."""

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        if epoch == 3:
            raise ZeroDivisionError("in the third round")
        return False


def test_an_exception_in_training_fails_the_run(folder: Path, data: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        train(data, callbacks=[TrackkitCallback(**INIT), Broken()])
    run = only()
    assert run.state == "failed"
    assert len(values(run, "valid/auc")) in (3, 4)  # whichever callback XGBoost calls first


def test_an_exception_that_ends_the_script_is_on_the_run(folder: Path, run_script: RunScript) -> None:
    done = run_script(f"""
        import xgboost
        from sklearn.datasets import load_breast_cancer
        from trackkit.integrations.xgboost import TrackkitCallback
        class Broken(xgboost.callback.TrainingCallback):
            def after_iteration(self, model, epoch, log):
                raise ZeroDivisionError("in the first round")
        data = xgboost.DMatrix(*load_breast_cancer(return_X_y=True))
        xgboost.train({{}}, data, 5, callbacks=[TrackkitCallback(**{INIT!r}), Broken()])
    """)
    assert done.returncode == 1
    assert only().state == "failed"
    assert "ZeroDivisionError: in the first round" in only().error


def test_autolog_has_the_traceback_of_an_exception(folder: Path, data: Any) -> None:
    autolog(**INIT)
    with pytest.raises(ZeroDivisionError):
        train(data, callbacks=[Broken()])
    assert only().state == "failed"
    assert "in the third round" in only().error


@pytest.mark.parametrize("how", FAULTS)
def test_a_fault_of_the_tracker_does_not_stop_training(
    folder: Path, data: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    alone = train(data)
    break_tracking(monkeypatch, how)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tracked = train(data, callbacks=[TrackkitCallback(**BROKEN_INIT)])
        autolog(**BROKEN_INIT)
        logged = train(data)
    assert tracked.num_boosted_rounds() == logged.num_boosted_rounds() == 8
    assert tracked.predict(data[1]).tolist() == logged.predict(data[1]).tolist() == alone.predict(data[1]).tolist()


def test_autolog_logs_every_way_to_train_and_then_stops(folder: Path, data: Any) -> None:
    autolog(**INIT)
    train(data, 3)
    xgboost.cv(PARAMS, data[0], 3, nfold=2)
    xgboost.XGBRegressor(n_estimators=4, n_jobs=1, max_depth=3).fit(X, Y, eval_set=[(X, Y)], verbose=False)
    autolog(disable=True)
    train(data, 3)

    trained, validated, fitted = recorded()
    assert len(values(trained, "valid/auc")) == 3
    assert trained.config["params"]["num_boost_round"] == 3
    assert validated.config["params"]["nfold"] == 2
    assert len(values(fitted, "validation_0/rmse")) == 4
    assert fitted.config["params"]["max_depth"] == 3


def test_autolog_describes_the_data_and_keeps_none_of_it(folder: Path, data: Any) -> None:
    autolog(**INIT)
    train(data, 2)
    found = only().config["data"]
    assert (found["train"]["rows"], found["train"]["columns"]) == (400, X.shape[1])
    assert found["train"]["target"]["classes"] == {"0": int((Y[:400] == 0).sum()), "1": int((Y[:400] == 1).sum())}
    assert found["train"]["digest"] != found["valid"]["digest"]


def test_autolog_leaves_a_training_with_a_callback_to_it(folder: Path, data: Any) -> None:
    autolog(**INIT)
    train(data, 2, callbacks=[TrackkitCallback(prefix="mine/", **INIT)])
    assert "mine/valid/auc" in only().keys()


def test_autolog_tells_of_a_wrong_option_at_once() -> None:
    with pytest.raises(TypeError, match="log_datasetss"):
        autolog(log_datasetss=True)


def test_wrong_arguments_are_told_by_xgboost_itself(folder: Path, data: Any) -> None:
    autolog(**INIT)
    with pytest.raises(TypeError, match="nonsense"):
        xgboost.train(PARAMS, data[0], nonsense=1)


def test_the_callback_can_be_pickled_before_a_worker_is_started(folder: Path, data: Any) -> None:
    with trackkit.init(**INIT) as run:
        callback = TrackkitCallback()
        assert callback.run is run
        assert copy.deepcopy(callback).run is run
        assert pickle.loads(pickle.dumps(callback)).run.id == run.id


@pytest.mark.parametrize(("all_ranks", "writers"), [(False, 1), (True, 2)])
def test_of_two_workers_the_first_writes_or_both_do(
    folder: Path, run_script: RunScript, all_ranks: bool, writers: int
) -> None:
    done = run_script(
        f"""
        import multiprocessing, xgboost
        from sklearn.datasets import load_breast_cancer
        from xgboost.tracker import RabitTracker

        def work(rank, arguments):
            from trackkit.integrations.xgboost import TrackkitCallback
            with xgboost.collective.CommunicatorContext(**arguments):
                x, y = load_breast_cancer(return_X_y=True)
                data = xgboost.DMatrix(x[rank::2], y[rank::2])
                callback = TrackkitCallback(all_ranks={all_ranks}, id="shared", **{INIT!r})
                xgboost.train({PARAMS!r}, data, 4, evals=[(data, "train")], callbacks=[callback], verbose_eval=False)

        if __name__ == "__main__":
            tracker = RabitTracker(host_ip="127.0.0.1", n_workers=2)
            tracker.start()
            context = multiprocessing.get_context("spawn")
            workers = [context.Process(target=work, args=(rank, tracker.worker_args())) for rank in range(2)]
            for worker in workers: worker.start()
            for worker in workers: worker.join(50)
            assert [worker.exitcode for worker in workers] == [0, 0]
    """,
        env={"TRACKKIT_RESUME": "allow"},
    )
    assert done.returncode == 0, done.stderr
    assert len(only().series("train/logloss").value) == 4 * writers

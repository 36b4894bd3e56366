"""LightGBM's trainings are logged round by round, by the callback and by autolog, and go on from their checkpoints."""

from __future__ import annotations

import pickle
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV

import trackkit
from tests.conftest import RunScript
from tests.frameworks.tracking import BROKEN_INIT, FAULTS, INIT, break_tracking, only, recorded, values, versions
from trackkit.integrations.lightgbm import TrackkitCallback, autolog

PARAMS: dict[str, Any] = {
    "objective": "binary", "num_leaves": 4, "learning_rate": 0.2, "metric": ["binary_logloss", "auc"], "verbose": -1,
    "num_threads": 1, "deterministic": True, "seed": 0,
}  # fmt: skip
X, Y = load_breast_cancer(return_X_y=True)


@pytest.fixture(autouse=True)
def _autolog_ends() -> Iterator[None]:
    yield
    autolog(disable=True)


def train(rounds: int = 8, **named: Any) -> lightgbm.Booster:
    data = lightgbm.Dataset(X[:400], Y[:400])
    valid = lightgbm.Dataset(X[400:], Y[400:], reference=data)
    return lightgbm.train(PARAMS, data, rounds, valid_sets=[data, valid], valid_names=["train", "valid"], **named)


def test_every_round_s_metrics_are_those_lightgbm_reports(folder: Path) -> None:
    told: dict[str, Any] = {}
    train(callbacks=[TrackkitCallback(**INIT), lightgbm.record_evaluation(told)])
    run = only()
    assert run.state == "finished"
    for part in ("train", "valid"):
        for metric in ("binary_logloss", "auc"):
            assert list(values(run, f"{part}/{metric}").items()) == list(enumerate(told[part][metric]))
    assert values(run, "epoch") == {step: step for step in range(8)}
    assert run.summary["rounds"] == 8


def test_parameters_and_features_are_in_the_config(folder: Path) -> None:
    train(callbacks=[TrackkitCallback(**INIT)])
    config = only().config
    assert config["params"] | PARAMS == config["params"]
    assert config["features"]["count"] == X.shape[1]
    with trackkit.init(**INIT):
        train(callbacks=[TrackkitCallback(log_params=False)])
    assert "params" not in recorded()[1].config


def test_the_summary_has_the_best_of_each_metric_and_the_best_round(folder: Path) -> None:
    stop = lightgbm.early_stopping(3, verbose=False)
    booster = train(300, callbacks=[stop, TrackkitCallback(**INIT)])
    run = only()
    assert run.state == "finished"
    assert run.summary["best_iteration"] == booster.best_iteration - 1
    assert run.summary["stopped_iteration"] == max(values(run, "valid/auc")) < 299
    assert run.summary["best/valid/auc"] == booster.best_score["valid"]["auc"]
    assert run.summary["valid/binary_logloss.min"] == min(values(run, "valid/binary_logloss").values())
    assert run.summary["valid/auc.max"] == max(values(run, "valid/auc").values())


def test_importances_are_those_of_lightgbm(folder: Path) -> None:
    booster = train(callbacks=[TrackkitCallback(**INIT)])
    run = only()
    table = run.table("importances").pandas().set_index("feature")
    for kind in ("split", "gain"):
        assert table[kind].tolist() == pytest.approx(booster.feature_importance(kind).tolist())
        (chart,) = run.media(f"importance/{kind}")
        assert chart.json()["data"]["importance"][0] == pytest.approx(booster.feature_importance(kind).max())
    with trackkit.init(**INIT):
        train(callbacks=[TrackkitCallback(log_feature_importance=False)])
    assert recorded()[1].media_keys() == {}


def test_models_are_logged_as_they_are_made_and_the_best_is_called_so(folder: Path) -> None:
    callback = TrackkitCallback(log_model=True, checkpoint="model.txt", checkpoint_every=4, **INIT)
    booster = train(10, callbacks=[callback])
    run = only()
    made = versions(run)
    assert [one.metadata["rounds"] for one in made.values()] == [4, 8, 10]
    scores = [values(run, "valid/auc")[step] for step in (3, 7, 9)]
    assert [one.metadata["score"] for one in made.values()] == scores
    assert [version for version, one in made.items() if "best" in one.aliases] == [f"v{scores.index(max(scores))}"]
    loaded = lightgbm.Booster(model_file=str(Path(made["v2"].download()) / "model.txt"))
    assert np.array_equal(loaded.predict(X), booster.predict(X))


def test_metrics_need_not_be_defined_and_can_have_a_prefix(folder: Path) -> None:
    train(callbacks=[TrackkitCallback(define_metric=False, prefix="trees/", **INIT)])
    summary = only().summary
    assert "trees/valid/auc" in summary
    assert "trees/valid/auc.max" not in summary


def test_a_run_going_on_is_used_and_left_open(folder: Path) -> None:
    with trackkit.init(**INIT) as run:
        train(callbacks=[TrackkitCallback()])
        assert run.state == "running"
    assert len(values(only(), "valid/auc")) == 8


def test_the_scikit_learn_api_takes_the_callback(folder: Path) -> None:
    model = lightgbm.LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1)
    model.fit(X, Y, eval_set=[(X, Y)], callbacks=[TrackkitCallback(**INIT)])
    told = next(iter(model.evals_result_.values()))["binary_logloss"]
    (key,) = (key for key in only().keys() if key.endswith("binary_logloss"))
    assert list(values(only(), key).values()) == told


def test_every_training_of_one_callback_has_a_run_of_its_own(folder: Path) -> None:
    model = lightgbm.LGBMClassifier(n_estimators=3, n_jobs=1, verbose=-1)
    search = GridSearchCV(model, {"max_depth": [1, 2]}, cv=2, refit=False)
    search.fit(X, Y, callbacks=[TrackkitCallback(**INIT)])
    assert sorted(run.config["params"]["max_depth"] for run in recorded()) == [1, 1, 2, 2]
    assert {run.state for run in recorded()} == {"finished"}


def test_cross_validation_logs_mean_and_deviation(folder: Path) -> None:
    told = lightgbm.cv(
        PARAMS, lightgbm.Dataset(X, Y), 5, nfold=3, eval_train_metric=True, callbacks=[TrackkitCallback(**INIT)]
    )
    run = only()
    assert run.state == "finished"
    for part in ("train", "valid"):
        assert list(values(run, f"{part}/auc").values()) == pytest.approx(told[f"{part} auc-mean"])
        assert list(values(run, f"{part}/auc-std").values()) == pytest.approx(told[f"{part} auc-stdv"])


def test_training_goes_on_in_the_same_run_from_a_checkpoint(folder: Path, run_script: RunScript) -> None:
    script = f"""
        import os, sys, lightgbm
        from sklearn.datasets import load_breast_cancer
        from trackkit.integrations.lightgbm import TrackkitCallback

        def crash(env):
            if sys.argv[1] == "first" and env.iteration == 8:
                os._exit(9)
        crash.order = 25

        data = lightgbm.Dataset(*load_breast_cancer(return_X_y=True))
        again = {{"init_model": "model.txt"}} if sys.argv[1] == "again" else {{}}
        callback = TrackkitCallback(checkpoint="model.txt", checkpoint_every=5, **{INIT!r})
        lightgbm.train({PARAMS!r}, data, 5 if again else 20, valid_sets=[data], callbacks=[callback, crash], **again)
    """
    crashed = run_script(script, "first")
    assert crashed.returncode == 9, crashed.stderr
    resumed = run_script(script, "again")
    assert resumed.returncode == 0, resumed.stderr

    run = only()
    assert run.state == "finished"
    assert list(values(run, "training/auc")) == list(range(10))
    assert len(run.series("training/auc", superseded=True).value) == 9 + 5
    assert lightgbm.Booster(model_file="model.txt").num_trees() == 10


def test_a_checkpoint_loads_as_the_model_it_is(folder: Path) -> None:
    booster = train(4, callbacks=[TrackkitCallback(checkpoint="model.txt", checkpoint_every=4, **INIT)])
    loaded = lightgbm.Booster(model_file="model.txt")
    assert np.array_equal(loaded.predict(X), booster.predict(X))
    assert not list(Path().glob("*.partial"))


class Broken:
    """Ends a training by an exception."""

    def __call__(self, env: Any) -> None:
        if env.iteration == 3:
            raise ZeroDivisionError("in the third round")


def test_an_exception_in_training_fails_the_run(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        train(callbacks=[TrackkitCallback(**INIT), Broken()])
    assert only().state == "failed"


def test_autolog_has_the_traceback_of_an_exception(folder: Path) -> None:
    autolog(**INIT)
    with pytest.raises(ZeroDivisionError):
        train(callbacks=[Broken()])
    assert only().state == "failed"
    assert "in the third round" in only().error


@pytest.mark.parametrize("how", FAULTS)
def test_a_fault_of_the_tracker_does_not_stop_training(folder: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    expected = train().predict(X).tolist()
    break_tracking(monkeypatch, how)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tracked = train(callbacks=[TrackkitCallback(checkpoint="model.txt", **BROKEN_INIT)])
        autolog(**BROKEN_INIT)
        logged = train()
    assert tracked.predict(X).tolist() == logged.predict(X).tolist() == expected


def test_autolog_logs_every_way_to_train_and_then_stops(folder: Path) -> None:
    autolog(**INIT)
    train(3)
    lightgbm.cv(PARAMS, lightgbm.Dataset(X, Y), 3, nfold=2)
    lightgbm.LGBMRegressor(n_estimators=4, n_jobs=1, max_depth=3, verbose=-1).fit(X, Y, eval_set=[(X[:50], Y[:50])])
    autolog(disable=True)
    train(3)

    trained, validated, fitted = recorded()
    assert len(values(trained, "valid/auc")) == 3
    assert trained.config["params"]["num_boost_round"] == 3
    assert validated.config["params"]["nfold"] == 2
    assert len(values(fitted, "valid_0/l2")) == 4
    assert fitted.config["params"]["max_depth"] == 3


def test_autolog_describes_the_data_and_keeps_none_of_it(folder: Path) -> None:
    autolog(**INIT)
    train(2)
    found = only().config["data"]
    assert (found["train"]["rows"], found["train"]["columns"]) == (400, X.shape[1])
    assert found["train"]["target"]["classes"] == {"0": int((Y[:400] == 0).sum()), "1": int((Y[:400] == 1).sum())}
    assert found["valid"]["rows"] == len(X) - 400


def test_autolog_leaves_a_training_with_a_callback_to_it(folder: Path) -> None:
    autolog(**INIT)
    train(2, callbacks=[TrackkitCallback(prefix="mine/", **INIT)])
    assert "mine/valid/auc" in only().keys()


def test_a_wrong_option_is_told_at_once() -> None:
    with pytest.raises(TypeError, match="log_datasetss"):
        autolog(log_datasetss=True)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        TrackkitCallback(checkpoint_every=0)


def test_the_callback_can_be_pickled_before_a_worker_is_started(folder: Path) -> None:
    with trackkit.init(**INIT) as run:
        callback = TrackkitCallback()
        train(2, callbacks=[callback])
        assert pickle.loads(pickle.dumps(callback)).run.id == run.id


@pytest.mark.parametrize(("all_ranks", "writers"), [(False, 1), (True, 2)])
def test_of_two_machines_the_first_writes_or_both_do(
    folder: Path, run_script: RunScript, all_ranks: bool, writers: int
) -> None:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        ports = [first.getsockname()[1], second.getsockname()[1]]
    script = f"""
        import multiprocessing, lightgbm
        from sklearn.datasets import load_breast_cancer

        def work(rank):
            from trackkit.integrations.lightgbm import TrackkitCallback
            x, y = load_breast_cancer(return_X_y=True)
            data = lightgbm.Dataset(x[rank::2], y[rank::2])
            params = {PARAMS!r} | {{
                "tree_learner": "data", "pre_partition": True, "num_machines": 2, "local_listen_port": {ports!r}[rank],
                "machines": ",".join(f"127.0.0.1:{{port}}" for port in {ports!r}),
            }}
            callback = TrackkitCallback(id="shared", all_ranks={all_ranks}, **{INIT!r})
            lightgbm.train(params, data, 4, valid_sets=[data], callbacks=[callback])

        if __name__ == "__main__":
            context = multiprocessing.get_context("spawn")
            workers = [context.Process(target=work, args=(rank,)) for rank in range(2)]
            for worker in workers: worker.start()
            for worker in workers: worker.join(100)
            assert [worker.exitcode for worker in workers] == [0, 0]
    """
    done = run_script(script, env={"TRACKKIT_RESUME": "allow"}, timeout=150)
    assert done.returncode == 0, done.stderr
    assert len(only().series("training/auc").value) == 4 * writers

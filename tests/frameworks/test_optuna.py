"""Optuna's studies, searching for real models: what is logged, and what can go wrong."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

import trackkit
from tests.conftest import RunScript
from tests.frameworks.tracking import BROKEN_INIT, FAULTS, INIT, QUIET, break_tracking, only, recorded, values
from trackkit.integrations.optuna import TrackkitCallback
from trackkit.query.run import Run

pytestmark = pytest.mark.filterwarnings("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)
X, Y = load_iris(return_X_y=True)


def objective(trial: Any) -> float:
    strength = trial.suggest_float("C", 1e-3, 10, log=True)
    solver = trial.suggest_categorical("solver", ["lbfgs", "newton-cg"])
    trial.set_user_attr("folds", 3)
    return float(cross_val_score(LogisticRegression(C=strength, solver=solver), X, Y, cv=3).mean())


def study(**options: Any) -> Any:
    return optuna.create_study(**{"direction": "maximize", "sampler": optuna.samplers.RandomSampler(seed=0), **options})


def children(parent: Run) -> list[Run]:
    return [run for run in recorded() if run.group == parent.id]


def test_every_trial_is_a_step_of_the_study_s_run(folder: Path) -> None:
    searched = study(study_name="iris")
    searched.optimize(objective, n_trials=6, callbacks=[TrackkitCallback("accuracy", **INIT)])
    run = only()
    assert (run.name, run.state) == ("iris", "finished")
    assert values(run, "accuracy") == {one.number: one.value for one in searched.trials}
    best = np.maximum.accumulate([one.value for one in searched.trials])
    assert values(run, "best/accuracy") == dict(enumerate(best))
    assert values(run, "params/C") == {one.number: one.params["C"] for one in searched.trials}
    assert list(values(run, "duration")) == list(range(6))


def test_the_run_has_the_name_it_is_given_before_the_study_s(folder: Path) -> None:
    study(study_name="iris").optimize(objective, n_trials=1, callbacks=[TrackkitCallback(name="mine", **INIT)])
    assert only().name == "mine"


def test_the_best_trial_is_in_the_summary(folder: Path) -> None:
    searched = study()
    searched.optimize(objective, n_trials=5, callbacks=[TrackkitCallback(**INIT)])
    summary = only().summary
    assert summary["best_trial"] == searched.best_trial.number
    assert summary["best_value"] == searched.best_value
    assert summary["best_params"] == searched.best_params
    assert (summary["trials"], summary["trials_complete"], summary["trials_pruned"]) == (5, 5, 0)
    assert summary["value.max"] == searched.best_value


def test_study_and_search_space_are_in_the_config(folder: Path) -> None:
    searched = study(study_name="iris", pruner=optuna.pruners.MedianPruner())
    searched.set_user_attr("data", "iris")
    searched.optimize(objective, n_trials=2, callbacks=[TrackkitCallback(config={"note": "mine"}, **INIT)])
    config = only().config
    assert config["note"] == "mine"
    told = config["study"]
    assert (told["name"], told["directions"], told["sampler"], told["pruner"]) == (
        "iris", ["maximize"], "RandomSampler", "MedianPruner",
    )  # fmt: skip
    assert told["user_attrs"] == {"data": "iris"}
    space = config["search_space"]
    assert (space["C"]["type"], space["C"]["low"], space["C"]["high"], space["C"]["log"]) == ("float", 1e-3, 10, True)
    assert space["solver"]["choices"] == ["lbfgs", "newton-cg"]


def test_trials_importances_and_plots_are_logged_when_the_study_is_over(folder: Path) -> None:
    searched = study()
    searched.optimize(objective, n_trials=8, callbacks=[TrackkitCallback("accuracy", **INIT)])
    run = only()
    frame = run.table("trials").pandas()
    assert frame["trial"].tolist() == list(range(8))
    assert frame["accuracy"].tolist() == [one.value for one in searched.trials]
    assert frame["solver"].tolist() == [one.params["solver"] for one in searched.trials]
    assert set(frame["state"]) == {"complete"}
    assert set(frame["folds"]) == {3}
    importances = run.table("importances").pandas().set_index("feature")["accuracy"].to_dict()
    assert importances == pytest.approx(optuna.importance.get_param_importances(searched), abs=0.2)
    assert set(importances) == {"C", "solver"}
    keys = set(run.media_keys())
    assert {"importance/accuracy", "plots/optimization_history", "plots/slice", "plots/parallel_coordinate"} <= keys
    assert {"plots/contour", "plots/param_importances", "plots/edf", "plots/timeline"} <= keys
    assert not keys & {"plots/pareto_front", "plots/intermediate_values"}


def test_plots_can_be_chosen(folder: Path) -> None:
    study().optimize(objective, n_trials=3, callbacks=[TrackkitCallback(plots=["edf"], importances=False, **INIT)])
    run = only()
    assert set(run.media_keys()) & {"plots/edf", "plots/slice", "importance/value"} == {"plots/edf"}
    with pytest.raises(ValueError, match="plots may name"):
        TrackkitCallback(plots=["hitsory"])


def test_several_objectives_have_a_metric_each_and_a_front(folder: Path) -> None:
    def both(trial: Any) -> tuple[float, float]:
        x, y = trial.suggest_float("x", -1, 1), trial.suggest_float("y", -1, 1)
        return x * x + y, abs(y - 0.5)

    searched = study(direction=None, directions=["minimize", "minimize"])
    searched.optimize(both, n_trials=6, callbacks=[TrackkitCallback(**INIT)])
    run = only()
    assert values(run, "value_0") == {one.number: one.values[0] for one in searched.trials}
    assert values(run, "value_1") == {one.number: one.values[1] for one in searched.trials}
    front = {entry["trial"] for entry in run.summary["best_trials"]}
    assert front == {one.number for one in searched.best_trials}
    keys = set(run.media_keys())
    assert {"plots/pareto_front", "plots/edf/value_0", "plots/edf/value_1", "importance/value_1"} <= keys


def test_names_of_values_have_to_fit_the_study(folder: Path) -> None:
    with pytest.warns(RuntimeWarning, match="metric_name has 2 names"):
        study().optimize(objective, n_trials=1, callbacks=[TrackkitCallback(["a", "b"], **INIT)])


def test_the_study_s_own_names_are_used(folder: Path) -> None:
    searched = study()
    searched.set_metric_names(["accuracy"])
    searched.optimize(objective, n_trials=2, callbacks=[TrackkitCallback(**INIT)])
    assert len(values(only(), "accuracy")) == 2


def pruned_or_not(trial: Any) -> float:
    x = trial.suggest_float("x", 0, 1)
    for step in range(4):
        trial.report(x * step, step)
        if step == 2 and x > 0.55:
            raise optuna.TrialPruned
    return x


def test_with_as_multirun_each_trial_is_a_run_of_the_study_s(folder: Path) -> None:
    callback = TrackkitCallback(as_multirun=True, trial_options={"tags": ["trial"]}, **INIT)
    searched = study()
    searched.optimize(pruned_or_not, n_trials=6, callbacks=[callback])
    parent = next(run for run in recorded() if not run.group)
    found = children(parent)
    assert [run.config["trial"] for run in found] == list(range(6))
    for run, trial in zip(found, searched.trials, strict=True):
        assert run.job_type == "trial"
        assert run.config["params"] == trial.params
        assert values(run, "intermediate") == trial.intermediate_values
        pruned = trial.state is optuna.trial.TrialState.PRUNED
        assert sorted(run.tags) == (["pruned", "trial"] if pruned else ["trial"])
        assert run.state == "finished"
        if not pruned:
            assert run.summary["value"] == trial.value
    assert {"finished"} == {parent.state}
    assert parent.summary["trials_pruned"] == sum("pruned" in run.tags for run in found) > 0


def test_what_an_objective_logs_goes_into_its_trial_s_run(folder: Path) -> None:
    callback = TrackkitCallback(as_multirun=True, **INIT)

    @callback.track_in_trial()
    def logging(trial: Any) -> float:
        x = float(trial.suggest_float("x", 0, 1))
        for step in range(3):
            trackkit.log({"loss": x + step}, step=step)
        assert callback.run_of(trial) is trackkit.run
        return x

    searched = study()
    searched.optimize(logging, n_trials=3, callbacks=[callback])
    parent = next(run for run in recorded() if not run.group)
    assert "loss" not in parent.keys()
    for run, trial in zip(children(parent), searched.trials, strict=True):
        assert values(run, "loss") == {step: trial.params["x"] + step for step in range(3)}
    assert trackkit.run is None


def test_without_as_multirun_it_goes_into_the_study_s_run(folder: Path) -> None:
    callback = TrackkitCallback(**INIT)

    @callback.track_in_trial()
    def logging(trial: Any) -> float:
        trackkit.log({"seen": trial.number}, step=trial.number)
        return float(trial.suggest_float("x", 0, 1))

    study().optimize(logging, n_trials=3, callbacks=[callback])
    assert values(only(), "seen") == {0: 0, 1: 1, 2: 2}


def test_trials_in_threads_are_told_apart(folder: Path) -> None:
    callback = TrackkitCallback(as_multirun=True, **INIT)

    @callback.track_in_trial()
    def logging(trial: Any) -> float:
        x = float(trial.suggest_float("x", 0, 1))
        callback.run_of(trial).log({"x": x})
        return x

    searched = study()
    searched.optimize(logging, n_trials=8, n_jobs=3, callbacks=[callback])
    parent = next(run for run in recorded() if not run.group)
    assert parent.state == "finished"
    assert values(parent, "value") == {one.number: one.value for one in searched.trials}
    found = {run.config["trial"]: list(values(run, "x").values()) for run in children(parent)}
    assert found == {one.number: [one.params["x"]] for one in searched.trials}


def test_the_run_going_on_is_used_and_left_open(folder: Path) -> None:
    with trackkit.init(**INIT) as run:
        study().optimize(objective, n_trials=2, callbacks=[TrackkitCallback(project="other")])
        assert run.state == "running"
    assert len(values(only(), "value")) == 2


def test_a_further_optimize_goes_on_in_the_study_s_run(folder: Path) -> None:
    searched, callback = study(), TrackkitCallback(**INIT)
    searched.optimize(objective, n_trials=2, callbacks=[callback])
    searched.optimize(objective, n_trials=2, callbacks=[callback])
    searched.optimize(objective, n_trials=1, callbacks=[TrackkitCallback(**INIT)])
    assert list(values(only(), "value")) == [0, 1, 2, 3, 4]
    searched.optimize(objective, n_trials=1, callbacks=[TrackkitCallback(resume=False, **INIT)])
    assert list(values(recorded()[-1], "value")) == [5]


STORED = f"""
import optuna
from trackkit.integrations.optuna import TrackkitCallback
study = optuna.create_study(storage="sqlite:///study.db", study_name="shared", load_if_exists=True)
callback = TrackkitCallback(project="tests", settings={QUIET})
study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3, callbacks=[callback])
"""


def test_a_stored_study_goes_on_in_its_run_in_another_process(folder: Path, run_script: RunScript) -> None:
    for _ in range(2):
        done = run_script(STORED, timeout=250)
        assert done.returncode == 0, done.stderr
    run = only()
    assert list(values(run, "value")) == list(range(6))
    assert run.summary["trials"] == 6


def test_an_exception_of_an_objective_ends_the_run_as_failed(folder: Path) -> None:
    def failing(trial: Any) -> float:
        if trial.number == 2:
            raise ZeroDivisionError("in the third trial")
        return float(trial.suggest_float("x", 0, 1))

    with pytest.raises(ZeroDivisionError):
        study().optimize(failing, n_trials=5, callbacks=[TrackkitCallback(**INIT)])
    run = only()
    assert (run.state, len(values(run, "value"))) == ("failed", 2)
    assert "in the third trial" in run.error
    assert run.summary["trials_fail"] == 1


def test_a_tracked_objective_s_exception_is_told_with_its_traceback(folder: Path) -> None:
    callback = TrackkitCallback(as_multirun=True, **INIT)

    @callback.track_in_trial()
    def failing(trial: Any) -> float:
        raise ZeroDivisionError("in the first trial")

    with pytest.raises(ZeroDivisionError):
        study().optimize(failing, n_trials=5, callbacks=[callback])
    parent = next(run for run in recorded() if not run.group)
    (child,) = children(parent)
    assert (parent.state, child.state) == ("failed", "failed")
    assert "in the first trial" in parent.error
    assert "in the first trial" in child.error


def test_an_exception_the_study_catches_fails_its_trial_alone(folder: Path) -> None:
    def failing(trial: Any) -> float:
        x = float(trial.suggest_float("x", 0, 1))
        if trial.number == 1:
            raise ZeroDivisionError
        return x

    callback = TrackkitCallback(as_multirun=True, **INIT)
    study().optimize(callback.track_in_trial()(failing), n_trials=3, catch=ZeroDivisionError, callbacks=[callback])
    parent = next(run for run in recorded() if not run.group)
    assert parent.state == "finished"
    assert [run.state for run in children(parent)] == ["finished", "failed", "finished"]
    assert list(values(parent, "value")) == [0, 2]


def test_a_loop_of_ask_and_tell_ends_with_finish(folder: Path) -> None:
    searched, callback = study(), TrackkitCallback(**INIT)
    for _ in range(3):
        trial = searched.ask()
        callback(searched, searched.tell(trial, objective(trial)))
    callback.finish(searched)
    run = only()
    assert (run.state, len(values(run, "value")), run.summary["trials"]) == ("finished", 3, 3)


def test_a_callback_can_be_pickled(folder: Path) -> None:
    callback = TrackkitCallback("accuracy", as_multirun=True, **INIT)
    searched = study()
    searched.optimize(objective, n_trials=1, callbacks=[callback])
    again = pickle.loads(pickle.dumps(callback))
    study().optimize(objective, n_trials=1, callbacks=[again])
    assert len({run.id for run in recorded()}) >= 3


@pytest.mark.parametrize("how", FAULTS)
def test_a_fault_of_tracking_never_stops_a_study(folder: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    break_tracking(monkeypatch, how)
    callback = TrackkitCallback(as_multirun=True, **BROKEN_INIT)
    searched = study()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        searched.optimize(callback.track_in_trial()(objective), n_trials=3, callbacks=[callback])
    assert len(searched.trials) == 3
    assert all(one.state is optuna.trial.TrialState.COMPLETE for one in searched.trials)
    assert caught


def test_wrong_options_are_told_at_the_call() -> None:
    with pytest.raises(TypeError, match="'projekt'"):
        TrackkitCallback(projekt="x")
    with pytest.raises(TypeError, match="'tag'"):
        TrackkitCallback(trial_options={"tag": "x"})


def test_without_optuna_the_error_names_the_extra(run_script: RunScript) -> None:
    done = run_script(
        """
        import sys
        sys.modules["optuna"] = None
        import trackkit.integrations.optuna
    """,
        timeout=250,
    )
    assert "pip install 'trackkit[optuna]'" in done.stderr.splitlines()[-1]

"""Keras' trainings are logged on whatever backend, and go on in their run from a checkpoint or a backup."""

from __future__ import annotations

import json
import os
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

import trackkit
from tests.conftest import RunScript
from tests.frameworks.tracking import BROKEN_INIT, FAULTS, INIT, break_tracking, only, recorded, values, versions
from trackkit.integrations.keras import (
    Mark,
    TrackkitBackup,
    TrackkitCallback,
    TrackkitEvalCallback,
    TrackkitModelCheckpoint,
    autolog,
)

X, Y = load_digits(return_X_y=True)
X, Y = (X[:320] / 16).astype("float32"), Y[:320]
BATCHES = 10
FIT: dict[str, Any] = {"batch_size": 32, "verbose": 0, "shuffle": False}


@pytest.fixture(autouse=True)
def _autolog_ends() -> Iterator[None]:
    yield
    autolog(disable=True)


def network(rate: Any = 0.01, metrics: Any = ("accuracy",)) -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = [keras.Input((64,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(10, "softmax")]
    model = keras.Sequential(layers, name="digits")
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=list(metrics))
    return model


def test_an_epoch_s_metrics_are_those_keras_reports_at_the_last_batch_s_step(folder: Path) -> None:
    history = network().fit(X, Y, epochs=3, validation_split=0.5, callbacks=[TrackkitCallback(**INIT)], **FIT).history
    run = only()
    assert run.state == "finished"
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert values(run, f"epoch/{name}") == dict(zip([4, 9, 14], history[name], strict=True))
    assert values(run, "epoch") == {4: 0, 9: 1, 14: 2}
    assert run.summary["epoch/val_accuracy.max"] == max(history["val_accuracy"])
    assert run.summary["epoch/val_loss.min"] == min(history["val_loss"])
    assert {"epoch/seconds", "epoch/batches_per_second"} <= set(run.keys())
    assert (run.summary["epochs"], run.summary["batches"]) == (3, 15)


@pytest.mark.parametrize(("frequency", "steps"), [("batch", range(20)), (4, [3, 7, 13, 17])])
def test_batches_are_logged_as_often_as_one_wants(folder: Path, frequency: Any, steps: Any) -> None:
    told: list[float] = []
    listen = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: told.append(logs["loss"]))
    network().fit(X, Y, epochs=2, callbacks=[TrackkitCallback(log_freq=frequency, **INIT), listen], **FIT)
    assert values(only(), "batch/loss") == {step: told[step] for step in steps}


def test_a_schedule_s_rate_is_the_one_in_force(folder: Path) -> None:
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, decay_steps=BATCHES, decay_rate=0.5, staircase=True)
    network(schedule).fit(X, Y, epochs=3, callbacks=[TrackkitCallback(**INIT)], **FIT)
    assert list(values(only(), "epoch/learning_rate").values()) == pytest.approx([0.05, 0.025, 0.0125])


def test_a_rate_that_a_callback_changes_is_followed(folder: Path) -> None:
    halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    network(0.1).fit(X, Y, epochs=2, callbacks=[halve, TrackkitCallback(**INIT)], **FIT)
    assert list(values(only(), "epoch/learning_rate").values()) == pytest.approx([0.05, 0.025])


def test_model_optimizer_loss_and_fit_are_in_the_config(folder: Path) -> None:
    model = network(metrics=["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(3)])
    model.fit(X, Y, epochs=2, callbacks=[TrackkitCallback(**INIT)], **FIT)
    run = only()
    assert run.config["model"]["parameters"] == run.config["model"]["trainable_parameters"] == 64 * 8 + 8 + 8 * 10 + 10
    assert run.config["model"]["class"] == "keras.Sequential" or run.config["model"]["class"].endswith("Sequential")
    assert run.config["optimizer"]["class"] == "Adam"
    assert run.config["optimizer"]["learning_rate"] == pytest.approx(0.01)
    assert run.config["loss"] == "sparse_categorical_crossentropy"
    assert [one if isinstance(one, str) else one["class"] for one in run.config["metrics"]] == [
        "accuracy",
        "SparseTopKCategoricalAccuracy",
    ]
    assert (run.config["fit"]["epochs"], run.config["fit"]["steps"]) == (2, BATCHES)
    assert run.config["backend"] == keras.backend.backend()
    assert "dense" in run.summary["model/summary"]


def test_several_fits_count_on(folder: Path) -> None:
    model, callback = network(), TrackkitCallback()
    with trackkit.init(**INIT) as run:
        for _ in range(2):
            model.fit(X, Y, callbacks=[callback], **FIT)
        model.fit(X, Y, callbacks=[TrackkitCallback()], **FIT)
        assert run.state == "running"
    assert list(values(only(), "epoch/loss")) == [9, 19, 29]


def test_several_fits_without_a_run_have_one_each(folder: Path) -> None:
    model, callback = network(), TrackkitCallback(**INIT)
    for _ in range(2):
        model.fit(X, Y, callbacks=[callback], **FIT)
    assert [list(values(run, "epoch/loss")) for run in recorded()] == [[9], [19]]


def test_the_first_step_can_be_given(folder: Path) -> None:
    network().fit(X, Y, callbacks=[TrackkitCallback(initial_global_step=100, **INIT)], **FIT)
    assert list(values(only(), "epoch/loss")) == [109]


def test_several_batches_an_execution_are_counted_in_full(folder: Path) -> None:
    """As a backend that takes several batches at once tells of the last one alone."""
    callback = TrackkitCallback(log_freq="batch", **INIT)
    told = keras.callbacks.CallbackList([callback], model=network(), epochs=2)
    told.on_train_begin()
    for epoch in (0, 1):
        told.on_epoch_begin(epoch)
        told.on_train_batch_end(4, {"loss": 0.5})
        told.on_train_batch_end(9, {"loss": 0.4})
        told.on_epoch_end(epoch, {"loss": 0.45})
    told.on_train_end()
    assert list(values(only(), "batch/loss")) == [4, 9, 14, 19]
    assert list(values(only(), "epoch/loss")) == [9, 19]


def test_an_early_stop_is_noted(folder: Path) -> None:
    stop = keras.callbacks.EarlyStopping("loss", patience=1, min_delta=1e9)
    network().fit(X, Y, epochs=9, callbacks=[TrackkitCallback(**INIT), stop], **FIT)
    assert only().summary["stopped_epoch"] == stop.stopped_epoch > 0


def test_an_evaluation_after_the_training_is_logged_with_it(folder: Path) -> None:
    model, callback = network(), TrackkitCallback(**INIT)
    model.fit(X, Y, callbacks=[callback], **FIT)
    found = model.evaluate(X, Y, verbose=0, return_dict=True, callbacks=[callback])
    run = only()
    assert values(run, "evaluate/accuracy") == {9: found["accuracy"]}
    assert run.state == "finished"


def test_a_checkpoint_knows_its_run_and_the_training_goes_on_in_it(folder: Path) -> None:
    model = network()
    save = TrackkitModelCheckpoint("{epoch}.keras")
    model.fit(X, Y, epochs=4, callbacks=[TrackkitCallback(**INIT), save], **FIT)
    mark = Mark.read("2.keras")
    assert mark == Mark(only().id, 19, 1)

    loaded = keras.saving.load_model("2.keras")
    loaded.fit(X, Y, epochs=3, initial_epoch=2, callbacks=[TrackkitCallback(checkpoint="2.keras", **INIT)], **FIT)
    run = only()
    assert values(run, "epoch") == {9: 0, 19: 1, 29: 2}
    assert len(run.series("epoch", superseded=True).value) == 5


@pytest.mark.parametrize(("name", "weights_only"), [("m.keras", False), ("m.weights.h5", True)])
def test_marked_checkpoints_can_be_loaded_as_ever(folder: Path, name: str, weights_only: bool) -> None:
    model = network()
    save = TrackkitModelCheckpoint(name, save_weights_only=weights_only)
    with trackkit.init(**INIT) as run:
        model.fit(X, Y, epochs=2, callbacks=[save], **FIT)
    assert Mark.read(name) == Mark(run.id, 19, 1)
    loaded = network() if weights_only else keras.saving.load_model(name)
    if weights_only:
        loaded.load_weights(name)
    np.testing.assert_allclose(loaded.predict(X, verbose=0), model.predict(X, verbose=0), rtol=1e-5)


def test_checkpoints_are_logged_as_they_are_written_and_the_best_is_called_so(folder: Path) -> None:
    model = network()
    save = TrackkitModelCheckpoint("{epoch}.keras", monitor="val_loss")
    callbacks = [TrackkitCallback(log_model=True, **INIT), save]
    told = model.fit(X, Y, epochs=3, validation_split=0.5, callbacks=callbacks, **FIT).history["val_loss"]
    run = only()
    made = versions(run)
    written = {version: one for version, one in made.items() if "original_filename" in one.metadata}
    assert [one.metadata["score"] for one in written.values()] == told
    assert [one.metadata["original_filename"] for one in written.values()] == ["1.keras", "2.keras", "3.keras"]
    assert [one.metadata["step"] for one in written.values()] == [4, 9, 14]
    assert [f"epoch_{index}" in one.aliases for index, one in enumerate(written.values())][:2] == [True, True]
    assert [version for version, one in made.items() if "best" in one.aliases] == [f"v{told.index(min(told))}"]
    path = Path(written["v1"].download()) / "model.keras"
    assert Mark.read(path) == Mark(run.id, 9, 1)
    assert keras.saving.load_model(path).count_params() == model.count_params()


def test_checkpoints_need_not_be_logged(folder: Path) -> None:
    save = TrackkitModelCheckpoint("m.keras", log_model=False)
    network().fit(X, Y, callbacks=[TrackkitCallback(**INIT), save], **FIT)
    assert versions(only()) == {}


def test_checkpoints_written_before_an_exception_are_kept(folder: Path) -> None:
    save = TrackkitModelCheckpoint("m.keras", "loss", save_freq=2)
    with pytest.raises(ZeroDivisionError):
        network().fit(X, Y, callbacks=[TrackkitCallback(**INIT), save, Broken()], **FIT)
    assert only().state == "failed"
    first, second = versions(only()).values()
    assert "epoch_0_batch_1" in first.aliases
    assert "epoch_0_batch_3" in second.aliases


def test_only_a_checkpoint_that_is_written_is_marked(folder: Path) -> None:
    save = TrackkitModelCheckpoint("best.keras", monitor="loss", save_best_only=True, initial_value_threshold=-1.0)
    network().fit(X, Y, callbacks=[TrackkitCallback(**INIT), save], **FIT)
    assert not Path("best.keras").exists()
    with pytest.raises(FileNotFoundError, match=r"no checkpoint 'best\.keras'"):
        Mark.read("best.keras")
    network().save("plain.keras")
    assert Mark.read("plain.keras") is None


def test_without_a_run_checkpoints_are_keras_own(folder: Path) -> None:
    network().fit(X, Y, callbacks=[TrackkitModelCheckpoint("m.keras"), TrackkitBackup("backup")], **FIT)
    assert Mark.read("m.keras") is None


@pytest.mark.parametrize("backup_first", [True, False])
def test_a_training_that_was_killed_goes_on_in_its_run_from_the_backup(
    folder: Path, run_script: RunScript, backup_first: bool
) -> None:
    script = f"""
        import os, sys
        os.environ["KERAS_BACKEND"] = {keras.backend.backend()!r}
        import keras
        from sklearn.datasets import load_digits
        from trackkit.integrations.keras import TrackkitBackup, TrackkitCallback

        class Crash(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                if sys.argv[1] == "first" and self.model.optimizer.iterations == 27:
                    os._exit(9)

        x, y = load_digits(return_X_y=True)
        model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        callbacks = [TrackkitCallback(log_freq="batch", **{INIT!r}), TrackkitBackup("backup")]
        callbacks = callbacks[::-1] if {backup_first} else callbacks
        model.fit(x[:320] / 16, y[:320], batch_size=32, epochs=4, verbose=0, callbacks=[*callbacks, Crash()])
    """
    crashed = run_script(script, "first", timeout=120)
    assert crashed.returncode == 9, crashed.stderr
    assert json.loads(Path("backup/trackkit.json").read_text())["step"] == 19
    resumed = run_script(script, "again", timeout=120)
    assert resumed.returncode == 0, resumed.stderr

    run = only()
    assert run.state == "finished"
    assert list(values(run, "batch/loss")) == list(range(40))
    assert values(run, "epoch") == {9: 0, 19: 1, 29: 2, 39: 3}
    assert len(run.series("batch/loss", superseded=True).value) >= 40 + 6
    assert not Path("backup").exists()


class Guesses(TrackkitEvalCallback):
    """What is predicted for the first five samples."""

    def add_ground_truth(self, logs: Any = None) -> None:
        for digit in Y[:5]:
            self.data_table.add_data(int(digit))

    def add_model_predictions(self, epoch: int, logs: Any = None) -> None:
        for index, scores in enumerate(self.model.predict(X[:5], verbose=0)):
            self.pred_table.add_data(epoch, index, int(scores.argmax()))


@pytest.mark.parametrize("first", [True, False])
def test_predictions_are_in_a_table_for_each_epoch(folder: Path, first: bool) -> None:
    model = network()
    callbacks = [TrackkitCallback(**INIT), Guesses(["digit"], ["epoch", "sample", "guess"])]
    model.fit(X, Y, epochs=2, callbacks=callbacks if first else callbacks[::-1], **FIT)
    run = only()
    assert run.table("val_data").pandas()["digit"].tolist() == Y[:5].tolist()
    assert [item.step for item in run.media("eval_data")] == [9, 19]
    last = run.table("eval_data").pandas()
    assert last["epoch"].tolist() == [1] * 5
    assert last["guess"].tolist() == model.predict(X[:5], verbose=0).argmax(1).tolist()
    assert run.table("eval_data", step=9).pandas()["epoch"].tolist() == [0] * 5


def test_predictions_that_fail_do_not_stop_training(folder: Path) -> None:
    class Failing(Guesses):
        def add_model_predictions(self, epoch: int, logs: Any = None) -> None:
            self.pred_table.add_data("too", "few")

    with pytest.warns(RuntimeWarning, match="tracking failed"):
        network().fit(X, Y, callbacks=[TrackkitCallback(**INIT), Failing(["digit"], ["a", "b", "c"])], **FIT)
    assert only().state == "finished"


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="only torch has modules to watch")
def test_gradients_and_parameters_are_watched_by_one_argument(folder: Path) -> None:
    network().fit(X, Y, epochs=3, callbacks=[TrackkitCallback(watch="all", watch_freq=5, **INIT)], **FIT)
    run = only()
    assert {"gradients/norm", "parameters/norm"} <= set(run.keys())
    assert len(values(run, "gradients/norm")) >= 3
    with pytest.raises(ValueError, match="not 'weights'"):
        TrackkitCallback(watch="weights")  # type: ignore[arg-type]


class Broken(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends a training by an exception."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 3:
            raise ZeroDivisionError("in the third batch")


def test_an_exception_in_training_fails_the_run(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        network().fit(X, Y, callbacks=[TrackkitCallback(**INIT), Broken()], **FIT)
    assert only().state == "failed"


def test_autolog_has_the_traceback_of_an_exception(folder: Path) -> None:
    autolog(**INIT)
    with pytest.raises(ZeroDivisionError):
        network().fit(X, Y, callbacks=[Broken()], **FIT)
    assert only().state == "failed"
    assert "in the third batch" in only().error


@pytest.mark.parametrize("how", FAULTS)
def test_a_fault_of_the_tracker_does_not_stop_training(folder: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    expected = network().fit(X, Y, epochs=2, **FIT).history["loss"]
    break_tracking(monkeypatch, how)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        callbacks = [
            TrackkitCallback(log_freq="batch", **BROKEN_INIT),
            TrackkitModelCheckpoint("m.keras"),
            TrackkitBackup("backup"),
        ]
        assert network().fit(X, Y, epochs=2, callbacks=callbacks, **FIT).history["loss"] == expected
        autolog(**BROKEN_INIT)
        model = network()
        assert model.fit(X, Y, epochs=2, **FIT).history["loss"] == expected
        model.evaluate(X, Y, verbose=0)


def test_autolog_logs_every_fit_with_its_arguments_and_data_and_then_stops(folder: Path) -> None:
    autolog(**INIT)
    model = network()
    model.fit(X, Y, epochs=2, validation_data=(X[:32], Y[:32]), **FIT)
    found = model.evaluate(X, Y, verbose=0, return_dict=True)
    autolog(disable=True)
    model.fit(X, Y, **FIT)

    run = only()
    assert run.config["fit"]["batch_size"] == 32
    assert run.config["data"]["train"]["rows"] == 320
    assert run.config["data"]["validation"]["rows"] == 32
    assert sum(run.config["data"]["train"]["target"]["classes"].values()) == 320
    assert list(values(run, "epoch/val_loss")) == [9, 19]
    assert values(run, "evaluate/loss") == {19: found["loss"]}


def test_autolog_leaves_a_fit_with_a_callback_to_it(folder: Path) -> None:
    autolog(**INIT)
    network().fit(X, Y, callbacks=[TrackkitCallback(prefix="mine/", **INIT)], **FIT)
    assert "mine/epoch/loss" in only().keys()


def test_models_of_one_s_own_are_logged(folder: Path) -> None:
    class Own(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(10, "softmax")

        def call(self, x: Any) -> Any:
            return self.dense(x)

    autolog(**INIT)
    model = Own()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy())
    model.fit(X, Y, **FIT)
    assert list(values(only(), "epoch/loss")) == [9]


def test_a_wrong_frequency_or_option_is_told_at_once() -> None:
    with pytest.raises(ValueError, match="'batch' or a number of batches, not 'epochs'"):
        TrackkitCallback(log_freq="epochs")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="log_frequency"):
        autolog(log_frequency=1)


def test_the_callback_can_be_pickled_before_a_worker_is_started(folder: Path) -> None:
    with trackkit.init(**INIT) as run:
        callback = TrackkitCallback(log_freq="batch")
        assert callback.run is run
        assert pickle.loads(pickle.dumps(callback)).run.id == run.id


def test_only_the_first_rank_writes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    network().fit(X, Y, callbacks=[TrackkitCallback(**INIT)], **FIT)
    assert not Path(".trackkit").exists()

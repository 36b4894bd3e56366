"""What an integration adds to a step of its framework, beside the framework's integrations of other trackers.

`python -m benchmarks.integrations catboost|keras|lightgbm|sklearn|xgboost`: small models, whose steps take some
milliseconds, trained in turns without a tracker and with each, on one thread. Printed are the medians, in µs a step, of
the differences between turns next to each other, of wall time and of the processor's time that the training thread
took, and of the time spent in the tracker's own hook, which other work on the machine disturbs least. `run.log by hand`
is the floor: a hook that does nothing but log the same values. Other trackers are offline and measured where they are
installed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import trackkit

QUIET: dict[str, Any] = {"console": "off", "quiet": True}
BUDGET = "budget: ≤ 20 µs or 1 % of a step, whichever is more"
SETTLED = 1.0
"""Seconds after which a run's beginning is over."""
BARE = "without a tracker"
FLOOR = "run.log by hand"


class Clock:
    """Seconds a step took, of wall time and of the thread's processor time; nanoseconds each call of a hook took."""

    def __init__(self) -> None:
        self.hooks: list[int] = []

    def timed(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        """The hook, with a note of how long it took."""

        def call(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter_ns()
            try:
                return hook(*arguments, **named)
            finally:
                self.hooks.append(time.perf_counter_ns() - began)

        return call

    def begin(self) -> None:
        self._began = time.perf_counter(), time.thread_time()

    def end(self, steps: int) -> None:
        self.wall = (time.perf_counter() - self._began[0]) / steps
        self.processor = (time.thread_time() - self._began[1]) / steps


Turn = Callable[[], Clock]
"""Trains once."""


def compare(title: str, turns: dict[str, Turn], rounds: int) -> None:
    """Take turns, and print what each adds to the first one's steps."""
    taken: dict[str, list[Clock]] = {name: [] for name in turns}
    for number in range(rounds + 1):
        for name, turn in turns.items():
            clock = turn()
            if number:  # the first round warms up
                taken[name].append(clock)
    table = Table("", "a step", "added", "added, processor", "… in %", "in its hook", title=f"{title}, µs; {BUDGET}")
    for name, clocks in taken.items():
        pairs = list(zip(clocks, taken[BARE], strict=True))
        wall = statistics.median(mine.wall - theirs.wall for mine, theirs in pairs)
        processor = statistics.median(mine.processor - theirs.processor for mine, theirs in pairs)
        share = 100 * processor / statistics.median(clock.processor for clock in taken[BARE])
        hooks = [took for clock in clocks for took in clock.hooks]
        added = ("", "", "") if name == BARE else (f"{wall * 1e6:,.1f}", f"{processor * 1e6:,.1f}", f"{share:.2f}")
        hook = [f"{statistics.median(hooks) / 1000:,.1f}"] if hooks else [""]
        table.add_row(name, f"{statistics.median(clock.wall for clock in clocks) * 1e6:,.0f}", *added, *hook)
    Console(width=120).print(table)


def xgboost() -> None:
    """`xgb.train`, two metrics of two sets a round: no callback, ours, W&B's, and MLflow's autolog."""
    import xgboost
    from sklearn.datasets import load_digits

    from trackkit.integrations.xgboost import TrackkitCallback

    data = xgboost.DMatrix(*load_digits(return_X_y=True))
    params = {"objective": "multi:softprob", "num_class": 10, "max_depth": 3, "nthread": 1}
    params |= {"eval_metric": ["mlogloss", "merror"]}
    rounds = 200

    def turn(callbacks: Callable[[], list[Any]] = list, finish: Callable[[], None] = lambda: None) -> Turn:
        def train() -> Clock:
            used, clock = callbacks(), Clock()
            for one in used:
                one.after_iteration = clock.timed(one.after_iteration)
            xgboost.train(
                params,
                data,
                rounds,
                evals=[(data, "train"), (data, "valid")],
                verbose_eval=False,
                callbacks=[*used, Ends(clock)],
            )
            finish()
            return clock

        return train

    class Ends(xgboost.callback.TrainingCallback):  # type: ignore[misc]
        """From the first round's beginning to the last one's end."""

        def __init__(self, clock: Clock) -> None:
            self.clock = clock

        def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            if epoch == 0:
                self.clock.begin()
            return False

        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            if epoch == rounds - 1:
                self.clock.end(rounds)
            return False

    class ByHand(xgboost.callback.TrainingCallback):  # type: ignore[misc]
        """Logs what the callbacks log, and does nothing else."""

        def __init__(self) -> None:
            self.log = going_on().log

        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            train, valid = evals_log["train"], evals_log["valid"]
            self.log(
                {
                    "train/mlogloss": train["mlogloss"][-1],
                    "train/merror": train["merror"][-1],
                    "valid/mlogloss": valid["mlogloss"][-1],
                    "valid/merror": valid["merror"][-1],
                    "epoch": epoch,
                },
                epoch,
            )
            return False

    turns = {
        BARE: turn(),
        FLOOR: turn(lambda: [ByHand()], trackkit.finish),
        "trackkit": turn(lambda: [TrackkitCallback(going_on())], trackkit.finish),
    }
    if installed("wandb"):
        import wandb
        from wandb.integration.xgboost import WandbCallback

        def start_wandb() -> list[Any]:
            wandb.init(mode="offline", settings=quiet_wandb())
            time.sleep(SETTLED)
            return [WandbCallback()]

        turns["WandbCallback, offline"] = turn(start_wandb, wandb.finish)
    if installed("mlflow"):
        turns["mlflow.xgboost.autolog, SQLite"] = _with_mlflow("xgboost", turn())
    compare("XGBoost, every round logged", turns, rounds=7)


def lightgbm() -> None:
    """`lgb.train`, two metrics of two sets a round: no callback, ours, W&B's, and MLflow's autolog."""
    import lightgbm
    from sklearn.datasets import load_digits

    from trackkit.integrations.lightgbm import TrackkitCallback

    x, y = load_digits(return_X_y=True)
    params = {
        "objective": "multiclass",
        "num_class": 10,
        "num_leaves": 8,
        "num_threads": 1,
        "metric": ["multi_error", "multi_logloss"],
        "verbose": -1,
    }
    rounds = 200

    def turn(callbacks: Callable[[], list[Any]] = list, finish: Callable[[], None] = lambda: None) -> Turn:
        def train() -> Clock:
            data = lightgbm.Dataset(x, y)
            valid = lightgbm.Dataset(x, y, reference=data)
            used, clock = callbacks(), Clock()

            def begin(env: Any) -> None:
                if env.iteration == 0:
                    clock.begin()

            def end(env: Any) -> None:
                if env.iteration == rounds - 1:
                    clock.end(rounds)

            hooks = [clock.timed(one) for one in used]
            begin.order, begin.before_iteration = -100, True  # type: ignore[attr-defined]
            end.order = 100  # type: ignore[attr-defined]
            lightgbm.train(params, data, rounds, valid_sets=[data, valid], callbacks=[*hooks, begin, end])
            finish()
            return clock

        return train

    def by_hand() -> Callable[[Any], None]:
        log = going_on().log

        def call(env: Any) -> None:
            values = {f"{one[0]}/{one[1]}": one[2] for one in env.evaluation_result_list}
            values["epoch"] = env.iteration
            log(values, env.iteration)

        return call

    turns = {
        BARE: turn(),
        FLOOR: turn(lambda: [by_hand()], trackkit.finish),
        "trackkit": turn(lambda: [TrackkitCallback(going_on())], trackkit.finish),
    }
    if installed("wandb"):
        import wandb
        from wandb.integration.lightgbm import wandb_callback

        def start_wandb() -> list[Any]:
            wandb.init(mode="offline", settings=quiet_wandb())
            time.sleep(SETTLED)
            return [wandb_callback()]

        turns["wandb_callback, offline"] = turn(start_wandb, wandb.finish)
    if installed("mlflow"):
        turns["mlflow.lightgbm.autolog, SQLite"] = _with_mlflow("lightgbm", turn())
    compare("LightGBM, every round logged", turns, rounds=7)


def catboost() -> None:
    """`fit`, two metrics of two sets an iteration: a callback that does nothing, ours, and W&B's."""
    import catboost
    from sklearn.datasets import load_breast_cancer

    from trackkit.integrations.catboost import TrackkitCallback

    x, y = load_breast_cancer(return_X_y=True)
    iterations = 300

    class Ends:
        """From the first iteration's end to the last one's."""

        def __init__(self, clock: Clock) -> None:
            self.clock = clock

        def after_iteration(self, info: Any) -> bool:
            if info.iteration == 1:
                self.clock.begin()
            elif info.iteration == iterations:
                self.clock.end(iterations - 1)
            return True

    def turn(callbacks: Callable[[], list[Any]] = list, finish: Callable[[], None] = lambda: None) -> Turn:
        def train() -> Clock:
            used, clock = callbacks(), Clock()
            for one in used:
                one.after_iteration = clock.timed(one.after_iteration)
            model = catboost.CatBoostClassifier(
                iterations=iterations,
                depth=3,
                thread_count=1,
                custom_metric="AUC",
                verbose=False,
                allow_writing_files=False,
            )
            model.fit(x, y, eval_set=(x, y), callbacks=[*used, Ends(clock)])
            finish()
            return clock

        return train

    class ByHand:
        """Logs what the callbacks log, and does nothing else."""

        def __init__(self) -> None:
            self.log = going_on().log

        def after_iteration(self, info: Any) -> bool:
            values = {
                f"{data}/{name}": told[-1] for data, scores in info.metrics.items() for name, told in scores.items()
            }
            values["epoch"] = info.iteration
            self.log(values, info.iteration)
            return True

    turns = {
        BARE: turn(),
        FLOOR: turn(lambda: [ByHand()], trackkit.finish),
        "trackkit": turn(lambda: [TrackkitCallback(going_on())], trackkit.finish),
    }
    if installed("wandb"):
        import wandb
        from wandb.integration.catboost import WandbCallback

        def start_wandb() -> list[Any]:
            wandb.init(mode="offline", settings=quiet_wandb())
            time.sleep(SETTLED)
            return [WandbCallback()]

        turns["WandbCallback, offline"] = turn(start_wandb, wandb.finish)
    compare("CatBoost, every iteration logged", turns, rounds=7)


def keras() -> None:
    """`fit` on the torch backend: no callback, ours, and MLflow's autolog; W&B's needs TensorFlow."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    import torch
    from sklearn.datasets import load_digits

    from trackkit.integrations.keras import TrackkitCallback

    torch.set_num_threads(1)
    x, y = load_digits(return_X_y=True)
    epochs = 4

    class Ends(keras.callbacks.Callback):  # type: ignore[misc]
        """From the first epoch's beginning to the last one's end."""

        def __init__(self, clock: Clock) -> None:
            super().__init__()
            self.clock = clock

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 0:
                self.clock.begin()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.batches = batch + 1

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch == epochs - 1:
                self.clock.end(epochs * self.batches)

    def turn(callbacks: Callable[[], list[Any]] = list, finish: Callable[[], None] = lambda: None) -> Turn:
        def train() -> Clock:
            used, clock = callbacks(), Clock()
            for one in used:
                one.on_train_batch_end = clock.timed(one.on_train_batch_end)
            layers = [keras.Input((64,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(10, "softmax")]
            model = keras.Sequential(layers)
            model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
            model.fit(x, y, epochs=epochs, verbose=0, callbacks=[*used, Ends(clock)])
            finish()
            return clock

        return train

    class ByHand(keras.callbacks.Callback):  # type: ignore[misc]
        """Logs what the callbacks log of a batch, and does nothing else."""

        def __init__(self) -> None:
            super().__init__()
            self.log = going_on().log

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.log({"loss": logs["loss"], "accuracy": logs["accuracy"], "rate": 0.001})

    for every in ("epoch", "batch"):
        turns = {
            BARE: turn(),
            **({FLOOR: turn(lambda: [ByHand()], trackkit.finish)} if every == "batch" else {}),
            "trackkit": turn(lambda every=every: [TrackkitCallback(going_on(), log_freq=every)], trackkit.finish),  # type: ignore[misc]
        }
        if installed("mlflow"):
            options = (
                {"log_every_epoch": True} if every == "epoch" else {"log_every_epoch": False, "log_every_n_steps": 1}
            )
            turns["mlflow.keras.autolog, SQLite"] = _with_mlflow("keras", turn(), **options)
        compare(f"Keras on torch, log_freq={every!r}", turns, rounds=7)


def sklearn() -> None:
    """`fit` of a random forest: bare, tracked without and with metrics and charts, and by MLflow's autolog."""
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier

    from trackkit.integrations.sklearn import track

    x, y = load_digits(return_X_y=True)
    forest = RandomForestClassifier(100, random_state=0, n_jobs=1)
    least = {"log_training_metrics": False, "log_plots": False, "log_datasets": False}

    def turn(made: Callable[[], Any]) -> Turn:
        def train() -> Clock:
            estimator, clock = made(), Clock()
            clock.begin()
            estimator.fit(x, y)
            clock.end(1)
            return clock

        return train

    turns = {
        BARE: turn(lambda: forest),
        "trackkit, parameters alone": turn(lambda: track(forest, settings=QUIET, **least)),
        "trackkit, metrics": turn(lambda: track(forest, settings=QUIET, log_plots=False)),
        "trackkit, all": turn(lambda: track(forest, settings=QUIET)),
    }
    if installed("mlflow"):
        turns["mlflow.sklearn.autolog, SQLite"] = _with_mlflow("sklearn", turn(lambda: forest))
    compare("scikit-learn, a whole fit with the run's beginning and end", turns, rounds=7)


def _with_mlflow(flavor: str, turn: Turn, **options: Any) -> Turn:
    """A turn that MLflow's autolog follows, without the model and its signature."""
    import importlib

    import mlflow

    module = importlib.import_module(f"mlflow.{flavor}")

    def train() -> Clock:
        mlflow.set_tracking_uri("sqlite:///mlflow.db")
        module.autolog(log_models=False, silent=True, **options)
        try:
            return turn()
        finally:
            module.autolog(disable=True, silent=True)
            mlflow.end_run()

    return train


def going_on() -> Any:
    """A run that was started a while ago, and is done with noting where it comes from."""
    run = trackkit.init(settings=QUIET)
    time.sleep(SETTLED)
    return run


def installed(package: str) -> bool:
    """Whether a peer can be measured."""
    return importlib.util.find_spec(package) is not None


def quiet_wandb() -> Any:
    import wandb

    return wandb.Settings(console="off", silent=True)


@contextlib.contextmanager
def somewhere_else() -> Iterator[None]:
    """In an empty folder, with nothing reported to anybody and nothing said."""
    os.environ |= {"WANDB_SILENT": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(Path(folder)):
        yield


FRAMEWORKS: dict[str, Callable[[], None]] = {
    "catboost": catboost,
    "keras": keras,
    "lightgbm": lightgbm,
    "sklearn": sklearn,
    "xgboost": xgboost,
}

if __name__ == "__main__":
    with somewhere_else():
        for chosen in sys.argv[1:] or FRAMEWORKS:
            FRAMEWORKS[chosen]()

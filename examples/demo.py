"""`make demo`: train real models on scikit-learn's handwritten digits, each a run, and compare them.

Seven models learn to tell images of digits apart: four by gradient-boosted trees (XGBoost) with different
learning rates and depths, three by a small neural network with different widths and learning rates.
Everything goes to one SQLite file in .trackkit, and the dashboard shows it.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

import trackkit

PROJECT = "digits"
TREES = [
    {"learning_rate": 0.3, "max_depth": 3},
    {"learning_rate": 0.3, "max_depth": 6},
    {"learning_rate": 0.1, "max_depth": 3},
    {"learning_rate": 0.01, "max_depth": 3},
]
NETWORKS = [
    {"learning_rate": 0.001, "width": 64},
    {"learning_rate": 0.01, "width": 64},
    {"learning_rate": 0.1, "width": 256},
]
ROUNDS = 200
EPOCHS = 60
ALERT_BELOW = 0.95
"""The accuracy under which a run leaves a warning."""
THREADS = 1
"""More would wait for each other by spinning, for minutes where the machine has something else to do."""
BEST_FIRST = "-summary.validation/accuracy.max"
COLUMNS = "summary.validation/loss.min,summary.validation/accuracy.max"

Data = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]
"""Images to train on and to validate on, then their labels: 64 pixels from 0 to 1 a row, digits."""


def main() -> None:
    data = load()
    group = time.strftime("demo %Y-%m-%d %H:%M:%S")
    with threadpool_limits(THREADS):
        for settings in TREES:
            train_trees(settings, data, group)
        for settings in NETWORKS:
            train_network(settings, data, group)
    compare(group)
    open_dashboard()


def load() -> Data:
    """Images and labels to train on, each image also moved a pixel in four directions, and others to validate on."""
    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        images / 16, labels, test_size=0.25, random_state=0, stratify=labels
    )
    grid = train_x.reshape(-1, 8, 8)
    moved = [np.roll(grid, shift, axis).reshape(-1, 64) for shift in (-1, 1) for axis in (1, 2)]
    return np.concatenate([train_x, *moved]), test_x, np.tile(train_y, 5), test_y


def start(model: str, settings: dict[str, Any], group: str) -> trackkit.Run:
    """A run for one model, with what all runs of the demo have in common."""
    size = f"depth {settings['max_depth']}" if model == "trees" else f"width {settings['width']}"
    run = trackkit.init(
        project=PROJECT,
        name=f"{model}, {size}, rate {settings['learning_rate']}",
        group=group,
        config={"model": model, **settings},
        tags=["demo", model],
        settings={"system_interval": 1.0, "quiet": True},
    )
    run.define_metric("*/loss", summary="min", goal="minimize")
    run.define_metric("*/accuracy", summary="max", goal="maximize")
    run.log_code(root=Path(__file__).parent)
    return run


class LogRounds(xgboost.callback.TrainingCallback):  # type: ignore[misc]
    """Logs XGBoost's evaluation after every round."""

    def __init__(self, run: trackkit.Run) -> None:
        super().__init__()
        self.run = run

    def after_iteration(self, model: Any, epoch: int, evals_log: dict[str, dict[str, list[float]]]) -> bool:
        metrics = {}
        for part, scores in evals_log.items():
            metrics[f"{part}/loss"] = scores["mlogloss"][-1]
            metrics[f"{part}/accuracy"] = 1 - scores["merror"][-1]
        self.run.log(metrics, step=epoch)
        return False


def train_trees(settings: dict[str, Any], data: Data, group: str) -> None:
    """Boost trees for a number of rounds, each a step."""
    train_x, test_x, train_y, test_y = data
    train, test = xgboost.DMatrix(train_x, train_y), xgboost.DMatrix(test_x, test_y)
    with start("trees", {**settings, "rounds": ROUNDS}, group) as run:
        print(f"training {run.name}")
        parameters = {
            "objective": "multi:softprob",
            "num_class": 10,
            "eval_metric": ["mlogloss", "merror"],
            "seed": 0,
            "nthread": THREADS,
            **settings,
        }
        xgboost.train(
            parameters,
            train,
            num_boost_round=ROUNDS,
            evals=[(train, "train"), (test, "validation")],
            verbose_eval=False,
            callbacks=[LogRounds(run)],
        )
        warn_if_poor(run)


def train_network(settings: dict[str, Any], data: Data, group: str) -> None:
    """Train a network with one hidden layer, each pass over the data a step."""
    train_x, test_x, train_y, test_y = data
    with start("network", {**settings, "epochs": EPOCHS}, group) as run:
        print(f"training {run.name}")
        network = MLPClassifier((settings["width"],), learning_rate_init=settings["learning_rate"], random_state=0)
        for epoch in range(EPOCHS):
            network.partial_fit(train_x, train_y, classes=np.arange(10))
            metrics = {}
            for part, x, y in (("train", train_x, train_y), ("validation", test_x, test_y)):
                metrics[f"{part}/loss"] = log_loss(y, network.predict_proba(x))
                metrics[f"{part}/accuracy"] = accuracy_score(y, network.predict(x))
            run.log(metrics, step=epoch)
        warn_if_poor(run)


def warn_if_poor(run: trackkit.Run) -> None:
    """Leave an alert on a run that learned too little."""
    accuracy = run.summary["validation/accuracy.max"]
    if accuracy < ALERT_BELOW:
        run.alert("the model learned little", f"validation accuracy is at best {accuracy:.1%}", level="warning")


def compare(group: str) -> None:
    """Print the runs of this demo, best first, and the best one's page."""
    best_first = ["--order", BEST_FIRST]
    best = trackkit.Api().runs(PROJECT, filters={"group": group}, order=BEST_FIRST)[0]
    show("ls", f'group = "{group}"', *best_first, "--columns", COLUMNS)
    show("show", f"{PROJECT}/{best.id}", "--key", "validation/loss")
    command = Path(sys.executable).with_name("trackkit")
    print("\nMore of the same:")
    print(f"  {relative(command)} ui                          the dashboard")
    print(f"  {relative(command)} show {best.id} --system           with the machine's metrics")
    print(f"  {relative(command)} sql 'select project, count(*) from runs group by project'")
    print(f"  {relative(command)} export {best.id} --format csv     as files")
    print(f"  {relative(command)} --help")


def open_dashboard() -> None:
    """Show the runs in the browser until Ctrl-C; where nobody watches, only say how."""
    command = Path(sys.executable).with_name("trackkit")
    if not sys.stdout.isatty():
        print(f"\nThe dashboard: {relative(command)} ui")
        return
    print()
    with contextlib.suppress(KeyboardInterrupt):
        subprocess.run([command, "ui"], check=True)


def show(*arguments: str) -> None:
    """Run a trackkit command and print it before what it prints."""
    command = Path(sys.executable).with_name("trackkit")
    quoted = (f"'{argument}'" if " " in argument else argument for argument in arguments)
    print(f"\n$ {relative(command)} {' '.join(quoted)}\n", flush=True)
    subprocess.run([command, *arguments], check=True)


def relative(path: Path) -> Path:
    """A path as seen from here, where it is below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    main()

"""The trackers compared, behind one small face: start, log, finish."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections import deque
from pathlib import Path
from struct import Struct
from typing import Any, Protocol


class Tracker(Protocol):
    def start(self, folder: Path) -> None: ...

    def log(self, values: dict[str, Any]) -> None: ...

    def finish(self) -> None: ...


class Trackkit:
    def start(self, folder: Path) -> None:
        import trackkit

        self.run = trackkit.init(project="bench", dir=folder, settings={"quiet": True})
        self.log = self.run.log  # type: ignore[method-assign]

    def log(self, values: dict[str, Any]) -> None: ...

    def finish(self) -> None:
        self.run.finish()


class Wandb:
    def start(self, folder: Path) -> None:
        import wandb

        os.environ["WANDB_SILENT"] = "true"
        self.run = wandb.init(project="bench", dir=str(folder), mode="offline")

    def log(self, values: dict[str, Any]) -> None:
        self.run.log(values)

    def finish(self) -> None:
        self.run.finish()


class Trackio:
    def start(self, folder: Path) -> None:
        os.environ["TRACKIO_DIR"] = str(folder)
        import trackio

        self.trackio = trackio
        trackio.init(project="bench", embed=False)

    def log(self, values: dict[str, Any]) -> None:
        self.trackio.log(values)

    def finish(self) -> None:
        self.trackio.finish()


class Mlflow:
    def start(self, folder: Path) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        os.environ["DO_NOT_TRACK"] = "true"
        import mlflow

        self.mlflow = mlflow
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        mlflow.set_experiment("bench")
        mlflow.start_run()
        self.step = 0

    def log(self, values: dict[str, Any]) -> None:
        self.mlflow.log_metrics(values, step=self.step)
        self.step += 1

    def finish(self) -> None:
        self.mlflow.end_run()


class TensorboardX:
    def start(self, folder: Path) -> None:
        from tensorboardX import SummaryWriter

        self.writer = SummaryWriter(str(folder))
        self.step = 0

    def log(self, values: dict[str, Any]) -> None:
        for key, value in values.items():
            self.writer.add_scalar(key, value, self.step)
        self.step += 1

    def finish(self) -> None:
        self.writer.close()


class Deque:
    """The floor in memory: a copy of the dict, nothing else."""

    def start(self, folder: Path) -> None:
        self.kept: deque[dict[str, Any]] = deque()

    def log(self, values: dict[str, Any]) -> None:
        self.kept.append(dict(values))

    def finish(self) -> None: ...


class PackAndWrite:
    """The floor on disk: the numbers packed and written by one system call."""

    def start(self, folder: Path) -> None:
        self.file = os.open(folder / "floor", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.pack = Struct("<10d").pack

    def log(self, values: dict[str, Any]) -> None:
        os.write(self.file, self.pack(*values.values()))

    def finish(self) -> None:
        os.close(self.file)


TRACKERS: dict[str, tuple[type[Any], str]] = {
    "deque.append(dict)": (Deque, ""),
    "struct.pack + os.write": (PackAndWrite, ""),
    "trackkit": (Trackkit, "trackkit"),
    "tensorboardX": (TensorboardX, "tensorboardX"),
    "trackio": (Trackio, "trackio"),
    "wandb offline": (Wandb, "wandb"),
    "mlflow on SQLite": (Mlflow, "mlflow"),
}


def installed() -> list[str]:
    """The trackers that can be measured here."""
    return [name for name, (_, module) in TRACKERS.items() if not module or importlib.util.find_spec(module)]


def make(name: str) -> Tracker:
    """A tracker by its name in `TRACKERS`."""
    tracker: Tracker = TRACKERS[name][0]()
    return tracker


def values(kind: str = "float") -> dict[str, Any]:
    """Ten metrics as a training loop names them, as Python floats or NumPy scalars."""
    keys = ["loss", "acc", "lr", "grad_norm", "val_loss", "val_acc", "epoch", "seconds", "tokens", "memory"]
    found: dict[str, Any] = {key: 1.37 * number for number, key in enumerate(keys)}
    if kind == "numpy":
        import numpy as np

        return {key: np.float32(value) for key, value in found.items()}
    return found


def size_of(folder: Path) -> int:
    """Bytes of all files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)

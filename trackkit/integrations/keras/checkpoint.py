"""Checkpoints that know their run: `TrackkitModelCheckpoint`, and `TrackkitBackup` for a training that goes on."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

import keras

from trackkit.core import session
from trackkit.core.adapter import guarded, log_checkpoint
from trackkit.core.goals import Best, Goal, goal_of
from trackkit.core.run import Run
from trackkit.integrations.keras.callback import marks, trainings
from trackkit.integrations.keras.mark import Mark


def _run_of(model: Any) -> Run | None:
    """The run that a model's training is logged into."""
    training = trainings.get(model)
    return session.current() if training is None else training.run


def _mark_of(model: Any, epoch: int) -> Mark | None:
    """Where a model's training is; None if it is not tracked."""
    training = trainings.get(model)
    if training is not None:
        return Mark(training.run.id, training.step, epoch)
    run = session.current()
    iterations = getattr(getattr(model, "optimizer", None), "iterations", 0)
    return None if run is None else Mark(run.id, int(getattr(iterations, "value", iterations)) - 1, epoch)


class TrackkitModelCheckpoint(keras.callbacks.ModelCheckpoint):  # type: ignore[misc]
    """Keras' `ModelCheckpoint`, whose files know their run, step and epoch, and are logged as artifacts; see `Mark`.

    Each file that is written is a version of the artifact `model-<run id>`, with the aliases `latest`, `epoch_3` or
    `epoch_3_batch_50`, and `best` as long as no later one has a better value of `monitor`. Give such a file to
    `TrackkitCallback(checkpoint=…)`, and the run goes on with the training.

    Parameters
    ----------
    filepath, *arguments, **named
        The parameters of Keras' own: `filepath`, `monitor`, `verbose`, `save_best_only`, `save_weights_only`, `mode`,
        `save_freq` and `initial_value_threshold`.
    log_model
        Log the files as artifacts.

    Examples
    --------
    >>> checkpoint = TrackkitModelCheckpoint("models/{epoch:02d}.keras")
    >>> model.fit(x, y, callbacks=[TrackkitCallback(), checkpoint])  # doctest: +SKIP
    """

    def __init__(self, filepath: Any, *arguments: Any, log_model: bool = True, **named: Any) -> None:
        super().__init__(filepath, *arguments, **named)
        given = inspect.signature(keras.callbacks.ModelCheckpoint).bind(filepath, *arguments, **named).arguments
        goals: dict[str, Goal] = {"min": "minimize", "max": "maximize"}
        self._leading = Best(goals.get(given.get("mode", "auto"), goal_of(self.monitor)))
        self._logs_model = log_model

    def _save_model(self, epoch: int, batch: int | None, logs: Any) -> None:
        path = Path(self._get_file_path(epoch, batch, logs))
        before = _stamp(path)
        super()._save_model(epoch, batch, logs)
        if _stamp(path) != before:
            self._saved(path, epoch, batch, logs or {})

    @guarded()
    def _saved(self, path: Path, epoch: int, batch: int | None, logs: Any) -> None:
        mark = _mark_of(self.model, epoch)
        if mark is not None:
            mark.write(path)
        run = _run_of(self.model)
        if run is not None and self._logs_model:
            self._log(run, mark, path, epoch, batch, logs)

    def _log(self, run: Run, mark: Mark | None, path: Path, epoch: int, batch: int | None, logs: Any) -> None:
        score = logs.get(self.monitor)
        score = None if score is None else float(score)
        metadata = {
            "monitor": self.monitor,
            "mode": self._leading.goal,
            "score": score,
            "epoch": epoch,
            "step": None if mark is None else mark.step,
            "original_filename": path.name,
            **{name: getattr(self, name) for name in ("save_best_only", "save_weights_only", "save_freq")},
        }
        aliases = [f"epoch_{epoch}" if batch is None else f"epoch_{epoch}_batch_{batch}"]
        aliases += ["best"] if self._leading.improves(score) else []
        ending = ".weights.h5" if path.name.endswith(".weights.h5") else path.suffix
        log_checkpoint(run, path, filename=f"model{ending}", aliases=aliases, metadata=metadata)


class TrackkitBackup(keras.callbacks.BackupAndRestore):  # type: ignore[misc]
    """Keras' `BackupAndRestore`, whose backup knows its run.

    A training that was interrupted and is started again continues its run at the step of the backup; what the run had
    logged after that is superseded, and charts show one line. Needs a `TrackkitCallback` beside it, in any order.
    It takes the parameters of Keras' own: `backup_dir`, `save_freq`, `double_checkpoint` and `delete_checkpoint`.

    Examples
    --------
    >>> model.fit(x, y, epochs=9, callbacks=[TrackkitCallback(), TrackkitBackup("backup")])  # doctest: +SKIP
    """

    def set_model(self, model: Any) -> None:
        """Read which run the backup belongs to, before any callback begins."""
        super().set_model(model)
        self._announce(model)

    @guarded()
    def _announce(self, model: Any) -> None:
        if os.path.isdir(self.backup_dir) and (mark := Mark.read(self.backup_dir)) is not None:
            marks[model] = mark

    def _save_model(self) -> None:
        super()._save_model()
        self._saved()

    @guarded()
    def _saved(self) -> None:
        mark = _mark_of(self.model, self._current_epoch)
        if mark is not None:
            mark.write(self.backup_dir)


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_size, found.st_ino

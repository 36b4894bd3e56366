"""Checkpoints that know their run: `TrackkitModelCheckpoint`, and `TrackkitBackup` for a training that goes on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras

from trackkit.core import session
from trackkit.core.adapter import guarded
from trackkit.integrations.keras.callback import marks, trainings
from trackkit.integrations.keras.mark import Mark


def _mark_of(model: Any, epoch: int) -> Mark | None:
    """Where a model's training is; None if it is not tracked."""
    training = trainings.get(model)
    if training is not None:
        return Mark(training.run.id, training.step, epoch)
    run = session.current()
    iterations = getattr(getattr(model, "optimizer", None), "iterations", 0)
    return None if run is None else Mark(run.id, int(getattr(iterations, "value", iterations)) - 1, epoch)


class TrackkitModelCheckpoint(keras.callbacks.ModelCheckpoint):  # type: ignore[misc]
    """Keras' `ModelCheckpoint`, whose files know their run, step and epoch; see `Mark`.

    Give such a file to `TrackkitCallback(checkpoint=…)`, and the run goes on with the training. It takes the parameters
    of Keras' own: `filepath`, `monitor`, `verbose`, `save_best_only`, `save_weights_only`, `mode`, `save_freq` and
    `initial_value_threshold`.

    Examples
    --------
    >>> checkpoint = TrackkitModelCheckpoint("models/{epoch:02d}.keras")
    >>> model.fit(x, y, callbacks=[TrackkitCallback(), checkpoint])  # doctest: +SKIP
    """

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

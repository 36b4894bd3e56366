"""`TrackkitCallback`: logs `fit` and `evaluate` of a Keras model."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Literal

import keras

from trackkit.core import calls, session
from trackkit.core.adapter import Attachment, guarded, log_checkpoint
from trackkit.core.goals import goal_of
from trackkit.core.run import Run
from trackkit.integrations.keras import facts
from trackkit.integrations.keras.mark import Mark

Frequency = Literal["epoch", "batch"] | int
Watched = Literal["gradients", "parameters", "all"]
_WATCHED = ("gradients", "parameters", "all")
trainings: weakref.WeakKeyDictionary[Any, TrackkitCallback] = weakref.WeakKeyDictionary()
"""By model, what logs its training; checkpoint callbacks ask it for run and step."""
marks: weakref.WeakKeyDictionary[Any, Mark] = weakref.WeakKeyDictionary()
"""By model, the mark of the backup that its training is about to be restored from."""


class TrackkitCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Logs a training of a Keras model, whatever the backend.

    A step is a batch that was trained, counted on over several calls of `fit`. At each epoch's end its metrics are
    logged as `epoch/<name>`, with the learning rate, the epoch and the seconds it took; with `log_freq` metrics of
    batches as `batch/<name>`. What `evaluate` finds is logged as `evaluate/<name>`.

    Parameters
    ----------
    run
        The run to log into; by default the one that is going on, or else a new one, which ends with the training.
    log_freq
        `epoch`: epochs alone; `batch`: every batch too; a number: every so many batches.
    initial_global_step
        The step of the first batch, where the optimizer does not know how many it has seen.
    checkpoint
        A checkpoint the model was loaded from: its run goes on, and what that had logged after it is superseded.
    define_metric
        Have the summary keep the best value of each metric: the least, or the greatest where more is better.
    log_model_summary
        Log what `model.summary()` prints as `model/summary`.
    log_model
        Log the model as an artifact `model-<run id>` when the training is over. For checkpoints there is
        `TrackkitModelCheckpoint`.
    watch
        With the torch backend: `gradients`, `parameters` or `all`, to watch their norms and distributions, and the
        first NaN; see `Run.watch`.
    watch_freq
        Batches from one that is watched to the next.
    prefix
        Put before every key.
    all_ranks
        Whether every process of a distributed training writes, or the first alone.
    **init
        What `trackkit.init` is called with if a run has to be started: project, name, config, …

    Raises
    ------
    ValueError
        If `log_freq` or `watch` is none of these, or there is nothing to watch with another backend.
    TypeError
        If an option is unknown.

    Examples
    --------
    >>> model.fit(x, y, epochs=5, callbacks=[TrackkitCallback(project="digits", log_freq=10)])  # doctest: +SKIP
    """

    def __init__(
        self,
        run: Run | None = None,
        *,
        log_freq: Frequency = "epoch",
        initial_global_step: int | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        define_metric: bool = True,
        log_model_summary: bool = True,
        log_model: bool = False,
        watch: Watched | Literal[False] = False,
        watch_freq: int = 100,
        prefix: str = "",
        all_ranks: bool = False,
        **init: Any,
    ) -> None:
        super().__init__()
        if log_freq not in ("epoch", "batch") and (not isinstance(log_freq, int) or log_freq < 1):
            raise ValueError(f"log_freq must be 'epoch', 'batch' or a number of batches, not {log_freq!r}")
        if watch and watch not in _WATCHED:
            raise ValueError(f"watch must be {', '.join(map(repr, _WATCHED))} or False, not {watch!r}")
        if watch and keras.backend.backend() != "torch":
            raise ValueError(f"watch needs the torch backend of Keras, and this is {keras.backend.backend()!r}")
        self.attachment = Attachment(run, all_ranks=all_ranks, **init)
        self.step = -1
        """The last batch that was trained."""
        self.epoch = -1
        self._every = 0 if log_freq == "epoch" else 1 if log_freq == "batch" else int(log_freq)
        self._initial_step = initial_global_step
        self._checkpoint = checkpoint
        self._define_metric = define_metric
        self._log_summary = log_model_summary
        self._watch: Watched | Literal[False] = watch
        self._logs_model = log_model
        self._watch_freq = watch_freq
        self._prefix = prefix
        self._training = False
        self._tested: Mapping[str, Any] | None = None
        self._defined: set[str] = set()
        self._batch_keys: dict[str, str] = {}
        self._epoch_step = -1
        self._epoch_began = 0.0
        self._log: Callable[[dict[str, Any], int], None] = _nothing
        """The run's `log`, found once: finding the run takes longer than logging."""
        self._settle: Callable[[], object] = _nothing
        self._siblings: list[Any] = []

    @property
    def run(self) -> Run:
        """The run that is logged into."""
        return self.attachment.run

    def _resume(self, mark: Mark | None) -> bool:
        """Continue the run a checkpoint belongs to."""
        if mark is None or not self.attachment.resume(mark.run, mark.step):
            return False
        self.step = mark.step
        return True

    @guarded()
    def on_train_begin(self, logs: Any = None) -> None:
        """Find the run, and note what is trained and how."""
        if self.attachment.owned and not self.attachment.started:
            self.attachment = self.attachment.another()
            self.step = -1
        self._training = True
        trainings[self.model] = self
        mark = marks.pop(self.model, None)
        if mark is None and self._checkpoint is not None:
            mark = Mark.read(self._checkpoint)
        self._checkpoint = None
        if not self._resume(mark) and self.step < 0:
            self.step = self._steps_before() - 1
        run = self.run
        self._log = run.log
        frame = sys._getframe(2)
        self._settle = self.attachment.expect(calls.caller(frame, "fit", "keras"), "Keras' training")
        made = frame.f_locals.get("self")
        if isinstance(made, keras.callbacks.CallbackList):
            self._siblings = [one for one in made.callbacks if isinstance(one, keras.callbacks.EarlyStopping)]
        entries = {"model": facts.model_facts(self.model), **facts.compiled_facts(self.model)}
        fit = {key: value for key, value in (self.params or {}).items() if value is not None}
        run.config.update({**entries, "fit": fit, "backend": keras.backend.backend()})
        if self._log_summary and (text := facts.summary_of(self.model)):
            run.log({f"{self._prefix}model/summary": text}, self.step + 1)

        if self._watch:
            run.watch(self.model, log=self._watch, every=self._watch_freq)

    def _steps_before(self) -> int:
        """How many batches the model has been trained with."""
        if self._initial_step is not None:
            return self._initial_step
        iterations = getattr(getattr(self.model, "optimizer", None), "iterations", 0)
        return int(getattr(iterations, "value", iterations))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Note when the epoch began."""
        self.epoch = epoch
        self._epoch_step = self.step
        self._epoch_began = time.perf_counter()

    @guarded()
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count the batch, and log its metrics if it is its turn."""
        self.step = self._epoch_step + batch + 1
        if self._every and not (batch + 1) % self._every and logs:
            values = {self._batch_key(name): value for name, value in logs.items()}
            values[self._batch_key("learning_rate")] = self._learning_rate()
            self._log(values, self.step)

    def _batch_key(self, name: str) -> str:
        key = self._batch_keys.get(name)
        if key is None:
            key = self._batch_keys[name] = f"{self._prefix}batch/{name}"
        return key

    @guarded()
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Log the epoch's metrics."""
        seconds = time.perf_counter() - self._epoch_began
        values = {f"{self._prefix}epoch/{name}": value for name, value in (logs or {}).items()}
        for key in values:
            self._define(key)
        values[f"{self._prefix}epoch/learning_rate"] = self._learning_rate()
        values[f"{self._prefix}epoch/seconds"] = seconds
        values[f"{self._prefix}epoch/batches_per_second"] = (self.step - self._epoch_step) / max(seconds, 1e-9)
        values[f"{self._prefix}epoch"] = epoch
        self.run.log({key: value for key, value in values.items() if value is not None}, self.step)

    def _define(self, key: str) -> None:
        if self._define_metric and key not in self._defined:
            self._defined.add(key)
            goal = goal_of(key.rpartition("/")[2])
            self.run.define_metric(key, summary=["last", "max" if goal == "maximize" else "min"], goal=goal)

    def _learning_rate(self) -> Any:
        """The rate in force, also of a schedule; one that lies on a device as it is, since reading that would wait."""
        rate = getattr(getattr(self.model, "optimizer", None), "learning_rate", None)
        held: Any = getattr(rate, "value", rate)
        if getattr(getattr(held, "device", None), "type", "") == "cpu":  # a tensor of torch
            return float(held)
        return held.detach() if hasattr(held, "detach") else held

    def on_test_begin(self, logs: Any = None) -> None:
        """Note that what comes is a test."""
        self._tested = None

    @guarded()
    def on_test_end(self, logs: Any = None) -> None:
        """Log what `evaluate` found; what a training finds in between is part of the epoch."""
        if not self._training and logs:
            run = self.run
            step = self.step if self.step >= 0 else max(0, self._steps_before() - 1)
            with session.reopened(run) as open_run:
                open_run.log({f"{self._prefix}evaluate/{name}": value for name, value in logs.items()}, step)
            self.attachment.finish()

    @guarded()
    def on_train_end(self, logs: Any = None) -> None:
        """Note where an early stop came, and finish the run if it was started here."""
        self._training = False
        self._settle()
        run = self.run
        run.summary.update({f"{self._prefix}epochs": self.epoch + 1, f"{self._prefix}batches": self.step + 1})
        self._note_early_stop(run)
        if self._watch:
            run.unwatch(self.model)
        if self._logs_model:
            self._log_model(run)
        self.attachment.finish()

    @guarded()
    def _log_model(self, run: Run) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.keras")
            self.model.save(path)
            Mark(run.id, self.step, self.epoch).write(path)
            metadata = {"epoch": self.epoch, "step": self.step, **facts.model_facts(self.model)}
            log_checkpoint(run, path, aliases=[f"epoch_{self.epoch}"], metadata=metadata)

    def _note_early_stop(self, run: Run) -> None:
        for callback in self._siblings:
            if callback.stopped_epoch:
                found = {"stopped_epoch": callback.stopped_epoch, "best_epoch": callback.best_epoch}
                run.summary.update({f"{self._prefix}{key}": value for key, value in found.items()})

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_log": _nothing, "_settle": _nothing, "_siblings": []}

    @guarded()
    def fail(self, error: BaseException) -> None:
        """The training ended by an exception."""
        self._training = False
        self._settle()
        self.attachment.fail(error)


def _nothing(*arguments: Any) -> None:
    """Until a training begins, there is nothing to settle."""

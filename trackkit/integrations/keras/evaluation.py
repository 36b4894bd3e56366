"""`TrackkitEvalCallback`: what a model predicts, epoch by epoch, in tables."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import keras

from trackkit.core import session
from trackkit.core.adapter import guarded
from trackkit.core.run import Run
from trackkit.core.table import Table
from trackkit.integrations.keras.callback import trainings


class TrackkitEvalCallback(keras.callbacks.Callback, abc.ABC):  # type: ignore[misc]
    """Logs what a model predicts for some samples after each epoch. Subclass it, and say what goes into the tables.

    When the training begins, `add_ground_truth` fills `data_table`, which is logged once; after each epoch
    `add_model_predictions` fills `pred_table`, which is logged at the epoch's step. Both may have media in their cells.
    A failure of either becomes a warning, and training goes on.

    Parameters
    ----------
    data_table_columns
        Columns of `data_table`.
    pred_table_columns
        Columns of `pred_table`.
    data_table_name, pred_table_name
        The keys they are logged under.

    Attributes
    ----------
    data_table, pred_table
        A `trackkit.Table` each. `data_table_ref` is another name of the first, for scripts written for W&B.

    Examples
    --------
    >>> class Digits(TrackkitEvalCallback):
    ...     def add_ground_truth(self, logs=None):
    ...         for image, digit in zip(images, digits):
    ...             self.data_table.add_data(trackkit.Image(image), digit)
    ...
    ...     def add_model_predictions(self, epoch, logs=None):
    ...         for index, scores in enumerate(self.model.predict(images, verbose=0)):
    ...             self.pred_table.add_data(epoch, index, int(scores.argmax()))
    >>> tables = Digits(["image", "digit"], ["epoch", "sample", "guess"])
    >>> model.fit(x, y, callbacks=[TrackkitCallback(), tables])  # doctest: +SKIP
    """

    def __init__(
        self,
        data_table_columns: Sequence[str],
        pred_table_columns: Sequence[str],
        *,
        data_table_name: str = "val_data",
        pred_table_name: str = "eval_data",
    ) -> None:
        super().__init__()
        self._columns = list(data_table_columns), list(pred_table_columns)
        self._names = data_table_name, pred_table_name
        self.data_table = Table(columns=self._columns[0])
        self.pred_table = Table(columns=self._columns[1])
        self._is_logged = True

    @property
    def data_table_ref(self) -> Table:
        """The samples, as `data_table`."""
        return self.data_table

    @abc.abstractmethod
    def add_ground_truth(self, logs: Any = None) -> None:
        """Add the samples to `self.data_table`."""

    @abc.abstractmethod
    def add_model_predictions(self, epoch: int, logs: Any = None) -> None:
        """Add what `self.model` predicts after an epoch to `self.pred_table`."""

    @guarded()
    def on_train_begin(self, logs: Any = None) -> None:
        """Gather the samples."""
        self.data_table = Table(columns=self._columns[0])
        self.add_ground_truth(logs)
        self._is_logged = False

    @guarded()
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Log the samples, once: by now the run is known, in whatever order the callbacks are."""
        if self._is_logged:
            return
        self._is_logged = True
        run, step = self._place()
        if run is not None:
            run.log({self._names[0]: self.data_table}, step)

    @guarded()
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Log the predictions."""
        self.pred_table = Table(columns=self._columns[1])
        self.add_model_predictions(epoch, logs)
        run, step = self._place()
        if run is not None:
            run.log({self._names[1]: self.pred_table}, step)

    def _place(self) -> tuple[Run | None, int | None]:
        """The run of the training and its step; without a `TrackkitCallback`, the current run and its own."""
        training = trainings.get(self.model)
        if training is None:
            return session.current(), None
        return training.run, max(training.step, 0)

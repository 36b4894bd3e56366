"""The log of one fit: what there is to say before it, after it, and when it fails."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

import joblib
import sklearn
from sklearn.utils import estimator_html_repr

from trackkit.core import dataset, session
from trackkit.core.adapter import Attachment, guarded, log_checkpoint
from trackkit.core.importances import log_importances
from trackkit.core.media.markup import Html
from trackkit.core.run import Run
from trackkit.integrations.sklearn import learning, metrics, search
from trackkit.integrations.sklearn.charts import charts_of
from trackkit.integrations.sklearn.importances import importances_of
from trackkit.integrations.sklearn.options import Options
from trackkit.integrations.sklearn.params import class_of, params_of

R = TypeVar("R")
_inside: ContextVar[bool] = ContextVar("trackkit_inside_a_fit", default=False)


@contextlib.contextmanager
def inside() -> Iterator[None]:
    """What estimators do in here is part of something that is being logged."""
    token = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(token)


def is_inside() -> bool:
    """Whether a fit, score or metric is part of another: of a pipeline, a search, an ensemble."""
    return _inside.get() or _in_joblib_worker()


def _in_joblib_worker() -> bool:
    try:
        from joblib.parallel import get_active_backend

        return bool(getattr(get_active_backend()[0], "nesting_level", 0))
    except Exception:
        return False


class FitLog:
    """Logs the fit of one estimator.

    Parameters
    ----------
    attachment
        The run.
    options
        What to log.
    """

    def __init__(self, attachment: Attachment, options: Options) -> None:
        self.attachment = attachment
        self.options = options
        self._first_step = 0
        self._began = 0.0
        self._counts: dict[str, int] = {}

    def around(self, fit: Callable[[], R], estimator: Any, x: Any, y: Any, named: Mapping[str, Any]) -> R:
        """Fit, and log it.

        Parameters
        ----------
        fit
            Fits, and returns what the caller wants.
        estimator
            What is fitted.
        x, y
            The data.
        named
            What `fit` gets besides.
        """
        self.begin(estimator, x, y)
        try:
            with inside():
                result = fit()
        except BaseException as error:
            self.fail(error)
            raise
        self.end(estimator, x, y, named)
        return result

    @guarded()
    def begin(self, estimator: Any, x: Any, y: Any) -> None:
        """Find the run, and note what is fitted to what."""
        run = self.attachment.run
        self._first_step = run.step
        entries: dict[str, Any] = {"model": class_of(estimator), "params": params_of(estimator)}
        last = learning.last_step(estimator)
        if last is not estimator:
            entries["last_step"] = class_of(last)
        if self.options.log_datasets:
            entries["data"] = {"train": dataset.facts(x, y)}
        run.config.update(entries)
        self._began = time.perf_counter()

    @guarded()
    def fail(self, error: BaseException) -> None:
        """The fit ended by an exception."""
        self.attachment.fail(error)

    @guarded()
    def end(self, estimator: Any, x: Any, y: Any, named: Mapping[str, Any]) -> None:
        """Note how well the estimator fits, and finish the run if it was started here."""
        took = time.perf_counter() - self._began
        try:
            self._log_fitted(estimator, x, y, named, took)
        finally:
            self.attachment.finish()

    def _log_fitted(self, estimator: Any, x: Any, y: Any, named: Mapping[str, Any], took: float) -> None:
        run, prefix = self.attachment.run, self.options.prefix
        last = learning.last_step(estimator)
        curves = learning.curves(last)
        steps = max(map(len, curves.values()), default=1)
        for index in range(steps if curves else 0):
            run.log(
                {f"{prefix}{key}": values[index] for key, values in curves.items() if index < len(values)},
                self._first_step + index,
            )
        run.summary.update({f"{prefix}{key}": value for key, value in learning.facts(last).items()})
        if search.is_search(estimator):
            search.log_search(run, estimator, self._first_step, prefix, self.options.max_tuning_runs)
        values: dict[str, Any] = {f"{prefix}fit_seconds": took}
        found: dict[str, float] = {}
        if self.options.log_training_metrics:
            weight = named.get("sample_weight")
            with inside():
                found = metrics.measure(estimator, x, y, pos_label=self.options.pos_label, sample_weight=weight)
            values |= {f"{prefix}training/{name}": value for name, value in found.items()}
        step = self._first_step + steps - 1
        run.log(values, step)
        if search.is_search(estimator):
            self._log_candidates(run, estimator, step)
        if self.options.log_model:
            self._log_model(run, estimator, x, found)
        if self.options.log_plots:
            self._log_charts(run, estimator, x, y, "training", step)
            self._log_estimator(run, estimator, step)

    @guarded()
    def _log_model(self, run: Run, estimator: Any, x: Any, scores: Mapping[str, float]) -> None:
        metadata = {
            "model": class_of(estimator),
            "params": params_of(estimator),
            "scikit_learn": sklearn.__version__,
            "columns": dataset.facts(x).get("names"),
            "features": getattr(estimator, "n_features_in_", None),
            "training": dict(scores),
        }
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.joblib")
            joblib.dump(estimator, path)
            log_checkpoint(run, path, metadata=metadata)

    @guarded()
    def _log_charts(self, run: Run, estimator: Any, x: Any, y: Any, name: str, step: int) -> None:
        with inside():
            found = charts_of(estimator, x, y)
        if found:
            run.log({f"{self.options.prefix}{name}/{key}": chart for key, chart in found.items()}, step)

    @guarded()
    def _log_estimator(self, run: Run, estimator: Any, step: int) -> None:
        run.log({f"{self.options.prefix}estimator": Html(estimator_html_repr(estimator))}, step)
        log_importances(run, importances_of(estimator), step, self.options.prefix)

    @guarded()
    def _log_candidates(self, run: Run, estimator: Any, step: int) -> None:
        run.log({f"{self.options.prefix}cv_results": search.results_table(estimator)}, step)

    @guarded()
    def evaluate(self, estimator: Any, x: Any, y: Any, name: str) -> None:
        """Log how well the estimator does on other data."""
        with inside():
            found = metrics.measure(estimator, x, y, pos_label=self.options.pos_label)
        entries = {f"data.{name}": dataset.facts(x, y)} if self.options.log_datasets else {}
        values: dict[str, Any] = {f"{name}/{metric}": value for metric, value in found.items()}
        if self.options.log_plots:
            with inside():
                values |= {f"{name}/{key}": chart for key, chart in charts_of(estimator, x, y).items()}
        self.log_later(values, entries)

    @guarded()
    def log_once(self, name: str, data: str, value: Any, call: str = "") -> None:
        """Log a metric of some data; a second one of the same name has a number."""
        key = f"{data}/{name}"
        count = self._counts[key] = self._counts.get(key, 0) + 1
        key = key if count == 1 else f"{key}-{count}"
        self.log_later({key: value}, {f"evaluations.{key}": call} if call else {})

    def log_later(self, values: Mapping[str, Any], entries: Mapping[str, Any] | None = None) -> None:
        """Log something after the fit, when the run may be over; it goes on for that."""
        run = self.attachment.run
        named = {f"{self.options.prefix}{key}": value for key, value in values.items()}
        with session.reopened(run) as open_run:
            open_run.log(named, max(0, open_run.step - 1))
            for path, entry in (entries or {}).items():
                group, _, key = path.partition(".")
                open_run.config[group] = {**open_run.config.get(group, {}), key: entry}

"""An estimator that logs every fit of the estimator in it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import signature
from types import FrameType
from typing import Any

from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils.metaestimators import available_if

from trackkit.core.adapter import Attachment
from trackkit.core.run import Run
from trackkit.integrations.sklearn.fit import FitLog, inside, is_inside
from trackkit.integrations.sklearn.options import Options


def _has(method: str) -> Callable[[TrackedEstimator], bool]:
    return lambda tracked: hasattr(tracked._target(), method)


class TrackedEstimator(MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    """Fits a clone of an estimator, and logs it; made by `track`.

    It is an estimator of the same kind and has the fitted one's methods and attributes, so it goes wherever the other
    one goes: into pipelines, searches, `clone`, `cross_val_score`.

    Parameters
    ----------
    estimator
        What to fit. Its parameters are `estimator__…` here.
    attachment
        The run to log into.
    options
        What to log.

    Attributes
    ----------
    estimator_
        The fitted clone.
    """

    def __init__(
        self, estimator: Any = None, attachment: Attachment | None = None, options: Options | None = None
    ) -> None:
        self.estimator = estimator
        self.attachment = attachment
        self.options = options

    @property
    def run(self) -> Run | None:
        """The run that was logged into last; None before the first fit."""
        log = self.__dict__.get("_log")
        return None if log is None else log.attachment.run

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> TrackedEstimator:  # noqa: N803
        """Fit a clone of the estimator; see its `fit`."""
        self._fit("fit", X, y, fit_params)
        return self

    @available_if(_has("fit_predict"))  # type: ignore[untyped-decorator]
    def fit_predict(self, X: Any, y: Any = None, **fit_params: Any) -> Any:  # noqa: N803
        """Fit a clone of the estimator, and predict; see its `fit_predict`."""
        return self._fit("fit_predict", X, y, fit_params)

    @available_if(_has("transform"))  # type: ignore[untyped-decorator]
    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Any:  # noqa: N803
        """Fit a clone of the estimator, and transform; see its `fit_transform`."""
        return self._fit("fit_transform", X, y, fit_params)

    def _fit(self, method: str, x: Any, y: Any, named: dict[str, Any]) -> Any:
        fitted = clone(self.estimator)
        log = FitLog((self.attachment or Attachment()).another(), self.options or Options())
        given = (x, y) if y is not None or "y" in signature(getattr(fitted, method)).parameters else (x,)
        result = log.around(lambda: getattr(fitted, method)(*given, **named), fitted, x, y, named)
        self.estimator_ = fitted
        self._log = log
        return result

    @available_if(_has("score"))  # type: ignore[untyped-decorator]
    def score(self, X: Any, y: Any = None, **score_params: Any) -> float:  # noqa: N803
        """The estimator's own score, which is logged as `<name of X>/score`."""
        with inside():
            score: float = self._target().score(X, *(() if y is None else (y,)), **score_params)
        log = self.__dict__.get("_log")
        if log is not None and log.options.log_post_training_metrics and not is_inside():
            log.log_once("score", name_of(X, sys._getframe(1)), score)
        return score

    def evaluate(self, X: Any, y: Any = None, name: str = "test") -> TrackedEstimator:  # noqa: N803
        """Log how well the fitted estimator does on other data, as `<name>/accuracy` and so on.

        Parameters
        ----------
        X, y
            The data.
        name
            What it is called.
        """
        log = self.__dict__.get("_log")
        if log is None:
            raise RuntimeError("there is nothing to evaluate yet; call fit() first")
        log.evaluate(self.estimator_, X, y, name)
        return self

    def _target(self) -> Any:
        """The fitted estimator; or, before a fit, the one that was given."""
        found = self.__dict__
        return found["estimator_"] if "estimator_" in found else found.get("estimator")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("estimator_", "_log") or self._target() is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._target(), name)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_log", None)
        return state

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import get_tags

        tags = super().__sklearn_tags__() if self.estimator is None else get_tags(self.estimator)
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        from sklearn.exceptions import NotFittedError
        from sklearn.utils.validation import check_is_fitted

        try:
            check_is_fitted(self._target())
        except NotFittedError:
            return False
        return True

    def _more_tags(self) -> Any:  # scikit-learn's tags before 1.6
        return self.estimator._get_tags() if hasattr(self.estimator, "_get_tags") else {}

    @property
    def _estimator_type(self) -> Any:  # how scikit-learn tells classifiers from regressors before 1.6
        return getattr(self.estimator, "_estimator_type", None)


def name_of(data: Any, frame: FrameType | None) -> str:
    """What the nearest caller outside of scikit-learn and trackkit calls some data; `data` if nothing."""
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in ("sklearn", "trackkit", "joblib"):
            for name, value in [*frame.f_locals.items(), *frame.f_globals.items()]:
                if value is data and not name.startswith("_"):
                    return name
            return "data"
        frame = frame.f_back
    return "data"


def track(estimator: Any, run: Run | None = None, **options: Any) -> TrackedEstimator:
    """Have every fit of an estimator logged.

    Parameters
    ----------
    estimator
        Any of scikit-learn's kind: a classifier, regressor, clusterer, transformer, pipeline or search.
    run
        The run to log into; by default the one that is going on, or else a new one for each fit.
    **options
        `log_training_metrics`, `log_post_training_metrics`, `log_datasets`, `max_tuning_runs`, `pos_label`, `prefix`,
        as of `autolog`; and what `trackkit.init` is called with if a run has to be started: project, name, config, …

    Returns
    -------
    TrackedEstimator
        To be used in the estimator's place.

    Raises
    ------
    TypeError
        If an option is unknown, or the estimator is none.

    Examples
    --------
    >>> from sklearn.svm import SVC
    >>> model = track(SVC(C=2), project="digits")
    >>> model.fit(X_train, y_train).score(X_test, y_test)  # doctest: +SKIP
    0.98
    """
    if not hasattr(estimator, "fit") or not hasattr(estimator, "get_params") or isinstance(estimator, type):
        raise TypeError(
            f"track() takes an estimator such as SVC(), which has fit and get_params, not {estimator!r:.80}"
        )
    chosen, init = Options.parted(options)
    return TrackedEstimator(estimator, Attachment(run, **init), chosen)

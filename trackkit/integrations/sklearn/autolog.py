"""`autolog`: every fit of every estimator of scikit-learn is logged, and what is measured of it later."""

from __future__ import annotations

import functools
import inspect
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import sklearn.metrics
import sklearn.model_selection
from sklearn.base import BaseEstimator
from sklearn.model_selection import _validation
from sklearn.utils import all_estimators

from trackkit.core.adapter import Attachment, guarded
from trackkit.core.patches import Patches
from trackkit.integrations.sklearn.fit import FitLog, inside, is_inside
from trackkit.integrations.sklearn.options import Options
from trackkit.integrations.sklearn.params import class_of, params_of
from trackkit.integrations.sklearn.tracked import name_of

_FITS = ("fit", "fit_predict", "fit_transform")
_PREDICTIONS = ("predict", "predict_proba", "predict_log_proba", "decision_function", "transform", "score_samples")
_VALIDATIONS = ("cross_validate", "cross_val_score", "cross_val_predict", "learning_curve", "validation_curve",
                "permutation_test_score")  # fmt: skip
_VALIDATION_PARTS = ("_fit_and_score", "_fit_and_predict")
"""What validations call for each fold, also those that a module had imported before `autolog` under another name."""
_patches = Patches()


def autolog(
    disable: bool = False, *, include: Sequence[type] = (), exclude: Sequence[type] = (), **options: Any
) -> None:
    """Log every fit of scikit-learn's estimators from now on, and what is measured of them later.

    Of a pipeline, search or ensemble the whole is logged, not the fits in it. `model.score(X_test, y_test)` and
    `accuracy_score(y_test, model.predict(X_test))` are logged with the fit of `model`, as `X_test/score` and
    `X_test/accuracy_score`. Of `cross_validate` and `cross_val_score` the scores are logged, not the fits.

    Parameters
    ----------
    disable
        Stop it.
    include
        Further classes of estimators, your own or another library's.
    exclude
        Classes to leave alone.
    **options
        As of `track`.

    Raises
    ------
    TypeError
        If an option is unknown.

    Examples
    --------
    >>> autolog(project="digits", max_tuning_runs=3)
    >>> autolog(disable=True)
    """
    _patches.remove()
    if disable:
        return
    chosen, init = Options.parted(options)
    log = _Autolog(chosen, Attachment(**init), tuple(exclude))
    for owner, name in _methods(
        [*(found for _, found in all_estimators()), *include], (*_FITS, *_PREDICTIONS, "score")
    ):
        around = log.fit if name in _FITS else log.score if name == "score" else log.predict
        _patches.put(owner, "fn" if hasattr(owner, "fn") else name, around)
    if chosen.log_post_training_metrics:
        for name in _metric_functions():
            _everywhere(sklearn.metrics, name, functools.partial(_named, log.metric, name))
    for name in _VALIDATION_PARTS:
        if hasattr(_validation, name):
            _patches.put(_validation, name, _part)
    for name in _VALIDATIONS:
        _everywhere(sklearn.model_selection, name, functools.partial(_named, log.validation, name))


def _named(around: Callable[..., Any], name: str, original: Any, *arguments: Any, **named: Any) -> Any:
    return around(name, original, arguments, named)


def _methods(classes: Sequence[type], names: Sequence[str]) -> Iterator[tuple[Any, str]]:
    """Where the classes and those they inherit from define the methods: the class, or what makes it conditional."""
    owners = dict.fromkeys(base for found in classes for base in found.__mro__ if base not in (object, BaseEstimator))
    for owner in owners:
        for name in names:
            defined = vars(owner).get(name)
            if inspect.isfunction(defined):
                yield owner, name
            elif inspect.isfunction(getattr(defined, "fn", None)):  # available_if
                yield defined, name


def _metric_functions() -> list[str]:
    return [
        name
        for name in sklearn.metrics.__all__
        if name.endswith(("_score", "_loss", "_error", "_deviance")) or name in ("auc", "max_error", "silhouette_score")
        if inspect.isfunction(getattr(sklearn.metrics, name, None))
    ]


def _everywhere(module: Any, name: str, around: Callable[..., Any]) -> None:
    """Replace a function in its module, and wherever it has been imported from there by its name."""
    original = getattr(module, name)
    _patches.put(module, name, around)
    for path, other in list(sys.modules.items()):
        found = getattr(other, "__dict__", None)
        if isinstance(found, dict) and found.get(name) is original and path.partition(".")[0] != "sklearn":
            _patches.put(other, name, around)


def _part(original: Any, *arguments: Any, **named: Any) -> Any:
    with inside():
        return original(*arguments, **named)


class _Autolog:
    """Follows estimators from their fit to what is measured of them."""

    def __init__(self, options: Options, attachment: Attachment, exclude: tuple[type, ...]) -> None:
        self._options = options
        self._attachment = attachment
        self._exclude = exclude
        self._logs: dict[int, tuple[weakref.ref[Any], FitLog]] = {}
        self._predictions: dict[int, tuple[weakref.ref[Any], FitLog, str]] = {}

    def fit(self, original: Any, estimator: Any, *arguments: Any, **named: Any) -> Any:
        if is_inside() or isinstance(estimator, self._exclude):
            return original(estimator, *arguments, **named)
        x, y, further = _data(original, estimator, arguments, named)
        log = FitLog(self._attachment.another(), self._options)
        result = log.around(lambda: original(estimator, *arguments, **named), estimator, x, y, further)
        self._remember(self._logs, estimator, log)
        return result

    def predict(self, original: Any, estimator: Any, *arguments: Any, **named: Any) -> Any:
        if is_inside() or id(estimator) not in self._logs:
            return original(estimator, *arguments, **named)
        with inside():
            predicted = original(estimator, *arguments, **named)
        self._note(estimator, predicted, arguments, named)
        return predicted

    @guarded()
    def _note(self, estimator: Any, predicted: Any, arguments: Sequence[Any], named: Mapping[str, Any]) -> None:
        log = self._log_of(estimator)
        data = arguments[0] if arguments else next(iter(named.values()), None)
        if log is not None:
            self._remember(self._predictions, predicted, log, name_of(data, sys._getframe(3)))

    def score(self, original: Any, estimator: Any, *arguments: Any, **named: Any) -> Any:
        if is_inside() or id(estimator) not in self._logs:
            return original(estimator, *arguments, **named)
        with inside():
            score = original(estimator, *arguments, **named)
        log = self._log_of(estimator)
        if log is not None and self._options.log_post_training_metrics:
            data = arguments[0] if arguments else named.get("X")
            log.log_once("score", name_of(data, sys._getframe(2)), score)
        return score

    def metric(self, name: str, original: Any, arguments: Sequence[Any], named: Mapping[str, Any]) -> Any:
        if is_inside():
            return original(*arguments, **named)
        with inside():
            value = original(*arguments, **named)
        self._log_metric(name, value, arguments, named)
        return value

    @guarded()
    def _log_metric(self, name: str, value: Any, arguments: Sequence[Any], named: Mapping[str, Any]) -> None:
        if getattr(value, "ndim", 0):  # a value for each class
            return
        for given in (*arguments, *named.values()):
            found = self._predictions.get(id(given))
            if found is not None and found[0]() is given:
                _, log, data = found
                log.log_once(name, data, value, _call(name, arguments, named))
                return

    def validation(self, name: str, original: Any, arguments: Sequence[Any], named: Mapping[str, Any]) -> Any:
        if is_inside():
            return original(*arguments, **named)
        attachment = self._attachment.another()
        try:
            with inside():
                result = original(*arguments, **named)
        except BaseException as error:
            attachment.fail(error)
            raise
        if name in ("cross_validate", "cross_val_score"):
            self._log_validation(attachment, result, arguments[0] if arguments else named["estimator"])
        return result

    @guarded()
    def _log_validation(self, attachment: Attachment, result: Any, estimator: Any) -> None:
        run = attachment.run
        scores = result if isinstance(result, dict) else {"test_score": result}
        scores = {key: values for key, values in scores.items() if getattr(values, "dtype", None) is not None}
        scores = {key: values for key, values in scores.items() if values.dtype.kind in "fiu"}
        run.config.update({"model": class_of(estimator), "params": params_of(estimator)})
        first, prefix = run.step, self._options.prefix
        for fold in range(max(map(len, scores.values()), default=0)):
            run.log({f"{prefix}folds/{key}": values[fold] for key, values in scores.items()}, first + fold)
        for key, values in scores.items():
            run.summary.update({f"{prefix}{key}_mean": float(values.mean()), f"{prefix}{key}_std": float(values.std())})
        attachment.finish()

    def _log_of(self, estimator: Any) -> FitLog | None:
        found = self._logs.get(id(estimator))
        return found[1] if found is not None and found[0]() is estimator else None

    @staticmethod
    def _remember(among: dict[int, Any], thing: Any, *what: Any) -> None:
        """Keep something about an object for as long as that lives."""
        key = id(thing)
        try:
            among[key] = (weakref.ref(thing, lambda _: among.pop(key, None)), *what)
        except TypeError:  # a list or a number
            return


def _data(
    original: Any, estimator: Any, arguments: Sequence[Any], named: Mapping[str, Any]
) -> tuple[Any, Any, dict[str, Any]]:
    """What a fit is given: samples, targets, and the rest by name."""
    try:
        given = dict(inspect.signature(original).bind(estimator, *arguments, **named).arguments)
    except TypeError:
        return None, None, {}  # the fit will say what is wrong
    given.pop(next(iter(given)))
    given |= given.pop("params", None) or given.pop("fit_params", None) or {}
    x = given.pop("X", None)
    y = given.pop("y", given.pop("Y", None))
    return x, y, given


def _call(name: str, arguments: Sequence[Any], named: Mapping[str, Any]) -> str:
    """How a metric was called, as far as that is short: `precision_score(…, average='micro')`."""
    short = [f"{key}={value!r}" for key, value in named.items() if isinstance(value, (str, int, float, bool))]
    short += [repr(value) for value in arguments if isinstance(value, (str, int, float, bool))]
    return f"{name}({', '.join(['…', *short])})"

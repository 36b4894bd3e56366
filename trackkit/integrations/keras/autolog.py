"""`autolog`: every `fit` and `evaluate` of a Keras model is logged."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Mapping
from typing import Any

import keras

from trackkit.core import dataset
from trackkit.core.adapter import guarded
from trackkit.core.patches import Patches
from trackkit.integrations.keras.callback import TrackkitCallback

_FIT = ("batch_size", "epochs", "initial_epoch", "validation_split", "validation_batch_size", "validation_freq",
        "shuffle", "steps_per_epoch", "validation_steps")  # fmt: skip
_patches = Patches()
_fitted: weakref.WeakKeyDictionary[Any, TrackkitCallback] = weakref.WeakKeyDictionary()
_fitting: weakref.WeakSet[Any] = weakref.WeakSet()


class _AutologCallback(TrackkitCallback):
    """A callback that also knows what `fit` was called with."""

    def __init__(self, arguments: Mapping[str, Any], *, log_datasets: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self._arguments = arguments
        self._log_datasets = log_datasets

    def on_train_begin(self, logs: Any = None) -> None:
        super().on_train_begin(logs)
        self._log_arguments()

    @guarded()
    def _log_arguments(self) -> None:
        given = self._arguments
        run = self.run
        chosen = {name: given[name] for name in _FIT if given.get(name) is not None}
        run.config["fit"] = {**run.config.get("fit", {}), **chosen}
        if self._log_datasets:
            sets = {"train": dataset.facts(given.get("x"), given.get("y"))}
            validation = given.get("validation_data")
            if isinstance(validation, (tuple, list)):
                sets["validation"] = dataset.facts(*validation[:2])
            elif validation is not None:
                sets["validation"] = dataset.facts(validation)
            run.config["data"] = sets


def autolog(disable: bool = False, **options: Any) -> None:
    """Log every `fit` of a Keras model from now on, and what `evaluate` finds of a model that was fitted.

    A `fit` that has a `TrackkitCallback` already is logged by that one alone.

    Parameters
    ----------
    disable
        Stop it.
    **options
        Those of `TrackkitCallback`, and `log_datasets=True`: facts about the data in the config, never the data.

    Examples
    --------
    >>> autolog(project="digits", log_freq="batch")
    >>> autolog(disable=True)
    """
    _patches.remove()
    if disable:
        return
    _AutologCallback({}, **options)  # wrong options are told here, not in a training

    def fit(original: Any, model: Any, *arguments: Any, **named: Any) -> Any:
        return _fit(original, options, model, *arguments, **named)

    _patches.put(keras.Model, "fit", fit)
    _patches.put(keras.Model, "evaluate", _evaluate)


def _fit(original: Any, options: Mapping[str, Any], model: Any, *arguments: Any, **named: Any) -> Any:
    callback = _callback_for(original, options, model, arguments, named)
    if callback is None:
        return original(model, *arguments, **named)
    bound = callback._arguments
    _fitting.add(model)
    try:
        result = original(**{**bound, "callbacks": _with(bound.get("callbacks"), callback, model)})
    except BaseException as error:
        callback.fail(error)
        raise
    finally:
        _fitting.discard(model)
    _fitted[model] = callback
    return result


def _callback_for(
    original: Any, options: Mapping[str, Any], model: Any, arguments: Any, named: Mapping[str, Any]
) -> _AutologCallback | None:
    if model in _fitting:
        return None
    try:
        given = inspect.signature(original).bind(model, *arguments, **named).arguments
    except TypeError:
        return None  # Keras will say what is wrong
    found = given.get("callbacks")
    callbacks = found.callbacks if isinstance(found, keras.callbacks.CallbackList) else _as_list(found)
    if any(isinstance(one, TrackkitCallback) for one in callbacks):
        return None
    return _AutologCallback(given, **options)


def _with(callbacks: Any, callback: TrackkitCallback, model: Any) -> Any:
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callback.set_model(model)
        callbacks.append(callback)
        return callbacks
    return [*_as_list(callbacks), callback]


def _as_list(callbacks: Any) -> list[Any]:
    return [] if callbacks is None else list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


def _evaluate(original: Any, model: Any, *arguments: Any, **named: Any) -> Any:
    callback = _fitted.get(model)
    if callback is None or model in _fitting or named.get("callbacks") or len(arguments) > 6:
        return original(model, *arguments, **named)
    return original(model, *arguments, **{**named, "callbacks": [callback]})

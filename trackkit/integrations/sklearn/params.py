"""An estimator's class and parameters, as a config holds them."""

from __future__ import annotations

from typing import Any


def class_of(thing: Any) -> str:
    """The name a class is imported by: `sklearn.svm.SVC`, not `sklearn.svm._classes.SVC`."""
    kind = thing if isinstance(thing, type) else type(thing)
    public = [part for part in kind.__module__.split(".") if not part.startswith("_")]
    return ".".join([*public, kind.__qualname__])


def params_of(estimator: Any) -> dict[str, Any]:
    """All parameters of an estimator and of those within it, by scikit-learn's names: `svc__C`."""
    return {name: _plain(value) for name, value in estimator.get_params(deep=True).items()}


def _plain(value: Any) -> Any:
    if hasattr(value, "get_params") and not isinstance(value, type):
        return class_of(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    return value

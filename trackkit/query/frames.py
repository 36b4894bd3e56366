"""A history in the shape that is asked for: NumPy arrays, a pandas or polars DataFrame, an Arrow table."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np

from trackkit.backend.store.history import Column, History

Format: TypeAlias = Literal["pandas", "polars", "numpy", "arrow"]

_MODULES = {"pandas": "pandas", "polars": "polars", "arrow": "pyarrow"}


def frame(history: History, format: Format, created: int) -> Any:
    """The history as columns `_step`, `_timestamp`, `_runtime` (seconds) and its keys.

    Parameters
    ----------
    created
        When the run began, in microseconds since the epoch.

    Raises
    ------
    ValueError
        If the format is not known.
    ImportError
        If the library for it is not installed.
    """
    if format not in _MAKERS:
        raise ValueError(f"format is {format!r}, but must be one of {', '.join(_MAKERS)}")
    always = np.ones(len(history.steps), np.bool_)
    columns = {
        "_step": Column(history.steps, always),
        "_timestamp": Column(history.times / 1e6, always),
        "_runtime": Column((history.times - created) / 1e6, always),
    }
    return _MAKERS[format]({**columns, **history.columns})


def _library(format: str) -> Any:
    name = _MODULES[format]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"format={format!r} needs {name}: install it with 'pip install {name}', or use format='numpy'"
        ) from error


def _numpy(columns: dict[str, Column]) -> dict[str, Any]:
    return {key: values for key, (values, _) in columns.items()}


def _pandas(columns: dict[str, Column]) -> Any:
    return _library("pandas").DataFrame(_numpy(columns), copy=False)


def _polars(columns: dict[str, Column]) -> Any:
    polars = _library("polars")
    return polars.DataFrame([_polars_series(polars, key, column) for key, column in columns.items()])


def _polars_series(polars: Any, key: str, column: Column) -> Any:
    values, present = column
    if values.dtype == object:
        return polars.Series(key, values.tolist(), dtype=polars.String)
    series = polars.Series(key, values)
    if present.all():
        return series
    return polars.select(polars.when(polars.Series(present)).then(series).otherwise(None).alias(key)).to_series()


def _arrow(columns: dict[str, Column]) -> Any:
    arrow = _library("arrow")
    return arrow.table({key: _arrow_array(arrow, column) for key, column in columns.items()})


def _arrow_array(arrow: Any, column: Column) -> Any:
    values, present = column
    if values.dtype == object:
        return arrow.array(values.tolist(), type=arrow.string())
    return arrow.array(values, mask=~present, from_pandas=False)


_MAKERS: dict[str, Callable[[dict[str, Column]], Any]] = {
    "pandas": _pandas,
    "polars": _polars,
    "numpy": _numpy,
    "arrow": _arrow,
}

"""The types of a table's columns, and what a cell must be to be of one."""

from __future__ import annotations

import datetime
import math
import numbers
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from trackkit.core.media.snapshot import Media

PLAIN: Final = ("number", "text", "bool", "time", "json")
"""Types of columns that hold no media; the others are named by the kind of media."""
_PYTHON: Final = {
    str: "text", int: "number", float: "number", bool: "bool", datetime.datetime: "time", datetime.date: "time",
    dict: "json", list: "json", tuple: "json",
}  # fmt: skip
_INT64: Final = (-(2**63), 2**63 - 1)


def type_named(given: Any, column: str) -> str | None:
    """The type that `dtype` gives a column; None if it gives none.

    Raises
    ------
    TypeError
        If it is no type of a column.
    """
    if given is None or given is Any:
        return None
    if isinstance(given, str) and given in PLAIN:
        return given
    if isinstance(given, type):
        if given in _PYTHON:
            return _PYTHON[given]
        if issubclass(given, Media):
            return given.kind
        given = getattr(given, "__name__", given)
    name = str(getattr(given, "name", given)).lower().rstrip("0123456789_")
    known = {"int": "number", "uint": "number", "float": "number", "str": "text", "string": "text", "object": None}
    known |= {"bool": "bool", "boolean": "bool", "datetime": "time", "date": "time"}
    if name in known:
        return known[name]
    raise TypeError(
        f"the dtype of the column {column!r} must be a type such as str, int, float, bool, datetime or a class "
        f"of media, or one of {', '.join(PLAIN)}, not {given!r:.60}"
    )


def normal(value: Any) -> Any:
    """A cell's value in the form it is kept in: NumPy's scalars as Python's, PIL images and figures as media.

    Raises
    ------
    TypeError
        If it is nothing a cell can hold.
    """
    if value is None or isinstance(value, str | bool | int | float | Media):
        return value
    if isinstance(value, datetime.datetime | datetime.date):
        return value.to_pydatetime() if hasattr(value, "to_pydatetime") else value
    dtype = getattr(value, "dtype", None)
    if dtype is not None and getattr(value, "shape", None) == ():
        kind = getattr(dtype, "kind", "")
        return normal(value.astype("datetime64[us]").item()) if kind == "M" else value.item()
    if isinstance(value, numbers.Real):
        return float(value)
    if type(value).__name__ in ("NAType", "NaTType"):  # pandas' words for nothing
        return None
    if isinstance(value, list | tuple):
        return [normal(each) for each in value]
    if isinstance(value, Mapping):
        return {str(key): normal(each) for key, each in value.items()}
    from trackkit.core.media.recognition import recognise

    if dtype is not None:
        return value.tolist()
    media = recognise("cell", value)
    if media is not None and len(media) == 1:
        return media[0]
    raise TypeError(
        f"a table can't hold {type(value).__name__}; expected a number, text, bool, time, list, dict or media"
    )


def type_of(value: Any) -> str | None:
    """The type of a column that holds a value; None if the value is None."""
    if value is None:
        return None
    if isinstance(value, Media):
        return value.kind
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, datetime.datetime | datetime.date):
        return "time"
    if isinstance(value, list) and value and all(isinstance(each, Media) for each in value):
        kinds = {each.kind for each in value}
        return kinds.pop() if len(kinds) == 1 else "json"
    return "json"


def as_json(value: Any) -> str | None:
    """A cell of the type `json`; NaN and infinities become null.

    Raises
    ------
    TypeError
        If JSON can't hold it.
    """
    return None if value is None else msgspec.json.encode(value).decode()


def fits_integer(value: Any) -> bool:
    """Whether a number can be kept as an integer of 64 bits."""
    return isinstance(value, int) and _INT64[0] <= value <= _INT64[1]


def as_double(value: Any) -> float | None:
    """A number as a double; NaN stays itself, an integer beyond the range becomes infinite."""
    if value is None:
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf

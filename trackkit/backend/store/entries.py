"""How config and summary entries become rows and come back: `type`, `number` and `text` columns.

Numbers live in `number`, so that SQL compares and sorts them; strings live in `text`; anything with
structure is JSON in `text`. Nested dicts become one row per leaf with their keys joined by ".".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

Encoded = tuple[str, float | None, str | None]
"""The columns `type`, `number` and `text` of a config or summary row."""

EXACT = 2**53
"""Integers of larger magnitude are not all exact as doubles; their digits are kept in `text`."""


def encode(value: Any) -> Encoded:
    """The columns `type`, `number` and `text` that hold a leaf value.

    Raises
    ------
    TypeError
        If the value is nothing JSON can hold.

    Examples
    --------
    >>> encode(0.5), encode("adam"), encode([1, 2])
    (('float', 0.5, None), ('str', None, 'adam'), ('json', None, '[1,2]'))
    """
    if value is None:
        return "null", None, None
    if isinstance(value, bool):
        return "bool", float(value), None
    if isinstance(value, int):
        return "int", nearest_double(value), None if abs(value) <= EXACT else str(value)
    if isinstance(value, float):
        return "float", None if math.isnan(value) else float(value), None
    if isinstance(value, str):
        return "str", None, str(value)
    try:
        return "json", None, json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"a value of type {type(value).__name__} can't be stored: {error}; "
            "use None, bool, int, float, str, or a list or dict of them"
        ) from error


def decode(type: str, number: float | None, text: str | None) -> Any:
    """The value that `encode` made the columns from; NaN and ±Infinity come back as themselves."""
    match type:
        case "null":
            return None
        case "bool":
            return bool(number)
        case "int":
            return int(text) if text is not None else int(number or 0)
        case "float":
            return math.nan if number is None else number
        case "str":
            return text
        case _:
            return json.loads(text or "null")


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts as one dict of leaves, keys joined by "."; an empty dict is a leaf.

    Examples
    --------
    >>> flatten({"model": {"depth": 2, "extra": {}}, "lr": 0.1})
    {'model.depth': 2, 'model.extra': {}, 'lr': 0.1}
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update({f"{key}.{below}": leaf for below, leaf in flatten(value).items()})
        else:
            flat[str(key)] = dict(value) if isinstance(value, Mapping) else value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The nested dicts of `flatten`. A key below another key's leaf keeps the rest of its dots.

    Examples
    --------
    >>> unflatten({"model.depth": 2, "loss": 0.5, "loss.min": 0.1})
    {'loss': 0.5, 'loss.min': 0.1, 'model': {'depth': 2}}
    """
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = _path(key, flat)
        branch = nested
        for name in path:
            branch = branch.setdefault(name, {})
        branch[last] = value
    return nested


def _path(key: str, flat: Mapping[str, Any]) -> list[str]:
    """The key split at its dots, up to the first that follows another key's leaf."""
    parts = key.split(".")
    for count in range(1, len(parts)):
        if ".".join(parts[:count]) in flat:
            return [*parts[: count - 1], ".".join(parts[count - 1 :])]
    return parts


def nearest_double(value: float) -> float:
    """The number as a double; ±Infinity for an integer beyond them all."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf

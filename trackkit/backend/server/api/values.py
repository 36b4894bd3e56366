"""Values as JSON: times in seconds, and the numbers that JSON has no word for."""

from __future__ import annotations

import math
from typing import Any, Final

from trackkit.backend.server.errors import ApiError

MOST_NESTED: Final = 64
"""Levels of lists and objects in a value that is kept: what reads it back must get to its ground, too."""


def check_depth(value: Any) -> None:
    """Refuse a value that is nested too deeply to be kept.

    Raises
    ------
    ApiError
        400 if it is.
    """
    level, depth = [value], 0
    while level := [
        child
        for each in level
        if isinstance(each, dict | list)
        for child in (each.values() if isinstance(each, dict) else each)
    ]:
        depth += 1
        if depth > MOST_NESTED:
            raise ApiError(400, f"the value is nested more than {MOST_NESTED} levels deep")


def seconds(microseconds: int) -> float:
    """A stored time as seconds since the epoch."""
    return microseconds / 1e6


def maybe_seconds(microseconds: int | None) -> float | None:
    """A stored time, if there is one."""
    return None if microseconds is None else microseconds / 1e6


def plain(value: Any) -> Any:
    """A value as JSON can hold it: NaN and ±Infinity become the words "NaN", "Infinity" and "-Infinity"."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value

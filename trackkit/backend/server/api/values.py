"""Values as JSON: times in seconds, and the numbers that JSON has no word for."""

from __future__ import annotations

import math
from typing import Any


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

"""What may be logged: checking keys, turning values into doubles and text, and the frames they make."""

from __future__ import annotations

import numbers
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trackkit.core import records

if TYPE_CHECKING:
    from trackkit.core.media.snapshot import Snapshot

MAX_KEY_CHARACTERS = 1024
MAX_TEXT_BYTES = 10 * 1024 * 1024
MIN_STEP, MAX_STEP = -(2**63), 2**63 - 1


def check_key(key: object) -> str:
    """The key, if it can name a metric.

    Raises
    ------
    TypeError
        If it is no string.
    ValueError
        If it is empty or longer than 1,024 characters, or not text that UTF-8 can hold.
    """
    if not isinstance(key, str):
        raise TypeError(f"a metric's key must be a string, not {type(key).__name__}: {key!r}")
    if not key:
        raise ValueError("a metric's key must not be empty")
    if len(key) > MAX_KEY_CHARACTERS:
        raise ValueError(f"the key {key[:40]!r}… has {len(key):,} characters; the limit is {MAX_KEY_CHARACTERS:,}")
    if not _is_text(key):
        raise ValueError(f"the key {key!r} holds half a surrogate pair, which no file can hold")
    return str(key)


def check_step(step: object) -> int:
    """The step as an int.

    Raises
    ------
    TypeError
        If it is no whole number.
    ValueError
        If it is outside the range of a signed 64-bit integer.
    """
    if isinstance(step, bool) or not hasattr(step, "__index__"):
        raise TypeError(f"step must be a whole number, not {type(step).__name__}: {step!r}")
    whole = step.__index__()
    if not MIN_STEP <= whole <= MAX_STEP:
        raise ValueError(f"step {whole} does not fit a signed 64-bit integer")
    return int(whole)


def as_number_or_text(key: str, value: Any) -> float | str:
    """A loggable value as a double or as text.

    Numbers are Python's and NumPy's, bools, `Decimal`, `Fraction`, and arrays of one element of any library
    that has `.item()` (torch, JAX, TensorFlow through `.numpy()`).

    Raises
    ------
    TypeError
        If it is neither a number nor text.
    ValueError
        If it is text longer than 10 MiB, or an integer too large for a 64-bit float.
    """
    if isinstance(value, str):
        return _checked_text(key, str(value))
    single: Any = _single_item(value)
    complex_number = isinstance(single, numbers.Complex) and not isinstance(single, numbers.Real)
    if single is not None and not complex_number and not isinstance(single, (str, bytes)):
        try:
            return float(single)
        except OverflowError:
            raise ValueError(f"the value of {key!r} is too large for a 64-bit float") from None
        except (TypeError, ValueError):
            pass
    raise TypeError(f"the value of {key!r} can't be logged: {_described(value)}; expected a number, text or media")


def _single_item(value: Any) -> Any:
    """The number itself, or the only element of an array; None for anything else."""
    dtype = getattr(value, "dtype", None)
    if getattr(dtype, "kind", "") in ("M", "m"):
        return None  # of a date or a time NumPy would give the nanoseconds
    if dtype is None or isinstance(value, numbers.Number):
        return value if hasattr(value, "__float__") or isinstance(value, numbers.Number) else None
    array = value.numpy() if not hasattr(value, "item") and hasattr(value, "numpy") else value
    try:
        return array.item()
    except (TypeError, ValueError, RuntimeError, AttributeError):
        return None


def _described(value: Any) -> str:
    shape = getattr(value, "shape", None)
    what = type(value).__name__
    if shape is not None and getattr(value, "dtype", None) is not None and any(size != 1 for size in shape):
        return f"it is a {what} of shape {tuple(shape)}, not of one element"
    text = repr(value)
    return f"it is {text if len(text) <= 60 else text[:60] + '…'} of type {what}"


def _checked_text(key: str, text: str) -> str:
    if len(text) > MAX_TEXT_BYTES // 4 and len(text.encode("utf-8", "replace")) > MAX_TEXT_BYTES:
        raise ValueError(
            f"the text of {key!r} has {len(text):,} characters; the limit is {MAX_TEXT_BYTES:,} bytes, "
            "save larger text as a file"
        )
    return text if _is_text(text) else text.encode("utf-8", "backslashreplace").decode()


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def flatten(values: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one level, keys joined by ".".

    Raises
    ------
    TypeError, ValueError
        As `check_key` for a key.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = check_key(prefix + check_key(key))
        if isinstance(value, Mapping):
            flat.update(flatten(value, name + "."))
        else:
            flat[name] = value
    return flat


def split(values: Mapping[Any, Any]) -> tuple[dict[str, float], dict[str, str], dict[str, list[Snapshot]]]:
    """What was passed to `log` as numbers, texts and snapshots of media by flat key.

    Raises
    ------
    TypeError, ValueError
        Naming the key and what it got.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"log() takes a dict of values by key, not {type(values).__name__}: {values!r:.60}")
    found: dict[str, float] = {}
    texts: dict[str, str] = {}
    media: dict[str, list[Snapshot]] = {}
    for key, value in flatten(values).items():
        try:
            single = as_number_or_text(key, value)
        except TypeError:
            from trackkit.core.media.recognition import take

            snapshots = take(key, value)
            if snapshots is None:
                raise
            media[key] = snapshots
            continue
        if isinstance(single, str):
            texts[key] = single
        else:
            found[key] = single
    return found, texts, media


def points(step: int, when: float, values: dict[str, float], texts: dict[str, str]) -> bytes:
    """The payload of a Points record."""
    packed = struct.pack(f">{len(values)}d", *values.values())
    return records.encode(records.Points(step, when, list(values), packed, texts))

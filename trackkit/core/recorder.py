"""The path of `run.log`: from a dict to a record in the journal, in about a microsecond and a half."""

from __future__ import annotations

import itertools
import struct
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from trackkit.core import values as loggable

_TAG = b"\x96" + msgspec.msgpack.encode("p") + b"\xd3"
_DOUBLE = b"\xcb"
_NO_TEXTS = b"\x80"
_MAX_SHAPES = 4096
"""Key sets remembered for the fast path; a script that logs more different ones starts over."""
_MAX_SHAPE_KEYS = 4000
_TIMED_EVERY = 128
"""One call in so many is timed, to tell what logging costs without doubling it."""

Packer = Callable[..., bytes]


class Recorder:
    """Turns calls of `log` into Points records: counts steps, gathers uncommitted values, keeps time.

    Parameters
    ----------
    append
        Takes the payload of a record.
    first_step
        The step of the first call that names none.
    """

    def __init__(self, append: Callable[[bytes], None], first_step: int = 0) -> None:
        self.offset = time.time() - time.monotonic()
        """What to add to the monotonic clock to get the time of day."""
        self.timed_calls = 0
        self.timed_nanoseconds = 0
        self.append = append
        self._steps = itertools.count(first_step)  # next() on it is atomic
        self._shapes: dict[tuple[Any, ...], tuple[Packer, bytes]] = {}
        self._gathered: tuple[dict[str, float], dict[str, str]] = ({}, {})
        self._gathering = False
        self._gather_lock = threading.Lock()
        self._monotonic = time.monotonic

    def log(self, values: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        """Record the values of one step; see `Run.log`."""
        number = next(self._steps) if step is None else step
        try:
            pack, middle = self._shapes[tuple(values)]
            if commit is not None or self._gathering:
                return self._log_anything(values, number, step is None, commit)
            sampled = not number % _TIMED_EVERY
            if sampled:
                began = time.perf_counter_ns()
            # One struct.pack with the msgpack between the numbers ready-made costs half of what building and
            # encoding a record does; it also refuses whatever is no number.
            payload = pack(
                _TAG, number, _DOUBLE, self._monotonic() + self.offset, middle, *values.values(), _NO_TEXTS
            )
        except Exception:
            return self._log_anything(values, number, step is None, commit)
        self.append(payload)
        if step is not None:
            self._steps = itertools.count(number + 1)
        if sampled:
            self.timed_calls += 1
            self.timed_nanoseconds += time.perf_counter_ns() - began
        return None

    def _log_anything(self, values: Mapping[str, Any], number: int, counted: bool, commit: bool | None) -> None:
        """The same for any values, with everything checked."""
        try:
            number = loggable.check_step(number)
            found, texts = loggable.split(values)
        except (TypeError, ValueError):
            if counted:
                self._steps = itertools.count(number)
            raise
        if commit is False or self._gathering:
            with self._gather_lock:
                self._gathered[0].update(found)
                self._gathered[1].update(texts)
                self._gathering = commit is False
                if commit is False:
                    self._steps = itertools.count(number)
                    return
                found, texts = self._gathered
                self._gathered = ({}, {})
        self.append(loggable.points(number, self.now(), found, texts))
        if not counted:
            self._steps = itertools.count(number + 1)
        self._remember_shape(values, texts)

    def _remember_shape(self, values: Mapping[str, Any], texts: dict[str, str]) -> None:
        """Let later calls with the same keys take the fast path, if all values are plain scalars."""
        keys = tuple(values)
        if keys in self._shapes or texts or not 0 < len(keys) <= _MAX_SHAPE_KEYS:
            return
        if not all(isinstance(value, (float, int)) or _is_numpy_scalar(value) for value in values.values()):
            return  # arrays' own conversions may wait for a device or warn
        if len(self._shapes) >= _MAX_SHAPES:
            self._shapes = {}
        self._shapes[keys] = _shape(keys)

    def restart(self, append: Callable[[bytes], None]) -> None:
        """Go on with another journal, in a forked child."""
        self.append = append
        self._gather_lock = threading.Lock()

    def commit(self) -> None:
        """Record what was gathered with `commit=False` and never committed."""
        if self._gathering:
            self.log({}, commit=True)

    def now(self) -> float:
        """The time of day in seconds, from a clock that never goes back."""
        return self._monotonic() + self.offset

    def follow_clock(self) -> None:
        """Follow the system's clock where it jumped ahead (sleep, first sync); where it was set back, don't."""
        ahead = time.time() - self.now()
        if ahead > 1.0:
            self.offset += ahead

    @property
    def next_step(self) -> int:
        """The step of the next call that names none."""
        return int(repr(self._steps)[len("count(") : -1])  # the only way to look without taking


def _shape(keys: tuple[str, ...]) -> tuple[Packer, bytes]:
    """What `struct` needs to pack a Points record with these keys, and the bytes between time and values."""
    size = 8 * len(keys)
    middle = msgspec.msgpack.encode(list(keys))
    middle += b"\xc4" + bytes([size]) if size < 256 else b"\xc5" + size.to_bytes(2, "big")
    return struct.Struct(f">{len(_TAG)}sqcd{len(middle)}s{len(keys)}dc").pack, middle


def _is_numpy_scalar(value: object) -> bool:
    return type(value).__module__ == "numpy" and getattr(value, "shape", None) == ()

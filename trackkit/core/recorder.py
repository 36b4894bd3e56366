"""The path of `run.log`: from a dict to a record in the journal, in about a microsecond and a half."""

from __future__ import annotations

import contextlib
import itertools
import struct
import threading
import time
from binascii import crc32
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from trackkit.core import values as loggable
from trackkit.core.device import Copy
from trackkit.core.journal import HEADER
from trackkit.core.late import LateValues
from trackkit.core.writer import JournalWriter

if TYPE_CHECKING:
    from trackkit.core.media.snapshot import Snapshot

_TAG = b"\x96" + msgspec.msgpack.encode("p") + b"\xd3"
_DOUBLE = b"\xcb"
_NO_TEXTS = b"\x80"
_MAX_SHAPES = 4096
"""Key sets remembered for the fast path; a script that logs more different ones starts over."""
_MAX_SHAPE_KEYS = 4000
_SAMPLE_MASK = 127
"""One call in 128 is timed, more of a run's first, to tell what logging costs without adding to it."""

Packer = Callable[..., bytes]
Stage = Callable[[dict[str, "list[Snapshot]"], int, float], None]
"""Takes the snapshots of one call by key, its step and its time."""
Gathered = tuple[dict[str, float], dict[str, str], dict[str, Copy]]
"""Numbers, texts, and values on their way from a device, by key."""


class Log(Protocol):
    """The signature of `Run.log`."""

    def __call__(self, values: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None: ...


class Recorder:
    """Turns calls of `log` into Points records: counts steps, gathers uncommitted values, keeps time.

    Parameters
    ----------
    journal
        Where the records go.
    first_step
        The step of the first call that names none.
    stage
        Takes the media of a call.

    Attributes
    ----------
    log
        Records the values of one step; see `Run.log`.
    """

    def __init__(
        self, journal: JournalWriter, first_step: int = 0, stage: Stage = lambda snapshots, step, when: None
    ) -> None:
        self.offset = time.time() - time.monotonic()
        """What to add to the monotonic clock to get the time of day."""
        self.timed_calls = 0
        self.timed_from = loggable.MIN_STEP
        """The step from which on the next call is timed."""
        self.timed_nanoseconds = 0
        self._long_ways = 0
        self.gathering = False
        """Whether values wait to be committed."""
        self.detour = False
        """Whether every call must go the long way: values wait to be committed, or are on their way from a device."""
        self.steps = itertools.count(first_step)  # next() on it is atomic
        self._stage = stage
        self._shapes: dict[tuple[Any, ...], tuple[Packer, bytes]] = {}
        self._gathered: Gathered = ({}, {}, {})
        self._gathered_step = 0
        self._gather_lock = threading.RLock()  # a signal's handler may log, too
        self.late = LateValues(self._set_detour)
        """Values that are on their way from a device."""
        self.write_to(journal)

    def write_to(self, journal: JournalWriter) -> None:
        """Record into a journal from here on."""
        self._append: Callable[[bytes], None] = journal.append
        self.late.write_to(journal.append)
        self.log: Log = _fast_log(self, journal, self._shapes)

    def write_through(self, append: Callable[[bytes], None]) -> None:
        """Hand each record to a function: in a forked child, until it has a journal of its own."""
        self._append = append
        self._gather_lock = threading.RLock()  # a signal's handler may log, too
        self.late = LateValues(self._set_detour)  # what is on its way is the parent's
        self.late.write_to(append)
        self.log = self._log_any

    def _log_any(self, values: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        self.log_anything(values, step, step is None, commit)

    def log_anything(self, values: Mapping[str, Any], number: int | None, counted: bool, commit: bool | None) -> None:
        """Record any values, with everything checked.

        `counted` tells that the step is not the caller's; `number` is then the one counted already, or None.
        """
        self._long_ways += 1
        if self._long_ways & _SAMPLE_MASK:
            return self._record_anything(values, number, counted, commit)
        began = time.perf_counter_ns()
        self._record_anything(values, number, counted, commit)
        self.timed_calls += 1
        self.timed_nanoseconds += time.perf_counter_ns() - began
        return None

    def _record_anything(
        self, values: Mapping[str, Any], number: int | None, counted: bool, commit: bool | None
    ) -> None:
        try:
            near, far = self.late.set_aside(values)
            found, texts, media = loggable.split(near)
            number = loggable.check_step(self._count(commit) if number is None else number)
        except (TypeError, ValueError, OSError, ImportError):
            if counted and number is not None:
                self._give_back(number)
            raise
        if media:
            self._stage(media, number, self.now())
        if commit is False or self.gathering:
            with self._gather_lock:
                if self.gathering and number != self._gathered_step:
                    self._emit(self._gathered_step, *self._gathered)
                    self._gathered = ({}, {}, {})
                _replace(self._gathered, (found, texts, far))
                self._gathered_step = number
                self.gathering = commit is False
                self._set_detour()
                if commit is False:
                    if not counted:
                        self.steps = itertools.count(number)
                    return
                found, texts, far = self._gathered
                self._gathered = ({}, {}, {})
        if found or texts or far or not media:
            self._emit(number, found, texts, far)
        if not counted:
            self.steps = itertools.count(number + 1)
        if not far and not media:
            self._remember_shape(values, texts)

    def _emit(self, step: int, found: dict[str, float], texts: dict[str, str], far: dict[str, Copy]) -> None:
        """Record what is known now; what is on its way follows with the same step and time."""
        when = self.now()
        if far or self.late.keys:
            empty = not (found or texts or far)
            found, texts = self.late.follow(step, when, found, texts, far)
            if not (found or texts or empty):
                return
        self._append(loggable.points(step, when, found, texts))

    def _set_detour(self) -> None:
        self.detour = self.gathering or bool(self.late.keys)

    def inspect(self, values: Mapping[str, Any]) -> None:
        """Take a key set off the fast path if a device holds any of its values: packing one waits for the device."""
        if self.late.any_remote(values):
            self._shapes.pop(tuple(values), None)

    def _count(self, commit: bool | None) -> int:
        """The next step, which stays the next one while values are gathered for it."""
        return self.next_step if commit is False else next(self.steps)

    def _give_back(self, number: int) -> None:
        """Let the next call have a step that was not used, unless another thread has already counted on."""
        if self.next_step == number + 1:
            self.steps = itertools.count(number)

    def _remember_shape(self, values: Mapping[str, Any], texts: dict[str, str]) -> None:
        """Let later calls with the same keys take the fast path, if all values are plain scalars."""
        keys = tuple(values)
        if keys in self._shapes or texts or not 0 < len(keys) <= _MAX_SHAPE_KEYS:
            return
        if not all(isinstance(value, (float, int)) or _is_numpy_scalar(value) for value in values.values()):
            return  # arrays' own conversions may wait for a device or warn
        if len(self._shapes) >= _MAX_SHAPES:
            self._shapes.clear()
        self._shapes[keys] = _shape(keys)

    def commit(self) -> None:
        """Record what was gathered with `commit=False` and never committed."""
        if self.gathering:
            self.log({}, commit=True)

    def rewind(self, step: int) -> None:
        """Count from a step on; values gathered for another step are recorded first."""
        if self.gathering:
            self.commit()
        self.steps = itertools.count(step)

    def now(self) -> float:
        """The time of day in seconds, from a clock that never goes back."""
        return time.monotonic() + self.offset

    def follow_clock(self) -> None:
        """Follow the system's clock where it jumped ahead (sleep, first sync); where it was set back, don't."""
        ahead = time.time() - self.now()
        if ahead > 1.0:
            self.offset += ahead

    @property
    def next_step(self) -> int:
        """The step of the next call that names none."""
        return int(repr(self.steps)[len("count(") : -1])  # the only way to look without taking


def _fast_log(recorder: Recorder, journal: JournalWriter, shapes: dict[tuple[Any, ...], tuple[Packer, bytes]]) -> Log:
    """`log` as one function that goes from the dict to the frame in the journal.

    Calls and attributes are most of what is left to save: written as methods of Recorder and JournalWriter the
    same work takes 1.6 µs instead of 1.4 for ten floats. Whatever is not plain numbers under known keys, at a
    journal with room, goes the long way.
    """
    pack_header, monotonic, clock = HEADER.pack, time.monotonic, time.perf_counter_ns
    acquire, release = journal.lock.acquire, journal.lock.release

    def log(values: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        number = step
        try:
            pack, middle = shapes[tuple(values)]
            if commit is not None or recorder.detour:
                return recorder.log_anything(values, number, step is None, commit)
            if number is None:
                number = next(recorder.steps)
            elif number.__class__ is not int:  # a bool, say, or one of NumPy's, with which counting would go on
                return recorder.log_anything(values, number, False, commit)
            began = clock() if number >= recorder.timed_from else 0
            # One struct.pack with the msgpack between the numbers ready-made costs half of what building and
            # encoding a record does; it also refuses whatever is no number.
            payload = pack(_TAG, number, _DOUBLE, monotonic() + recorder.offset, middle, *values.values(), _NO_TEXTS)
        except Exception:
            return recorder.log_anything(values, number, step is None, commit)
        frame = pack_header(len(payload), crc32(payload)) + payload
        size = len(frame)
        try:
            acquire()  # `with` takes 80 ns more
        except BaseException:  # out of a signal's handler, before or after the lock was ours
            with contextlib.suppress(RuntimeError):
                release()
            raise
        start = journal.position
        end = start + size
        fits = end <= journal.limit
        if fits:
            journal.memory[start:end] = frame
            journal.position = end
            journal.appended += 1
        release()
        if not fits:
            journal.append(payload)
        if step is not None:
            recorder.steps = itertools.count(number + 1)
        if began:
            recorder.timed_nanoseconds += clock() - began
            recorder.timed_calls += 1
            recorder.timed_from = number + min(recorder.timed_calls, _SAMPLE_MASK) + 1
            recorder.inspect(values)
        return None

    return log


def _replace(gathered: Gathered, given: Gathered) -> None:
    """Let the values given last for a key stand, whichever kind they and those before are of."""
    for key in [*given[0], *given[1], *given[2]]:
        gathered[0].pop(key, None)
        gathered[1].pop(key, None)
        gathered[2].pop(key, None)
    gathered[0].update(given[0])
    gathered[1].update(given[1])
    gathered[2].update(given[2])


def _shape(keys: tuple[str, ...]) -> tuple[Packer, bytes]:
    """What `struct` needs to pack a Points record with these keys, and the bytes between time and values."""
    size = 8 * len(keys)
    middle = msgspec.msgpack.encode(list(keys))
    middle += b"\xc4" + bytes([size]) if size < 256 else b"\xc5" + size.to_bytes(2, "big")
    return struct.Struct(f">{len(_TAG)}sqcd{len(middle)}s{len(keys)}dc").pack, middle


def _is_numpy_scalar(value: object) -> bool:
    return type(value).__module__ == "numpy" and getattr(value, "shape", None) == ()

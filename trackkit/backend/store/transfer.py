"""Runs and points on their way from a server to whoever reads them: exact, and a piece at a time.

Entries of config and summary travel as their columns, so that whole numbers of any size, NaN and ±Infinity come back
as they are. Points travel in frames: 4 bytes with a frame's length, then MessagePack `[key, steps, times, values]`.
Steps and times are int64 (times in microseconds), numbers float64, all little-endian; texts are a list. A frame of
length 0 ends them, followed by an int64: the last step of the window they are from.
"""

from __future__ import annotations

import math
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
import numpy as np

from trackkit.backend.store import entries
from trackkit.backend.store.runs import RunRow
from trackkit.backend.store.series import Points

POINTS_TYPE: Final = "application/vnd.trackkit.points"
"""The media type of frames of points."""

Encoded = tuple[str, float | str | None, str | None]
"""The columns `type`, `number` and `text` of an entry; an infinite number is a word, as JSON has none for it."""

_LENGTH = struct.Struct("<I")
_STEP = struct.Struct("<q")
_TYPES = ("null", "bool", "int", "float", "str", "json")
_WORDS = {"Infinity": math.inf, "-Infinity": -math.inf}


class RunRecord(msgspec.Struct):
    """A run with everything but what it logged; times in microseconds since the epoch, `metadata` a JSON object."""

    id: str
    project: str
    name: str
    group: str
    job_type: str
    notes: str
    state: str
    created: int
    updated: int
    ended: int | None
    exit_code: int | None
    error: str
    metadata: str
    tags: list[str]
    config: dict[str, Encoded]
    summary: dict[str, Encoded]


class Edit(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What to change of a run: what is left out stays. Keys of nested dicts are joined by "."."""

    name: str | None = None
    notes: str | None = None
    group: str | None = None
    job_type: str | None = None
    tags: list[str] | None = None
    config: dict[str, Encoded] = {}
    config_removed: list[str] = []
    summary: dict[str, Encoded] = {}
    summary_removed: list[str] = []

    @property
    def described(self) -> dict[str, str]:
        """The texts to change, by field."""
        fields = {name: getattr(self, name) for name in ("name", "notes", "group", "job_type")}
        return {name: value for name, value in fields.items() if value is not None}


class _Frame(msgspec.Struct, array_like=True):
    key: str
    steps: bytes
    times: bytes
    values: bytes | list[str]


def record_of(row: RunRow) -> RunRecord:
    """A run as it travels."""
    values = {name: getattr(row, name) for name in RunRecord.__struct_fields__}
    return RunRecord(**{**values, "config": encode(row.config), "summary": encode(row.summary)})


def row_of(record: RunRecord) -> RunRow:
    """A run as it was in its store; its number there, which means nothing here, is 0."""
    values = msgspec.structs.asdict(record)
    return RunRow(run=0, **{**values, "config": decode(record.config), "summary": decode(record.summary)})


def encode(flat: Mapping[str, Any]) -> dict[str, Encoded]:
    """Flat entries as they travel.

    Raises
    ------
    TypeError
        If a value is nothing JSON can hold.
    """
    found: dict[str, Encoded] = {}
    for key, value in flat.items():
        type, number, text = entries.encode(value)
        word = number if number is None or math.isfinite(number) else "Infinity" if number > 0 else "-Infinity"
        found[key] = type, word, text
    return found


def decode(encoded: Mapping[str, Encoded]) -> dict[str, Any]:
    """The flat entries of `encode`.

    Raises
    ------
    ValueError
        If some are none.
    """
    found = {}
    for key, (type, number, text) in encoded.items():
        try:
            found[key] = entries.decode(type, _WORDS[number] if isinstance(number, str) else number, text)
        except (ValueError, KeyError, OverflowError, RecursionError) as error:
            raise ValueError(f"the entry {key!r} is none of type {type!r}: {error}") from None
        if type not in _TYPES or (type == "str" and text is None):
            raise ValueError(f"the entry {key!r} is none of type {type!r}")
    return found


def frame(key: str, points: Points) -> bytes:
    """Points of a key as a frame."""
    texts = points.values.dtype == object
    values = points.values.tolist() if texts else points.values.astype("<f8", copy=False).tobytes()
    steps, times = (column.astype("<i8", copy=False).tobytes() for column in (points.steps, points.times))
    content = msgspec.msgpack.encode(_Frame(key, steps, times, values))
    return _LENGTH.pack(len(content)) + content


def end(last: int) -> bytes:
    """What comes after the last frame of a window that ends with a step."""
    return _LENGTH.pack(0) + _STEP.pack(last)


def read(take: Callable[[int], bytes]) -> tuple[dict[str, Points], int]:
    """The points that frames hold, each key's in the order they came, and the last step of their window.

    Parameters
    ----------
    take
        Gives the next so many bytes.

    Raises
    ------
    EOFError
        If they end too soon.
    ValueError
        If they are no frames.
    """
    parts: defaultdict[str, list[Points]] = defaultdict(list)
    while length := _LENGTH.unpack(_exactly(take, _LENGTH.size))[0]:
        try:
            found = msgspec.msgpack.decode(_exactly(take, length), type=_Frame)
        except msgspec.MsgspecError as error:
            raise ValueError(f"these are no points: {error}") from None
        parts[found.key].append(_points(found))
    (last,) = _STEP.unpack(_exactly(take, _STEP.size))
    return {key: _joined(some) for key, some in parts.items()}, last


def chunks_of(pieces: Iterable[bytes]) -> Callable[[int], bytes]:
    """Gives the next so many bytes of pieces of any size; fewer at their end."""
    iterator: Iterator[bytes] = iter(pieces)
    held = bytearray()

    def take(count: int) -> bytes:
        while len(held) < count:
            piece = next(iterator, None)
            if piece is None:
                break
            held.extend(piece)
        found = bytes(held[:count])
        del held[:count]
        return found

    return take


def _points(found: _Frame) -> Points:
    steps, times = np.frombuffer(found.steps, "<i8"), np.frombuffer(found.times, "<i8")
    values = np.frombuffer(found.values, "<f8") if isinstance(found.values, bytes) else np.array(found.values, object)
    if not len(steps) == len(times) == len(values):
        raise ValueError(f"the columns of {found.key!r} are not equally long")
    return Points(steps, times, values)


def _joined(parts: list[Points]) -> Points:
    """Parts as arrays of their own, which can be written to."""
    steps, times, values = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Points(steps.astype(np.int64, copy=False), times.astype(np.int64, copy=False), values)


def _exactly(take: Callable[[int], bytes], count: int) -> bytes:
    found = take(count)
    if len(found) < count:
        raise EOFError("the answer ends in the middle")
    return found

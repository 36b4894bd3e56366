"""Batches of journal frames as columns: the points of each key, ready for the store.

Records of one set of keys that `core.recorder` wrote have the same layout and length: laid side by side they
are a matrix whose steps, times and values NumPy reads in place. All other records are decoded one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from trackkit.backend.store.codec import Floats, Ints
from trackkit.core import records
from trackkit.core.blobs import is_digest
from trackkit.core.records import AnyRecord
from trackkit.core.summary import Statistics

# The fixed layout: tag, step, time, keys and the header of the values, values, no texts.
_TAG = b"\x96\xa1p\xd3"
_STEP_AT, _DOUBLE_AT, _TIME_AT, _KEYS_AT = 4, 12, 13, 21
_DOUBLE, _NO_TEXTS = 0xCB, 0x80
_WHOLE = ("number", "count", "parts", "step", "pid", "size", "exit_code")
_REST_EVERY = 64
"""Records between two rests: 30 µs of work on the fast path, some 100 µs on the slow one."""

_LATEST = 2**63 / 1e6 - 1


@dataclass(slots=True)
class Column:
    """New points of one series, in the order they were logged; times in microseconds.

    `end` is the logical offset at which the record of the last one ends.
    """

    kind: str
    key: str
    end: int
    steps: Ints
    times: Ints
    values: Floats
    statistics: Statistics


@dataclass(slots=True)
class Separated:
    """What a batch holds: points by column, and all other records with the offsets of their ends."""

    columns: list[Column] = field(default_factory=list)
    others: list[tuple[int, AnyRecord]] = field(default_factory=list)
    texts: list[tuple[int, records.Points]] = field(default_factory=list)
    """Points records that carry texts, with the offsets of their ends."""

    def latest_texts(self) -> dict[str, str]:
        """The last text of each key after which the key got no number."""
        numbers = {column.key: column.end for column in self.columns if column.kind == "metric"}
        latest = {}
        for end, record in self.texts:
            latest.update({key: text for key, text in record.texts.items() if end > numbers.get(key, 0)})
        return latest


@dataclass(slots=True)
class _Group:
    """The records of one set of keys: those in the fixed layout by position, the others decoded."""

    kind: str
    keys: list[str]
    fast: list[int] = field(default_factory=list)
    slow: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class _Block:
    """Points of one set of keys: a row per record, a column per key, and each record's position in the batch."""

    kind: str
    keys: list[str]
    positions: Ints
    steps: Ints
    times: Ints
    values: Floats


def separate(payloads: list[bytes], ends: list[int], rest: Callable[[], None] = lambda: None) -> Separated:
    """The records of a batch, points by column.

    Records of a kind this version does not know are left out, and those that no writer of ours makes and no database
    holds: nested without end, with whole numbers beyond 64 bits, or with digests that are none.

    Parameters
    ----------
    payloads, ends
        The frames' payloads and the logical offsets of their ends.
    rest
        Called about every 100 µs.
    """
    found = Separated()
    layouts: dict[bytes, _Group] = {}
    groups: dict[tuple[str, ...], _Group] = {}
    for position, payload in enumerate(payloads):
        if not position % _REST_EVERY:
            rest()
        if payload.startswith(_TAG) and len(payload) > _KEYS_AT:
            header = payload[_KEYS_AT]
            count = header & 0x0F if header <= 0x9F else int.from_bytes(payload[_KEYS_AT + 1 : _KEYS_AT + 3], "big")
            group = layouts.get(payload[_KEYS_AT : len(payload) - 1 - 8 * count])
            if group is not None and payload[-1] == _NO_TEXTS and payload[_DOUBLE_AT] == _DOUBLE:
                group.fast.append(position)
                continue
        try:
            record = records.decode(payload)
        except msgspec.MsgspecError:
            continue
        if not _fits(record):
            continue
        if isinstance(record, records.Points):
            _take_points(record, position, groups, layouts)
            if record.texts:
                found.texts.append((ends[position], record))
        elif isinstance(record, records.System):
            _take_system(record, position, groups)
        else:
            found.others.append((ends[position], record))
    blocks = [block for group in groups.values() for block in _blocks(group, payloads)]
    found.columns = list(_columns(blocks, ends, rest))
    return found


def _fits(record: AnyRecord) -> bool:
    """Whether the record's whole numbers have 64 bits at most, and its digest is one."""
    if isinstance(record, records.Object) and record.digest and not is_digest(record.digest):
        return False
    if isinstance(record, records.Artifact | records.Use) and not is_digest(record.digest):
        return False
    return all(-(2**63) <= (getattr(record, name, 0) or 0) < 2**63 for name in _WHOLE)


def is_record(payload: bytes, tag: bytes) -> bool:
    """Whether a payload is a record of this tag, told without decoding it."""
    start = 3 if payload[:1] == b"\xdc" else 1  # an array of more than 15 has a longer header
    return payload[start : start + 1 + len(tag)] == bytes([0xA0 | len(tag)]) + tag


def _layout(keys: list[str]) -> bytes:
    """The bytes between time and values of a record with these keys in the fixed layout."""
    size = 8 * len(keys)
    header = b"\xc4" + bytes([size]) if size < 256 else b"\xc5" + size.to_bytes(2, "big")
    return msgspec.msgpack.encode(keys) + header


def _take_points(
    record: records.Points, position: int, groups: dict[tuple[str, ...], _Group], layouts: dict[bytes, _Group]
) -> None:
    if not record.keys or len(record.values) != 8 * len(record.keys):
        return
    keys = tuple(record.keys)
    group = groups.get(keys)
    if group is None:
        group = groups[keys] = _Group("metric", _stored(record.keys))
        if len(keys) < 2**13:
            layouts[_layout(record.keys)] = group
    group.slow.append(position)
    group.steps.append(record.step)
    group.times.append(record.time)
    group.values.append(record.values)


def _take_system(record: records.System, position: int, groups: dict[tuple[str, ...], _Group]) -> None:
    keys = ("", *record.values)  # no metric has an empty key
    group = groups.setdefault(keys, _Group("system", _stored(record.values)))
    group.slow.append(position)
    group.steps.append(0)
    group.times.append(record.time)
    group.values.append(np.array(list(record.values.values()), ">f8").tobytes())


def _stored(keys: Iterable[str]) -> list[str]:
    """Keys as every database can hold them, so that a series is found again by its key."""
    return [key.replace("\0", "␀") for key in keys]


def _blocks(group: _Group, payloads: list[bytes]) -> Iterator[_Block]:
    width = len(group.keys)
    if group.slow and width:
        values = np.frombuffer(b"".join(group.values), ">f8").reshape(-1, width)
        yield _Block(
            group.kind,
            group.keys,
            np.array(group.slow, np.int64),
            np.array(group.steps, np.int64),
            _microseconds(np.array(group.times, np.float64)),
            values.astype(np.float64),
        )
    if group.fast:
        length = len(payloads[group.fast[0]])
        data = np.frombuffer(b"".join([payloads[position] for position in group.fast]), np.uint8).reshape(-1, length)
        start = length - 1 - 8 * width
        yield _Block(
            group.kind,
            group.keys,
            np.array(group.fast, np.int64),
            _read(data[:, _STEP_AT : _STEP_AT + 8], ">i8").astype(np.int64),
            _microseconds(_read(data[:, _TIME_AT : _TIME_AT + 8], ">f8").astype(np.float64)),
            _read(data[:, start : length - 1], ">f8").astype(np.float64).reshape(-1, width),
        )


def _read(part: NDArray[np.uint8], type: str) -> NDArray[np.generic]:
    """Columns of bytes as columns of numbers; one column comes back flat."""
    numbers = np.ascontiguousarray(part).view(type)
    return numbers[:, 0] if numbers.shape[1] == 1 else numbers


def _microseconds(seconds: Floats) -> Ints:
    bounded = np.clip(np.nan_to_num(seconds, nan=0.0), -_LATEST, _LATEST)
    return np.rint(bounded * 1e6).astype(np.int64)


def _columns(blocks: list[_Block], ends: list[int], rest: Callable[[], None]) -> Iterator[Column]:
    where: dict[tuple[str, str], list[tuple[_Block, int]]] = {}
    for block in blocks:
        for number, key in enumerate(block.keys):
            where.setdefault((block.kind, key), []).append((block, number))
    shared = {key for key, places in where.items() if len(places) > 1}
    for block in blocks:
        alone = [number for number, key in enumerate(block.keys) if (block.kind, key) not in shared]
        if alone:
            yield from _split(block, alone, ends, rest)
    for kind, key in sorted(shared):
        yield from _split(_joined(key, where[kind, key]), [0], ends, rest)


def _joined(key: str, places: list[tuple[_Block, int]]) -> _Block:
    """The points of one key that lie in several blocks, as a block in the order they were logged."""
    positions = np.concatenate([block.positions for block, _ in places])
    order = np.argsort(positions, kind="stable")
    return _Block(
        places[0][0].kind,
        [key],
        positions[order],
        np.concatenate([block.steps for block, _ in places])[order],
        np.concatenate([block.times for block, _ in places])[order],
        np.concatenate([block.values[:, number] for block, number in places])[order].reshape(-1, 1),
    )


def _split(block: _Block, numbers: list[int], ends: list[int], rest: Callable[[], None]) -> Iterator[Column]:
    """Columns of a block. Their statistics are computed for all at once, as there may be thousands of short ones."""
    values = np.asfortranarray(block.values)
    count = len(values)
    known = ~np.isnan(values)
    finite = np.count_nonzero(known, axis=0).tolist()
    with np.errstate(invalid="ignore", over="ignore"):
        totals = np.add.reduce(values, axis=0, where=known, initial=0.0).tolist()
    lowest, highest = np.fmin.reduce(values, axis=0).tolist(), np.fmax.reduce(values, axis=0).tolist()
    first, last = values[0].tolist(), values[-1].tolist()
    end = ends[int(block.positions[-1])]
    for done, n in enumerate(numbers):
        if not done % _REST_EVERY:
            rest()
        statistics = Statistics(count, finite[n], totals[n], lowest[n], highest[n], first[n], last[n])
        yield Column(block.kind, block.keys[n], end, block.steps, block.times, values[:, n], statistics)

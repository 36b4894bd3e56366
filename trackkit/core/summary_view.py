"""`run.summary` while the run goes on: what this process logged, summarised when somebody looks."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from trackkit.core import records
from trackkit.core.config import to_json
from trackkit.core.journal import Frames
from trackkit.core.records import Json
from trackkit.core.summary import Definition, Statistics, define, entry_keys, match, summarise
from trackkit.core.values import check_key, flatten

_POINTS = b"\x96" + b"\xa1p"
Read = Callable[[int], Frames]


def _keys_of(payload: bytes) -> bytes | None:
    """The bytes that name the keys of a Points record, if it has the layout `Recorder` gives it and no text."""
    if payload[3:4] != b"\xd3" or payload[12:13] != b"\xcb" or payload[-1:] != b"\x80":
        return None
    size = payload[21]
    if 0x90 <= size <= 0x9F:
        count = size & 0x0F
    elif size == 0xDC:
        count = int.from_bytes(payload[22:24], "big")
    else:
        return None
    return payload[21 : len(payload) - 1 - 8 * count]


def _joined(rule: str, before: Any, value: float, definition: Definition | None) -> float:
    """An entry as it is with what was logged before the run was resumed.

    Of a mean only the value is known, not of how many points; it is that of what this process logged.
    """
    if not isinstance(before, (int, float)) or before != before:
        return value
    if rule == "best":
        rule = "max" if definition is not None and definition.goal == "maximize" else "min"
    if rule == "first" or (value != value and rule in ("min", "max")):
        return before
    return min(before, value) if rule == "min" else max(before, value) if rule == "max" else value


class RunSummary(MutableMapping[str, Any]):
    """One value per metric, by default the last one logged, and whatever was set by hand.

    Entries are read and set as items or as attributes.

    Nothing is computed when something is logged: the journal is read from where the last look ended.

    Parameters
    ----------
    read
        Reads the journal's frames from an offset on.
    changed
        Called with the entries that were set by hand and the keys that were removed.
    """

    def __init__(
        self,
        read: Read,
        changed: Callable[[dict[str, Json], list[str]], None] = lambda values, removed: None,
    ) -> None:
        self._definitions: tuple[Definition, ...] = ()
        self._read = read
        self._changed = changed
        self._every_value_counts = False
        self._offset = 0
        self._statistics: dict[str, Statistics] = {}
        self._texts: dict[str, str] = {}
        self._edited: dict[str, Any] = {}
        self._known: dict[str, Any] = {}
        self._removed: set[str] = set()
        self._lock = threading.RLock()

    def restore(self, values: Mapping[str, Any]) -> None:
        """Take over what is known of a resumed run."""
        self._known.update(flatten(values))

    def restart(self, read: Read) -> None:
        """Go on with another journal, in a forked child."""
        self._lock = threading.RLock()
        self._read = read
        self._offset = 0

    def update(self, *sources: Any, **entries: Any) -> None:
        """Set many entries by hand; they take precedence over what is logged."""
        found: dict[str, Any] = {}
        for source in sources:
            found.update(source)
        found.update(entries)
        for key in found:
            check_key(key)
        flat = flatten(found)
        if flat:
            self._changed({key: to_json(value) for key, value in flat.items()}, [])
        with self._lock:
            self._edited.update(flat)
            self._removed.difference_update(flat)

    def define(self, record: records.Define) -> None:
        """Summarise by a definition from here on."""
        self.catch_up()
        with self._lock:
            self._definitions = define(self._definitions, record)
            rules = {rule for definition in self._definitions for rule in definition.summary or ()}
            self._every_value_counts = not rules <= {"last", "none"}

    def as_dict(self) -> dict[str, Any]:
        """All entries, flat."""
        self.catch_up()
        with self._lock:
            found = dict(self._known)
            for key, statistics in self._statistics.items():
                definition = match(self._definitions, key)
                for name, value in summarise(key, statistics, definition).items():
                    found[name] = _joined(name.removeprefix(f"{key}."), found.get(name), value, definition)
            found = {**found, **self._texts, **self._edited}
            return {name: value for name, value in found.items() if name not in self._removed}

    def catch_up(self) -> None:
        """Read what was logged since the last look."""
        with self._lock:
            while True:
                frames = self._read(self._offset)
                if not frames.payloads:
                    return
                self.take(frames.payloads)
                self._offset = frames.end

    def take(self, payloads: list[bytes]) -> None:
        """Count records in; those of other kinds than Points are passed over.

        Only the last record of each set of keys matters, unless a rule asks for more than the last value.
        """
        if self._every_value_counts:
            for payload in payloads:
                self._add(payload)
            return
        latest: dict[bytes, bytes] = {}
        for payload in payloads:
            keys = _keys_of(payload)
            if keys is None:
                self._add(payload)  # carries text, or another writer's layout
            else:
                latest.pop(keys, None)
                latest[keys] = payload
        for payload in latest.values():
            self._add(payload)

    def _add(self, payload: bytes) -> None:
        if not payload.startswith(_POINTS):
            return
        record = records.decode(payload)
        if not isinstance(record, records.Points):
            return
        numbers = struct.unpack(f">{len(record.keys)}d", record.values)
        for key, value in zip(record.keys, numbers, strict=True):
            self._statistics.setdefault(key, Statistics()).add(value)
            if self._removed:
                self._removed.difference_update(entry_keys(key))
        self._texts.update(record.texts)

    def __getitem__(self, key: str) -> Any:
        found = self.as_dict()
        if key in found:
            return found[key]
        nested = {name[len(key) + 1 :]: value for name, value in found.items() if name.startswith(f"{key}.")}
        if nested:
            return nested
        raise KeyError(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        gone = [name for name in self.as_dict() if name == key or name.startswith(f"{key}.")]
        if not gone:
            raise KeyError(key)
        self._changed({}, [key])
        with self._lock:
            self._removed.update(gone)
            for name in gone:
                self._edited.pop(name, None)

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_"):
            raise AttributeError(key)
        try:
            return self[key]
        except KeyError:
            raise AttributeError(f"summary has no entry {key!r}") from None

    def __setattr__(self, key: str, value: Any) -> None:
        if key.startswith("_"):
            object.__setattr__(self, key, value)
        else:
            self[key] = value

    def __delattr__(self, key: str) -> None:
        del self[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.as_dict())

    def __len__(self) -> int:
        return len(self.as_dict())

    def __repr__(self) -> str:
        return f"RunSummary({self.as_dict()!r})"

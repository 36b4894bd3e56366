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
from trackkit.core.summary import Definition, Statistics, define, match, summarise
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


class RunSummary(MutableMapping[str, Any]):
    """One value per metric, by default the last one logged, and whatever was set by hand.

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
        self.definitions: tuple[Definition, ...] = ()
        self._read = read
        self._changed = changed
        self._every_value_counts = False
        self._offset = 0
        self._statistics: dict[str, Statistics] = {}
        self._texts: dict[str, str] = {}
        self._edited: dict[str, Any] = {}
        self._known: dict[str, Any] = {}
        self._lock = threading.RLock()

    def restore(self, values: Mapping[str, Any]) -> None:
        """Take over what the store knows of a resumed run."""
        self._known.update(values)

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
        with self._lock:
            self._edited.update(flat)
        if flat:
            self._changed({key: to_json(value) for key, value in flat.items()}, [])

    def define(self, record: records.Define) -> None:
        """Summarise by a definition from here on."""
        self.catch_up()
        with self._lock:
            self.definitions = define(self.definitions, record)
            rules = {rule for definition in self.definitions for rule in definition.summary or ()}
            self._every_value_counts = not rules <= {"last", "none"}

    def as_dict(self) -> dict[str, Any]:
        """All entries, flat."""
        self.catch_up()
        with self._lock:
            found = dict(self._known)
            for key, statistics in self._statistics.items():
                found.update(summarise(key, statistics, match(self.definitions, key)))
            return {**found, **self._texts, **self._edited}

    def catch_up(self) -> None:
        """Read what was logged since the last look."""
        with self._lock:
            while True:
                frames = self._read(self._offset)
                if not frames.payloads:
                    return
                self._take(frames.payloads)
                self._offset = frames.end

    def _take(self, payloads: list[bytes]) -> None:
        """Only the last record of each set of keys matters, unless a rule asks for more than the last value."""
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
        with self._lock:
            self._edited.pop(key, None)
            self._known.pop(key, None)
        self._changed({}, [key])

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_"):
            raise AttributeError(key)
        try:
            return self[key]
        except KeyError:
            raise AttributeError(f"summary has no entry {key!r}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.as_dict())

    def __len__(self) -> int:
        return len(self.as_dict())

    def __repr__(self) -> str:
        return f"RunSummary({self.as_dict()!r})"

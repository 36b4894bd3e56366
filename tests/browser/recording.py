"""Runs recorded in the past: journals' records with times of our choosing, taken into a store as any others."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trackkit.core import records
from trackkit.core.records import AnyRecord
from trackkit.core.sink import Batch
from trackkit.sinks.sqlite import SQLiteSink

FRAME_HEADER_BYTES = 8


class Recording:
    """One run, from its start on; `keep` writes it to a store.

    Parameters
    ----------
    id
        The run's id.
    began
        When it began, in seconds since the epoch.
    fields
        Further fields of the Start record: project, name, group, tags, notes, host.
    """

    def __init__(self, id: str, began: float, **fields: Any) -> None:
        self.id = id
        self.began = began
        start = {"time": began, "run": id, "project": "p", "name": id, "host": "node-1", "pid": 4711, **fields}
        self._records: list[AnyRecord] = [records.Start(**start)]

    def say(self, *given: AnyRecord) -> Recording:
        """Add records."""
        self._records += given
        return self

    def config(self, values: Mapping[str, Any]) -> Recording:
        return self.say(records.Config(self.began, dict(values)))

    def log(self, step: int, after: float, values: Mapping[str, float]) -> Recording:
        """Metrics of one step, `after` seconds from the start."""
        packed = struct.pack(f">{len(values)}d", *values.values())
        return self.say(records.Points(step, self.began + after, list(values), packed))

    def read_system(self, after: float, values: Mapping[str, float]) -> Recording:
        return self.say(records.System(self.began + after, dict(values)))

    def print(self, after: float, text: str, stream: str = "stdout") -> Recording:
        return self.say(records.Lines(self.began + after, stream, text))

    def keep_file(self, path: str, content: str, kind: str, after: float = 0.5) -> Recording:
        data = content.encode()
        return self.say(records.Object(self.began + after, path, kind, path, len(data), inline=data))

    def finish(self, after: float, state: str = "finished", exit_code: int = 0, error: str = "") -> Recording:
        return self.say(records.Finish(self.began + after, state, exit_code, error))

    def keep(self, root: Path) -> None:
        """Write the run to the store in a folder."""
        payloads = [records.encode(record) for record in self._records]
        ends: Sequence[int] = _ends(payloads)
        sink = SQLiteSink("sqlite:", root)
        sink.open(self.id, "recorded")
        sink.write(Batch(0, ends[-1], payloads, list(ends)))
        sink.close()


def _ends(payloads: Sequence[bytes]) -> list[int]:
    ends, end = [], 0
    for payload in payloads:
        end += FRAME_HEADER_BYTES + len(payload)
        ends.append(end)
    return ends

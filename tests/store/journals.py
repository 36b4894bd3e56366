"""Journals for tests: written by the journal's own writer, cut into batches as a pump might."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trackkit.core import records
from trackkit.core.journal import JournalReader
from trackkit.core.recorder import Recorder
from trackkit.core.records import AnyRecord
from trackkit.core.sink import Batch
from trackkit.core.writer import JournalWriter

BEGAN = 1_700_000_000.0
"""When runs of tests begin, in seconds since the epoch."""


class Writer:
    """A process that records a run, as far as its journal shows."""

    def __init__(
        self, root: Path, run: str = "run", writer: str = "writer", sinks: Sequence[str] = ("sqlite:",)
    ) -> None:
        self.run, self.writer = run, writer
        self.journal = JournalWriter(root, run, writer, sinks=list(sinks))
        self.recorder = Recorder(self.journal)
        self.folder = self.journal.folder

    def start(self, **fields: Any) -> Writer:
        """Open the run."""
        named = {"time": BEGAN, "run": self.run, "project": "p", "name": self.run, **fields}
        return self.say(records.Start(**named))

    def say(self, *given: AnyRecord) -> Writer:
        """Append records."""
        for record in given:
            self.journal.append(records.encode(record))
        return self

    def log(self, values: dict[str, Any], step: int | None = None, commit: bool | None = None) -> Writer:
        """Log as `run.log` does."""
        self.recorder.log(values, step, commit)
        return self

    def finish(self, state: str = "finished", **fields: Any) -> Writer:
        """Close the run."""
        return self.say(records.Finish(**{"time": time.time(), "state": state, **fields}))

    def die(self) -> Writer:
        """End as a killed process does: the lock is free, the segment is as long as it was."""
        self.journal.abandon()
        return self

    def batch(self, first: int = 0, last: int | None = None) -> Batch:
        """The frames from one number to another; all of them if none is given."""
        return _cut(*self._frames(), first, last)

    def batches(self, *sizes: int) -> Iterator[Batch]:
        """The frames in batches of these sizes, and the rest of them in one."""
        payloads, ends = self._frames()
        first = 0
        for size in sizes:
            yield _cut(payloads, ends, first, first + size)
            first += size
        yield _cut(payloads, ends, first, None)

    def _frames(self) -> tuple[list[bytes], list[int]]:
        reader, offset = JournalReader(self.folder, final=True), 0
        payloads, ends = [], []
        while (frames := reader.read(offset)).payloads:
            payloads += frames.payloads
            ends += frames.ends
            offset = frames.end
        return payloads, ends


def _cut(payloads: list[bytes], ends: list[int], first: int, last: int | None) -> Batch:
    offsets = [0, *ends]
    start = offsets[min(first, len(ends))]
    return Batch(start, max([start, *ends[first:last]]), payloads[first:last], ends[first:last])

"""Records that come from elsewhere than a run's journal, on their way to a sink.

An import says of every record where in its source it stands, and the sink's target keeps, per writer, how far it has
the source, as it does for a journal. So an import that was cut off goes on where it stopped, one that is repeated
changes nothing, and one of a source that has grown brings what is new.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from trackkit.core import records
from trackkit.core.journal import HEADER
from trackkit.core.records import AnyRecord
from trackkit.core.sink import Batch, Holding, Sink, SinkError, find_factory

T = TypeVar("T")

BATCH_RECORDS = 20_000
_PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)
_FILE_SECONDS = 600.0


class Delivered(msgspec.Struct):
    """What came of the records of one writer: how many there are, and how many of them were new to the target."""

    records: int = 0
    new: int = 0


class Delivery:
    """Takes records to a sink.

    Parameters
    ----------
    uri
        The sink's URI.
    root
        The store's folder: where the blobs lie that records name.
    run
        The run's id.

    Raises
    ------
    ValueError
        If no sink is installed for the URI.

    Examples
    --------
    >>> with Delivery("sqlite:", Path(".trackkit"), "abc") as delivery:  # doctest: +SKIP
    ...     delivery.send("events", [records.Start(0.0, "abc", "digits", "abc")])
    """

    def __init__(self, uri: str, root: Path, run: str) -> None:
        self._sink: Sink = find_factory(uri)(uri, root)
        self._run = run

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sink.close()

    def send(self, writer: str, source: Iterable[AnyRecord]) -> Delivered:
        """Send the records of one writer; those that the target has are left out.

        Parameters
        ----------
        writer
            The writer's id, the same whenever the same source is imported.
        source
            All records of the source, in an order that only ever grows at its end.

        Raises
        ------
        SinkError
            If the target can't take them, after some tries.
        SinkRefused
            If it never will.
        ValueError
            If what the target has of the writer is not how this source begins.
        """
        delivered = Delivered()
        position = self._tried(lambda: self._sink.open(self._run, writer))
        for batch in _batches(source):
            delivered.records += len(batch)
            if batch.end <= position:
                continue
            fresh = _after(batch, position)
            position = self._tried(lambda batch=fresh: self._sink.write(batch))  # type: ignore[misc]
            delivered.new += len(fresh)
        self._tried(self._sink.sync)
        self._wait_for_files()
        return delivered

    def append(self, writer: str, *added: AnyRecord) -> None:
        """Send records after all that the target has of the writer, whatever they are."""
        position = self._tried(lambda: self._sink.open(self._run, writer))
        for batch in _batches(added, position):
            self._tried(lambda batch=batch: self._sink.write(batch))  # type: ignore[misc]

    def _tried(self, work: Callable[[], T]) -> T:
        for pause in _PAUSES:
            try:
                return work()
            except SinkError:
                time.sleep(pause)
        return work()

    def _wait_for_files(self) -> None:
        deadline = time.monotonic() + _FILE_SECONDS
        while isinstance(self._sink, Holding) and self._sink.files_waiting:
            if time.monotonic() > deadline:
                raise SinkError(f"{self._sink.files_waiting} files of the run {self._run} could not be sent")
            time.sleep(0.02)


def _batches(source: Iterable[AnyRecord], start: int = 0) -> Iterator[Batch]:
    payloads: list[bytes] = []
    ends: list[int] = []
    end = start
    for record in source:
        payload = records.encode(record)
        end += HEADER.size + len(payload)
        payloads.append(payload)
        ends.append(end)
        if len(payloads) == BATCH_RECORDS:
            yield Batch(start, end, payloads, ends)
            start, payloads, ends = end, [], []
    if payloads:
        yield Batch(start, end, payloads, ends)


def _after(batch: Batch, position: int) -> Batch:
    """The part of a batch that lies after a position."""
    if batch.start >= position:
        return batch
    first = bisect_right(batch.ends, position)
    if not first or batch.ends[first - 1] != position:
        raise ValueError("what was imported before is not how this source begins: it was written anew since then")
    return Batch(position, batch.end, batch.payloads[first:], batch.ends[first:])

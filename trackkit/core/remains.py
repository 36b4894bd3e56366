"""What the journals of a run tell, here, that the target of its records may not have yet.

A process that was killed a moment ago leaves records that nobody has delivered, and an offline run leaves nothing
else; both can be resumed all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from trackkit.core import records
from trackkit.core.journal import Frames, JournalReader, WriterLock, writer_folders
from trackkit.core.sink import Known
from trackkit.core.summary_view import RunSummary

_POINTS_WITH_STEP = b"\x96\xa1p\xd3"
"""How a Points record begins whose step is the eight bytes that follow, as `Recorder` writes them."""


class Remains(msgspec.Struct):
    """What the journals tell.

    Attributes
    ----------
    joined
        Whether another process is writing to the run at the moment: one that comes now joins it, and counts steps
        of its own.
    known
        The run as it was left, or None if there is no journal of it here.
    """

    joined: bool
    known: Known | None


def find(root: Path, run: str, known: Known | None = None) -> Remains:
    """What is known of a run with what its journals tell.

    Parameters
    ----------
    root
        The store's folder.
    run
        The run's id.
    known
        What the target of its records knows.
    """
    joined = False
    summary = RunSummary(Frames)
    for folder in writer_folders(root, run):
        joined = joined or _is_held(folder)
        for payloads in _payloads(folder):
            summary.take(payloads)
            for payload in payloads:
                known = _learn(known, payload, summary)
    if known is not None:
        known.summary = {**known.summary, **summary.as_dict()}
        known.last_step = None if joined else known.last_step
    return Remains(joined, known)


def _is_held(folder: Path) -> bool:
    try:
        WriterLock(folder).release()
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _payloads(folder: Path) -> Iterator[list[bytes]]:
    reader = JournalReader(folder, final=True)
    offset = 0
    try:
        while True:
            frames = reader.read(offset)
            if not frames.payloads and frames.end <= frames.start:
                return
            offset = frames.end
            yield frames.payloads
    except OSError:  # delivered and deleted meanwhile, or not ours to read
        return


def _learn(known: Known | None, payload: bytes, summary: RunSummary) -> Known | None:
    """What is known after one more record."""
    if payload.startswith(_POINTS_WITH_STEP):
        return _stepped(known, int.from_bytes(payload[4:12], "big", signed=True))
    try:
        record = records.decode(payload)
    except msgspec.MsgspecError:
        return known
    match record:
        case records.Points():
            return _stepped(known, record.step)
        case records.Start() if known is None:
            labels = (record.project, record.name, record.group, record.job_type, record.notes)
            return Known(*labels, list(record.tags), "running", None, {}, {})
        case records.Rewind() if known is not None and known.last_step is not None:
            known.last_step = min(known.last_step, record.step - 1)
        case records.Config() if known is not None:
            kept = {key: value for key, value in known.config.items() if key not in record.removed}
            known.config = {**kept, **record.values}
        case records.Define():
            summary.define(record)
        case records.Summary():
            summary.update(record.values)
            for key in record.removed:
                summary.pop(key, None)
        case records.Describe() if known is not None:
            known.name = record.name if record.name is not None else known.name
            known.notes = record.notes if record.notes is not None else known.notes
            known.tags = record.tags if record.tags is not None else known.tags
    return known


def _stepped(known: Known | None, step: int) -> Known | None:
    if known is not None and (known.last_step is None or step > known.last_step):
        known.last_step = step
    return known

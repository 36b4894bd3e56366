"""The files that records name: what has to be where a store's blobs are, besides the records."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import msgspec

from trackkit.backend.store.columns import is_record
from trackkit.core import records
from trackkit.core.blobs import Blobs
from trackkit.core.manifest import Manifest, ManifestDamaged
from trackkit.core.sink import Batch

Item = records.Object | records.Artifact
_PATIENCE_SECONDS = 0.0001


def items(batch: Batch) -> Iterator[tuple[int, Item]]:
    """The records of a batch that name blobs, and the offset each begins at."""
    start = batch.start
    for payload, end in zip(batch.payloads, batch.ends, strict=True):
        if is_record(payload, b"object") or is_record(payload, b"artifact"):
            with contextlib.suppress(msgspec.MsgspecError):
                record = records.decode(payload)
                if isinstance(record, records.Artifact) or (isinstance(record, records.Object) and record.digest):
                    yield start, record
        start = end


def bring(batch: Batch, here: Blobs, there: Blobs) -> None:
    """Bring the blobs a batch names from one folder to another; what is missing is left to `doctor` to tell."""
    if here.folder == there.folder:
        return
    rested = time.perf_counter()
    for _, record in items(batch):
        for digest in blobs_of(record, here):
            with contextlib.suppress(FileNotFoundError, ValueError):
                there.take_from(here, digest)
            if time.perf_counter() - rested > _PATIENCE_SECONDS:
                batch.rest()
                rested = time.perf_counter()


def blobs_of(record: Item, blobs: Blobs) -> list[str]:
    """The blobs a record names; a manifest comes after what it names."""
    if isinstance(record, records.Object):
        return [record.digest]
    try:
        return [*Manifest.decode(blobs.path(record.digest).read_bytes()).blobs(), record.digest]
    except (OSError, ManifestDamaged, ValueError):
        return [record.digest]

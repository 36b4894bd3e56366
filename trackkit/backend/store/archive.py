"""Blobs as one ZIP file, made while it is sent: nothing of it lies on a disk, and a piece at a time in memory."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from typing import Final

from trackkit.backend.store.blobstore import BlobStore
from trackkit.core.manifest import Entry

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time a ZIP file has a word for; entries have none of their own."""


def archive(blobs: BlobStore, entries: Mapping[str, Entry]) -> Iterator[bytes]:
    """A ZIP file of entries by path, in pieces. Files are stored as they are, since most are compressed already.

    Raises
    ------
    FileNotFoundError
        While it is made, if a blob is not there: the file ends there, and is none that can be opened.
    """
    written = _Written()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED, allowZip64=True) as file:  # type: ignore[call-overload]
        for path, entry in entries.items():
            info = zipfile.ZipInfo(path, _EPOCH)
            info.external_attr = 0o644 << 16
            with file.open(info, "w", force_zip64=True) as target:
                for piece in blobs.read(entry.digest):
                    target.write(piece)
                    yield written.take()
            yield written.take()
    yield written.take()


class _Written:
    """What a ZIP file has written since it was last taken; it can't seek, so sizes stand behind each entry."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes | bytearray | memoryview) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def flush(self) -> None: ...

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken

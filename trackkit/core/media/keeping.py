"""From staged values to objects of the run: content inline or as a blob, and the record that tells of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import msgspec

from trackkit.core import records
from trackkit.core.blobs import Blobs
from trackkit.core.media.encoding import PICKLED, Content, encode
from trackkit.core.media.snapshot import Snapshot
from trackkit.core.media.staging import Staged, encoders, is_ours
from trackkit.core.records import Json

INLINE_BYTES: Final = 16 * 1024
"""Smaller content is kept in its record, larger content as a blob."""
_NAME_CHARACTERS = 120


class DiskRefuses(OSError):
    """Content is encoded, and can't be written now."""


class Untrusted(ValueError):
    """A staged value holds a pickle that others could have written."""


def objects(staged: Staged, blobs: Blobs, path: Path | None, *, recovered: bool = False) -> list[records.Object]:
    """Encode a staged value: its blobs are there when this returns, its records are for the caller to append.

    Parameters
    ----------
    path
        Where it is staged; None if it is in memory alone.
    recovered
        Whether this is done for a writer that has ended, which may have done it, too.

    Raises
    ------
    DiskRefuses
        If a blob can't be written.
    Untrusted
        If it holds a pickle that others could have written.
    Exception
        Whatever goes wrong in the libraries that encode.
    """
    if path is not None and not PICKLED.isdisjoint(encoders(staged.snapshot)) and not is_ours(path):
        raise Untrusted(f"{path} holds Python objects and could have been written by others, so it is not loaded")
    keeper = _Keeper(staged, blobs, recovered)
    content = encode(staged.snapshot, keeper.keep)
    return [*keeper.parts.values(), keeper.main(content)]


class _Keeper:
    def __init__(self, staged: Staged, blobs: Blobs, recovered: bool) -> None:
        self.parts: dict[tuple[str, str], records.Object] = {}
        self._value = staged.value
        self._snapshot = staged.snapshot
        self._blobs = blobs
        self._noted: dict[str, Json] = {"recovered": True} if recovered else {}

    def keep(self, role: str, snapshot: Snapshot, content: Content) -> dict[str, Json]:
        """Keep content beside the main one; where to find it."""
        digest, size = self._put(content)
        path = self._path(snapshot.kind, digest, content.extension)
        of = {"role": role, "of": self._snapshot.kind, **self._noted}
        part = records.Object(
            self._value.time, self._value.key, "part", path, size, digest, step=self._value.step, metadata=of
        )
        self.parts[role, digest] = part
        return {"digest": digest, "size": size, "path": path}

    def main(self, content: Content) -> records.Object:
        """The object itself."""
        snapshot, value = self._snapshot, self._value
        metadata = {**snapshot.metadata, **content.metadata, **self._noted}
        if value.index is not None:
            metadata.update(index=value.index, items=value.count)
        if "boxes" in metadata and len(boxes := msgspec.json.encode(metadata["boxes"])) > INLINE_BYTES:
            metadata["boxes"] = self.keep("boxes", snapshot, Content(boxes, "json"))
        if isinstance(content.data, bytes) and len(content.data) <= INLINE_BYTES and snapshot.kind != "table":
            digest, inline, size = "", content.data, len(content.data)
        else:
            digest, size = self._put(content)
            inline = b""
        path = self._path(snapshot.kind, digest, content.extension)
        return records.Object(value.time, value.key, snapshot.kind, path, size, digest, inline, value.step, metadata)

    def _put(self, content: Content) -> tuple[str, int]:
        try:
            if isinstance(content.data, bytes):
                return self._blobs.put_bytes(content.data), len(content.data)
            return self._blobs.put_file(content.data, link=True), content.data.stat().st_size
        except FileNotFoundError:
            raise
        except OSError as error:
            raise DiskRefuses(error.errno, error.strerror or str(error)) from error

    def _path(self, kind: str, digest: str, extension: str) -> str:
        value = self._value
        place = "" if value.index is None else f"_{value.index}"
        which = f"_{digest[:8]}" if digest else ""
        return f"media/{kind}/{file_name(value.key)}_{value.step}{place}{which}.{extension}"


def file_name(key: str) -> str:
    """A key as a relative path that leads nowhere else, on any system."""
    parts = [re.sub(r'[\x00-\x1f\\:*?"<>|]', "_", part) for part in key.split("/")]
    safe = "/".join(part if part.strip(". ") else "_" * max(1, len(part)) for part in parts)
    return safe[:_NAME_CHARACTERS].rstrip("/. ") or "_"

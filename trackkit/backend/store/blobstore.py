"""Where a store's blobs are: a folder, or an object store that speaks S3, behind one small interface."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

import msgspec

from trackkit.core.blobs import Blobs

PLACE_NAME: Final = "blobs.url"
"""The file in a store's folder that says where its blobs are, if that is not `blobs` beside it."""


class BlobState(msgspec.Struct, frozen=True):
    """A blob that is there: its digest, bytes, and when it was last put or asked for, in seconds since the epoch."""

    digest: str
    size: int
    used: float


class Contents(Protocol):
    """Blobs that can be read."""

    def size(self, digest: str) -> int | None: ...

    def read(self, digest: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]: ...


class BlobStore(Protocol):
    """Blobs named by the SHA-256 of their content. All methods may be called from any thread."""

    name: str
    """What people call the place."""
    spool: Path
    """A folder of this machine for what is not whole yet."""

    def size(self, digest: str) -> int | None:
        """Bytes of a blob; None if it is not there."""
        ...

    def lacking(self, digests: Iterable[str]) -> list[str]:
        """Which of some blobs are not there."""
        ...

    def read(self, digest: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """A stretch of a blob's content in pieces.

        Raises
        ------
        FileNotFoundError
            If it is not there.
        """
        ...

    def local(self, digest: str) -> Path | None:
        """The blob's file, where blobs are files of this machine and it is there."""
        ...

    def put_bytes(self, content: bytes) -> str:
        """Keep content; its digest."""
        ...

    def keep(self, file: Path, digest: str) -> None:
        """Take a whole file, whose content the caller has hashed; the file is gone afterwards."""
        ...

    def verify(self, digest: str) -> bool:
        """Whether the blob is there and is what its name says; reads all of it."""
        ...

    def states(self) -> Iterator[BlobState]:
        """All blobs."""
        ...

    def delete(self, digests: Iterable[str], unused_since: float = math.inf) -> list[int]:
        """Delete blobs, but those put or asked for since a time; the bytes that each took which is gone."""
        ...


class FolderBlobs:
    """Blobs in a folder; see `BlobStore`.

    Parameters
    ----------
    blobs
        The folder's blobs.
    """

    def __init__(self, blobs: Blobs) -> None:
        self.blobs = blobs
        self.name = str(blobs.folder)
        self.spool = blobs.folder.parent / "incoming"

    def size(self, digest: str) -> int | None:
        return self.blobs.size(digest)

    def lacking(self, digests: Iterable[str]) -> list[str]:
        return self.blobs.lacking(digests)

    def read(self, digest: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        return self.blobs.read(digest, start, stop)

    def local(self, digest: str) -> Path | None:
        path = self.blobs.path(digest)
        return path if path.is_file() else None

    def put_bytes(self, content: bytes) -> str:
        return self.blobs.put_bytes(content)

    def keep(self, file: Path, digest: str) -> None:
        self.blobs.keep(file, digest)
        file.unlink(missing_ok=True)

    def verify(self, digest: str) -> bool:
        return self.blobs.verify(digest)

    def states(self) -> Iterator[BlobState]:
        for digest in self.blobs.iterate():
            with contextlib.suppress(FileNotFoundError):
                found = self.blobs.path(digest).stat()
                yield BlobState(digest, found.st_size, max(found.st_mtime, found.st_atime))

    def delete(self, digests: Iterable[str], unused_since: float = math.inf) -> list[int]:
        freed = []
        for digest in digests:
            with contextlib.suppress(FileNotFoundError):
                found = self.blobs.path(digest).stat()
                if max(found.st_mtime, found.st_atime) < unused_since:
                    freed.append(self.blobs.delete(digest))
        return freed


def open_blobs(root: Path, place: str = "") -> BlobStore:
    """The blobs of a store.

    Parameters
    ----------
    root
        The store's folder.
    place
        `s3://BUCKET/PREFIX` and its like, or a folder; by default where the store's blobs were before. What is given
        is noted in the store's folder, so that every program that opens it finds them.

    Raises
    ------
    ValueError
        If the store's blobs are elsewhere already.
    ImportError
        If obstore is missing.
    """
    known = _noted(root)
    if place and known and place != known:
        raise ValueError(
            f"the blobs of {root} are at {known}, not at {place}; move them and change {root / PLACE_NAME}, or leave "
            "the setting out"
        )
    chosen = place or known
    if place and not known:
        root.mkdir(parents=True, exist_ok=True)
        fresh = root / f"{PLACE_NAME}.{os.getpid()}"
        fresh.write_text(f"{place}\n")
        os.replace(fresh, root / PLACE_NAME)
    if not chosen:
        return FolderBlobs(Blobs(root))
    if "://" not in chosen:
        return FolderBlobs(Blobs(Path(chosen).expanduser().absolute()))
    from trackkit.backend.store.object_blobs import ObjectBlobs

    return ObjectBlobs(chosen, root / "incoming")


def _noted(root: Path) -> str:
    try:
        return (root / PLACE_NAME).read_text().strip()
    except FileNotFoundError:
        return ""


def read_all(blobs: Contents, digest: str) -> bytes:
    """A whole blob, which should be small."""
    return b"".join(blobs.read(digest))


def local_file(blobs: BlobStore, digest: str) -> Path:
    """A blob's content as a file of this machine, which may be a copy that `gc` deletes after a day.

    Raises
    ------
    FileNotFoundError
        If the blob is not there.
    """
    path = blobs.local(digest)
    if path is not None:
        return path
    copy = blobs.spool / f"copy-{digest}"
    with _copying[hash(digest) % len(_copying)]:  # who asks meanwhile waits for the one copy
        if not copy.is_file():
            _copy(blobs, digest, copy)
    return copy


def _copy(blobs: BlobStore, digest: str, copy: Path) -> None:
    blobs.spool.mkdir(parents=True, exist_ok=True)
    fresh = blobs.spool / f"copy-{digest}.{secrets.token_hex(4)}"
    try:
        with open(fresh, "xb") as file:
            for piece in blobs.read(digest):
                file.write(piece)
        os.replace(fresh, copy)
    finally:
        fresh.unlink(missing_ok=True)


_copying: Final = [threading.Lock() for _ in range(16)]

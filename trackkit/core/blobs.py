"""Blobs: files named by the SHA-256 of their content, in a folder many processes share."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_DIGEST = re.compile(r"[0-9a-f]{64}")
_FICLONE = 0x40049409  # linux/fs.h
_PIECE = 1 << 20


class BlobDamaged(OSError):
    """A blob's content is not what its name says."""


def is_digest(text: str) -> bool:
    """Whether a text names a blob: 64 hexadecimal digits."""
    return _DIGEST.fullmatch(text) is not None


class Blobs:
    """The blobs under a store's folder.

    A blob is written under a name of its own and renamed once it is whole, so that a blob that exists is
    complete, and two processes that put the same content do not disturb each other.

    Parameters
    ----------
    root
        The store's folder; blobs lie in `<root>/blobs/<first two digits>/<digest>`.

    Examples
    --------
    >>> blobs = Blobs(Path(".trackkit"))  # doctest: +SKIP
    >>> blobs.open(blobs.put_bytes(b"weights")).read()  # doctest: +SKIP
    b'weights'
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / "blobs"

    def path(self, digest: str) -> Path:
        """Where the blob of this digest lies, whether it exists or not.

        Raises
        ------
        ValueError
            If that is no SHA-256 in hex.
        """
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"{digest!r} is no SHA-256 digest: expected 64 hexadecimal digits")
        return self.folder / digest[:2] / digest

    def exists(self, digest: str) -> bool:
        """Whether the blob is here."""
        return self.path(digest).is_file()

    def open(self, digest: str) -> BinaryIO:
        """The blob's content.

        Raises
        ------
        FileNotFoundError
            If there is no such blob.
        """
        return open(self.path(digest), "rb")

    def put_bytes(self, content: bytes) -> str:
        """Keep content; its digest."""
        digest = hashlib.sha256(content).hexdigest()
        if not self.exists(digest):
            fresh = self._fresh(digest)
            try:
                fresh.write_bytes(content)
                os.replace(fresh, self.path(digest))
            finally:
                fresh.unlink(missing_ok=True)
        return digest

    def put_file(self, source: Path, *, digest: str | None = None, link: bool = False) -> str:
        """Keep a file's content; its digest.

        The content is cloned where the file system can and else copied.

        Parameters
        ----------
        digest
            What the content must be.
        link
            The file will never change (it is a blob elsewhere), so that a hard link does.

        Raises
        ------
        BlobDamaged
            If the content is not what `digest` says.
        """
        if digest is not None and self.exists(digest):
            return digest
        fresh = self._fresh(digest or secrets.token_hex(32))
        try:
            found = self._take(source, fresh, link)
            if digest is not None and found != digest:
                raise BlobDamaged(f"{source} should have the digest {digest} and has {found}; it was not taken over")
            target = self.path(found)
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.is_file():
                os.replace(fresh, target)
        finally:
            fresh.unlink(missing_ok=True)
        return found

    def _take(self, source: Path, fresh: Path, link: bool) -> str:
        """Bring a file's content to a fresh path; its digest, read from what arrived."""
        if link:
            with contextlib.suppress(OSError):
                os.link(source, fresh)
                return digest_of(fresh)
        with open(source, "rb") as content, open(fresh, "xb") as copy:
            if fcntl is not None:
                with contextlib.suppress(OSError):
                    fcntl.ioctl(copy.fileno(), _FICLONE, content.fileno())
                    return digest_of(fresh)
            checksum = hashlib.sha256()
            while piece := content.read(_PIECE):
                checksum.update(piece)
                copy.write(piece)
        return checksum.hexdigest()

    def verify(self, digest: str) -> bool:
        """Whether the blob is here and its content is what its name says."""
        path = self.path(digest)
        return path.is_file() and digest_of(path) == digest

    def iterate(self) -> Iterator[str]:
        """The digests of all blobs."""
        for folder in sorted(self.folder.glob("[0-9a-f][0-9a-f]")):
            for path in sorted(folder.iterdir()):
                if _DIGEST.fullmatch(path.name):
                    yield path.name

    def leftovers(self) -> Iterator[Path]:
        """Files of writers that died before their blob was whole, or that still write it."""
        for folder in sorted(self.folder.glob("[0-9a-f][0-9a-f]")):
            yield from sorted(path for path in folder.iterdir() if path.name.startswith("."))

    def delete(self, digest: str) -> int:
        """Delete a blob; the bytes that frees."""
        path = self.path(digest)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        with contextlib.suppress(OSError):  # others are in the folder
            path.parent.rmdir()
        return size

    def _fresh(self, digest: str) -> Path:
        folder = self.path(digest).parent
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f".{secrets.token_hex(8)}"


def digest_of(path: Path) -> str:
    """The SHA-256 of a file's content in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

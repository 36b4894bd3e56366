"""Blobs: files named by the SHA-256 of their content, in a folder many processes share."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_DIGEST = re.compile(r"[0-9a-f]{64}")
_FICLONE = 0x40049409  # linux/fs.h
_PIECE = 1 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_numbers = itertools.count()


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
        self._top = str(self.folder)

    def path(self, digest: str) -> Path:
        """Where the blob of this digest lies, whether it exists or not.

        Raises
        ------
        ValueError
            If that is no SHA-256 in hex.
        """
        return Path(self._path(digest))

    def _path(self, digest: str) -> str:
        # Text, as there may be a hundred thousand of them and a Path takes longer to make than the file to look at.
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"{digest!r} is no SHA-256 digest: expected 64 hexadecimal digits")
        return f"{self._top}/{digest[:2]}/{digest}"

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

    def read(self, digest: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """A stretch of the blob's content in pieces; raises as `open`."""
        with self.open(digest) as file:
            file.seek(start)
            left = (stop if stop is not None else 1 << 62) - start
            while left > 0 and (piece := file.read(min(_PIECE, left))):
                left -= len(piece)
                yield piece

    def touch(self, digest: str) -> bool:
        """Note that a blob is in use, so that `gc` spares it for a while; whether it is here.

        It is the time of access that is set, as a blob may be a link to a file whose other times mean something.
        """
        path = self._path(digest)
        try:
            os.utime(path, ns=(time.time_ns(), os.stat(path).st_mtime_ns))
        except FileNotFoundError:
            return False
        except OSError:  # somebody else's file, which may be read
            return self.exists(digest)
        return True

    def lacking(self, digests: Iterable[str]) -> list[str]:
        """Which of these blobs are not here; those that are, are young again."""
        return [digest for digest in digests if not self.touch(digest)]

    def size(self, digest: str) -> int | None:
        """Bytes of the blob; None if it is not here."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def put_bytes(self, content: bytes) -> str:
        """Keep content; its digest."""
        digest = hashlib.sha256(content).hexdigest()
        if not self.touch(digest):
            fresh = f"{self._top}/{digest[:2]}/.{os.getpid():x}{threading.get_ident():x}{next(_numbers):x}"
            try:
                file = os.open(fresh, _NEW, 0o666)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(fresh), exist_ok=True)
                file = os.open(fresh, _NEW, 0o666)
            try:
                try:
                    written = os.write(file, content)
                    while written < len(content):
                        written += os.write(file, memoryview(content)[written:])
                finally:
                    os.close(file)
                os.replace(fresh, self._path(digest))
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(fresh)
                raise
        return digest

    @contextlib.contextmanager
    def taking(self) -> Iterator[Path]:
        """A path to write a blob's content to, whose digest is not known yet; what is left there is deleted."""
        fresh = self._fresh(secrets.token_hex(32))
        try:
            yield fresh
        finally:
            fresh.unlink(missing_ok=True)

    def keep(self, fresh: Path, digest: str) -> None:
        """Give a whole file the name of its content, which the caller has hashed."""
        target = self.path(digest)
        if not self.touch(digest):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(fresh, target)

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
            if _clone(content.fileno(), copy.fileno()):
                return digest_of(fresh)
            checksum = hashlib.sha256()
            while piece := content.read(_PIECE):
                checksum.update(piece)
                copy.write(piece)
        return checksum.hexdigest()

    def take_from(self, other: Blobs, digest: str) -> None:
        """Bring a blob here that is whole in another folder: by a link, or else a copy that is verified.

        Raises
        ------
        FileNotFoundError
            If it is not there.
        BlobDamaged
            If it is not what its name says.
        """
        if self.touch(digest):
            return
        source, fresh = other.path(digest), self._fresh(digest)
        try:
            os.link(source, fresh)
        except FileNotFoundError:
            raise
        except OSError:
            self.put_file(source, digest=digest)
            return
        os.replace(fresh, self.path(digest))

    def write_to(self, digest: str, target: Path) -> None:
        """Write a blob to a new file, and verify it on the way.

        Raises
        ------
        FileNotFoundError
            If there is no such blob.
        BlobDamaged
            If it is not what its name says; no file is left then.
        """
        try:
            content = self.open(digest)
        except FileNotFoundError:
            raise FileNotFoundError(f"the blob {digest} is missing from {self.folder}") from None
        with content:
            if clone(content.fileno(), target):
                found = digest_of(target)
            else:
                checksum = hashlib.sha256()
                with open(target, "xb") as copy:
                    while piece := content.read(_PIECE):
                        checksum.update(piece)
                        copy.write(piece)
                found = checksum.hexdigest()
        if found != digest:
            target.unlink()
            raise BlobDamaged(f"the blob {digest} in {self.folder} is damaged: its content has the digest {found}")

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


def clone(source: int, target: Path) -> bool:
    """Make a file that shares an open file's blocks, where the file system can; whether it could."""
    if fcntl is None:
        return False
    with open(target, "xb") as copy:
        cloned = _clone(source, copy.fileno())
    if not cloned:
        target.unlink()
    return cloned


def _clone(source: int, target: int) -> bool:
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.ioctl(target, _FICLONE, source)
            return True
    return False


def digest_of(path: Path) -> str:
    """The SHA-256 of a file's content in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

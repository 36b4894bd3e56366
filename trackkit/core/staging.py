"""Staging: files taken into the blob store as they are now, each with one pass over its content.

A file that can be cloned (reflink) is; one that will never change may be linked; any other is copied while it is
hashed, and that copy is the blob. A file that changes while it is read is an error that names it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import stat
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Literal

from trackkit.core.blobs import Blobs, clone, digest_of
from trackkit.core.pins import pin
from trackkit.core.stats import StatCache, signature

Policy = Literal["mutable", "immutable"]

SMALL: Final = 1 << 20
"""Files up to so many bytes are read whole, and written only where the blob is new."""
_PIECE: Final = 4 << 20
_THREADS: Final = 2
_PORTION: Final = 512
"""Files a thread takes at a time."""


class FileChanged(OSError):
    """A file changed while it was being added to an artifact."""


class NotStaged(OSError):
    """A file is good, but the store's disk could not take it."""


def stage_bytes(blobs: Blobs, content: bytes) -> str:
    """Keep content; its digest.

    Raises
    ------
    NotStaged
        If the disk could not take it.
    """
    with _writing(blobs):
        digest = blobs.put_bytes(content)
    pin(blobs.folder.parent, [digest])
    return digest


def stage_files(blobs: Blobs, files: Sequence[str], policy: Policy, cache: StatCache) -> list[tuple[str, int]]:
    """Take files into the blob store; the digest and size of each.

    Parameters
    ----------
    files
        Absolute paths.
    policy
        `mutable` clones or copies, `immutable` links where the file system can.
    cache
        What is known of files by their size, times and inode; used and brought up to date.

    Raises
    ------
    FileChanged
        If one changed meanwhile.
    NotStaged
        If the disk could not take one.
    OSError
        If one can't be read.
    """
    portions = [files[start : start + _PORTION] for start in range(0, len(files), _PORTION)]
    cache.load(files)

    def work(portion: Sequence[str]) -> list[tuple[str, int]]:
        staged = [_stage(blobs, file, policy, cache) for file in portion]
        pin(blobs.folder.parent, [digest for digest, _ in staged])
        return staged

    if len(portions) < 2:
        found = [work(portion) for portion in portions]
    else:
        with ThreadPoolExecutor(_THREADS, "trackkit-staging") as pool:
            found = list(pool.map(work, portions))
    cache.save()
    return [one for portion in found for one in portion]


def _stage(blobs: Blobs, file: str, policy: Policy, cache: StatCache) -> tuple[str, int]:
    seen = os.stat(file)
    known = cache.find(file, seen)
    if known is not None and blobs.touch(known):
        return known, seen.st_size
    handle = os.open(file, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        before = os.fstat(handle)
        if not stat.S_ISREG(before.st_mode):
            raise OSError(f"{file} is no regular file; an artifact holds files and folders")
        digest = _take(blobs, file, handle, before, policy)
        after = os.stat(file)
        same = 3 if policy == "immutable" else 4  # a link that was made moves the last part
        if signature(after)[:same] != signature(before)[:same] or after.st_dev != before.st_dev:
            raise FileChanged(f"{file} changed while it was being added; add it again once nobody writes to it")
    finally:
        os.close(handle)
    cache.note(file, after, digest)
    return digest, before.st_size


def _take(blobs: Blobs, file: str, handle: int, found: os.stat_result, policy: Policy) -> str:
    if found.st_size <= SMALL and policy == "mutable":
        content = _read(file, handle, found.st_size)
        with _writing(blobs):
            return blobs.put_bytes(content)
    if policy == "immutable":
        with open(handle, "rb", closefd=False) as content_file:
            digest = hashlib.file_digest(content_file, "sha256").hexdigest()
        if blobs.touch(digest):
            return digest
        with contextlib.suppress(OSError), blobs.taking() as fresh:
            os.link(file, fresh)
            blobs.keep(fresh, digest)
            return digest
        os.lseek(handle, 0, os.SEEK_SET)
    with _writing(blobs), blobs.taking() as fresh:
        digest = digest_of(fresh) if clone(handle, fresh) else _copy(file, handle, fresh, found.st_size)
        blobs.keep(fresh, digest)
    return digest


def _read(file: str, handle: int, size: int) -> bytes:
    content = os.read(handle, size + 1)
    while 0 < len(content) <= size and (more := os.read(handle, size + 1 - len(content))):
        content += more
    if len(content) != size:
        raise FileChanged(f"{file} changed while it was being added; add it again once nobody writes to it")
    return content


def _copy(file: str, handle: int, fresh: Path, size: int) -> str:
    """Copy an open file, hashing on this thread what another one writes; its digest."""
    checksum = hashlib.sha256()
    pieces: queue.Queue[memoryview | None] = queue.Queue(2)
    trouble: list[OSError] = []
    with open(fresh, "xb", buffering=0) as copy:

        def write() -> None:
            while (piece := pieces.get()) is not None:
                try:
                    while not trouble and len(piece):
                        piece = piece[copy.write(piece) :]
                except OSError as error:
                    trouble.append(error)

        writer = threading.Thread(target=write, name="trackkit-staging-writer")
        writer.start()
        try:
            buffers = [bytearray(_PIECE) for _ in range(4)]  # one read into, two queued, one written
            number = taken = 0
            while not trouble and taken <= size:  # one that grows as fast as it is read has no end
                buffer = memoryview(buffers[number % 4])
                got = os.readv(handle, [buffer]) if hasattr(os, "readv") else _read_into(handle, buffer)
                if not got:
                    break
                pieces.put(buffer[:got])
                checksum.update(buffer[:got])
                number, taken = number + 1, taken + got
        finally:
            pieces.put(None)
            writer.join()
    if trouble:
        raise trouble[0]
    if taken != size:
        raise FileChanged(f"{file} changed while it was being added; add it again once nobody writes to it")
    return checksum.hexdigest()


def _read_into(handle: int, buffer: memoryview) -> int:
    content = os.read(handle, len(buffer))
    buffer[: len(content)] = content
    return len(content)


@contextlib.contextmanager
def _writing(blobs: Blobs) -> Iterator[None]:
    """Tell faults of the store's disk from faults of what is added."""
    try:
        yield
    except (FileChanged, NotStaged):
        raise
    except OSError as error:
        raise NotStaged(f"{blobs.folder} can't take the file: {error.strerror or error}") from error


def walk(folder: Path) -> Iterator[tuple[str, str]]:
    """The files under a folder as paths relative to it with `/`, and where they are, in order.

    Links are followed; a link to a folder that it lies in is left out with a warning, as what is there is in already.

    Raises
    ------
    OSError
        If something can't be read, is a link to nothing, or is neither file nor folder.
    """
    top = os.path.abspath(folder)
    found = os.stat(top)
    yield from _walk(top, "", ((found.st_dev, found.st_ino),))


def _walk(place: str, before: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, str]]:
    with os.scandir(place) as scan:
        entries = sorted(scan, key=lambda entry: entry.name)
    for entry in entries:
        path = f"{before}{entry.name}"
        try:
            if entry.is_file():  # follows links; the folder's own answer where it is none
                yield path, entry.path
                continue
            found = entry.stat()
        except OSError as error:
            if entry.is_symlink():
                raise OSError(f"{entry.path} is a link that leads nowhere: {error.strerror}") from error
            raise
        if not stat.S_ISDIR(found.st_mode):
            raise OSError(f"{entry.path} is neither a file nor a folder; an artifact can't hold it")
        identity = (found.st_dev, found.st_ino)
        if identity in above:
            text = f"trackkit: {entry.path} is a link to a folder that it lies in; it is left out"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
            continue
        yield from _walk(entry.path, f"{path}/", (*above, identity))

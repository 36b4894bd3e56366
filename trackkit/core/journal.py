"""The journal: append-only segments of checked frames, and how to read them. See `docs/journal.md`.

A writer's journal is a folder of segment files, each named by the logical offset of its first byte.
A segment is a sequence of frames: `u32 length, u32 crc32, payload`, little-endian; a length of zero,
or the end of the file, ends it. The next segment starts at a higher offset, with nothing in between.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from binascii import crc32
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

HEADER = struct.Struct("<II")
MAX_RECORD_BYTES = 32 * 1024 * 1024
"""No payload is larger; a frame that claims to be is damage."""

SEGMENT_SUFFIX = ".journal"
LOCK_NAME = "lock"
SINKS_NAME = "sinks.json"
NETWORK_SILENCE_SECONDS = 120.0
"""On a network file system a writer counts as dead only after its heartbeat is this old."""

_NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "lustre", "gpfs", "ceph", "fuse", "beegfs", "9p", "afs", "glusterfs")


class JournalError(OSError):
    """A journal could not be made or opened."""


def segment_name(offset: int) -> str:
    """The file name of the segment whose first byte has this logical offset."""
    return f"{offset:020d}{SEGMENT_SUFFIX}"


def segments(folder: Path) -> list[tuple[int, Path]]:
    """The start offsets and paths of a journal's segments, in order."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            stem = entry.name.removesuffix(SEGMENT_SUFFIX)
            if stem != entry.name and stem.isdigit():
                found.append((int(stem), Path(entry.path)))
    return sorted(found)


def writer_folders(root: Path, run: str | None = None) -> Iterator[Path]:
    """The journal folders under a store's folder, oldest writer first within each run."""
    journals = root / "journals"
    runs = [journals / run] if run is not None else sorted(journals.iterdir()) if journals.is_dir() else []
    for folder in runs:
        try:
            found = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):  # others may delete journals meanwhile
            continue
        yield from found


class Frames:
    """Consecutive frames read from a journal.

    Attributes
    ----------
    start, end
        Logical offsets of the first frame and of the end of the last; reading goes on at `end`.
    payloads
        The payload of each frame.
    ends
        The logical offset of the end of each frame.
    """

    __slots__ = ("end", "ends", "payloads", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        self.payloads: list[bytes] = []
        self.ends: list[int] = []

    def __len__(self) -> int:
        return len(self.payloads)

    def take(self, data: bytes, base: int) -> None:
        """Add the whole frames of `data`, which this process wrote itself, without checking them."""
        unpack, position, size = HEADER.unpack_from, 0, len(data)
        payloads, ends = self.payloads, self.ends
        while position + 8 <= size:
            length, _ = unpack(data, position)
            end = position + 8 + length
            if not length or end > size:
                break
            payloads.append(data[position + 8 : end])
            ends.append(base + end)
            position = end
        self.end = base + position


class JournalReader:
    """Reads one writer's journal from its files, alive or dead, and checks every frame.

    Parameters
    ----------
    folder
        The writer's folder.
    final
        Whether the writer is dead. A broken frame in a dead writer's journal is damage: it is left out
        and noted in `damage`. In a live one it may just be unfinished, so reading stops before it.
    """

    def __init__(self, folder: Path, *, final: bool) -> None:
        self.folder = folder
        self.final = final
        self.damage: list[str] = []

    def read(self, offset: int, limit: int = 1 << 20) -> Frames:
        """Frames from `offset` on, about `limit` bytes of them; none at the journal's end.

        The frames returned come from one segment. `Frames.start` is where they begin, which is past
        `offset` where a segment ended there.
        """
        frames = self._read_from(offset, limit)
        if frames.start > offset and not self.final:
            # The writer has left the segment since we found no more in it; it may have appended before it did.
            earlier = self._read_from(offset, limit)
            return earlier if earlier.start == offset else frames
        return frames

    def _read_from(self, offset: int, limit: int) -> Frames:
        found = segments(self.folder)
        for index, (start, path) in enumerate(found):
            if index + 1 < len(found) and found[index + 1][0] <= offset:
                continue
            frames = Frames(max(offset, start))
            self._read_segment(path, start, frames, limit)
            if frames.payloads or frames.end > frames.start:
                return frames
        return Frames(offset)

    def _read_segment(self, path: Path, start: int, frames: Frames, limit: int) -> None:
        try:
            file = open(path, "rb", buffering=0)
        except FileNotFoundError:
            return  # acknowledged and deleted since it was listed
        with file:
            end = start + os.fstat(file.fileno()).st_size
            data = _read_at(file, frames.start - start, limit)
            position = 0
            while True:
                if position + 8 > len(data):
                    break
                length, checksum = HEADER.unpack_from(data, position)
                if length == 0:
                    self._check_end(file, start, frames)
                    return
                at = frames.end
                following = at + 8 + length
                if length > MAX_RECORD_BYTES or following > end:
                    self._leave_out(frames, end, "a frame runs past the end of the file")
                    return
                if position + 8 + length > len(data):
                    break
                payload = data[position + 8 : position + 8 + length]
                if crc32(payload) == checksum:
                    frames.payloads.append(payload)
                    frames.ends.append(following)
                    frames.end = following
                elif not self.final:
                    return
                elif _good_from(file, following - start, end - start):
                    self._leave_out(frames, following, "a frame's checksum does not match")
                else:
                    self._leave_out(frames, end, "a frame's checksum does not match, nor does the next one's")
                    return
                position += 8 + length
            if frames.end == frames.start and len(data) >= 8:  # one frame, larger than the limit
                self._read_segment(path, start, frames, 8 + HEADER.unpack_from(data)[0])
            elif frames.end + len(data) - position < end:
                return  # the limit cut a frame; the next read begins with it
            elif data[position:].strip(b"\0"):
                self._leave_out(frames, end, "a frame's header is cut off")

    def _check_end(self, file: FileIO, start: int, frames: Frames) -> None:
        """Nothing but zeros follows the last frame, unless damage put zeros where a frame begins."""
        if self.final:
            written = start + _written_until(file, frames.end - start)
            if written > frames.end:
                self._leave_out(frames, written, "no frame begins where one should")

    def _leave_out(self, frames: Frames, until: int, why: str) -> None:
        """Note that what lies between the last good frame and `until` is damaged, and go past it."""
        if self.final:
            self.damage.append(f"{why} at offset {frames.end}: {until - frames.end} bytes were left out")
            frames.end = until


def _read_at(file: FileIO, position: int, size: int) -> bytes:
    """Up to `size` bytes; fewer only at the end of the file."""
    file.seek(position)
    parts = []
    while size > 0 and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _written_until(file: FileIO, position: int) -> int:
    """Where the last byte that is not zero ends, or `position` if all that follows is zero."""
    file.seek(position)
    written = position
    while part := file.read(1 << 20):
        used = len(part.rstrip(b"\0"))
        if used:
            written = position + used
        position += len(part)
    return written


def _good_from(file: FileIO, position: int, end: int) -> bool:
    """Whether a good frame or the segment's end is found at a position, so that only the frame before it is lost."""
    if position == end:
        return True
    header = _read_at(file, position, 8)
    if len(header) < 8:
        return False
    length, checksum = HEADER.unpack(header)
    if length == 0:
        return True
    return bool(position + 8 + length <= end and crc32(_read_at(file, position + 8, length)) == checksum)


class WriterLock:
    """The advisory lock a writer holds on its journal for life; free means the writer is dead.

    Raises
    ------
    BlockingIOError
        If another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_NAME
        self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(self._handle)
        except OSError as error:
            os.close(self._handle)
            self._handle = -1
            raise BlockingIOError(f"another process holds {self.path}") from error

    def beat(self) -> None:
        """Show that the writer lives, for readers on a network file system."""
        os.utime(self.path)

    def release(self) -> None:
        """Give the lock up. In a forked child this leaves the parent's lock as it is."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _lock(handle: int) -> None:
    if sys.platform == "win32":
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock_if_dead(folder: Path) -> WriterLock | None:
    """The lock of a journal whose writer is dead, or None while it lives or somebody else replays it."""
    path = folder / LOCK_NAME
    try:
        if on_network(folder) and time.time() - path.stat().st_mtime < NETWORK_SILENCE_SECONDS:
            return None
        return WriterLock(folder)
    except (FileNotFoundError, BlockingIOError):
        return None


def is_alive(folder: Path) -> bool:
    """Whether the journal's writer still runs."""
    lock = lock_if_dead(folder)
    if lock is None:
        return folder.exists()
    lock.release()
    return False


def on_network(folder: Path) -> bool:
    """Whether a folder is on a network file system, where locks may not tell the dead from the quiet."""
    try:
        mounts = Path("/proc/mounts").read_text(errors="replace").splitlines()
    except OSError:
        return False
    target, best, kind = str(folder.absolute()), "", ""
    for line in mounts:
        _, mount, type_, *_ = line.split(" ")
        inside = target == mount or target.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, type_
    return kind.startswith(_NETWORK_FILE_SYSTEMS)


def read_sinks(folder: Path) -> dict[str, int]:
    """The sinks a writer was told to send to, and the offset each is known to have acknowledged."""
    try:
        stored = json.loads((folder / SINKS_NAME).read_text())
        return {str(uri): int(offset) for uri, offset in stored.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def write_sinks(folder: Path, offsets: dict[str, int]) -> None:
    """Note the sinks' offsets, replacing the note in one step."""
    fresh = folder / f"{SINKS_NAME}.{os.getpid()}"
    fresh.write_text(json.dumps(offsets))
    os.replace(fresh, folder / SINKS_NAME)

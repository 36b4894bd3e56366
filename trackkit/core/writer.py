"""Writing a journal: records go into a mapped file before the call returns, without a system call.

The pages of a file mapping belong to the kernel: what was copied into it is in the file even if the
process is killed in the next instant. The segment is extended by `posix_fallocate`, never by a bare
truncate, because a write into a hole of a mapping on a full disk kills the process with SIGBUS.
Where the disk refuses, records go to memory, bounded, until it takes them again.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import sys
import threading
import time
from binascii import crc32
from collections.abc import Callable
from pathlib import Path

from trackkit.core.bell import Bell
from trackkit.core.journal import (
    HEADER,
    MAX_RECORD_BYTES,
    Frames,
    WriterLock,
    segment_name,
    write_sinks,
)

MIB = 1 << 20
FIRST_SEGMENT_BYTES = MIB
"""Segments grow fourfold from here, so that a short run takes little room."""
MEMORY_SEGMENT_BYTES = 4 * MIB
AHEAD_BYTES = 4 * MIB
"""How far ahead of the writing position pages are made ready, at least."""
MAX_AHEAD_BYTES = 32 * MIB

_PAGE = mmap.PAGESIZE
_PIECE_BYTES = 256 * 1024
_REST_SECONDS = 0.0002
"""Long enough for a thread that waits for the CPU to get it."""
_MADV_POPULATE_WRITE = 23  # Linux 5.14
_MADV_RANDOM = 1
_MADV_DONTNEED = 4
_SYNC_FILE_RANGE_WRITE = 2
_LINUX = sys.platform.startswith("linux")


def new_writer_id() -> str:
    """A name for a writer that sorts by the time it was made."""
    return f"{time.time_ns() // 1000:014x}-{os.getpid():x}-{os.urandom(3).hex()}"


class MappedSegment:
    """A segment in a file, mapped into memory."""

    on_disk = True

    def __init__(self, path: Path, start: int, capacity: int) -> None:
        self.path = path
        self.start = start
        self.capacity = capacity
        self.used = 0
        """Bytes written, set when the segment is left."""
        self.ready = 0
        """Up to here pages are writable without a fault."""
        self.kept = 0
        """Up to here the kernel was asked to write pages back and to take them out of our memory."""
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            _allocate(self._handle, capacity)
            self.memory: mmap.mmap | bytearray = mmap.mmap(self._handle, capacity)
            if _LINUX:  # or the first fault reads megabytes ahead, of nothing, for milliseconds
                _advise(self.memory, 0, capacity, _MADV_RANDOM)
        except BaseException:
            os.close(self._handle)
            path.unlink(missing_ok=True)
            raise

    def make_ready(self, start: int, until: int) -> None:
        """Make pages writable between two positions, outside the GIL, so that the writer waits for few page faults.

        In pieces with a rest between: where CPUs are short the kernel would let the training thread wait for
        milliseconds of it.
        """
        until = min(-(-until // _PAGE) * _PAGE, self.capacity)
        self.ready = max(self.ready, start // _PAGE * _PAGE)
        while until > self.ready and _LINUX:
            size = min(until - self.ready, _PIECE_BYTES)
            _advise(self.memory, self.ready, size, _MADV_POPULATE_WRITE)
            self.ready += size
            time.sleep(_REST_SECONDS)

    def write_back(self, position: int) -> None:
        """Ask the kernel to write the whole pages before `position` to the disk, and stop counting them as ours."""
        until = position // _PAGE * _PAGE
        if until <= self.kept:
            return
        if _LINUX:
            _libc().sync_file_range(
                self._handle,
                ctypes.c_int64(self.kept),
                ctypes.c_int64(until - self.kept),
                ctypes.c_uint(_SYNC_FILE_RANGE_WRITE),
            )
            _advise(self.memory, self.kept, until - self.kept, _MADV_DONTNEED)
        else:
            os.fsync(self._handle)
        self.kept = until

    def read(self, position: int, size: int) -> bytes:
        if self._handle < 0:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(position)
                return file.read(size)
        if hasattr(os, "pread"):
            return os.pread(self._handle, size, position)  # copies outside the GIL
        return bytes(self.memory[position : position + size])

    def close(self, used: int) -> None:
        """Unmap the file and cut it to what was used."""
        if self._handle < 0:
            return
        assert isinstance(self.memory, mmap.mmap)
        with contextlib.suppress(BufferError):  # a pump that hangs still has it in its hands
            self.memory.close()
        try:
            os.ftruncate(self._handle, used)
        finally:
            os.close(self._handle)
            self._handle = -1

    def rename(self, path: Path) -> None:
        """Give the file its name."""
        os.rename(self.path, path)
        self.path = path

    def abandon(self) -> None:
        """In a forked child: let go of the parent's file without touching it."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def delete(self) -> None:
        self.close(self.used)
        self.path.unlink(missing_ok=True)


class MemorySegment:
    """A segment in memory, while the disk takes nothing."""

    on_disk = False

    def __init__(self, path: Path, start: int, capacity: int) -> None:
        self.path = path
        self.start = start
        self.capacity = capacity
        self.used = 0
        self.memory: mmap.mmap | bytearray = bytearray(capacity)

    def make_ready(self, start: int, until: int) -> None: ...

    def write_back(self, position: int) -> None: ...

    def read(self, position: int, size: int) -> bytes:
        return bytes(self.memory[position : position + size])

    def close(self, used: int) -> None: ...

    def abandon(self) -> None: ...

    def delete(self) -> None: ...

    def spill(self, used: int) -> None:
        """Write what it holds to the file it stands for.

        Raises
        ------
        OSError
            If the disk still refuses.
        """
        fresh = self.path.with_suffix(".spill")
        try:
            with open(fresh, "wb") as file:
                file.write(memoryview(self.memory)[:used])
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self.path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise


class SavedSegment(MappedSegment):
    """A segment that was left and is only on disk, unmapped."""

    def __init__(self, path: Path, start: int, used: int) -> None:
        self.path = path
        self.start = start
        self.capacity = self.used = used
        self._handle = -1

    def write_back(self, position: int) -> None: ...


Segment = MappedSegment | MemorySegment


class JournalWriter:
    """Appends records to one writer's journal; safe to use from many threads.

    Parameters
    ----------
    root
        The store's folder.
    run, writer
        Ids of the run and of the writer; they name the journal's folder.
    sinks
        The URIs of the sinks the journal is meant for, noted beside it for whoever has to finish the work.
    segment_bytes
        The size segments grow to.
    memory_bytes
        How much is kept in memory at most while the disk refuses; what comes on top is dropped and counted.
    warn
        Called once with a sentence when the disk refuses.
    """

    def __init__(
        self,
        root: Path,
        run: str,
        writer: str,
        *,
        sinks: list[str],
        segment_bytes: int = 64 * MIB,
        memory_bytes: int = 64 * MIB,
        warn: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.folder = root / "journals" / run / writer
        self.run = run
        self.writer = writer
        self.segment_bytes = segment_bytes
        self.memory_bytes = memory_bytes
        self.wake = Bell()
        """Rung when the pump should look at the journal before its time."""
        self.dropped = 0
        """Records lost because neither the disk nor the memory limit had room."""
        self.appended = 0
        self._sinks = sinks
        self._warn = warn
        self._warned = False
        self._complaint = ""
        self._makes_room = False
        self._held: list[bytes] = []
        """Frames of signal handlers that wait for the room being made."""
        self.lock = threading.RLock()
        """Held while a frame is written, with no call meanwhile unless room has to be made: Python runs the handlers
        of signals after calls, and one that logs must find the journal whole."""
        self._writer_lock: WriterLock | None = None
        self._retired: list[Segment] = []
        self._prepared: MappedSegment | None = None
        self._discarded: list[MappedSegment] = []
        self._closed = False
        self._ahead = AHEAD_BYTES
        self._seen = 0
        try:
            self._writer_lock = self._make_folder(sinks)
        except OSError as error:
            self._complain(error)
        first = min(FIRST_SEGMENT_BYTES, segment_bytes)
        self._segment: Segment = self._open_segment(0, first, 0) or MemorySegment(
            self.folder / segment_name(0), 0, first
        )
        self.memory = self._segment.memory
        self.position = 0
        self.limit = self._watermark()
        self._speak()

    def _make_folder(self, sinks: list[str]) -> WriterLock:
        """Make the folder under a hidden name and lock it, so that nobody ever sees it without its lock."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        hidden = self.folder.with_name(f".{self.folder.name}")
        hidden.mkdir(exist_ok=True)
        lock = WriterLock(hidden)
        try:
            write_sinks(hidden, dict.fromkeys(sinks, 0))
            hidden.rename(self.folder)
        except OSError:
            lock.release()
            raise
        lock.path = self.folder / lock.path.name
        return lock

    # Appending: the training thread.

    def append(self, payload: bytes) -> None:
        """Append one record; when the call returns, it survives the process.

        Raises
        ------
        ValueError
            If the record is larger than a journal takes.
        """
        if len(payload) > MAX_RECORD_BYTES:
            raise ValueError(
                f"a record of {len(payload):,} bytes is larger than the limit of {MAX_RECORD_BYTES:,} bytes"
            )
        self._append_frame(HEADER.pack(len(payload), crc32(payload)) + payload)

    def _append_frame(self, frame: bytes) -> None:
        size = len(frame)
        while True:
            with self.lock:
                if self._held and not self._makes_room:
                    self._take_held()
                end = self.position + size
                if end <= self.limit:
                    self.memory[self.position : end] = frame
                    self.position = end
                    self.appended += 1
                    return
                if self._makes_room:  # we are a signal's handler, in the middle of the lines below
                    self._held.append(frame)
                    return
                self._makes_room = True
                try:
                    if not self._make_room(size):
                        return
                finally:
                    self._makes_room = False
                    self._take_held()

    def _take_held(self) -> None:
        """Append what signals' handlers logged while room was made. Called with the lock held.

        From seeing that a frame is still held to forgetting it there is no call, after which the handler of a signal
        may log, and take the frame itself, or raise: the frame would be there twice, or lost.
        """
        while self._held:
            frame = self._held[0]
            size = len(frame)
            if not self._held or self._held[0] is not frame:
                continue
            end = self.position + size
            if end <= self.limit:
                self.memory[self.position : end] = frame
                self.position = end
                self.appended += 1
                del self._held[0]
                continue
            self._makes_room = True
            try:
                if not self._make_room(size):
                    del self._held[0]
            finally:
                self._makes_room = False

    @property
    def end(self) -> int:
        """The logical offset of the end of the journal."""
        with self.lock:
            return self._segment.start + self.position

    @property
    def smallest_release(self) -> int:
        """The offset that must be acknowledged for `release` to find a segment to delete."""
        return self._retired[0].start + self._retired[0].used if self._retired else 1 << 62

    def _make_room(self, size: int) -> bool:
        """See to it that a frame of `size` bytes fits; False if it had to be dropped. Called with the lock held."""
        if self._closed:
            self.dropped += 1
            return False
        self.wake.ring()
        end = self.position + size
        if end > self._segment.capacity:
            segment = self._next_segment(size)
            if segment is None:
                self.dropped += 1
                return False
            self._go_on_in(segment)
            end = size
        self.limit = max(end, self._watermark())
        return True

    def _go_on_in(self, segment: Segment) -> None:
        """Leave the current segment for another one. Called with the lock held.

        All at once, without a call in between: the handler of a signal may raise after any.
        """
        limit = min(segment.capacity, AHEAD_BYTES // 4)
        retired = [*self._retired, self._segment]
        self._segment.used = self.position
        self._retired, self._segment, self.memory, self.position, self.limit = (
            retired,
            segment,
            segment.memory,
            0,
            limit,
        )

    def _watermark(self) -> int:
        """The position past which the pump should make more pages ready."""
        return min(self._segment.capacity, self.position + AHEAD_BYTES // 4)

    def _next_segment(self, room: int) -> Segment | None:
        start = self._segment.start + self._segment.capacity
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            if prepared.start == start and prepared.capacity >= room:
                return prepared
            self._discarded.append(prepared)
            with contextlib.suppress(OSError):
                prepared.rename(prepared.path.with_suffix(".discarded"))
        return self._open_segment(start, max(self._next_capacity(), room), room)

    def _next_capacity(self) -> int:
        return min(max(self._segment.capacity * 4, FIRST_SEGMENT_BYTES), self.segment_bytes)

    def _open_segment(self, start: int, capacity: int, room: int) -> Segment | None:
        path = self.folder / segment_name(start)
        smallest = max(room, _PAGE)
        while self._writer_lock is not None:
            try:
                return MappedSegment(path, start, capacity)
            except FileExistsError:
                path.unlink()  # left behind where a signal's handler raised; it was never written to
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or capacity // 4 < smallest:
                    self._complain(error)
                    break
                capacity //= 4
        capacity = max(room, MEMORY_SEGMENT_BYTES)
        if capacity + self._bytes_in_memory() > self.memory_bytes:
            return None
        return MemorySegment(path, start, capacity)

    def _bytes_in_memory(self) -> int:
        return sum(segment.capacity for segment in self._segments() if not segment.on_disk)

    def _segments(self) -> list[Segment]:
        with self.lock:
            return [*self._retired, self._segment] if hasattr(self, "_segment") else []

    def _complain(self, error: OSError) -> None:
        """Note a warning for the pump to give: one that is printed comes back as a record of the console, which
        would wait for the lock held here.
        """
        if not self._warned:
            self._warned = True
            self._complaint = (
                f"the journal can't be written in {self.folder.parent} ({error.strerror or error}); the run goes on, "
                f"with up to {self.memory_bytes // MIB} MiB of its records kept in memory alone until they are sent"
            )

    def _speak(self) -> None:
        """Give the warning that waits, if one does. Called without the lock."""
        complaint, self._complaint = self._complaint, ""
        if complaint:
            self._warn(complaint)

    # Everything below runs on the pump's thread.

    def keep_ahead(self) -> None:
        """Make ready the pages, and the segment, that the training thread will write next."""
        self._speak()
        with self.lock:
            segment, position = self._segment, self.position
        end = segment.start + position
        # Eight times what was written since the last look: a rate that lasts gets further ahead, a burst is forgotten.
        ahead = self._ahead = min(max(AHEAD_BYTES, 8 * (end - self._seen), self._ahead // 2), MAX_AHEAD_BYTES)
        self._seen = end
        if self._prepared is None and segment.on_disk:
            self._prepare(segment)
        segment.make_ready(position, position + ahead)
        with self.lock:
            if self._segment is segment:
                self.limit = max(self.limit, min(segment.capacity, position + ahead // 4))
            prepared = self._prepared
        if prepared is not None:
            prepared.make_ready(0, position + ahead - segment.capacity)
        while self._discarded:
            self._discarded.pop().delete()
        self.wake.wait(0.0)

    def _prepare(self, segment: Segment) -> None:
        """Make the next segment before it is needed: making one takes up to milliseconds.

        It gets its name only if the training thread has not had to make it in the meantime.
        """
        start = segment.start + segment.capacity
        path = self.folder / segment_name(start)
        try:
            prepared = MappedSegment(path.with_suffix(".next"), start, self._next_capacity())
        except OSError:
            return  # the training thread will find out, if it comes to that
        with self.lock:
            if self._segment is segment and not self._closed:
                try:
                    prepared.rename(path)
                except OSError:
                    pass
                else:
                    self._prepared = prepared
                    return
        prepared.delete()

    def write_back(self) -> None:
        """Ask the kernel to write to the disk what was appended; unmap and shorten the segments that were left."""
        for segment in list(self._retired):
            segment.write_back(segment.used)
            segment.close(segment.used)
        self._segment.write_back(self.position)
        if self._writer_lock is not None:
            self._writer_lock.beat()

    def read(self, offset: int, limit: int = MIB) -> Frames:
        """Frames from `offset` on, about `limit` bytes; none at the journal's end."""
        with self.lock:
            current, position = self._segment, self.position
            found = [*self._retired, current]
        for segment in found:
            used = position if segment is current else segment.used
            if offset >= segment.start + used and segment is not current:
                continue
            frames = Frames(max(offset, segment.start))
            at = frames.start - segment.start
            available = min(limit, used - at)
            frames.take(segment.read(at, available), frames.start)
            if not frames.payloads and available > 8:  # one frame, larger than the limit
                length, _ = HEADER.unpack(segment.read(at, 8))
                frames.take(segment.read(at, 8 + length), frames.start)
            return frames
        return Frames(offset)

    def count(self, offset: int) -> int:
        """How many records there are from `offset` on."""
        found = 0
        while (frames := self.read(offset)).payloads:
            found += len(frames.payloads)
            offset = frames.end
        return found

    def release(self, offset: int) -> None:
        """Delete the segments that end at or before an offset that every sink has."""
        for segment in list(self._retired):
            if segment.start + segment.used <= offset:
                segment.delete()
                with self.lock:
                    self._retired = [other for other in self._retired if other is not segment]

    def restore(self) -> None:
        """Bring records that only memory holds to the disk, if it takes them again."""
        if all(segment.on_disk for segment in self._segments()):
            return
        try:
            if self._writer_lock is None:
                self._writer_lock = self._make_folder(self._sinks)
            self._leave_memory()
            for segment in list(self._retired):
                if isinstance(segment, MemorySegment):
                    segment.spill(segment.used)
                    saved = SavedSegment(segment.path, segment.start, segment.used)
                    with self.lock:
                        self._retired = [saved if other is segment else other for other in self._retired]
        except OSError:
            return
        if self._segment.on_disk:
            self._warned = False

    def _leave_memory(self) -> None:
        """Go on in a file if the disk takes one, so that what memory holds can follow."""
        segment = self._segment
        if segment.on_disk:
            return
        self._prepare(segment)
        with self.lock:
            prepared, self._prepared = self._prepared, None
            if prepared is not None and self._segment is segment:
                self._go_on_in(prepared)
                prepared = None
        if prepared is not None:
            prepared.delete()

    def close(self, *, acknowledged: bool) -> int:
        """End the journal; the number of bytes that could be kept nowhere.

        Parameters
        ----------
        acknowledged
            Whether every sink has everything, so that the journal can be deleted.
        """
        self._speak()
        if not acknowledged:
            self.restore()
        with self.lock:
            self._closed = True
            self.limit = -1
            self._segment.used = self.position
            prepared, self._prepared = self._prepared, None
        for unused in [*self._discarded, *([prepared] if prepared is not None else [])]:
            unused.delete()
        lost = 0
        for segment in self._segments():
            if isinstance(segment, MemorySegment) and not acknowledged:
                lost += self._spill_or_lose(segment)
            segment.close(segment.used)
        if acknowledged:
            _remove(self.folder)
            with contextlib.suppress(OSError):  # another writer of the run may still need it
                self.folder.parent.rmdir()
        if self._writer_lock is not None:
            self._writer_lock.release()
        return lost

    def _spill_or_lose(self, segment: MemorySegment) -> int:
        try:
            segment.spill(segment.used)
        except OSError:
            return segment.used
        return 0

    def before_fork(self) -> None:
        """Wait until no thread is in the middle of an append, and keep them out until the fork is over."""
        self.lock.acquire()

    def after_fork_in_parent(self) -> None:
        self.lock.release()

    def after_fork_in_child(self, append: Callable[[bytes], None]) -> None:
        """In a forked child: leave the journal to the parent.

        Parameters
        ----------
        append
            Takes the records of whoever still holds this journal or a function of it, as `log = run.log` does: the
            mapping is the parent's, and what is written to it here would damage what the parent writes.
        """
        self.limit, self.memory = -1, bytearray()
        self.append = append  # type: ignore[method-assign, assignment]
        self.abandon()
        self.lock.release()

    def abandon(self) -> None:
        """Let go of the journal as it is, without touching its files."""
        for segment in [*self._segments(), *([self._prepared] if self._prepared else [])]:
            segment.abandon()
        if self._writer_lock is not None:
            self._writer_lock.release()


def _remove(folder: Path) -> None:
    """Delete a journal's folder, whose only content is files."""
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            path.unlink(missing_ok=True)
        folder.rmdir()


def _allocate(handle: int, size: int) -> None:
    """Give a file real blocks.

    Raises
    ------
    OSError
        If the disk has no room for them.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
        return
    zeros = bytes(min(size, MIB))
    for start in range(0, size, len(zeros)):
        os.write(handle, zeros[: size - start])


_c_library: ctypes.CDLL | None = None


def _libc() -> ctypes.CDLL:
    global _c_library
    if _c_library is None:
        _c_library = ctypes.CDLL(None)
    return _c_library


def _advise(memory: mmap.mmap | bytearray, start: int, size: int, advice: int) -> None:
    """`madvise` through ctypes, which lets go of the GIL; `mmap.madvise` holds it. Advice may be ignored."""
    anchor = ctypes.c_char.from_buffer(memory, start)  # keeps the mapping from being closed meanwhile
    _libc().madvise(ctypes.c_void_p(ctypes.addressof(anchor)), ctypes.c_size_t(size), ctypes.c_int(advice))

"""Staged snapshots: files that outlive the process, between `log` and the thread that encodes them.

Each writer of a run stages in a folder of its own, `<root>/staging/<run>/<writer>`, under a lock that it holds for
life. A staged value is one file: a header in msgpack, then the raw buffers. It lies in the kernel's page cache when
`log` returns, so that a killed process loses nothing; a file that is shorter than its header says is one whose `log`
never returned.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import mmap
import os
import shutil
import stat
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from trackkit.core import records
from trackkit.core.journal import WriterLock, lock_if_dead, read_sinks, write_sinks
from trackkit.core.media.snapshot import Buffer, Piece, Snapshot

FOLDER: Final = "staging"
START_NAME: Final = "start.json"
_MAGIC: Final = b"TKSTAGE1"
_PREFIX: Final = struct.Struct("<8sII")
"""What a file begins with: a magic number, the length of the header, where the buffers begin."""
_ALIGNMENT = 64
_MAPPED_BYTES = 1 << 20
"""Larger files are mapped, not read."""
_CLONE_FILE = 0x40049409  # FICLONE of linux/fs.h
_PIECE = 1 << 20


class StagedSnapshot(msgspec.Struct):
    """A snapshot as the header holds it: sizes instead of buffers, a number instead of a file."""

    kind: str
    encoder: str
    parameters: dict[str, records.Json]
    metadata: dict[str, records.Json]
    sizes: list[int]
    file: int | None
    children: list[StagedSnapshot]


class StagedValue(msgspec.Struct):
    """One media value of one call of `log`."""

    key: str
    step: int
    time: float
    index: int | None
    """Its place in a list, or None."""
    count: int
    """Values of the list."""
    snapshot: StagedSnapshot


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(StagedValue)


class NotWhole(ValueError):
    """A staged file ends before it should: its `log` never returned."""


class Staged:
    """A staged value read back.

    Attributes
    ----------
    value
        Its key, step and time.
    snapshot
        The snapshot, its buffers in memory and its files beside the staged one.
    """

    def __init__(self, value: StagedValue, snapshot: Snapshot) -> None:
        self.value = value
        self.snapshot = snapshot


class Stage:
    """The staging folder of one writer.

    Parameters
    ----------
    root
        The store's folder.
    start
        The run's first record, for whoever finishes the work.
    writer, sinks
        Whose folder, and where its records go.
    """

    def __init__(self, root: Path, start: records.Start, writer: str, sinks: Sequence[str]) -> None:
        self.folder = root / FOLDER / start.run / writer
        self.numbers = itertools.count()
        self._lock = _make_folder(self.folder, start, sinks)

    def write(self, value: StagedValue, snapshot: Snapshot) -> Path:
        """Stage a value; where.

        Raises
        ------
        OSError
            If the disk refuses.
        """
        path = self.folder / f"{next(self.numbers):010d}"
        buffers, files = _flat(snapshot)
        try:
            for number, source in enumerate(files):
                _clone(source, _beside(path, number))
            _write_new(path, [_head(value), *buffers])
        except BaseException:
            discard(path)
            raise
        return path

    def beat(self) -> None:
        """Show that the writer lives, for readers on a network file system."""
        with contextlib.suppress(OSError):
            self._lock.beat()

    def close(self) -> None:
        """Let go of the folder; it goes if nothing is left in it."""
        if not any(pending(self.folder)):
            remove(self.folder)
        self._lock.release()

    def abandon(self) -> None:
        """In a forked child: the folder is the parent's."""
        self._lock.release()


def header_of(key: str, step: int, time: float, place: tuple[int | None, int], snapshot: Snapshot) -> StagedValue:
    """What a staged file's header says of a snapshot."""
    numbers = itertools.count()

    def described(one: Snapshot) -> StagedSnapshot:
        file = None if one.file is None else next(numbers)
        sizes = [sum(map(_length, pieces(buffer))) for buffer in one.buffers]
        children = [described(child) for child in one.children]
        return StagedSnapshot(one.kind, one.encoder, one.parameters, one.metadata, sizes, file, children)

    return StagedValue(key, step, time, *place, described(snapshot))


def read(path: Path) -> Staged:
    """A staged value.

    Raises
    ------
    NotWhole
        If the file is not whole.
    """
    data = _content_of(path)
    if len(data) < _PREFIX.size:
        raise NotWhole(f"{path} is no staged value")
    magic, length, position = _PREFIX.unpack_from(data)
    try:
        value = _decoder.decode(data[_PREFIX.size : _PREFIX.size + length])
    except msgspec.MsgspecError as error:
        raise NotWhole(f"{path} is no staged value: {error}") from None
    if magic != _MAGIC:
        raise NotWhole(f"{path} is no staged value of a kind this version knows")

    def restored(one: StagedSnapshot) -> Snapshot:
        nonlocal position
        buffers: list[Buffer] = []
        for size in one.sizes:
            buffers.append(data[position : position + size])
            position += size
        if position > len(data):
            raise NotWhole(f"{path} ends before it should")
        source = None if one.file is None else _beside(path, one.file)
        return Snapshot(
            one.kind,
            one.encoder,
            one.parameters,
            one.metadata,
            buffers,
            source,
            [restored(each) for each in one.children],
        )

    return Staged(value, restored(value.snapshot))


def encoders(value: StagedSnapshot | Snapshot) -> Iterator[str]:
    """The encoders a snapshot and its parts ask for."""
    yield value.encoder
    for child in value.children:
        yield from encoders(child)


def is_ours(path: Path) -> bool:
    """Whether nobody else could have written a staged file, so that a pickle in it may be loaded."""
    if not hasattr(os, "getuid"):
        return True
    found = path.stat()
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def discard(path: Path) -> None:
    """Delete a staged value."""
    path.unlink(missing_ok=True)
    number = 0
    while (beside := _beside(path, number)).exists():
        beside.unlink(missing_ok=True)
        number += 1


def pending(folder: Path) -> list[Path]:
    """The staged values in a writer's folder, in the order they were logged."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.name.isdigit())
    except FileNotFoundError:
        return []


def folders(root: Path, run: str | None = None) -> list[Path]:
    """The staging folders under a store's folder, or those of one run."""
    runs = [root / FOLDER / run] if run is not None else _folders_in(root / FOLDER)
    return [folder for each in runs for folder in _folders_in(each)]


def lock_dead(folder: Path) -> WriterLock | None:
    """The lock of the folder of a writer that has ended; None if it lives, or others work on it, or we may not."""
    try:
        lock = lock_if_dead(folder)
    except OSError:
        return None
    if lock is not None and not lock.path.exists():  # removed by whoever held the lock before us
        lock.release()
        return None
    return lock


def start_of(folder: Path) -> tuple[records.Start, list[str]]:
    """The first record of the run whose folder this is, and where its records go.

    Raises
    ------
    OSError, ValueError
        If the folder does not say.
    """
    facts = json.loads((folder / START_NAME).read_text())
    start = records.Start(0.0, folder.parent.name, str(facts["project"]), str(facts["name"]))
    return start, list(read_sinks(folder))


def remove(folder: Path) -> None:
    """Remove a writer's staging folder, and the run's if it was the last."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # other writers stage there
        folder.parent.rmdir()
        folder.parent.parent.rmdir()


def _make_folder(folder: Path, start: records.Start, sinks: Sequence[str]) -> WriterLock:
    """Make the folder under a hidden name and lock it, so that nobody ever sees it without its lock."""
    hidden = folder.with_name(f".{folder.name}")
    for _ in range(10):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another writer, ending, took the run's folder away
            hidden.mkdir(exist_ok=True, mode=0o700)
            break
    lock = WriterLock(hidden)
    try:
        (hidden / START_NAME).write_text(json.dumps({"project": start.project, "name": start.name}))
        write_sinks(hidden, dict.fromkeys(sinks, 0))
        hidden.rename(folder)
    except OSError:
        lock.release()
        shutil.rmtree(hidden, ignore_errors=True)
        raise
    lock.path = folder / lock.path.name
    return lock


def _folders_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))


def _head(value: StagedValue) -> bytes:
    """The beginning of a staged file, up to its first buffer."""
    header = _encoder.encode(value)
    start = -(-(_PREFIX.size + len(header)) // _ALIGNMENT) * _ALIGNMENT  # where arrays are read from in place
    return (_PREFIX.pack(_MAGIC, len(header), start) + header).ljust(start, b"\0")


def _content_of(path: Path) -> memoryview:
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size < _MAPPED_BYTES or sys.platform == "win32":
            return memoryview(file.read())
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _flat(snapshot: Snapshot) -> tuple[list[Piece], list[Path]]:
    found = [piece for buffer in snapshot.buffers for piece in pieces(buffer)]
    files = [] if snapshot.file is None else [snapshot.file]
    for child in snapshot.children:
        more, others = _flat(child)
        found += more
        files += others
    return found, files


def pieces(buffer: Buffer) -> list[Piece]:
    """The pieces a buffer is made of."""
    return buffer if isinstance(buffer, list) else [buffer]


def size_of(snapshot: Snapshot) -> int:
    """Bytes of all buffers of a snapshot."""
    return sum(map(_length, _flat(snapshot)[0]))


def _length(piece: Piece) -> int:
    return piece.nbytes if isinstance(piece, memoryview) else len(piece)


def _write_new(path: Path, parts: Sequence[Piece]) -> None:
    """Write a new file that only we may read: the kernel's copy of the buffers is the snapshot."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        for part in parts:
            view = memoryview(part).cast("B")
            while len(view):
                view = view[os.write(handle, view) :]
    finally:
        os.close(handle)


def _clone(source: Path, target: Path) -> None:
    """Copy a file by reference where the file system can, and else its bytes."""
    with open(source, "rb") as content, open(target, "xb") as copy:
        try:
            import fcntl

            fcntl.ioctl(copy.fileno(), _CLONE_FILE, content.fileno())
        except (ImportError, OSError):
            shutil.copyfileobj(content, copy, _PIECE)


def _beside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")

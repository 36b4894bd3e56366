"""What happens to the journals of dead writers: whoever opens the store next brings them into it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from trackkit.backend.store import freight, submissions, writers
from trackkit.backend.store.blobstore import FolderBlobs, open_blobs
from trackkit.backend.store.columns import is_record
from trackkit.backend.store.ingest import Ingest
from trackkit.backend.store.sqlite import DATABASE_NAME, SQLiteDatabase, database_path
from trackkit.core import journal, records
from trackkit.core.blobs import Blobs
from trackkit.core.journal import JournalReader, WriterLock
from trackkit.core.sink import Batch, scheme_of

logger = logging.getLogger("trackkit")

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes there are to do."""
Rest = Callable[[], None]

SYNCED_NAME = "synced.json"
"""Offsets of targets a journal was sent to later, which its writer was not told of."""
STAGING_FOLDER = "staging"
"""Below a store's folder: media that wait to be encoded."""
_PIECE_BYTES = 8 << 20
_DAMAGED = "journal damaged"


class Replay(msgspec.Struct):
    """What was sent of one writer's journal.

    Attributes
    ----------
    position
        The logical offset up to which the target has the journal.
    sent
        Bytes sent this time.
    finished
        Whether a Finish record was among them.
    last
        Time of the last record sent, in seconds since the epoch.
    damage
        A sentence for each part of the journal that could not be read.
    error
        Why it could not be sent to its end, or empty.
    """

    run: str
    writer: str
    position: int = 0
    sent: int = 0
    finished: bool = False
    last: float | None = None
    damage: list[str] = []
    error: str = ""


class Recovered(msgspec.Struct):
    """What `recover` did.

    Attributes
    ----------
    journals
        The dead writers' journals it took on.
    crashed
        Ids of runs it found to have ended without a word.
    """

    journals: list[Replay] = []
    crashed: list[str] = []

    @property
    def damage(self) -> list[str]:
        """A sentence for each part of a journal that could not be read."""
        return [f"run {one.run}, writer {one.writer}: {text}" for one in self.journals for text in one.damage]


def recover(
    root: Path,
    database: Path | None = None,
    *,
    progress: Progress | None = None,
    rest: Rest = lambda: None,
) -> Recovered:
    """Bring the journals of dead writers into the store, and mark crashed those that left no Finish record.

    Journals that were kept for later (offline runs) are left alone, and so are those of living writers.
    Several processes may do this at once, and a folder that can't be written is left as it is.

    Parameters
    ----------
    root
        The store's folder.
    database
        The database the writers sent to, by default the store's own.
    progress
        Called now and then with the bytes done and to do.
    rest
        Called about every 100 µs of work in Python.
    """
    target = (database or root / DATABASE_NAME).absolute()
    recovered = Recovered()
    meter = Meter(progress)
    with contextlib.ExitStack() as stack:
        db: SQLiteDatabase | None = None
        for folder, uri in _with_staged(root, target, rest):
            lock = lock_dead(folder)
            if lock is None:
                continue
            try:
                if db is None:
                    db = stack.enter_context(contextlib.closing(SQLiteDatabase(target)))
                    db.migrate()
                replayed, crashed = _recover_one(db, folder, uri, meter, rest)
            finally:
                lock.release()
            recovered.journals.append(replayed)
            if crashed:
                recovered.crashed.append(replayed.run)
    return recovered


def replay(
    folder: Path,
    position: int,
    write: Callable[[Batch], int],
    *,
    final: bool,
    meter: Meter | None = None,
    rest: Rest = lambda: None,
) -> Replay:
    """Send a journal, from an offset to where it ends now, a piece at a time.

    Parameters
    ----------
    folder
        The writer's folder.
    position
        The offset up to which the target has it.
    write
        A sink's `write`.
    final
        Whether the writer is dead; see `core.journal.JournalReader`.
    """
    done = Replay(folder.parent.name, folder.name, position)
    reader = JournalReader(folder, final=final)
    last = b""
    try:
        while True:
            frames = reader.read(done.position, _PIECE_BYTES)
            if not frames.payloads and frames.end <= frames.start:
                break
            reached = write(Batch(frames.start, frames.end, frames.payloads, frames.ends, rest))
            done.sent += reached - max(done.position, frames.start)
            if meter is not None:
                meter.add(reached - max(done.position, frames.start))
            done.position = reached
            last = frames.payloads[-1] if frames.payloads else last
            # It is a writer's last record but for what the console still got while it waited for its sinks.
            done.finished = done.finished or any(is_record(each, b"finish") for each in reversed(frames.payloads))
    finally:
        done.damage = reader.damage
        done.last = time_of(last)
    return done


def time_of(payload: bytes) -> float | None:
    """The time of a record in seconds since the epoch, or None if it is no record we know."""
    try:
        return records.decode(payload).time
    except msgspec.MsgspecError:
        return None


class Meter:
    """Adds up the bytes done for whoever shows progress."""

    def __init__(self, progress: Progress | None = None) -> None:
        self.total = 0
        self.done = 0
        self._progress = progress

    def expect(self, size: int) -> None:
        """There are more bytes to do."""
        self.total += size

    def add(self, size: int) -> None:
        """More bytes are done."""
        self.done += size
        if self._progress is not None:
            self._progress(min(self.done, self.total), self.total)


def size_of(folder: Path, after: int = 0) -> int:
    """Bytes a journal has on disk beyond an offset."""
    size = 0
    for start, path in journal.segments(folder):
        with contextlib.suppress(FileNotFoundError):
            size += max(0, path.stat().st_size - max(0, after - start))
    return size


def own_sink(folder: Path, root: Path, database: Path) -> str | None:
    """Which of a journal's sinks is this database."""
    for uri in journal.read_sinks(folder):
        if scheme_of(uri) == "sqlite" and database_path(uri, root) == database:
            return uri
    return None


def read_sinks(folder: Path, uri: str) -> dict[str, int]:
    """The offsets of a journal's sinks, with 0 for the one named if it is not known."""
    return {uri: 0, **journal.read_sinks(folder)}


def read_synced(folder: Path) -> dict[str, int]:
    """The targets a journal was sent to later, and the offset each has."""
    try:
        stored = json.loads((folder / SYNCED_NAME).read_text())
        return {str(uri): int(offset) for uri, offset in stored.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def write_synced(folder: Path, offsets: dict[str, int]) -> None:
    """Note the targets a journal was sent to later."""
    fresh = folder / f"{SYNCED_NAME}.{os.getpid()}"
    fresh.write_text(json.dumps(offsets))
    os.replace(fresh, folder / SYNCED_NAME)


def end_of(folder: Path) -> int:
    """The offset past which a dead writer's journal has nothing; a lower bound while damage is unread."""
    found = journal.segments(folder)
    return found[-1][0] + found[-1][1].stat().st_size if found else 0


def delete_journal(folder: Path) -> None:
    """Delete a dead writer's journal, of which every sink has everything. The caller holds its lock."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # the run has other writers
        folder.parent.rmdir()


def lock_dead(folder: Path) -> WriterLock | None:
    """The lock of a dead writer's journal; None if it lives, if others work on it, or if we may not."""
    try:
        lock = journal.lock_if_dead(folder)
    except OSError:
        return None
    if lock is not None and not lock.path.exists():  # deleted by whoever held the lock before us
        lock.release()
        return None
    return lock


def _sent_to(root: Path, database: Path) -> Iterator[tuple[Path, str]]:
    """The folders of writers that sent to a database, and under which URI."""
    for folder in journal.writer_folders(root):
        uri = own_sink(folder, root, database)
        if uri is not None and os.access(folder, os.W_OK):
            yield folder, uri


def _with_staged(root: Path, database: Path, rest: Rest) -> Iterator[tuple[Path, str]]:
    """The journals of `_sent_to`, then those that hold the media which dead writers left staged."""
    seen = set()
    for folder, uri in _sent_to(root, database):
        seen.add(folder)
        yield folder, uri
    if (root / STAGING_FOLDER).is_dir():
        from trackkit.core.media import recovery as media

        if media.recover(root, rest=rest):
            yield from ((folder, uri) for folder, uri in _sent_to(root, database) if folder not in seen)


def _recover_one(db: SQLiteDatabase, folder: Path, uri: str, meter: Meter, rest: Rest) -> tuple[Replay, bool]:
    """Replay one journal; whether its writer turned out to have crashed. Never raises for what is wrong with it."""
    replayed = Replay(folder.parent.name, folder.name)
    crashed = False
    try:
        ingest = Ingest(db, replayed.run, replayed.writer)
        position = ingest.position()
        meter.expect(size_of(folder, position))
        blobs, here = open_blobs(db.path.parent), Blobs(folder.parent.parent.parent)
        files = False

        def write(batch: Batch) -> int:
            nonlocal files
            files = files or any(True for _ in freight.items(batch))
            if isinstance(blobs, FolderBlobs):
                freight.bring(batch, here, blobs.blobs)
            return ingest.write(batch)

        replayed = replay(folder, position, write, final=True, meter=meter, rest=rest)
        number = writers.find(db, replayed.run)
        waiting = 0
        if number is not None:
            waiting = submissions.commit_waiting(db, blobs, number, replayed.writer)
        crashed = ingest.abandon(replayed.last)
        if replayed.damage:
            ingest.alert(_DAMAGED, "; ".join(replayed.damage))
            logger.warning("trackkit: the journal of run %s is damaged: %s", replayed.run, "; ".join(replayed.damage))
        db.sync()
        if (files or waiting) and not isinstance(blobs, FolderBlobs):
            return replayed, crashed  # the journal is what `trackkit sync` sends the files by
        settle_journal(folder, {**read_sinks(folder, uri), uri: replayed.position}, replayed.position)
    except Exception as error:
        replayed.error = f"{type(error).__name__}: {error}"
        logger.debug("a journal could not be recovered: %s", folder, exc_info=True)
    return replayed, crashed


def settle_journal(folder: Path, offsets: dict[str, int], end: int) -> bool:
    """Delete a dead writer's journal if all of its sinks have it up to its end, or note how far they are."""
    if offsets and all(offset >= end for offset in offsets.values()):
        delete_journal(folder)
        return True
    journal.write_sinks(folder, offsets)
    return False

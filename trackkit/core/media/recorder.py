"""The thread that encodes what was staged, and the snapshots' way there."""

from __future__ import annotations

import contextlib
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from trackkit.core import lifecycle, records
from trackkit.core.bell import Bell
from trackkit.core.blobs import Blobs
from trackkit.core.media import encoding, keeping, staging
from trackkit.core.media.keeping import DiskRefuses
from trackkit.core.media.snapshot import Snapshot
from trackkit.core.media.staging import NotWhole, Stage, Staged, StagedValue

logger = logging.getLogger("trackkit")

_REST_SECONDS = 0.0002
"""Long enough for a thread that waits for the GIL to be woken and take it."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_BEAT_SECONDS = 30.0


class MediaRecorder:
    """Stages the media of a run on the thread that logs them, and encodes them on one of its own.

    Parameters
    ----------
    root
        The store's folder.
    start
        The run's first record.
    writer, sinks
        Whose media, and where its records go.
    record
        Takes a record for the journal.
    now
        The run's clock.
    warn
        Gives a warning.
    memory_bytes
        How much may be kept in memory while the disk refuses.
    """

    def __init__(
        self,
        root: Path,
        start: records.Start,
        writer: str,
        sinks: Sequence[str],
        *,
        record: Callable[[records.AnyRecord], None],
        now: Callable[[], float],
        warn: Callable[[str], None],
        memory_bytes: int,
    ) -> None:
        self.dropped = 0
        """Values that could be kept nowhere."""
        self._record = record
        self._now = now
        self._warn = warn
        self._blobs = Blobs(root)
        self._put = itertools.count()
        self._done = 0
        self._jobs: queue.SimpleQueue[Path | Staged | None] = queue.SimpleQueue()
        self._memory_left = memory_bytes
        self._complained: set[str] = set()
        self._imported: set[str] = set()
        self._hurry = False
        self._closed = False
        self._stop = Bell()
        self._progress = Bell()
        self._commit_lock = threading.Lock()
        self._stage: Stage | None = None
        try:
            self._stage = Stage(root, start, writer, sinks)
        except OSError as error:
            self._complain_of_disk(error)
        self._thread = threading.Thread(target=self._run, name="trackkit-media", daemon=True)
        with contextlib.suppress(RuntimeError):  # the interpreter is shutting down; what is staged is enough
            self._thread.start()

    # The thread that logs.

    def record(self, values: Mapping[str, Sequence[Snapshot]], step: int, when: float) -> None:
        """Stage the snapshots of one call, in lists by key. Never raises for what the disk does."""
        for key, snapshots in values.items():
            for index, snapshot in enumerate(snapshots):
                place = (index if len(snapshots) > 1 else None, len(snapshots))
                self._add(staging.header_of(key, step, when, place, snapshot), snapshot)

    def _add(self, value: StagedValue, snapshot: Snapshot) -> None:
        next(self._put)
        if self._stage is not None:
            try:
                self._jobs.put(self._stage.write(value, snapshot))
                return
            except FileNotFoundError as error:
                if snapshot.file is not None and not snapshot.file.exists():
                    self._fail(value, error)  # between the check and now
                    self._finish_one()
                    return
                self._complain_of_disk(error)
            except OSError as error:
                self._complain_of_disk(error)
        size = staging.size_of(snapshot)
        if size > self._memory_left or self._closed:
            self._lose_one()
            return
        self._memory_left -= size
        self._jobs.put(Staged(value, _owned(snapshot)))

    @property
    def waiting(self) -> int:
        """Values that are not encoded yet."""
        return int(repr(self._put)[len("count(") : -1]) - self._done  # the only way to look without taking

    def drain(self, timeout: float) -> bool:
        """Wait until everything is encoded and recorded; whether that came about."""
        self._hurry = True
        deadline = time.monotonic() + timeout
        while self.waiting and self._thread.is_alive():
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._progress.wait(min(left, 0.05))
        return not self.waiting

    def close(self) -> None:
        """End the thread; what is not recorded by now stays staged."""
        with self._commit_lock:
            self._closed = True
        self._stop.ring()
        self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join(1.0)
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if isinstance(job, Staged):
                self._lose_one()
        if self._stage is not None:
            self._stage.close()

    def abandon(self) -> None:
        """In a forked child: all of it is the parent's."""
        if self._stage is not None:
            self._stage.abandon()

    # The thread that encodes.

    def _run(self) -> None:
        while not self._closed:
            try:
                job = self._jobs.get(timeout=_BEAT_SECONDS)
            except queue.Empty:
                if self._stage is not None:
                    self._stage.beat()
                continue
            if job is None:
                return
            self._finish(job)
            if not self._hurry:
                time.sleep(_REST_SECONDS)

    def _finish(self, job: Path | Staged) -> None:
        """Encode and record one value, trying again for as long as it is the disk that refuses."""
        path = job if isinstance(job, Path) else None
        pause = _FIRST_PAUSE
        while not self._closed:
            staged = job if isinstance(job, Staged) else None
            try:
                staged = staged or staging.read(job)  # type: ignore[arg-type]
                self._import(staged)
                found = keeping.objects(staged, self._blobs, path)
            except DiskRefuses as error:
                self._complain_of_disk(error)
                self._stop.wait(pause * (0.2 if self._hurry else 1.0))
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            except NotWhole:
                logger.debug("a staged value is not whole", exc_info=True)
                found = []
            except Exception as error:
                self._fail(None if staged is None else staged.value, error)
                found = []
            with self._commit_lock:
                if self._closed:
                    break
                for record in found:
                    self._record(record)
                if path is not None:
                    staging.discard(path)
            self._finish_one()
            return
        if path is None:
            self._lose_one()

    def _lose_one(self) -> None:
        self.dropped += 1
        self._finish_one()

    def _finish_one(self) -> None:
        self._done += 1
        self._progress.ring()

    def _import(self, staged: Staged) -> None:
        """Import what the encoders need, so that a process that forks meanwhile gets no half of it."""
        for encoder in staging.encoders(staged.snapshot):
            if encoder not in self._imported:
                self._imported.add(encoder)
                lifecycle.import_early(encoding.modules(encoder))

    def _fail(self, value: StagedValue | None, error: Exception) -> None:
        """Tell, once a key, that a value can't be kept: as a warning, and to whoever looks at the run."""
        key = "a value" if value is None else f"the {value.snapshot.kind} under {value.key!r}"
        if key in self._complained:
            return
        self._complained.add(key)
        text = f"{key} could not be encoded: {type(error).__name__}: {error}"
        logger.debug("encoding failed", exc_info=error)
        self._record(records.Alert(self._now(), "warning", "media not kept", text))
        self._warn(text)

    def _complain_of_disk(self, error: OSError) -> None:
        if "" not in self._complained:
            self._complained.add("")
            self._warn(f"media can't be written to the disk ({error.strerror or error}); the run goes on")


def _owned(snapshot: Snapshot) -> Snapshot:
    """A snapshot with bytes of its own, in memory."""
    return Snapshot(
        snapshot.kind,
        snapshot.encoder,
        snapshot.parameters,
        snapshot.metadata,
        [b"".join(staging.pieces(buffer)) for buffer in snapshot.buffers],
        snapshot.file,
        [_owned(child) for child in snapshot.children],
    )

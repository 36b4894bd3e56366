"""What happens to media that a process staged and did not live to encode."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from trackkit.core import records
from trackkit.core.blobs import Blobs
from trackkit.core.media import keeping, staging
from trackkit.core.media.keeping import DiskRefuses, Untrusted
from trackkit.core.media.staging import NotWhole
from trackkit.core.writer import MIB, JournalWriter, new_writer_id
from trackkit.version import __version__

logger = logging.getLogger("trackkit")


def recover(root: Path, run: str | None = None, rest: Callable[[], None] = lambda: None) -> int:
    """Encode what writers that have ended left staged; the number of values.

    They are recorded by a further writer of the run, whose journal goes where the first one's went. Several processes
    may do this at once. What can't be encoded here, for want of a library or of room, stays staged.

    Parameters
    ----------
    root
        The store's folder.
    run
        The id of one run; by default all.
    rest
        Called between two values.
    """
    done = 0
    for folder in staging.folders(root, run):
        if not os.access(folder, os.W_OK):
            continue
        lock = staging.lock_dead(folder)
        if lock is None:
            continue
        try:
            done += _recover(root, folder, rest)
        except (OSError, ValueError):
            logger.debug("staged media could not be recovered: %s", folder, exc_info=True)
        finally:
            lock.release()
    return done


def _recover(root: Path, folder: Path, rest: Callable[[], None]) -> int:
    journal: JournalWriter | None = None
    blobs, done = Blobs(root), 0
    start, sinks = staging.start_of(folder)

    def append(record: records.AnyRecord) -> None:
        nonlocal journal
        if journal is None:
            journal = _open_journal(root, start, sinks)
        journal.append(records.encode(record))

    try:
        for path in staging.pending(folder):
            rest()
            if _finish(path, blobs, append):
                done += 1
                staging.discard(path)
        if journal is not None:
            append(records.Finish(time.time(), "finished"))
    finally:
        if journal is not None:
            journal.close(acknowledged=False)
    if not staging.pending(folder):
        staging.remove(folder)
    return done


def _finish(path: Path, blobs: Blobs, append: Callable[[records.AnyRecord], None]) -> bool:
    """Encode and record one staged value; whether nothing is left to do for it."""
    try:
        found = keeping.objects(staging.read(path), blobs, path, recovered=True)
    except NotWhole:
        return True
    except (ImportError, DiskRefuses, Untrusted):
        logger.debug("a staged value stays where it is: %s", path, exc_info=True)
        return False
    except Exception as error:
        text = f"a staged value could not be encoded: {type(error).__name__}: {error}"
        append(records.Alert(time.time(), "warning", "media not kept", text))
        return True
    for record in found:
        append(record)
    return True


def _open_journal(root: Path, start: records.Start, sinks: list[str]) -> JournalWriter:
    def warn(message: str) -> None:
        warnings.warn(f"trackkit: {message}", RuntimeWarning, stacklevel=2)

    writer = new_writer_id()
    journal = JournalWriter(
        root, start.run, writer, sinks=sinks, segment_bytes=64 * MIB, memory_bytes=64 * MIB, warn=warn
    )
    start.time, start.role, start.label = time.time(), "child", "recovered"
    start.pid, start.version = os.getpid(), __version__
    journal.append(records.encode(start))
    return journal

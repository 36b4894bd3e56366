"""Pins: blobs that a living process has staged and no record names yet, which `gc` must leave alone.

An artifact may be gathered for hours before it is logged. A process that stages keeps a folder under `<root>/pins`
with a lock, which the kernel lets go of when it dies, and the digests it staged, 32 bytes each.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

from trackkit.core.journal import WriterLock, lock_if_dead

_FILE = "digests"
_open: dict[tuple[Path, int], tuple[WriterLock, int]] = {}
_lock = threading.Lock()


def pin(root: Path, digests: Iterable[str]) -> None:
    """Keep blobs of a store from being collected for as long as this process lives. Never raises for the disk's faults:
    a blob that was staged less than an hour ago is not collected anyway.
    """
    packed = b"".join(bytes.fromhex(digest) for digest in digests)
    with _lock, contextlib.suppress(OSError):
        key = (root.absolute(), os.getpid())
        if key not in _open:
            folder = key[0] / "pins" / f"{os.getpid():x}-{secrets.token_hex(4)}"
            folder.mkdir(parents=True)
            lock = WriterLock(folder)
            _open[key] = (lock, os.open(folder / _FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666))
        os.write(_open[key][1], packed)


def pinned(root: Path, *, tidy: bool = False) -> set[str]:
    """The blobs that living processes have pinned.

    Parameters
    ----------
    tidy
        Delete what dead processes left.
    """
    found: set[str] = set()
    for folder in (root / "pins").glob("*"):
        try:
            content = (folder / _FILE).read_bytes()
        except OSError:
            continue
        dead = lock_if_dead(folder)
        if dead is None:
            found.update(content[start : start + 32].hex() for start in range(0, len(content) // 32 * 32, 32))
            continue
        if tidy:
            shutil.rmtree(folder, ignore_errors=True)
        dead.release()
    return found


def _forget() -> None:
    _lock.release() if _lock.locked() else None  # a parent's thread may have held it when the child was forked
    _open.clear()  # the parent's locks stay the parent's: closing a copy leaves them as they are


os.register_at_fork(after_in_child=_forget) if hasattr(os, "register_at_fork") else None

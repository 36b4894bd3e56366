"""What is known of files by how they look: the digest of a file whose size, times and inode have not changed.

It makes adding an unchanged folder a matter of looking at it. Kept in the client's cache, and only ever a help: if it
is lost, damaged or can't be written, files are read again.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

FRESH_NANOSECONDS: Final = 100_000_000
"""A file that was changed so shortly before it was read may change again without its times telling."""
_MOST: Final = 2_000_000
"""Files remembered; the oldest are forgotten."""

Signature = tuple[int, int, int, int]


def signature(found: os.stat_result) -> Signature:
    """What changes with a file: size, time of change, inode, and the time of change of the inode.

    That last one, which nobody can set, also moves when a link to the file is made or used, so it is left out where the
    file has several.
    """
    return found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns if found.st_nlink == 1 else 0


class StatCache:
    """Digests of files by path and signature.

    Parameters
    ----------
    path
        The cache's file; None to remember nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, tuple[Signature, str]] = {}
        self._noted: list[tuple[str, int, int, int, int, str, int]] = []
        self._lock = threading.Lock()

    def load(self, files: Sequence[str]) -> None:
        """Read what is known of files that will be asked for."""
        if self._path is None or not files:
            return
        with contextlib.suppress(sqlite3.Error, OSError), contextlib.closing(self._connect()) as db:
            columns = "path, size, mtime, inode, ctime, digest"
            if len(files) < 500:
                for file in files:
                    for path, *rest, digest in db.execute(f"select {columns} from files where path = ?", (file,)):
                        self._known[path] = (tuple(rest), digest)
                return
            common = os.path.commonpath(files)
            sql = f"select {columns} from files where path >= ? and path < ?"
            for path, size, mtime, inode, ctime, digest in db.execute(sql, (f"{common}/", f"{common}0")):
                self._known[path] = ((size, mtime, inode, ctime), digest)

    def find(self, file: str, found: os.stat_result) -> str | None:
        """The digest of a file that looks like this, if it is known."""
        known = self._known.get(file)
        return known[1] if known is not None and known[0] == signature(found) else None

    def note(self, file: str, found: os.stat_result, digest: str) -> None:
        """Remember a file's digest, unless it was changed just now."""
        now = time.time_ns()
        if now - max(found.st_mtime_ns, found.st_ctime_ns) > FRESH_NANOSECONDS:
            with self._lock:
                self._noted.append((file, *signature(found), digest, now))

    def save(self) -> None:
        """Write down what was noted."""
        with self._lock:
            noted, self._noted = self._noted, []
        if self._path is None or not noted:
            return
        with contextlib.suppress(sqlite3.Error, OSError, UnicodeError), contextlib.closing(self._connect()) as db, db:
            db.executemany("insert or replace into files values (?, ?, ?, ?, ?, ?, ?)", noted)
            (count,) = db.execute("select count(*) from files").fetchone()
            if count > _MOST:
                sql = "delete from files where path in (select path from files order by noted limit ?)"
                db.execute(sql, (count - _MOST // 2,))

    def _connect(self) -> sqlite3.Connection:
        assert self._path is not None
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self._path.unlink(missing_ok=True)  # damaged
            return self._open()

    def _open(self) -> sqlite3.Connection:
        assert self._path is not None
        db = sqlite3.connect(self._path, timeout=5)
        try:
            db.execute("pragma synchronous = off")
            db.execute(
                "create table if not exists files (path text primary key, size integer, mtime integer, inode integer, "
                "ctime integer, digest text, noted integer) without rowid"
            )
        except sqlite3.Error:
            db.close()
            raise
        return db

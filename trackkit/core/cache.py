"""The client's cache: blobs that were downloaded, up to a size; those used least lately go first."""

from __future__ import annotations

import contextlib
from pathlib import Path

from trackkit.core.blobs import Blobs, clone, digest_of
from trackkit.core.settings import Settings, cache_folder
from trackkit.core.stats import StatCache


class Cache:
    """Downloaded blobs, and what is known of local files.

    Parameters
    ----------
    folder
        Where it is.
    limit
        Bytes of blobs kept; 0 keeps none.

    Attributes
    ----------
    stats
        The digests of files by how they look.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.blobs = Blobs(folder)
        self.limit = limit
        self.stats = StatCache(folder / "files.db")
        self._kept = 0

    @classmethod
    def of(cls, settings: Settings) -> Cache:
        """The cache that settings name."""
        return cls(cache_folder(settings), settings.cache_mb << 20)

    def give(self, digest: str, target: Path) -> bool:
        """Write a cached blob to a new file; whether it was there, and whole. A damaged one is dropped."""
        if not self.blobs.touch(digest):
            return False
        with contextlib.suppress(OSError):
            copy_file(self.blobs.path(digest), target)
            if digest_of(target) == digest:
                return True
            target.unlink()
            self.blobs.delete(digest)
        return False

    def keep(self, digest: str, source: Path) -> None:
        """Keep a copy of a verified file, if it fits. Never raises: a cache that can't be written is none."""
        with contextlib.suppress(OSError):
            size = source.stat().st_size
            if size > self.limit // 4:
                return
            self.blobs.put_file(source, digest=digest)
            self._kept += size
            if self._kept > self.limit // 8:  # looking through all of it takes a while
                self._kept = 0
                self.trim()

    def trim(self) -> int:
        """Delete what was used least lately until the rest is within the limit; the bytes that frees."""
        found = []
        for digest in self.blobs.iterate():
            with contextlib.suppress(OSError):
                stat = self.blobs.path(digest).stat()
                found.append((max(stat.st_mtime_ns, stat.st_atime_ns), stat.st_size, digest))
        excess, freed = sum(size for _, size, _ in found) - self.limit, 0
        for _, _, digest in sorted(found):
            if freed >= excess:
                break
            freed += self.blobs.delete(digest)
        return freed


def copy_file(source: Path, target: Path) -> None:
    """Copy a file to a new one, sharing its blocks where the file system can."""
    with open(source, "rb") as content:
        if clone(content.fileno(), target):
            return
        with open(target, "xb") as copy:
            while piece := content.read(4 << 20):
                copy.write(piece)

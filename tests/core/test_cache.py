"""The client's cache keeps what is used, up to its limit, and hands out nothing damaged."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from trackkit.core.cache import Cache


def keep(cache: Cache, folder: Path, content: bytes) -> str:
    file = folder / "file"
    file.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    cache.keep(digest, file)
    return digest


def test_what_was_used_least_lately_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 8000)
    digests = [keep(cache, tmp_path, bytes([number]) * 1000) for number in range(8)]
    for age, digest in enumerate(digests):
        os.utime(cache.blobs.path(digest), (age + 1, age + 1))
    assert cache.give(digests[0], tmp_path / "used")  # the oldest is used again

    for number in range(8, 12):
        digests.append(keep(cache, tmp_path, bytes([number]) * 1000))
    cache.trim()

    there = [cache.blobs.exists(digest) for digest in digests]
    assert sum(there) <= 8
    assert there[0]
    assert not any(there[1:5])
    assert all(there[-4:])


def test_a_file_larger_than_a_quarter_of_the_cache_is_not_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 8000)

    digest = keep(cache, tmp_path, b"x" * 2001)

    assert not cache.give(digest, tmp_path / "target")


def test_a_damaged_file_is_dropped(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 8000)
    digest = keep(cache, tmp_path, b"good")
    cache.blobs.path(digest).write_bytes(b"evil")

    assert not cache.give(digest, tmp_path / "target")
    assert not (tmp_path / "target").exists()
    assert not cache.blobs.exists(digest)


def test_a_cache_that_cannot_be_written_is_none(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file where the folder would be")
    cache = Cache(tmp_path / "blocked", 8000)

    digest = keep(cache, tmp_path, b"x")

    assert not cache.give(digest, tmp_path / "target")
    cache.stats.load(["/nothing"])
    cache.stats.save()

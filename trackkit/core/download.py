"""Downloading an artifact: its files below a folder, several at a time, each verified, none outside the folder."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from trackkit.core.blobs import digest_of
from trackkit.core.manifest import Entry, check_path
from trackkit.core.stats import StatCache

Fetch = Callable[[Entry, Path], None]
"""Writes what an entry means to a new file, verified."""

_THREADS: Final = 4


def download(root: Path, entries: Iterable[tuple[str, Entry]], fetch: Fetch, stats: StatCache) -> list[Path]:
    """Bring entries below a folder; what is there already and is what it should be is left alone.

    A file appears under its name once it is whole.

    Parameters
    ----------
    root
        The folder; made if it does not exist.
    entries
        Paths and entries.
    stats
        What is known of local files.

    Raises
    ------
    ValueError
        If a path would lead out of the folder, by what it is or by a link that lies there.
    OSError
        If something can't be fetched or written.
    """
    root.mkdir(parents=True, exist_ok=True)
    top = Path(os.path.realpath(root))
    chosen = [(_place(top, path), entry) for path, entry in entries]
    stats.load([str(target) for target, _ in chosen])

    def bring(one: tuple[Path, Entry]) -> Path:
        target, entry = one
        if not _is_there(target, entry, stats):
            _bring(top, target, entry, fetch)
            if entry.digest:
                stats.note(str(target), target.stat(), entry.digest)
        return target

    if len(chosen) < 2:
        found = [bring(one) for one in chosen]
    else:
        with ThreadPoolExecutor(_THREADS, "trackkit-download") as pool:
            found = list(pool.map(bring, chosen))
    stats.save()
    return found


def _place(top: Path, path: str) -> Path:
    target = top / check_path(path)
    parent = os.path.realpath(target.parent)
    if parent != str(top) and not parent.startswith(f"{str(top).rstrip(os.sep)}{os.sep}"):
        raise ValueError(f"{path!r} would be written outside of {top}: a folder on its way is a link to {parent}")
    return target


def _is_there(target: Path, entry: Entry, stats: StatCache) -> bool:
    if not entry.digest or target.is_symlink() or not target.is_file():
        return False
    found = target.stat()
    if found.st_size != entry.size:
        return False
    known = stats.find(str(target), found)
    if known is None:
        known = digest_of(target)
        stats.note(str(target), found, known)
    return known == entry.digest


def _bring(top: Path, target: Path, entry: Entry, fetch: Fetch) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.commonpath([top, os.path.realpath(target.parent)]) != str(top):
        raise ValueError(f"{target} would be written outside of {top}")
    fresh = target.with_name(f".trackkit-{secrets.token_hex(8)}")
    try:
        fetch(entry, fresh)
        os.replace(fresh, target)
    finally:
        fresh.unlink(missing_ok=True)

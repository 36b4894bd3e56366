"""Collecting blobs that nothing refers to: no run, no artifact, no journal that may still be sent, no process.

A blob that came or was asked for within the last hour is spared, as its record may be on its way. Blobs are deleted
within a transaction that looks again for what refers to them and counts up a number, so that a version that is made at
the same time notices (see `submissions`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

import msgspec

from trackkit.backend.store import artifacts, freight, proxied_files
from trackkit.backend.store.blobstore import BlobState, BlobStore, FolderBlobs, open_blobs, read_all
from trackkit.backend.store.database import Database
from trackkit.core import journal
from trackkit.core.blobs import Blobs
from trackkit.core.journal import JournalReader
from trackkit.core.manifest import Manifest, ManifestDamaged
from trackkit.core.pins import pinned
from trackkit.core.sink import Batch

GRACE_SECONDS: Final = 3600.0
"""A blob nothing refers to may be one whose record is still on its way; after this long it is not."""
PARTIAL_SECONDS: Final = 86400.0
"""An upload that was broken off can be resumed for so long."""
MOST_MANIFESTS: Final = 2000
"""Manifests that are read to tell what a deletion would free."""
_AT_ONCE: Final = 500
_PIECE_BYTES: Final = 8 << 20


class Collected(msgspec.Struct):
    """How many blobs were deleted, and the bytes they took."""

    blobs: int = 0
    bytes: int = 0


class Contents(msgspec.Struct):
    """What there is in a journal: where it ends, what is damaged, and the blobs it names."""

    end: int = 0
    damage: list[str] = []
    digests: set[str] = set()


def collect(db: Database | None, root: Path, dry_run: bool = False) -> Collected:
    """Delete the blobs that nothing refers to.

    Parameters
    ----------
    db
        The store's database; None where runs are only sent from, so that journals alone refer to blobs.
    """
    blobs = open_blobs(root)
    done = Collected()
    found = _unreferenced(db, root, blobs)
    if dry_run:
        done.blobs, done.bytes = len(found), sum(state.size for state in found)
    for start in range(0, 0 if dry_run else len(found), _AT_ONCE):
        some = delete(db, root, blobs, [state.digest for state in found[start : start + _AT_ONCE]])
        done.blobs += some.blobs
        done.bytes += some.bytes
    _delete_partial(root, blobs, dry_run, done)
    if not dry_run:
        pinned(root, tidy=True)
    return done


def unreferenced(db: Database, root: Path, blobs: BlobStore) -> list[str]:
    """The digests of the blobs that nothing refers to."""
    return [state.digest for state in _unreferenced(db, root, blobs)]


def delete(db: Database | None, root: Path, blobs: BlobStore, digests: Iterable[str]) -> Collected:
    """Delete those of some blobs that nothing refers to now, and that nobody has asked for lately.

    An upload may have begun since they were found: who sends a record asks for its blobs first, which spares them.
    """
    chosen, latest = list(digests), time.time() - GRACE_SECONDS
    if db is None:
        named = _named_outside(root)
        return _delete(blobs, [digest for digest in chosen if digest not in named], latest)
    with db.atomic():
        db.execute("update upkeep set count = count + 1 where name = 'blobs'")
        named = _named_outside(root) | listed(db).keys() | _in_manifests(db, blobs)
        return _delete(blobs, [digest for digest in chosen if digest not in named], latest)


class Freed(msgspec.Struct):
    """What deleting some versions would free: blobs and their bytes; `exact` is false where it may be less."""

    blobs: int
    bytes: int
    exact: bool


def freed(db: Database, blobs: BlobStore, versions: Collection[int], most: int = MOST_MANIFESTS) -> Freed:
    """What `gc` would free if some versions were deleted: what no run, no other version and no upload refers to.

    Parameters
    ----------
    most
        Other manifests that are read at most; where there are more, those of the same collections come first.
    """
    rows = db.query("select version, collection, digest from versions where deleted is null")
    going = {digest for version, _, digest in rows if version in versions}
    near = {collection for version, collection, _ in rows if version in versions}
    others = sorted((collection not in near, digest) for version, collection, digest in rows if version not in versions)
    waiting = db.query("select digest from submissions where state in ('pending', 'complete')")
    staying = list(dict.fromkeys([*(digest for (digest,) in waiting), *(digest for _, digest in others)]))
    kept = set(staying) | listed(db).keys()
    found: dict[str, int] = {digest: blobs.size(digest) or 0 for digest in going}
    for digest in going:
        with contextlib.suppress(FileNotFoundError, ManifestDamaged):
            found.update(Manifest.decode(read_all(blobs, digest)).blobs())
    for digest in staying[:most]:
        with contextlib.suppress(FileNotFoundError, ManifestDamaged):
            kept |= _blobs_in(blobs, digest)
    left = {digest: size for digest, size in found.items() if digest not in kept}
    return Freed(len(left), sum(left.values()), len(staying) <= most)


def listed(db: Database) -> dict[str, str]:
    """The digests that files of runs, and files that MLflow's clients put elsewhere, have, and a path of each."""
    sql = "select digest, min(path) from objects where digest <> '' group by digest"
    found = {str(digest): str(path) for digest, path in db.query(sql)}
    return {**proxied_files.digests(db), **found}


def read_journal(folder: Path) -> Contents:
    """What there is in a journal."""
    reader = JournalReader(folder, final=True)
    contents = Contents()
    blobs = Blobs(folder.parent.parent.parent)
    with contextlib.suppress(FileNotFoundError):  # delivered and deleted meanwhile
        while True:
            frames = reader.read(contents.end, _PIECE_BYTES)
            if not frames.payloads and frames.end <= frames.start:
                break
            contents.end = frames.end
            for _, record in freight.items(Batch(frames.start, frames.end, frames.payloads, frames.ends)):
                contents.digests.update(freight.blobs_of(record, blobs))
    contents.damage = reader.damage
    return contents


def _unreferenced(db: Database | None, root: Path, blobs: BlobStore) -> list[BlobState]:
    latest = time.time() - GRACE_SECONDS
    found = [state for state in blobs.states() if state.used < latest]
    if not found:
        return []
    named = _named_outside(root)
    if db is not None:  # last, so that a journal that was delivered meanwhile is in the store
        named |= listed(db).keys() | _in_manifests(db, blobs)
    return [state for state in found if state.digest not in named]


def _named_outside(root: Path) -> set[str]:
    """Blobs that journals name that may still be sent, and those that living processes have pinned."""
    waiting = [read_journal(folder).digests for folder in journal.writer_folders(root)]
    return set().union(*waiting) | pinned(root)


def _in_manifests(db: Database, blobs: BlobStore) -> set[str]:
    """The manifests in use, and the blobs they name."""
    found = artifacts.manifests(db)
    for digest in list(found):
        # A damaged manifest names nothing that could be found by it.
        with contextlib.suppress(FileNotFoundError, ManifestDamaged):
            found.update(_blobs_in(blobs, digest))
    return found


_known: dict[tuple[str, str], frozenset[str]] = {}


def _blobs_in(blobs: BlobStore, digest: str) -> frozenset[str]:
    """The blobs a manifest names, which never change; remembered, as they are asked for with each batch."""
    key = (blobs.name, digest)
    if key not in _known:
        if len(_known) > 1000:
            _known.clear()
        _known[key] = frozenset(Manifest.decode(read_all(blobs, digest)).blobs())
    return _known[key]


def _delete(blobs: BlobStore, digests: list[str], latest: float) -> Collected:
    freed = blobs.delete(digests, latest)
    return Collected(len(freed), sum(freed))


def _delete_partial(root: Path, blobs: BlobStore, dry_run: bool, done: Collected) -> None:
    """Files of writers that died before their blob was whole, and uploads that nobody resumed."""
    leftovers = blobs.blobs.leftovers() if isinstance(blobs, FolderBlobs) else iter(())
    for path, patience in [
        *((path, GRACE_SECONDS) for path in leftovers),
        *((path, PARTIAL_SECONDS) for path in blobs.spool.glob("*")),
    ]:
        with contextlib.suppress(FileNotFoundError):
            found = path.stat()
            if found.st_mtime < time.time() - patience:
                done.blobs += 1
                done.bytes += found.st_size
                if not dry_run:
                    path.unlink()

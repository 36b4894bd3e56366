"""Collecting blobs, on every database: what something refers to stays, whatever happens at the same time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.store.conftest import Connect, Filler
from tests.store.test_artifacts import Logger
from trackkit.backend.store import artifacts, collection, submissions
from trackkit.backend.store.blobstore import BlobState, FolderBlobs
from trackkit.backend.store.database import Busy, Database
from trackkit.backend.store.maintenance import GRACE_SECONDS, Freed, gc
from trackkit.core.blobs import Blobs
from trackkit.core.manifest import Manifest

Collect = Callable[..., Freed]


@pytest.fixture
def logger(db: Database, fill: Filler, root: Path) -> Logger:
    return Logger(db, fill, root)


@pytest.fixture
def collect(request: pytest.FixtureRequest, root: Path, db: Database) -> Collect:
    """Runs `gc` on the database of the test, an hour and more after all blobs were put or read."""
    is_postgres = request.node.callspec.params["connect"] == "postgres"
    url = request.getfixturevalue("postgres_url") if is_postgres else ""

    def collect(dry_run: bool = False) -> Freed:
        age(FolderBlobs(Blobs(root)))
        return gc(root, dry_run, store=url)

    return collect


def age(blobs: FolderBlobs) -> None:
    """Have all blobs look as if they were put long ago."""
    long_ago = time.time() - 2 * GRACE_SECONDS
    for digest in blobs.blobs.iterate():
        os.utime(blobs.blobs.path(digest), (long_ago, long_ago))


def there(blobs: FolderBlobs) -> set[str]:
    return set(blobs.blobs.iterate())


def test_what_something_refers_to_stays(logger: Logger, db: Database, fill: Filler, collect: Collect) -> None:
    blobs = logger.blobs
    version, waiting = logger.log({"a": "1", "b": "2"}), logger.submit({"c": "3"})
    fill.object(logger.run, "model.bin", seq=7, digest=blobs.put_bytes(b"weights"))
    kept = there(blobs)
    lost = blobs.put_bytes(b"nobody's")

    assert collect(dry_run=True).blobs == 1
    assert there(blobs) == kept | {lost}
    assert (collect().blobs, there(blobs)) == (1, kept)
    with db.atomic():
        artifacts.delete(db, version.version, "me")
    assert collect().blobs == 3
    assert there(blobs) == {waiting.digest, *Manifest.decode(blobs.blobs.path(waiting.digest).read_bytes()).blobs()} | {
        blobs.put_bytes(b"weights")
    }


def test_what_versions_share_stays_until_the_last_of_them_is_gone(
    logger: Logger, db: Database, collect: Collect
) -> None:
    old, new = logger.log({"shared": "s", "own": "o"}), logger.log({"shared": "s", "other": "x"})

    with db.atomic():
        artifacts.delete(db, old.version, "me")
    assert collect().blobs == 2
    with db.atomic():
        artifacts.delete(db, new.version, "me")
    assert collect().blobs == 3
    assert there(logger.blobs) == set()


def test_a_version_whose_time_is_over_goes(logger: Logger, db: Database, collect: Collect) -> None:
    logger.log({"f": "1"}, ttl=1e-6)

    told, freed = collect(dry_run=True), collect()

    assert (told.versions, freed.versions) == (1, 1)
    assert (freed.blobs, artifacts.collections(db)) == (2, [])


def test_an_upload_that_begins_while_it_runs_keeps_its_blobs(
    logger: Logger, collect: Collect, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = logger.blobs.put_bytes(b"of a run that went, and of one that comes")
    listed = FolderBlobs.states

    def states(blobs: FolderBlobs) -> Iterator[BlobState]:
        yield from listed(blobs)
        assert blobs.lacking([digest]) == []  # a client is told that it need not send it

    monkeypatch.setattr(FolderBlobs, "states", states)

    assert collect().blobs == 0
    assert there(logger.blobs) == {digest}


def test_no_version_is_made_of_blobs_that_are_collected_at_the_same_time(
    logger: Logger, db: Database, connect: Connect, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "GRACE_SECONDS", -60.0)  # nothing is too young to go
    done, failures = threading.Event(), list[BaseException]()
    other = connect()

    def collect() -> None:
        try:
            while not done.is_set():
                collection.delete(other, root, logger.blobs, there(logger.blobs))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=collect)
    thread.start()
    made = 0
    try:
        for number in range(60):
            submission = logger.submit({f"f{file}": f"{number} {file}" for file in range(3)})
            for _ in range(50):
                try:
                    if submissions.commit(db, logger.blobs, submission).version is not None:
                        made += 1
                        break
                except Busy:
                    continue
                except submissions.Lacking as error:
                    for text in [f"{number} {file}" for file in range(3)]:
                        logger.blobs.put_bytes(text.encode())
                    if submission.digest in error.digests:
                        break  # its manifest went before it could be seen, and with it what its files are
    finally:
        done.set()
        thread.join()

    assert failures == []
    versions = artifacts.versions(db, artifacts.find_collection(db, "p", "data") or 0)
    assert len(versions) == made
    for row in versions:
        manifest = Manifest.decode(logger.blobs.blobs.path(row.digest).read_bytes())
        assert logger.blobs.lacking(manifest.blobs()) == []

"""Looking after a store: what is wrong is found and named, what nobody needs is freed, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.store.conftest import Filler
from tests.store.journals import BEGAN, Writer
from trackkit import Api
from trackkit.backend.store import runs, series
from trackkit.backend.store.ingest import Ingest
from trackkit.backend.store.maintenance import GRACE_SECONDS, doctor, gc
from trackkit.backend.store.recovery import delete_journal
from trackkit.backend.store.sqlite import SQLiteDatabase
from trackkit.core import records
from trackkit.core.blobs import Blobs
from trackkit.sync import sync

pytestmark = pytest.mark.sqlite


@pytest.fixture
def stored(root: Path, db: SQLiteDatabase) -> int:
    """A finished run of 5,000 points in the store; its number."""
    writer = Writer(root, sinks=[]).start()
    for step in range(5000):
        writer.log({"x": step})
    digest = Blobs(root).put_bytes(b"weights")
    writer.say(records.Object(BEGAN, "", "file", "model.bin", 7, digest=digest)).finish().die()
    Ingest(db, "run", "writer").write(writer.batch())
    for path in writer.folder.iterdir():
        path.unlink()
    writer.folder.rmdir()
    found = runs.find(db, "run")
    assert found is not None
    return found


def aged(root: Path, content: bytes) -> str:
    """A blob that was put long ago."""
    digest = Blobs(root).put_bytes(content)
    long_ago = time.time() - 2 * GRACE_SECONDS
    os.utime(Blobs(root).path(digest), (long_ago, long_ago))
    return digest


def texts(root: Path, repair: bool = False) -> list[str]:
    return [finding.text for finding in doctor(root, repair).findings]


@pytest.mark.usefixtures("stored")
def test_a_store_in_order_is_healthy(root: Path) -> None:
    report = doctor(root)

    assert report.findings == []
    assert report.healthy
    assert report.checked == {"journals": 0, "runs": 1, "series": 1, "chunks": 2, "blobs": 1, "versions": 0}


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no trackkit store"):
        doctor(tmp_path)
    with pytest.raises(FileNotFoundError, match="no trackkit store"):
        gc(tmp_path)


def test_an_orphaned_journal_is_found_and_brought_in(root: Path, db: SQLiteDatabase) -> None:
    writer = Writer(root).start().die()

    found = doctor(root)
    assert [finding.repaired for finding in found.findings] == [False]
    assert "left by a process that died" in found.findings[0].text
    assert runs.numbers(db) == []
    repaired = doctor(root, repair=True)

    assert [finding.repaired for finding in repaired.findings] == [True]
    assert not writer.folder.exists()
    assert doctor(root).healthy
    assert runs.load(db, runs.numbers(db))[0].state == "crashed"


def test_a_damaged_journal_is_told_apart_from_a_whole_one(root: Path) -> None:
    whole, broken = (Writer(root, name, sinks=[]).start().die() for name in ("whole", "broken"))
    with open(next(broken.folder.glob("*.journal")), "r+b") as file:
        file.seek(20)
        file.write(b"!")

    (text,) = texts(root)

    assert "the journal of run broken, writer writer is damaged" in text
    assert whole.folder.exists()


def test_a_damaged_database_is_told(root: Path, db: SQLiteDatabase) -> None:
    db.close()
    size = (root / "trackkit.db").stat().st_size
    with open(root / "trackkit.db", "r+b") as file:
        file.seek(size // 2)
        file.write(os.urandom(size // 4))

    (first, *_) = doctor(root).findings

    assert first.kind == "database"
    assert "is damaged" in first.text
    assert "a repair saves what can be read" in first.text


def test_a_repair_saves_what_can_be_read_of_a_damaged_database(root: Path, db: SQLiteDatabase) -> None:
    for number in range(40):
        writer = Writer(root, run=f"run{number}").start()
        for step in range(3000):
            writer.log({"loss": float(step), "acc": float(number)}, step=step)
        Ingest(db, f"run{number}", "writer").write(writer.finish().die().batch())
        delete_journal(writer.folder)
    db.close()
    path = root / "trackkit.db"
    pages = path.stat().st_size // 4096
    with open(path, "r+b") as file:
        for page in range(40, pages, 97):
            file.seek(page * 4096)
            file.write(os.urandom(4096))

    report = doctor(root, repair=True)

    assert report.findings[0].kind == "database"
    assert report.findings[0].repaired
    assert "the damaged one is kept as trackkit.db.damaged-" in report.findings[0].text
    assert doctor(root).healthy
    runs = Api(root).runs()
    whole = [run for run in runs if [len(run.series(key).value) for key in run.keys()] == [3000, 3000]]
    assert len(runs) >= 30
    assert len(whole) >= 15
    assert all(run.series("acc").value[0] == float(run.id[3:]) for run in whole)
    assert list(root.glob("trackkit.db.damaged-*"))


def test_a_database_others_use_is_not_replaced(root: Path, db: SQLiteDatabase) -> None:
    db.close()
    path = root / "trackkit.db"
    path.write_bytes(b"x" * path.stat().st_size)
    program = "import sys; file = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        (finding,) = doctor(root, repair=True).findings

    assert not finding.repaired
    assert f"is in use by process {other.pid}" in finding.text
    (finding,) = doctor(root, repair=True).findings
    assert "it can't be saved (file is not a database); restore it from a copy" in finding.text


def test_a_newer_schema_is_told(root: Path, db: SQLiteDatabase) -> None:
    db.execute("insert into _sqlite_migrations (migration_set, name) values ('trackkit', '9999 wonders')")

    (text,) = texts(root)

    assert "newer trackkit" in text


def test_a_run_whose_writer_vanished_is_marked_crashed(root: Path, db: SQLiteDatabase) -> None:
    writer = Writer(root, sinks=[]).start().die()
    Ingest(db, "run", "writer").write(writer.batch())
    for path in writer.folder.iterdir():
        path.unlink()
    writer.folder.rmdir()

    assert "counts as running" in texts(root)[0]
    assert doctor(root, repair=True).healthy

    assert runs.load(db, runs.numbers(db))[0].state == "crashed"


def test_points_that_are_missing_are_found_and_counted_anew(root: Path, db: SQLiteDatabase, stored: int) -> None:
    db.execute("delete from chunks where run = ? and seq = 4096", [stored])

    (text,) = texts(root)

    assert "x of run run should have 5000 points" in text
    assert "has 4096" in text
    assert doctor(root, repair=True).healthy
    assert doctor(root).findings == []
    assert len(series.points(db, stored, "x").values) == 4096


def test_a_chunk_that_cannot_be_read_is_found(root: Path, db: SQLiteDatabase, stored: int) -> None:
    db.execute("update chunks set vals = ? where run = ? and seq = 0", [b"nonsense", stored])

    (text,) = texts(root)

    assert "the chunk of x of run run that begins with point 0 can't be read" in text


@pytest.mark.usefixtures("stored")
def test_blobs_missing_damaged_and_orphaned_are_found(root: Path) -> None:
    blobs = Blobs(root)
    orphan = aged(root, b"nobody's")
    weights = next(digest for digest in blobs.iterate() if digest != orphan)
    blobs.path(weights).write_bytes(b"wrights")

    damaged, orphaned = texts(root)
    blobs.delete(weights)
    missing, _ = texts(root)

    assert f"the blob {weights} is damaged" in damaged
    assert f"nothing refers to the blob {orphan}" in orphaned
    assert "the content of model.bin is missing" in missing


@pytest.mark.usefixtures("stored")
def test_gc_deletes_old_blobs_nothing_refers_to_and_no_others(root: Path) -> None:
    blobs = Blobs(root)
    weights = next(blobs.iterate())
    os.utime(blobs.path(weights), (0, 0))
    orphan, fresh = aged(root, b"nobody's"), blobs.put_bytes(b"on its way")
    waiting = aged(root, b"of an offline run")
    Writer(root, "offline", sinks=[]).start().say(records.Object(BEGAN, "", "file", "a.bin", 17, digest=waiting)).die()

    would = gc(root, dry_run=True)
    kept = set(blobs.iterate())
    freed = gc(root)

    assert kept == {weights, orphan, fresh, waiting}
    assert set(blobs.iterate()) == {weights, fresh, waiting}
    assert would.blobs == freed.blobs == 1
    assert freed.bytes >= len(b"nobody's")


def test_gc_deletes_offline_journals_only_once_they_were_synced(root: Path, db: SQLiteDatabase) -> None:
    synced = Writer(root, "synced", sinks=[]).start().finish().die()
    sync([root])
    unsynced = Writer(root, "unsynced", sinks=[]).start().finish().die()
    partly = Writer(root, "partly", sinks=["sqlite:", "http://away"]).start().finish().die()
    alive = Writer(root, "alive", sinks=[]).start()
    sync([alive.folder, partly.folder])

    assert gc(root, dry_run=True).journals == 1
    assert synced.folder.exists()
    assert gc(root).journals == 1

    assert not synced.folder.exists()
    assert unsynced.folder.exists()
    assert partly.folder.exists()
    assert alive.folder.exists()
    alive.die()


def test_gc_gives_back_the_room_of_deleted_runs(root: Path, db: SQLiteDatabase, fill: Filler) -> None:
    run = fill.run("large")
    fill.series(run, "x", [float(step) for step in range(4000)])
    db.query("pragma wal_checkpoint(truncate)")
    before = (root / "trackkit.db").stat().st_size
    runs.delete(db, run)

    freed = gc(root)

    assert freed.bytes > 50_000
    assert (root / "trackkit.db").stat().st_size <= before - 50_000


def test_a_run_a_week_in_the_trash_is_collected_with_its_files(root: Path, db: SQLiteDatabase, stored: int) -> None:
    digest = aged(root, b"weights")
    runs.trash(db, [stored])

    assert gc(root).runs == 0

    db.execute("update runs set deleted = deleted - ?", [round((runs.TRASH_SECONDS + 1) * 1e6)])
    freed = gc(root)

    assert (freed.runs, freed.blobs) == (1, 1)
    assert runs.find(db, "run") is None
    assert not Blobs(root).path(digest).exists()

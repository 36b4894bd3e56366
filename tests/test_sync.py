"""Sending journals after the fact: repeatable, to any sink, of the living and of the dead."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.store.journals import BEGAN, Writer
from trackkit.backend.store import runs, series
from trackkit.backend.store.recovery import recover
from trackkit.backend.store.sqlite import SQLiteDatabase
from trackkit.core import records
from trackkit.core.blobs import Blobs
from trackkit.core.journal import read_sinks
from trackkit.sync import sync


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def team(tmp_path: Path) -> str:
    """A second target."""
    return f"sqlite:///{tmp_path / 'team' / 'trackkit.db'}"


def values(path: Path, id: str = "run") -> list[float]:
    with contextlib.closing(SQLiteDatabase(path, read_only=True)) as db:
        run = runs.find(db, id)
        assert run is not None
        found: list[float] = series.points(db, run, "x").values.tolist()
        return found


def state(path: Path, id: str = "run") -> str:
    with contextlib.closing(SQLiteDatabase(path, read_only=True)) as db:
        return runs.load(db, runs.numbers(db))[0].state


def offline(root: Path, run: str = "run", count: int = 20) -> Writer:
    writer = Writer(root, run, sinks=[]).start()
    for step in range(count):
        writer.log({"x": step})
    return writer


def eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.02)


def test_an_offline_run_goes_to_its_folders_store(root: Path) -> None:
    writer = offline(root).finish().die()

    (synced,) = sync([root])

    assert values(root / "trackkit.db") == list(range(20))
    assert state(root / "trackkit.db") == "finished"
    assert (synced.run, synced.writer, synced.error, synced.alive) == ("run", "writer", "", False)
    assert synced.sent == synced.position == writer.batch().end
    assert writer.folder.exists()


def test_syncing_again_sends_nothing(root: Path) -> None:
    offline(root).finish().die()
    sync([root])

    (again,) = sync([root])

    assert again.sent == 0
    assert values(root / "trackkit.db") == list(range(20))


def test_a_synced_journal_can_still_go_elsewhere_after_the_store_was_opened(
    root: Path, team: str, tmp_path: Path
) -> None:
    offline(root).finish().die()
    sync([root])
    recover(root)

    (synced,) = sync([root], team)

    assert synced.error == ""
    assert values(tmp_path / "team" / "trackkit.db") == list(range(20))


@pytest.mark.parametrize("below", ["", "journals/run", "journals/run/writer"])
def test_a_store_a_run_or_a_writer_can_be_named(root: Path, below: str) -> None:
    offline(root).die()
    offline(root, "other").die()

    synced = sync([root / below])

    assert {one.run for one in synced} == ({"run"} if below else {"run", "other"})


def test_what_has_no_journals_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no journals"):
        sync([tmp_path])


def test_an_unknown_target_is_refused(root: Path) -> None:
    offline(root).die()

    with pytest.raises(ValueError, match="gopher"):
        sync([root], "gopher://hole")


def test_a_killed_offline_run_is_crashed_in_the_target(root: Path, team: str, tmp_path: Path) -> None:
    offline(root).die()

    sync([root], team)

    assert state(tmp_path / "team" / "trackkit.db") == "crashed"


def test_a_living_run_is_sent_up_to_where_it_is(root: Path) -> None:
    writer = offline(root)

    (synced,) = sync([root])

    assert synced.alive
    assert state(root / "trackkit.db") == "running"
    assert values(root / "trackkit.db") == list(range(20))
    writer.log({"x": 99})
    sync([root])
    assert values(root / "trackkit.db") == [*range(20), 99]
    writer.die()


def test_following_goes_on_until_the_run_ends(root: Path) -> None:
    writer = offline(root, count=0)
    result = []
    thread = threading.Thread(target=lambda: result.extend(sync([root], follow=True, interval=0.02)))
    thread.start()

    for step in range(300):
        writer.log({"x": step})
    eventually(
        lambda: (root / "trackkit.db").exists() and _has_run(root) and values(root / "trackkit.db")[-1:] == [299]
    )
    assert thread.is_alive()
    writer.finish().die()
    thread.join(20)

    assert not thread.is_alive()
    assert values(root / "trackkit.db") == list(range(300))
    assert state(root / "trackkit.db") == "finished"
    assert [one.alive for one in result] == [False]


def _has_run(root: Path) -> bool:
    with contextlib.closing(SQLiteDatabase(root / "trackkit.db")) as db:
        db.migrate()
        return bool(runs.numbers(db))


def test_following_can_be_stopped(root: Path) -> None:
    writer, stop = offline(root), threading.Event()
    result = []
    thread = threading.Thread(target=lambda: result.extend(sync([root], follow=True, interval=30, stop=stop)))
    thread.start()
    eventually(lambda: (root / "trackkit.db").exists() and _has_run(root))

    stop.set()
    thread.join(20)

    assert not thread.is_alive()
    assert [one.alive for one in result] == [True]
    writer.die()


def test_offsets_are_noted_where_the_writer_named_the_target(root: Path, team: str) -> None:
    writer = Writer(root, sinks=[team, "http://away"]).start().finish().die()

    sync([root], team)

    assert read_sinks(writer.folder) == {team: writer.batch().end, "http://away": 0}


def test_cleaning_deletes_only_what_every_sink_has(root: Path, team: str) -> None:
    done = Writer(root, "done", sinks=[team]).start().finish().die()
    needed = Writer(root, "needed", sinks=[team, "http://away"]).start().finish().die()
    alive = Writer(root, "alive", sinks=[team]).start()

    synced = {one.run: one.deleted for one in sync([root], team, clean=True)}

    assert synced == {"done": True, "needed": False, "alive": False}
    assert not done.folder.exists()
    assert needed.folder.exists()
    assert alive.folder.exists()
    alive.die()


def test_blobs_go_with_their_run(root: Path, team: str, tmp_path: Path) -> None:
    digest = Blobs(root).put_bytes(b"weights")
    writer = offline(root).say(records.Object(BEGAN, "", "file", "model.bin", 7, digest=digest))
    writer.say(records.Object(BEGAN, "", "file", "lost.bin", 7, digest="0" * 64)).finish().die()

    (synced,) = sync([root], team)

    assert synced.error == ""
    assert Blobs(tmp_path / "team").open(digest).read() == b"weights"


def test_one_journal_that_fails_holds_up_no_other(root: Path) -> None:
    bad, good = offline(root, "bad").die(), offline(root, "good").die()
    for path in bad.folder.glob("*.journal"):
        path.unlink()
        path.mkdir()

    failed, sent = sync([root])

    assert failed.error
    assert sent.error == ""
    assert sent.position == good.batch().end


def test_damage_is_told(root: Path) -> None:
    writer = offline(root).die()
    end = writer.batch().end
    with open(next(writer.folder.glob("*.journal")), "r+b") as file:
        file.seek(end - 2)
        file.write(b"!!")

    (synced,) = sync([root])

    assert len(synced.damage) == 1
    assert values(root / "trackkit.db") == list(range(19))


def test_progress_reaches_what_there_is_to_send(root: Path) -> None:
    writer = offline(root, count=1000)
    writer.journal.close(acknowledged=False)
    seen: list[tuple[int, int]] = []

    sync([root], progress=lambda done, total: seen.append((done, total)))

    done, total = seen[-1]
    assert done == total > 0

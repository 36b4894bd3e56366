"""Journals of dead writers: whoever opens the store next finds every point in it, and the run crashed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.store.journals import BEGAN, Writer
from trackkit.backend.store import runs, series
from trackkit.backend.store.ingest import Ingest
from trackkit.backend.store.recovery import recover
from trackkit.backend.store.sqlite import SQLiteDatabase
from trackkit.core import records
from trackkit.core.journal import read_sinks, segments

VICTIM = """
import sys
from pathlib import Path
from tests.store.journals import Writer

writer = Writer(Path(sys.argv[1]), "killed").start()
step = 0
while True:
    writer.log({"x": step, "y": -step})
    step += 1
    if not step % 100:
        print(step, flush=True)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@contextlib.contextmanager
def opened(root: Path) -> Iterator[SQLiteDatabase]:
    db = SQLiteDatabase(root / "trackkit.db", read_only=True)
    try:
        yield db
    finally:
        db.close()


def the_run(root: Path, id: str = "run") -> runs.RunRow:
    with opened(root) as db:
        run = runs.find(db, id)
        assert run is not None
        return runs.load(db, [run])[0]


def values(root: Path, key: str = "x", id: str = "run") -> list[float]:
    with opened(root) as db:
        run = runs.find(db, id)
        assert run is not None
        found: list[float] = series.points(db, run, key).values.tolist()
        return found


def segment(writer: Writer) -> Path:
    return segments(writer.folder)[-1][1]


def damage(path: Path, position: int, content: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(position)
        file.write(content)


def test_a_killed_process_loses_no_point(root: Path) -> None:
    victim = subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(root)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert victim.stdout is not None
    logged = max(int(victim.stdout.readline()) for _ in range(80))
    victim.send_signal(signal.SIGKILL)
    victim.communicate()

    recovered = recover(root)

    found = values(root, id="killed")
    assert len(found) >= logged
    assert found == list(range(len(found)))
    assert values(root, "y", "killed") == [-value for value in found]
    assert recovered.crashed == ["killed"]
    assert recovered.damage == []
    run = the_run(root, "killed")
    assert run.state == "crashed"
    assert run.ended == run.updated
    assert not (root / "journals" / "killed").exists()


def test_a_finished_run_whose_sink_was_away_is_finished(root: Path) -> None:
    writer = Writer(root).start()
    writer.log({"x": 1})
    writer.finish("failed", exit_code=3).die()

    recovered = recover(root)

    assert recovered.crashed == []
    assert (the_run(root).state, the_run(root).exit_code) == ("failed", 3)
    assert not writer.folder.exists()


def test_a_living_writer_is_left_alone(root: Path) -> None:
    writer = Writer(root).start()
    writer.log({"x": 1})

    assert recover(root).journals == []

    assert writer.folder.exists()
    writer.die()


def test_an_offline_run_waits_for_sync(root: Path) -> None:
    writer = Writer(root, sinks=[]).start().die()

    assert recover(root).journals == []

    assert writer.folder.exists()


def test_a_journal_other_sinks_still_need_is_kept(root: Path) -> None:
    writer = Writer(root, sinks=["sqlite:", "http://host"]).start().finish().die()

    recovered = recover(root)

    assert recovered.journals[0].position == read_sinks(writer.folder)["sqlite:"] == writer.batch().end
    assert read_sinks(writer.folder)["http://host"] == 0
    assert recover(root).journals[0].sent == 0


def test_recovering_again_does_nothing(root: Path) -> None:
    writer = Writer(root, sinks=["sqlite:", "http://host"]).start()
    for step in range(5000):
        writer.log({"x": step})
    writer.die()

    recover(root)
    again = recover(root)

    assert again.crashed == []
    assert values(root) == list(range(5000))


def test_what_lies_after_a_flipped_bit_is_kept_and_the_run_says_so(root: Path) -> None:
    writer = Writer(root).start()
    for step in range(100):
        writer.log({"x": step})
    batch = writer.batch()
    writer.die()
    damage(segment(writer), batch.ends[50] - 3, b"\xff\xff")

    recovered = recover(root)

    assert values(root) == [*range(49), *range(50, 100)]
    assert len(recovered.damage) == 1
    assert "run run, writer writer: a frame's checksum does not match" in recovered.damage[0]
    with opened(root) as db:
        alerts = runs.alerts(db, runs.numbers(db)[0])
    assert [(alert.level, alert.title) for alert in alerts] == [("warning", "journal damaged")]
    assert "checksum" in alerts[0].text


@pytest.mark.parametrize("cut", [1, 7, 9, 30])
def test_a_journal_cut_off_is_kept_up_to_its_last_whole_frame(root: Path, cut: int) -> None:
    writer = Writer(root).start()
    for step in range(100):
        writer.log({"x": step})
    end = writer.batch().end
    writer.die()
    os.truncate(segment(writer), end - cut)

    recovered = recover(root)

    assert values(root) == list(range(99))
    assert len(recovered.damage) == 1
    assert the_run(root).state == "crashed"


def test_one_bad_journal_holds_up_no_other(root: Path) -> None:
    bad = Writer(root, "bad", sinks=["sqlite:"]).start().die()
    for _, path in segments(bad.folder):
        path.unlink()
        path.mkdir()
    good = Writer(root, "good").start()
    good.log({"x": 7})
    good.die()

    recovered = recover(root)

    assert [bool(journal.error) for journal in recovered.journals] == [True, False]
    assert values(root, id="good") == [7]
    assert bad.folder.exists()


def test_a_writer_that_died_before_its_first_record_leaves_nothing(root: Path) -> None:
    writer = Writer(root).die()

    recover(root)

    assert not writer.folder.exists()
    with opened(root) as db:
        assert runs.numbers(db) == []


def test_a_folder_that_cannot_be_written_is_left_as_it_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(root).start().die()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere

    assert recover(root).journals == []

    assert writer.folder.exists()
    assert not (root / "trackkit.db").exists()


def test_many_processes_may_recover_at_once(root: Path) -> None:
    for number in range(8):
        writer = Writer(root, f"run{number}").start()
        for step in range(2000):
            writer.log({"x": step})
        writer.die()
    crashed: list[str] = []
    errors: list[str] = []

    def work() -> None:
        recovered = recover(root)
        crashed.extend(recovered.crashed)
        errors.extend(one.error for one in recovered.journals if one.error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert sorted(crashed) == [f"run{number}" for number in range(8)]
    for number in range(8):
        assert values(root, id=f"run{number}") == list(range(2000))
    assert not any((root / "journals").iterdir())


def test_journals_that_others_recover_meanwhile_are_passed_over(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Writer(root, "run0").start().die()
    gone = Writer(root, "run1").start().die().folder.parent
    listed = Path.iterdir

    def iterdir(path: Path) -> Iterator[Path]:
        if path == gone:  # between the list of runs and the list of this one's writers
            shutil.rmtree(gone)
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)

    assert recover(root).crashed == ["run0"]


def test_a_crashed_rank_leaves_the_run_running_for_the_others(root: Path) -> None:
    alive = Writer(root, writer="rank0").start()
    dead = Writer(root, writer="rank1").start()
    dead.log({"x": 1})
    dead.die()
    with contextlib.closing(SQLiteDatabase(root / "trackkit.db")) as db:
        db.migrate()
        Ingest(db, "run", "rank0").write(alive.batch())

    recovered = recover(root)

    assert recovered.crashed == ["run"]
    assert the_run(root).state == "running"
    alive.die()
    recover(root)
    assert the_run(root).state == "crashed"


def test_journals_for_another_database_are_brought_there(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "team" / "all.db"
    writer = Writer(root, sinks=[f"sqlite:///{path}"]).start(time=BEGAN)
    writer.say(records.Alert(BEGAN, "info", "hello")).die()

    assert recover(root).journals == []
    recovered = recover(root, path)

    assert recovered.crashed == ["run"]
    assert not writer.folder.exists()
    with contextlib.closing(SQLiteDatabase(path, read_only=True)) as db:
        assert runs.find(db, "run") is not None


def test_progress_reaches_what_there_is_to_do(root: Path) -> None:
    writer = Writer(root).start()
    for step in range(2000):
        writer.log({"x": np.float64(step)})
    writer.journal.close(acknowledged=False)
    seen: list[tuple[int, int]] = []

    recover(root, progress=lambda done, total: seen.append((done, total)))

    done, total = seen[-1]
    assert done == total > 0

"""Runs over a network and to a server that fail in every way: nothing is lost, doubled or waited for."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from tests.faults.conftest import Script
from tests.faults.proxies import proxy
from tests.servers import Process, process, serving, until
from trackkit.backend.store import runs, series, writers
from trackkit.backend.store.sqlite import SQLiteDatabase
from trackkit.core.blobs import Blobs

SECONDS = float(os.environ.get("TRACKKIT_FAULT_SECONDS", "12"))
"""How long the bad network lasts; the promise is for 120."""

TRAIN = """
import os
run = trackkit.init(project="p", id="r", dir=ROOT, sink=os.environ["SINK"], settings={**QUIET, "finish_timeout": 60})
slowest, step, until = 0.0, 0, time.monotonic() + float(os.environ["SECONDS"])
while time.monotonic() < until:
    began = time.perf_counter()
    run.log({"x": step, "y": -step}, step=step)
    slowest = max(slowest, time.perf_counter() - began)
    step += 1
    time.sleep(0.001)
print(f"steps {step} slowest {slowest:.4f}")
run.finish()
"""


def values(root: Path, key: str = "x") -> list[float]:
    """What the store has; nothing while it is being made."""
    try:
        with contextlib.closing(SQLiteDatabase(root / "trackkit.db", read_only=True)) as db:
            number = runs.find(db, "r")
            return [] if number is None else series.points(db, number, key).values.tolist()
    except sqlite3.OperationalError:
        return []


def trained(output: str) -> tuple[int, float]:
    """How many steps the script made, and how long the slowest call took."""
    words = output.split()
    return int(words[1]), float(words[3])


@pytest.mark.timeout(SECONDS + 180)
def test_a_bad_network_loses_and_doubles_nothing(script: Script, tmp_path: Path) -> None:
    root = tmp_path / "server"
    with process(root) as server, proxy(server.port, cut=0.05, delay=0.05, repeat=0.05, damage=0.05) as bad:
        done = script.run(TRAIN, timeout=SECONDS + 120, SINK=bad.address, SECONDS=str(SECONDS))

        assert done.returncode == 0, done.stderr
        assert min(bad.done.values()) > SECONDS / 30, bad.done
        left = list((script.root / "journals").glob("*/*"))
        if left:  # what the network did not let through in time is sent once it is well
            import trackkit.sync

            trackkit.sync.sync([script.root], to=server.address)
    steps, slowest = trained(done.stdout)
    print(f"{steps} steps, the slowest call {slowest * 1000:.1f} ms; the network: {bad.done}")
    assert values(root) == list(range(steps))
    assert values(root, "y") == [-step for step in range(steps)]
    assert slowest < 0.5


def test_metrics_pass_a_large_file_on_a_slow_line(script: Script, tmp_path: Path) -> None:
    root, size = tmp_path / "server", 24 << 20
    (script.folder / "weights.bin").write_bytes(os.urandom(size))
    with process(root) as server, proxy(server.port, uploads_per_second=2 << 20) as line:
        training = script.start(
            """
            from trackkit.core import records
            from trackkit.core.blobs import Blobs
            run = trackkit.init(id="r", dir=ROOT, sink=os.environ["SINK"], settings=QUIET)
            digest = Blobs(run.dir).put_file(__import__("pathlib").Path("weights.bin"))
            run._record(records.Object(time.time(), "", "file", "weights.bin", 24 << 20, digest=digest))
            for step in range(300):
                run.log({"x": step})
                time.sleep(0.01)
            run.finish()
            """,
            SINK=line.address,
        )
        until(lambda: len(values(root)) == 300)
        (digest,) = server.ask("/runs/r/missing")["digests"]  # all points are there before the file is

        _, err = training.communicate(timeout=60)

        assert training.returncode == 0, err
        assert Blobs(root).verify(digest)
        assert server.ask("/runs/r")["run"]["state"] == "finished"
        assert not list((script.root / "journals").glob("*/*")), err


def test_a_server_killed_and_started_again_misses_nothing(script: Script, tmp_path: Path) -> None:
    root = tmp_path / "server"
    server = Process(root)
    training = script.start(TRAIN, SINK=server.address, SECONDS=str(SECONDS))
    for _ in range(max(1, round(SECONDS / 8))):
        had = len(values(root))
        until(lambda had=had: len(values(root)) > had + 300 or training.poll() is not None)
        server.end(signal.SIGKILL)
        time.sleep(1.0)
        server = Process(root, server.port)

    out, err = training.communicate(timeout=SECONDS + 90)
    server.end()

    assert training.returncode == 0, err
    steps, slowest = trained(out)
    assert values(root) == list(range(steps))
    assert values(root, "y") == [-step for step in range(steps)]
    assert slowest < 0.5
    assert not list((script.root / "journals").glob("*/*")), err


def test_a_run_whose_server_is_away_ends_in_time_and_says_what_remains(script: Script, tmp_path: Path) -> None:
    began = time.monotonic()

    done = script.run(
        """
        run = trackkit.init(id="r", dir=ROOT, sink=os.environ["SINK"], settings={**QUIET, "finish_timeout": 2})
        for step in range(1000):
            run.log({"x": step})
        run.finish()
        """,
        SINK="http://127.0.0.1:9",
    )

    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 15
    assert "records of default/r are not delivered yet" in done.stderr
    assert f"trackkit sync {script.root / 'journals' / 'r'} --to http://127.0.0.1:9" in done.stderr
    import trackkit.sync

    with serving(tmp_path / "server") as server:
        (sent,) = trackkit.sync.sync([script.root / "journals" / "r"], to=server.address)
        assert (sent.error, sent.finished) == ("", True)
    assert values(tmp_path / "server") == list(range(1000))


def test_a_token_that_is_not_good_ends_the_sending_with_the_reason_and_keeps_the_run(
    script: Script, tmp_path: Path
) -> None:
    with serving(tmp_path / "server", auth=True) as server:
        body = """
        run = trackkit.init(id="r", dir=ROOT, sink=os.environ["SINK"], settings=QUIET)
        run.log({"x": 1})
        run.finish()
        """
        refused = script.run(body, SINK=server.address, TRACKKIT_TOKEN="tk_wrong")
        began = time.monotonic()

        assert refused.returncode == 0
        assert "this token is wrong" in refused.stderr
        assert "trackkit sync" in refused.stderr
        assert time.monotonic() - began < 20
        assert server.services.storage.changes(0) == []


def test_files_arrive_after_a_kill_in_the_middle_of_sending(script: Script, tmp_path: Path) -> None:
    root = tmp_path / "server"
    content = os.urandom(30 << 20)
    (script.folder / "weights.bin").write_bytes(content)
    with serving(root) as server:
        training = script.start(
            """
            from trackkit.core import records
            from trackkit.core.blobs import Blobs
            run = trackkit.init(id="r", dir=ROOT, sink=os.environ["SINK"], settings=QUIET)
            digest = Blobs(run.dir).put_file(__import__("pathlib").Path("weights.bin"))
            run._record(records.Object(time.time(), "", "file", "weights.bin", 30 << 20, digest=digest))
            run.log({"x": 1})
            time.sleep(60)
            """,
            SINK=server.address,
        )
        until(lambda: values(root) == [1])
        script.signal_group(signal.SIGKILL)
        training.communicate(timeout=10)
        import trackkit.sync

        trackkit.sync.sync([script.root], to=server.address)
        digest = server.get("/runs/r/files")["files"][0]["digest"]
        until(lambda: Blobs(root).exists(digest))

        assert server.ask("GET", "/runs/r/files/weights.bin").content == content
        assert server.get("/runs/r")["run"]["state"] == "crashed"


def test_a_run_is_stopped_from_the_dashboard(script: Script, tmp_path: Path) -> None:
    with serving(tmp_path / "server") as server:
        for sink, store in ((server.address, tmp_path / "server"), ("sqlite:", script.root)):
            training = script.start(
                """
                run = trackkit.init(id="r", dir=ROOT, sink=os.environ["SINK"], settings=QUIET)
                try:
                    for step in range(100_000):
                        run.log({"x": step})
                        time.sleep(0.01)
                except trackkit.RunStopped:
                    print("saved a checkpoint")
                    raise
                """,
                SINK=sink,
            )
            until(lambda store=store: values(store))
            with contextlib.closing(SQLiteDatabase(store / "trackkit.db")) as db, db.atomic():
                number = runs.find(db, "r")
                assert number is not None
                writers.ask_to_stop(db, number)

            out, err = training.communicate(timeout=30)

            assert training.returncode != 0
            assert "saved a checkpoint" in out
            assert "is stopped, as was asked for in the dashboard" in err
            with contextlib.closing(SQLiteDatabase(store / "trackkit.db")) as db:
                assert runs.load(db, [number])[0].state == "killed"


def test_a_run_that_opted_out_goes_on(script: Script, tmp_path: Path) -> None:
    with serving(tmp_path / "server") as server:
        training = script.start(
            """
            run = trackkit.init(id="r", dir=ROOT, sink=os.environ["SINK"], settings={**QUIET, "stoppable": False})
            for step in range(300):
                run.log({"x": step})
                time.sleep(0.01)
            """,
            SINK=server.address,
        )
        until(lambda: values(tmp_path / "server"))
        server.ask("POST", "/runs/actions", json={"action": "stop", "runs": ["r"]})

        _, err = training.communicate(timeout=30)

        assert training.returncode == 0, err
        assert values(tmp_path / "server") == list(range(300))

"""Media whose `log` returned are in the store, however the process ended and whatever the disk did."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.faults.conftest import Script
from tests.faults.test_disk import small_disk as small_disk
from tests.servers import serving
from trackkit import Api
from trackkit.sync import sync

KILLS = 12

ENDLESS = """
    import numpy as np
    run = trackkit.init(project="p", dir=ROOT, id="killed", settings=QUIET, **OPTIONS)
    step = 0
    while True:
        array = np.full((96, 96, 3), step % 256, np.uint8)
        run.log({"sample": trackkit.Image(array), "many": np.arange(step + 2), "loss": float(step)})
        os.write(1, b"%d\\n" % step)
        step += 1
"""


def kill(script: Script, body: str, seconds: float) -> int:
    """Kill a script of the form of `ENDLESS`; the last step whose log returned."""
    process = script.start(body)
    assert process.stdout is not None
    last = int(process.stdout.readline())
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        last = int(process.stdout.readline())
    script.signal_group(signal.SIGKILL)
    rest = process.stdout.read()
    process.wait(20)
    complete = re.findall(r"(\d+)\n", rest)
    return int(complete[-1]) if complete else last


def check(root: Path, last: int) -> None:
    run = Api(root).run("p/killed")
    samples, many = run.media("sample"), run.media("many")
    assert run.state == "crashed"
    assert [item.step for item in samples][: last + 1] == list(range(last + 1))
    assert len(samples) <= last + 2
    assert len({item.step for item in samples}) == len(samples)
    for item in random.Random(0).sample(samples, min(10, len(samples))):
        assert np.asarray(item.image()).tolist()[0][0] == [(item.step or 0) % 256] * 3
    assert [item.step for item in many][: last + 1] == list(range(last + 1))
    assert many[last].metadata["count"] == last + 2
    assert not (root / "staging").exists()


@pytest.mark.parametrize("attempt", range(KILLS))
def test_a_killed_process_loses_no_media_whose_log_returned(script: Script, attempt: int) -> None:
    last = kill(script, ENDLESS.replace("**OPTIONS", ""), random.Random(attempt).uniform(0.0, 1.0))

    check(script.root, last)


def test_media_of_a_killed_offline_run_are_synced(script: Script) -> None:
    last = kill(script, ENDLESS.replace("**OPTIONS", 'mode="offline"'), 0.5)

    results = sync([script.root])

    assert not [each.error for each in results if each.error]
    check(script.root, last)


def test_media_of_a_killed_run_are_sent_to_a_server_later(script: Script, tmp_path: Path) -> None:
    last = kill(script, ENDLESS.replace("**OPTIONS", 'mode="offline"'), 0.3)

    with serving(tmp_path / "server") as server:
        results = sync([script.root / "journals" / "killed"], to=server.address)

    assert not [each.error for each in results if each.error]
    check_root = tmp_path / "server"
    run = Api(check_root).run("p/killed")
    assert [item.step for item in run.media("sample")][: last + 1] == list(range(last + 1))
    assert all(item.read() for item in run.media("sample"))


def test_media_arrive_at_a_server(script: Script, tmp_path: Path) -> None:
    with serving(tmp_path / "server") as server:
        done = script.run(
            f"""
            import numpy as np
            run = trackkit.init(project="p", dir=ROOT, id="sent", settings=QUIET, sink={server.address!r})
            for step in range(20):
                run.log({{"sample": trackkit.Image(np.full((200, 200, 3), step, np.uint8))}})
            table = trackkit.Table(columns=["a", "b"], data=[[1, trackkit.Image(np.zeros((90, 90, 3)))]])
            run.log({{"table": table}})
            run.finish()
            """
        )
    assert done.returncode == 0, done.stderr

    run = Api(tmp_path / "server").run("p/sent")
    items = run.media("sample")
    assert [np.asarray(item.image())[0, 0, 0] for item in items] == list(range(20))
    table = run.table("table")
    assert table.content(table.arrow().column("b")[0].as_py()).startswith(b"\x89PNG")


def test_training_goes_on_with_a_full_disk_and_media_from_before_are_intact(script: Script, small_disk: Path) -> None:
    script.root = small_disk / "store"

    done = script.run(
        """
        import numpy as np
        rng = np.random.default_rng(0)
        run = trackkit.init(project="p", dir=ROOT, id="full", settings={**QUIET, "finish_timeout": 3, "memory_mb": 8})
        run.log({"early": trackkit.Image(np.zeros((64, 64, 3), np.uint8))})
        time.sleep(1)
        for step in range(60):
            run.log({"noise": trackkit.Image(rng.integers(0, 256, (256, 256, 3), np.uint8)), "loss": 1.0})
        print("trained", flush=True)
        """,
        timeout=120,
    )

    run = Api(script.root).run("p/full")
    assert "trained" in done.stdout
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("media can't be written to the disk") == 1
    assert np.asarray(run.media("early")[0].image()).shape == (64, 64, 3)
    assert all(np.asarray(item.image()).shape == (256, 256, 3) for item in run.media("noise"))


def test_a_forked_child_logs_media_beside_its_parent(script: Script) -> None:
    done = script.run(
        """
        import numpy as np
        run = trackkit.init(project="p", dir=ROOT, id="forked", settings=QUIET)
        for step in range(10):
            run.log({"parent": trackkit.Image(np.full((32, 32), step, np.uint8))})
        child = os.fork()
        if not child:
            for step in range(10):
                run.log({"child": trackkit.Image(np.full((32, 32), 100 + step, np.uint8))}, step=step)
            run.finish()
            os._exit(0)
        for step in range(10, 20):
            run.log({"parent": trackkit.Image(np.full((32, 32), step, np.uint8))})
        os.waitpid(child, 0)
        run.finish()
        """
    )
    assert done.returncode == 0, done.stderr

    run = Api(script.root).run("p/forked")
    assert [np.asarray(item.image())[0, 0] for item in run.media("parent")] == list(range(20))
    assert [np.asarray(item.image())[0, 0] for item in run.media("child")] == list(range(100, 110))
    assert not (script.root / "staging").exists()


def test_what_finish_had_no_time_for_is_said_and_done_later(script: Script) -> None:
    done = script.run(
        """
        import numpy as np
        settings = {**QUIET, "finish_timeout": 0.01}
        run = trackkit.init(project="p", dir=ROOT, id="hasty", settings=settings)
        for step in range(40):
            run.log({"film": trackkit.Video(np.zeros((20, 3, 128, 128), np.uint8))})
        run.finish()
        """
    )
    assert done.returncode == 0, done.stderr
    assert "media values of p/hasty are not encoded yet" in done.stderr
    assert "trackkit sync" in done.stderr

    sync([script.root])

    assert len(Api(script.root).run("p/hasty").media("film")) == 40
    assert not (script.root / "staging").exists()


def test_a_staged_value_that_was_recorded_already_is_not_recorded_twice(script: Script) -> None:
    """The process died between recording it and deleting its staged file."""
    done = script.run(
        """
        import numpy as np
        from trackkit.core.media import staging
        discard = staging.discard
        staging.discard = lambda path: None
        run = trackkit.init(project="p", dir=ROOT, id="r", settings=QUIET)
        for step in range(5):
            run.log({"sample": trackkit.Image(np.full((64, 64), step, np.uint8))})
        run._media.drain(20)
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert done.returncode == -signal.SIGKILL
    assert len(os.listdir(script.root / "staging" / "r")) == 1

    run = Api(script.root).run("p/r")

    assert [item.step for item in run.media("sample")] == list(range(5))

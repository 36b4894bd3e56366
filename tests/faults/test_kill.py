"""Every record whose log() returned is read back, once, whichever way the process ends."""

from __future__ import annotations

import random
import re
import signal
import time
from collections.abc import Callable

import pytest

from tests.faults.conftest import Script
from trackkit import Api

KILLS = 50

ENDLESS = """
    run = trackkit.init(project="p", dir=ROOT, id="killed", settings=QUIET)
    step = 0
    while True:
        run.log({"loss": float(step), "twice": 2.0 * step})
        os.write(1, b"%d\\n" % step)
        step += 1
"""


@pytest.mark.parametrize("attempt", range(KILLS))
def test_a_killed_process_group_loses_no_record_whose_log_returned(script: Script, attempt: int) -> None:
    process = script.start(ENDLESS)
    assert process.stdout is not None
    process.stdout.readline()
    deadline = time.monotonic() + random.Random(attempt).uniform(0.0, 0.6)
    last = 0
    while time.monotonic() < deadline:
        last = int(process.stdout.readline())
    script.signal_group(signal.SIGKILL)
    rest = process.stdout.read()
    process.wait(20)
    complete = re.findall(r"(\d+)\n", rest)
    last = int(complete[-1]) if complete else last

    run = Api(script.root).run("p/killed")

    loss, twice = run.series("loss"), run.series("twice")
    assert run.state == "crashed"
    assert len(loss.value) >= last + 1
    assert loss.step.tolist() == list(range(len(loss.step)))
    assert loss.value.tolist() == [float(step) for step in range(len(loss.step))]
    assert twice.value.tolist() == [2.0 * step for step in range(len(twice.step))]


@pytest.mark.parametrize(
    ("body", "state", "code", "error"),
    [
        ("pass", "finished", 0, ""),
        ("1 / 0", "failed", 1, "ZeroDivisionError"),
        ("sys.exit(3)", "failed", 3, ""),
        ("sys.exit(0)", "finished", 0, ""),
        ("os._exit(0)", "crashed", None, ""),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(20)", "killed", 143, ""),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(20)", "killed", 130, "KeyboardInterrupt"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "crashed", None, ""),
        ("with run: 1 / 0", "failed", 1, "ZeroDivisionError"),
        ("with run: sys.exit(3)", "failed", 3, ""),
        ("with run: os.kill(os.getpid(), signal.SIGTERM); time.sleep(20)", "killed", 143, ""),
        ("with run: os.kill(os.getpid(), signal.SIGINT); time.sleep(20)", "killed", 130, "KeyboardInterrupt"),
        ("raise ValueError('x' * 100_000_000)", "failed", 1, "characters left out"),
    ],
)
def test_every_way_out_is_noted_and_nothing_is_lost(
    script: Script, body: str, state: str, code: int | None, error: str
) -> None:
    script.run(
        f"""
        run = trackkit.init(project="p", dir=ROOT, settings=QUIET)
        for step in range(100):
            run.log({{"loss": float(step)}})
        {body}
        """
    )

    (run,) = Api(script.root).runs()

    assert (run.state, run.exit_code) == (state, code)
    assert error in (run.error or "")
    assert run.series("loss").value.tolist() == [float(step) for step in range(100)]


def test_a_second_interrupt_ends_the_waiting_and_loses_nothing(script: Script) -> None:
    process = script.start_until_it_prints(
        """
        run = trackkit.init(project="p", dir=ROOT, settings=QUIET)
        for step in range(100):
            run.log({"loss": float(step)})
        print("ready", flush=True)
        time.sleep(30)
        """
    )
    script.signal_group(signal.SIGINT)
    script.signal_group(signal.SIGINT)
    process.communicate(timeout=20)

    (run,) = Api(script.root).runs()

    assert run.state == "killed"
    assert run.series("loss").value.tolist() == [float(step) for step in range(100)]


def test_a_second_interrupt_ends_the_waiting_for_a_server_that_is_not_there(script: Script) -> None:
    process = script.start_until_it_prints(
        """
        settings = {**QUIET, "finish_timeout": 60}
        run = trackkit.init(project="p", dir=ROOT, sink=["sqlite:", "http://127.0.0.1:9"], settings=settings)
        for step in range(100):
            run.log({"loss": float(step)})
        print("ready", flush=True)
        time.sleep(30)
        """
    )
    script.signal_group(signal.SIGINT)
    time.sleep(2)
    assert process.poll() is None, "it waits for the server"
    interrupted = time.monotonic()
    script.signal_group(signal.SIGINT)
    _, errors = process.communicate(timeout=20)

    assert time.monotonic() - interrupted < 10
    assert "are not delivered yet; they are safe in the journal: trackkit sync" in errors
    assert "--to http://127.0.0.1:9" in errors
    assert errors.count("not delivered yet") == 1, "the store has everything"
    (run,) = Api(script.root).runs()
    assert run.state == "killed"
    assert run.series("loss").value.tolist() == [float(step) for step in range(100)]


def test_threads_lose_no_record_and_count_steps_together(script: Script) -> None:
    done = script.run(
        """
        run = trackkit.init(project="p", dir=ROOT, settings=QUIET)
        def work(number):
            for value in range(2000):
                run.log({"value": float(number * 2000 + value)})
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        """
    )

    (run,) = Api(script.root).runs()

    series = run.series("value")
    assert done.returncode == 0
    assert sorted(series.value.tolist()) == [float(value) for value in range(16_000)]
    assert sorted(series.step.tolist()) == list(range(16_000))


def test_a_fork_writes_its_own_part_of_the_run(script: Script) -> None:
    script.run(
        """
        run = trackkit.init(project="p", dir=ROOT, settings=QUIET)
        run.log({"parent": 1.0})
        child = os.fork()
        if child == 0:
            for step in range(50):
                run.log({"child": float(step)})
            os._exit(0)
        os.waitpid(child, 0)
        run.log({"parent": 2.0})
        """
    )

    (run,) = Api(script.root).runs()

    assert run.state == "finished"
    assert run.series("parent").value.tolist() == [1.0, 2.0]
    assert run.series("child").value.tolist() == [float(step) for step in range(50)]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_of_multiprocessing_join_the_run(script: Script, method: str) -> None:
    script.run(
        f"""
        import multiprocessing
        def work(number):
            run = trackkit.run or trackkit.init(project="p", dir=ROOT, settings=QUIET)
            for step in range(20):
                run.log({{f"child_{{number}}": float(step)}})
            if "{method}" == "spawn":
                run.finish()
        if __name__ == "__main__":
            run = trackkit.init(project="p", dir=ROOT, settings=QUIET)
            os.environ["TRACKKIT_RUN_ID"] = run.id
            context = multiprocessing.get_context("{method}")
            children = [context.Process(target=work, args=(number,)) for number in range(4)]
            [child.start() for child in children]
            [child.join() for child in children]
            run.log({{"parent": 1.0}})
        """
    )

    (run,) = Api(script.root).runs()

    assert run.state == "finished"
    assert set(run.keys()) == {"parent", "child_0", "child_1", "child_2", "child_3"}
    assert all(len(run.series(f"child_{number}").value) == 20 for number in range(4))


def test_sixteen_processes_write_one_store_and_lose_nothing(make_script: Callable[[str], Script]) -> None:
    scripts = [make_script(f"job{number}") for number in range(16)]
    for number, script in enumerate(scripts):
        script.root = scripts[0].root
        script.start(
            f"""
            run = trackkit.init(project="p", dir=ROOT, id="run{number}", settings={{**QUIET, "finish_timeout": 100}})
            for step in range(5000):
                run.log({{f"key_{{key}}": float(step) for key in range(5)}})
            """
        )
    outputs = [script.process.communicate(timeout=200) for script in scripts if script.process is not None]

    runs = {run.id: run for run in Api(scripts[0].root).runs()}

    assert "".join(err for _, err in outputs) == "", "a store that is busy is no trouble to speak of"
    assert len(runs) == 16
    for run in runs.values():
        assert run.state == "finished"
        for key in range(5):
            assert run.series(f"key_{key}").value.tolist() == [float(step) for step in range(5000)]


def test_a_reader_that_stays_open_holds_up_nobody(script: Script) -> None:
    process = script.start_until_it_prints(
        """
        run = trackkit.init(project="p", dir=ROOT, id="live", settings=QUIET)
        run.log({"loss": 0.0})
        time.sleep(0.5)
        print("ready", flush=True)
        for step in range(1, 2000):
            run.log({"loss": float(step)})
            time.sleep(0.001)
        """
    )
    reader = Api(script.root)

    lengths = []
    while process.poll() is None:
        lengths.append(len(reader.run("p/live").series("loss").value))
        time.sleep(0.05)

    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 5
    assert len(reader.run("p/live").series("loss").value) == 2000


def test_processes_that_start_one_run_at_once_share_it(make_script: Callable[[str], Script]) -> None:
    scripts = [make_script(f"rank{number}") for number in range(4)]
    for number, script in enumerate(scripts):
        script.root = scripts[0].root
        script.start(
            f"""
            run = trackkit.init(project="p", dir=ROOT, id="shared", resume="allow", settings=QUIET)
            for step in range(3000):
                run.log({{"rank_{number}": float(step), "all": float(step)}}, step=step)
            """,
            RANK=str(number),
        )
    codes = [script.process.wait(60) for script in scripts if script.process is not None]

    run = Api(scripts[0].root).run("p/shared")

    assert codes == [0, 0, 0, 0]
    assert run.state == "finished"
    assert len(run.series("all").value) == 12_000
    for number in range(4):
        assert run.series(f"rank_{number}").value.tolist() == [float(step) for step in range(3000)]


def test_a_killed_rank_is_told_from_the_others(make_script: Callable[[str], Script]) -> None:
    scripts = [make_script(f"rank{number}") for number in range(2)]
    for number, script in enumerate(scripts):
        script.root = scripts[0].root
        process = script.start(
            f"""
            run = trackkit.init(project="p", dir=ROOT, id="shared", resume="allow", settings=QUIET)
            for step in range(500):
                run.log({{"rank_{number}": float(step)}}, step=step)
            print("ready", flush=True)
            time.sleep(60 if {number} else 0)
            """
        )
        assert process.stdout is not None
        process.stdout.readline()
    assert scripts[0].process is not None
    scripts[0].process.wait(30)
    scripts[1].signal_group(signal.SIGKILL)
    scripts[1].stop()

    run = Api(scripts[0].root).run("p/shared")

    assert len(run.series("rank_0").value) == 500
    assert len(run.series("rank_1").value) == 500
    assert run.state in ("finished", "crashed")

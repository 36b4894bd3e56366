"""How the end of a process is told, and that the script's own handlers keep their place."""

from __future__ import annotations

from pathlib import Path

import pytest

import trackkit
from tests.conftest import RunScript
from trackkit.core.lifecycle import describe_exception


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (SystemExit(), ("finished", 0)),
        (SystemExit(0), ("finished", 0)),
        (SystemExit(None), ("finished", 0)),
        (SystemExit(3), ("failed", 3)),
        (SystemExit("no data"), ("failed", 1)),
        (KeyboardInterrupt(), ("killed", 130)),
        (ValueError("bad"), ("failed", 1)),
    ],
)
def test_an_exception_says_how_the_run_ended(error: BaseException, expected: tuple[str, int]) -> None:
    state, code, text = describe_exception(type(error), error, None)

    assert (state, code) == expected
    assert ("ValueError: bad" in text) == isinstance(error, ValueError)


def test_of_a_very_long_traceback_both_ends_are_kept() -> None:
    error = ValueError("begin " + "x" * 1_000_000 + " end")

    _, _, text = describe_exception(ValueError, error, None)

    assert len(text) < 110_000
    assert text.startswith("ValueError: begin")
    assert text.endswith("end\n")
    assert "characters left out" in text


def test_the_scripts_own_excepthook_is_called_too(run_script: RunScript) -> None:
    done = run_script(
        """
        import sys
        sys.excepthook = lambda kind, error, trace: print("mine:", error)
        import trackkit
        trackkit.init(dir="store", settings={"quiet": True})
        raise ValueError("bad")
        """
    )

    assert done.stdout.strip() == "mine: bad"
    assert done.returncode == 1


def test_the_scripts_own_handler_of_sigterm_stays(run_script: RunScript) -> None:
    done = run_script(
        """
        import os, signal, trackkit
        signal.signal(signal.SIGTERM, lambda number, frame: print("mine"))
        run = trackkit.init(dir="store", settings={"quiet": True})
        os.kill(os.getpid(), signal.SIGTERM)
        run.finish()
        print(trackkit.Api("store").run(run.path).state)
        """
    )

    assert done.stdout.split() == ["mine", "finished"]
    assert done.returncode == 0


def test_sigterm_is_left_alone_if_so_set(run_script: RunScript) -> None:
    done = run_script(
        """
        import signal, trackkit
        run = trackkit.init(dir="store", settings={"quiet": True, "signals": False})
        print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
        """
    )

    assert done.stdout.strip() == "True"


def test_finally_blocks_run_when_the_process_is_terminated(run_script: RunScript) -> None:
    done = run_script(
        """
        import os, signal, time, trackkit
        run = trackkit.init(dir="store", settings={"quiet": True})
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            run.log({"checkpoint": 1.0})
        """
    )

    assert done.returncode == 143


def test_a_thread_that_fails_does_not_fail_the_run(run_script: RunScript) -> None:
    done = run_script(
        """
        import threading, trackkit
        run = trackkit.init(dir="store", settings={"quiet": True})
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
        run.finish()
        print(trackkit.Api("store").run(run.path).state)
        """
    )

    assert done.stdout.strip() == "finished"
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize(
    ("body", "state", "code"),
    [
        ("exit(3)", "failed", 3),
        ("quit('no data')", "failed", 1),
        ("exit()", "finished", 0),
        ("try: sys.exit(2)\nexcept SystemExit: pass\nrun.finish()", "finished", 0),
        ("try: sys.exit(2)\nexcept SystemExit: run.finish()", "failed", 2),
        ("try: sys.exit(2)\nfinally: run.finish()", "failed", 2),
        ("try: signal.raise_signal(signal.SIGTERM)\nexcept SystemExit: pass\nrun.finish()", "finished", 0),
        ("try: signal.raise_signal(signal.SIGTERM)\nfinally: run.finish()", "killed", 143),
    ],
)
def test_leaving_is_told_from_an_exit_that_was_caught(
    tmp_path: Path, run_script: RunScript, body: str, state: str, code: int
) -> None:
    run_script(
        "import os, signal, sys, time, trackkit\n"
        "run = trackkit.init(dir='store', settings={'quiet': True, 'system': False})\n"
        f"{body}\n"
    )

    (run,) = trackkit.Api(tmp_path / "store").runs()

    assert (run.state, run.exit_code) == (state, code)

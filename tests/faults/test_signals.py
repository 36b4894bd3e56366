"""Signals come at any moment, and their handlers log, raise and finish."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Script
from trackkit import Api


def test_handlers_that_log_and_raise_at_any_moment_break_nothing(script: Script) -> None:
    done = script.run(
        """
        class Interrupted(Exception): ...
        run = trackkit.init(project="p", dir=ROOT, settings=QUIET)
        handled = raised = 0
        stopped = False
        def handler(number, frame):
            global handled, raised
            if stopped:
                return
            run.log({"handled": float(handled)}, step=handled)
            handled += 1
            if handled % 3 == 0 and frame.f_code.co_filename != __file__:  # in the middle of log
                raised += 1
                signal.setitimer(signal.ITIMER_REAL, 0.0003)
                raise Interrupted
            signal.setitimer(signal.ITIMER_REAL, 0.0003)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0003)
        logged = attempts = 0
        end = time.monotonic() + 4
        while time.monotonic() < end:
            attempts += 1
            try:
                run.log({"loss": float(attempts)}, step=attempts)
                logged = attempts
            except Interrupted:
                pass
        stopped = True
        print(handled, raised, logged, flush=True)
        """
    )

    assert done.returncode == 0, done.stderr
    handled, raised, logged = map(int, done.stdout.split())
    (run,) = Api(script.root).runs()
    assert raised > 100
    assert run.state == "finished"
    assert run.series("handled").value.tolist() == [float(number) for number in range(handled)]
    loss = run.series("loss").value.tolist()
    assert len(loss) == len(set(loss)), "no record twice"
    assert loss[-1] >= logged
    assert len(loss) >= logged - raised, "only calls that a handler broke off may be missing"


@pytest.mark.parametrize("attempt", range(5))
def test_a_handler_may_finish_the_run(script: Script, attempt: int) -> None:
    done = script.run(
        f"""
        run = trackkit.init(project="p", dir=ROOT, settings=QUIET)
        logged = 0
        def handler(number, frame):
            run.finish(exit_code=0)
            print(logged, flush=True)
            raise SystemExit(0)
        signal.signal(signal.SIGTERM, handler)
        threading.Timer(0.3 + 0.0371 * {attempt}, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        while True:
            run.log({{"loss": float(logged)}})
            logged += 1
        """
    )

    (run,) = Api(script.root).runs()
    assert done.returncode == 0, done.stderr
    assert run.state == "finished"
    assert len(run.series("loss").value) >= int(done.stdout)

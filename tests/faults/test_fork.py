"""A process forks in the middle of everything: the parent's journal stays whole, and the child has one of its own."""

from __future__ import annotations

from tests.faults.conftest import Script
from trackkit import Api


def test_forking_while_threads_log_hangs_no_child_and_loses_nothing(script: Script) -> None:
    done = script.run(
        """
        run = trackkit.init(project="p", dir=ROOT, settings=QUIET)
        stop, counts = False, [0] * 8
        def work(number):
            while not stop:
                run.log({f"thread_{number}": float(counts[number])})
                counts[number] += 1
                if counts[number] % 50 == 0:
                    time.sleep(0.001)
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        [thread.start() for thread in threads]
        for attempt in range(60):
            child = os.fork()
            if child == 0:
                signal.alarm(20)  # one that hangs dies of it, and is noticed
                run.log({"child": float(attempt)})
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0, attempt
        stop = True
        [thread.join() for thread in threads]
        print(*counts)
        """,
        timeout=200,
    )

    assert done.returncode == 0, done.stderr
    (run,) = Api(script.root).runs()
    assert run.state == "finished"
    assert sorted(run.series("child").value.tolist()) == [float(attempt) for attempt in range(60)]
    for number, count in enumerate(map(int, done.stdout.split())):
        assert run.series(f"thread_{number}").value.tolist() == [float(value) for value in range(count)]


def test_a_function_of_the_parents_run_writes_to_the_childs_journal(script: Script) -> None:
    done = script.run(
        """
        run = trackkit.init(project="p", dir=ROOT, settings=QUIET)
        log = run.log
        for step in range(100):
            log({"parent": float(step)})
        child = os.fork()
        if child == 0:
            for step in range(100):
                log({"child": float(step)})
            run.finish()
            os._exit(0)
        for step in range(100, 200):
            log({"parent": float(step)})
        assert os.waitpid(child, 0)[1] == 0
        for step in range(200, 300):
            log({"parent": float(step)})
        """
    )

    assert done.returncode == 0, done.stderr
    (run,) = Api(script.root).runs()
    assert run.series("parent").value.tolist() == [float(step) for step in range(300)]
    assert run.series("child").value.tolist() == [float(step) for step in range(100)]
    assert not run.alerts(), "no journal was damaged"


def test_a_child_of_a_child_has_a_journal_of_its_own(script: Script) -> None:
    done = script.run(
        """
        run = trackkit.init(project="p", dir=ROOT, settings=QUIET)
        def fork(then):
            child = os.fork()
            if child == 0:
                then()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        fork(lambda: fork(lambda: run.log({"of a silent child": 1.0})))
        fork(lambda: (run.log({"child": 1.0}), fork(lambda: run.log({"of a child that logs": 1.0}))))
        run.log({"parent": 1.0})
        """
    )

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    (run,) = Api(script.root).runs()
    assert set(run.keys()) == {"parent", "child", "of a silent child", "of a child that logs"}


def test_what_a_child_prints_and_the_code_it_keeps_are_on_the_run(script: Script) -> None:
    done = script.run(
        """
        run = trackkit.init(project="p", dir=ROOT, settings={**QUIET, "code": False})
        child = os.fork()
        if child == 0:
            for number in range(100):
                print("the child counts", number)
            print(run.log_code("."))
            run.finish()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        """
    )

    assert done.returncode == 0, done.stderr
    (run,) = Api(script.root).runs()
    assert run.console().count("the child counts") == 100
    assert [file.path for file in run.files() if file.kind == "code"] == ["train.py"]


def test_a_child_can_start_a_run_though_a_thread_was_starting_one(script: Script) -> None:
    done = script.run(
        """
        from trackkit.core import sink
        entered = threading.Event()
        def slow(uri, root):
            entered.set()
            time.sleep(60)
        sink._BUILT_IN["slow"] = "slow:slow"
        sys.modules["slow"] = type(sys)("slow")
        sys.modules["slow"].slow = slow
        arguments = {"sink": "slow:", "dir": ROOT, "settings": {**QUIET, "run_id": "other"}}
        threading.Thread(target=trackkit.init, kwargs=arguments, daemon=True).start()
        entered.wait()
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            with trackkit.init(project="p", dir=ROOT, settings=QUIET) as run:
                run.log({"loss": 1.0})
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        os._exit(0)
        """
    )

    assert done.returncode == 0, done.stderr
    (run,) = Api(script.root).runs()
    assert run.state == "finished"

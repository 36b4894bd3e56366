"""A run opens no connection but its sinks' own."""

from __future__ import annotations

from tests.faults.conftest import Script
from trackkit import Api


def test_a_run_with_everything_captured_opens_no_connection(script: Script) -> None:
    done = script.run(
        """
        seen = []
        def guard(event, arguments):
            if event in ("socket.connect", "socket.getaddrinfo", "socket.bind", "socket.sendto", "urllib.Request"):
                seen.append((event, str(arguments)))
        sys.addaudithook(guard)
        with trackkit.init(project="p", dir=ROOT, config={"lr": 0.1}, settings=QUIET) as run:
            for step in range(100):
                run.log({"loss": 1.0 / (step + 1)})
            run.alert("done")
            run.log_code(".")
            time.sleep(2)
        import socket
        try:
            socket.create_connection(("127.0.0.1", 9), timeout=0.1)
        except OSError:
            pass
        print(seen)
        """
    )

    (run,) = Api(script.root).runs()

    assert run.state == "finished"
    assert run.metadata["packages"]
    assert len(run.system) > 5
    assert done.stdout.count("socket.connect") == 1, "the guard saw its own probe, and nothing else"
    assert done.stdout.count("socket.getaddrinfo") == 1

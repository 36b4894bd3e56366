"""Live hints: of every change, to whoever may see it, and of what was missed."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunScript
from tests.servers import PATIENCE, Serving, until
from tests.store.conftest import Filler
from tests.store.journals import Writer
from trackkit.backend.store import changes, runs
from trackkit.backend.store.ingest import Ingest


class Listener:
    """Reads a stream of events as a browser does."""

    def __init__(self, server: Serving, path: str = "/events", **headers: str) -> None:
        self.events: list[tuple[str, dict[str, Any], str]] = []
        self.ended = False
        self._answer = server.session.get(
            f"{server.address}/api/v1{path}", headers=headers, stream=True, timeout=PATIENCE
        )
        assert self._answer.status_code == 200, self._answer.text
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        event: dict[str, str] = {}
        with contextlib.suppress(Exception):
            for line in self._answer.iter_lines(chunk_size=1, decode_unicode=True):
                if line:
                    name, _, value = line.partition(": ")
                    event[name] = value
                elif event:
                    self.events.append((event.get("event", ""), json.loads(event["data"]), event.get("id", "")))
                    event = {}
        self.ended = True

    def wait_for_quiet(self) -> None:
        """Wait until what happened before is told of."""
        time.sleep(0.6)

    def close(self) -> None:
        """Leave, as a browser whose network is gone."""
        self._answer.close()

    def wait_for(self, name: str, run: str) -> dict[str, Any]:
        """The data of the latest event of a run, once there is one."""

        def find() -> dict[str, Any] | None:
            return next(
                (data for kind, data, _ in reversed(self.events) if (kind, data.get("run")) == (name, run)), None
            )

        found: dict[str, Any] = until(find)
        return found


@contextlib.contextmanager
def listening(server: Serving, path: str = "/events", **headers: str) -> Iterator[Listener]:
    listener = Listener(server, path, **headers)
    until(lambda: listener.events)  # its hello
    yield listener  # the server ends the stream, as it does all when it ends


def test_what_another_process_writes_is_heard_of(server: Serving, fill: Filler) -> None:
    with listening(server) as listener:
        number = fill.run("r", state="running")
        runs.set_tags(fill.db, number, ["new"])

        hint = listener.wait_for("run", "r")

    assert (hint["project"], hint["state"]) == ("p", "running")
    assert hint["version"] == server.get("/runs/r")["run"]["version"]


@pytest.mark.sqlite
def test_points_that_a_script_logs_are_heard_of_within_two_seconds(server: Serving, fill: Filler) -> None:
    writer = Writer(server.config.root, "r", "w").start()
    with listening(server) as listener:
        Ingest(fill.db, "r", "w").write(writer.log({"x": 1}).batch())
        first = listener.wait_for("run", "r")["version"]
        Ingest(fill.db, "r", "w").write(writer.log({"x": 2}).batch())

        until(lambda: listener.wait_for("run", "r")["version"] > first, 2.0)


def test_a_deleted_run_is_told_to_be_gone(server: Serving, fill: Filler) -> None:
    fill.run("r")
    with listening(server) as listener:
        server.ask("POST", "/runs/actions", json={"action": "delete", "runs": ["r"]})

        assert listener.wait_for("gone", "r")["project"] == "p"


def test_whoever_comes_back_hears_of_what_was_missed_and_of_nothing_else(server: Serving, fill: Filler) -> None:
    a, b, c = fill.run("a"), fill.run("b"), fill.run("c")
    for number in (a, b):
        runs.set_tags(fill.db, number, ["x"])
    fill.db.execute("update runs set touched = touched - 10000000 where id = 'a'")
    seen = str(server.get("/runs")["version"])
    runs.set_tags(fill.db, c, ["x"])

    with listening(server, **{"last-event-id": seen}) as listener:
        listener.wait_for("run", "c")

        assert {data["run"] for kind, data, _ in listener.events if kind == "run"} <= {"b", "c"}


def test_a_stream_tells_only_of_what_it_was_asked_for(server: Serving, fill: Filler) -> None:
    ours, theirs = fill.run("ours", project="a"), fill.run("theirs", project="b")
    with listening(server, "/events?project=a") as listener:
        runs.set_tags(fill.db, theirs, ["x"])
        runs.set_tags(fill.db, ours, ["x"])
        listener.wait_for("run", "ours")

        assert {data["run"] for kind, data, _ in listener.events if kind == "run"} == {"ours"}


def test_a_token_hears_of_its_own_projects_alone(guarded: Serving, fill: Filler) -> None:
    ours, theirs = fill.run("ours", project="a"), fill.run("theirs", project="b")
    secret = guarded.token(projects=["a"])
    with listening(guarded, authorization=f"Bearer {secret}") as listener:
        runs.set_tags(fill.db, theirs, ["x"])
        runs.set_tags(fill.db, ours, ["x"])
        listener.wait_for("run", "ours")

        assert {data["run"] for kind, data, _ in listener.events if kind == "run"} == {"ours"}


def test_a_server_that_ends_ends_its_streams(server: Serving) -> None:
    with listening(server) as listener:
        server.services.feed.stop_soon()

        until(lambda: listener.ended)


@pytest.mark.sqlite
def test_nothing_is_read_while_nothing_changes(server: Serving, fill: Filler, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    inner = changes.since

    def since(*arguments: Any) -> list[changes.Change]:
        asked.append(1)
        return inner(*arguments)

    fill.run("r")
    with listening(server) as listener:
        listener.wait_for_quiet()
        monkeypatch.setattr(changes, "since", since)
        time.sleep(1.0)  # five looks

        assert asked == []

        runs.set_tags(fill.db, 1, ["x"])
        until(lambda: listener.wait_for("run", "r")["version"] > 0)
        assert asked


def test_a_hint_survives_a_look_that_failed(server: Serving, fill: Filler, monkeypatch: pytest.MonkeyPatch) -> None:
    fill.run("r")
    inner, failures = changes.since, iter([True])

    def since(*arguments: Any) -> list[changes.Change]:
        if next(failures, False):
            raise sqlite3.OperationalError("disk I/O error")
        return inner(*arguments)

    with listening(server) as listener:
        listener.wait_for_quiet()
        monkeypatch.setattr(changes, "since", since)
        runs.set_tags(fill.db, 1, ["x"])

        version = server.get("/runs/r")["run"]["version"]
        until(lambda: listener.wait_for("run", "r")["version"] == version)


def test_a_stream_is_taken_up_again_with_the_id_of_its_last_event(server: Serving, fill: Filler) -> None:
    a, b = fill.run("a"), fill.run("b")
    with listening(server) as listener:
        runs.set_tags(fill.db, a, ["x"])
        listener.wait_for("run", "a")
        last = listener.events[-1][2]
        listener.close()
    runs.set_tags(fill.db, b, ["x"])
    version = server.get("/runs/b")["run"]["version"]

    with listening(server, **{"last-event-id": last}) as again:
        assert again.wait_for("run", "b")["version"] == version
        assert again.events[0][2] == ""  # the greeting must not move the id before what was missed is told


@pytest.mark.parametrize("id", ["x", "-", "1.5", "9x"])
def test_an_id_of_no_event_is_refused(server: Serving, id: str) -> None:
    answer = server.ask("GET", "/events", headers={"last-event-id": id.encode()})

    assert answer.status_code == 400


@pytest.mark.sqlite
def test_a_script_that_writes_to_the_file_is_seen_live_with_no_server_in_its_path(
    server: Serving, root: Path, run_script: RunScript
) -> None:
    with listening(server) as listener:
        done = run_script(
            """
            import sys, trackkit
            run = trackkit.init(project="p", id="r", dir=sys.argv[1], settings={"quiet": True, "interval": 0.1})
            for step in range(10):
                run.log({"loss": step})
            run.finish()
            """,
            str(root),
        )
        assert done.returncode == 0, done.stderr

        until(lambda: listener.wait_for("run", "r")["state"] == "finished")
    assert server.get("/runs/r")["run"]["summary"] == {"loss": 9}

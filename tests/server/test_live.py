"""Live hints: of every change, to whoever may see it, and of what was missed."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers import PATIENCE, Serving, until
from tests.store.conftest import Filler
from tests.store.journals import Writer
from trackkit.backend.store import runs
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

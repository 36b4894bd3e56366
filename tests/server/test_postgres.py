"""Several servers on one PostgreSQL: any takes any batch, all hear of all, and one may die."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.proxies import proxy
from tests.server.test_ingest import post
from tests.server.test_live import listening
from tests.servers import Serving, process, serving, until
from tests.store.journals import Writer
from trackkit.core.sink import Batch, OffsetConflict, SinkError
from trackkit.sinks.http import HTTPSink

pytestmark = pytest.mark.postgres


@pytest.fixture
def servers(postgres_url: str, tmp_path: Path) -> Iterator[tuple[Serving, Serving]]:
    with serving(tmp_path / "files", postgres_url) as one, serving(tmp_path / "files", postgres_url) as other:
        yield one, other


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path / "client", "r", "w").start()


def test_any_server_takes_any_batch(servers: tuple[Serving, Serving], writer: Writer) -> None:
    for step in range(3000):
        writer.log({"x": step})

    for number, batch in enumerate(writer.finish().batches(*[100] * 29)):
        assert post(servers[number % 2], batch).status_code == 200
        assert post(servers[(number + 1) % 2], batch).status_code == 200  # again, to the other

    for server in servers:
        run = server.get("/runs/r")["run"]
        assert (run["state"], run["keys"]["metric"][0]["count"], run["summary"]) == ("finished", 3000, {"x": 2999})


def test_hints_travel_from_server_to_server(servers: tuple[Serving, Serving], writer: Writer) -> None:
    one, other = servers
    with listening(other) as listener:
        post(one, writer.log({"x": 1}).batch())

        first = listener.wait_for("run", "r")["version"]
        one.ask("PATCH", "/runs/r", json={"notes": "new"})

        until(lambda: listener.wait_for("run", "r")["version"] > first, 2.0)


def test_tokens_and_sessions_are_good_at_every_server(postgres_url: str, tmp_path: Path) -> None:
    with serving(tmp_path, postgres_url, auth=True) as one, serving(tmp_path, postgres_url, auth=True) as other:
        secret = one.token("ada")

        other.ask("POST", "/session", json={"token": secret})
        one.session.cookies.update(other.session.cookies)

        assert one.get("/session")["name"] == "ada"


def test_one_server_dies_and_its_clients_go_on_with_another(postgres_url: str, tmp_path: Path, writer: Writer) -> None:
    arguments = ("--store", postgres_url)
    with process(tmp_path / "files", *arguments) as first, process(tmp_path / "files", *arguments) as second:
        with proxy(first.port) as balancer:
            sink = HTTPSink(balancer.address, tmp_path / "client")
            position = sink.open("r", "w")
            for step in range(2000):
                writer.log({"x": step})
                if step == 1000:
                    first.end(signal.SIGKILL)
                    balancer.target = second.port
                if step % 50 == 49:
                    position = deliver(sink, writer, position)
            position = deliver(sink, writer.finish(), position)
            sink.close()
        assert position == writer.batch().end
        check = second.ask("/runs/r")["run"]
        assert (check["state"], check["keys"]["metric"][0]["count"]) == ("finished", 2000)


def deliver(sink: HTTPSink, writer: Writer, position: int) -> int:
    """Send what is new, as the pump does: again from where the server is, if it fails."""
    deadline = time.monotonic() + 20
    while True:
        whole = writer.batch()
        first = next((n for n, end in enumerate(whole.ends) if end > position), len(whole.ends))
        if first == len(whole.ends):
            return position
        try:
            return sink.write(Batch(position, whole.end, whole.payloads[first:], whole.ends[first:]))
        except (SinkError, OffsetConflict):
            assert time.monotonic() < deadline
            time.sleep(0.1)
            position = sink.open("r", "w")

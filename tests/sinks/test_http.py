"""The HTTP sink and what a server, or something in its place, may answer: each ends clearly."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import zstandard

from tests.conftest import ReadJournals
from tests.servers import Process, Serving, free_port, process, serving, until
from tests.store.journals import Writer
from trackkit.core import connection, credentials, wire
from trackkit.core.pump import Lane
from trackkit.core.records import Config
from trackkit.core.sink import SinkError, SinkRefused
from trackkit.sinks import client
from trackkit.sinks.http import HTTPSink

Answer = tuple[int, bytes]


class Pretender:
    """Something that listens where a server should, and answers whatever it is told to."""

    def __init__(self) -> None:
        self.answer: Callable[[str, str], Answer] = lambda method, path: (200, b"{}")
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                outer.connections += 1
                super().setup()

            def respond(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.requests.append((self.command, self.path, headers, body))
                status, content = outer.answer(self.command, self.path)
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = respond  # noqa: N815

            def log_message(self, *arguments: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True).start()

    def refuse(self, status: int, message: str = "") -> None:
        """Answer all with an error; without a message, as a server that is not trackkit's."""
        body = json.dumps({"error": {"code": "x", "message": message}}).encode() if message else b"<html>no</html>"
        self.answer = lambda method, path: (status, body)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def pretender() -> Iterator[Pretender]:
    found = Pretender()
    yield found
    found.close()


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test knows which server another one used; refusals are confirmed without pauses."""
    monkeypatch.setattr(connection, "_in_use", {})
    monkeypatch.setattr(client, "_CONFIRMING_PAUSES", (0.0, 0.0))


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path / "client", "r", "w", sinks=["http://x"]).start().log({"x": 1})


@pytest.mark.parametrize("status", [401, 403, 404, 410, 415, 421])
def test_what_a_server_refuses_for_good_ends_the_sending_with_its_reason(
    pretender: Pretender, tmp_path: Path, status: int
) -> None:
    pretender.refuse(status, "not with that token")
    lane = Lane(pretender.address, tmp_path, Writer(tmp_path, "r", "w").start().journal, lambda: None)

    lane.deliver()

    assert lane.refused == f"not with that token ({status} from {pretender.address})"
    assert len(pretender.requests) == 3  # asked twice more, as the network may have damaged the question
    assert not lane.due(1e12)
    assert lane.done


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_answer_that_is_no_trackkit_server_s_is_no_refusal(
    pretender: Pretender, tmp_path: Path, status: int
) -> None:
    pretender.refuse(status)

    with pytest.raises(SinkError, match=f"answered {status}: not a trackkit server, or one that starts"):
        HTTPSink(pretender.address, tmp_path).open("r", "w")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again_with_growing_pauses(pretender: Pretender, tmp_path: Path, status: int) -> None:
    pretender.refuse(status, "not now")
    lane = Lane(pretender.address, tmp_path, Writer(tmp_path, "r", "w").start().journal, lambda: None)

    pauses = []
    for _ in range(8):
        lane.deliver()
        pauses.append(lane._pause)

    assert lane.refused == ""
    assert f"answered {status}: not now" in lane.trouble
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert lane.retries == 8


def test_pauses_differ_so_that_many_runs_do_not_come_at_once(pretender: Pretender, tmp_path: Path) -> None:
    pretender.refuse(503, "not now")
    journal = Writer(tmp_path, "r", "w").start().journal
    dues = set()
    for _ in range(5):
        lane = Lane(pretender.address, tmp_path, journal, lambda: None)
        lane.deliver()
        dues.add(round(lane._not_before % 1, 6))

    assert len(dues) == 5


def test_a_server_that_sends_elsewhere_is_named(pretender: Pretender, tmp_path: Path) -> None:
    pretender.answer = lambda method, path: (301, b"")

    with pytest.raises(SinkError, match="sends on to elsewhere; name that address instead"):
        HTTPSink(pretender.address, tmp_path).open("r", "w")


def test_a_damaged_answer_is_no_acknowledgement(pretender: Pretender, tmp_path: Path) -> None:
    for body in (
        {"position": 5, "stop": False, "check": "r/w/4/0"},
        {"position": "5", "stop": False, "check": "r/w/5/0"},
        {"position": 5, "stop": False, "check": "other/w/5/0"},
        {},
    ):
        pretender.answer = lambda method, path, body=body: (200, json.dumps(body).encode())  # type: ignore[misc]

        with pytest.raises(SinkError, match="damaged on its way"):
            HTTPSink(pretender.address, tmp_path).open("r", "w")


def test_one_connection_is_kept_and_batches_are_compressed(
    pretender: Pretender, tmp_path: Path, writer: Writer
) -> None:
    batch = writer.log({"x": 2.0}).batch()

    def answer(method: str, path: str) -> Answer:
        if path.endswith("/missing?writer=w"):
            return 200, b'{"digests": []}'
        at = batch.end if method == "POST" else 0
        return 200, json.dumps({"position": at, "stop": False, "check": f"r/w/{at}/0"}).encode()

    pretender.answer = answer
    sink = HTTPSink(pretender.address, tmp_path)
    sink.open("r", "w")
    for _ in range(5):
        sink._position = 0
        sink.write(batch)
    sink.close()

    assert pretender.connections == 1
    method, path, headers, body = pretender.requests[-1]
    assert (method, path) == ("POST", "/api/v1/runs/r/journals/w")
    assert headers["content-encoding"] == "zstd"
    assert wire.decode(zstandard.ZstdDecompressor().decompress(body)).payloads == batch.payloads


def test_a_batch_too_large_for_the_server_is_sent_in_halves(tmp_path: Path, writer: Writer) -> None:
    with serving(tmp_path / "server", max_batch_mb=1) as server:
        for number in range(40):
            writer.say(Config(1.0, {f"k{number}": "v" * 100_000}))
        batch = writer.finish().batch()
        sink = HTTPSink(server.address, tmp_path / "client")
        sink.open("r", "w")

        position = sink.write(batch)
        while position < batch.end:
            position = sink.write(writer.batch(batch.ends.index(position) + 1))
        sink.close()

        assert len(server.get("/runs/r")["run"]["config"]) == 40
        assert server.get("/runs/r")["run"]["state"] == "finished"


def test_a_record_too_large_for_the_server_says_so(tmp_path: Path, writer: Writer) -> None:
    with serving(tmp_path / "server", max_batch_mb=1) as server:
        batch = writer.say(Config(1.0, {"k": "v" * (3 << 20)})).batch(2)
        sink = HTTPSink(server.address, tmp_path / "client")
        sink.open("r", "w")
        sink.write(writer.batch(0, 2))

        with pytest.raises(SinkRefused, match=r"a record of 3,145,\d+ bytes is too large"):
            sink.write(batch)
        sink.close()


def test_a_token_without_the_scope_is_refused_with_the_scope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path / "server", auth=True) as server:
        monkeypatch.setenv("TRACKKIT_TOKEN", server.token(scope="read"))

        with pytest.raises(SinkRefused, match=r"needs a token with the scope 'write', and yours has 'read' \(403"):
            HTTPSink(server.address, tmp_path).open("r", "w")


def test_what_is_acknowledged_is_on_the_server_s_disk_before_the_journal_goes(
    tmp_path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path / "server") as server:
        synced: list[int] = []

        def sync(inner: Callable[[], None] = server.services.storage.sync) -> None:
            inner()
            with server.services.storage.reading() as db:
                synced.append(db.query("select position from writers")[0][0])

        monkeypatch.setattr(server.services.storage, "sync", sync)
        sink = HTTPSink(server.address, tmp_path / "client")
        sink.open("r", "w")
        middle = sink.write(writer.batch())
        assert synced == []

        sink.sync()
        sink.sync()
        assert synced == [middle]

        end = sink.write(writer.finish().batch(len(writer.batch()) - 1))
        sink.sync()
        sink.close()
        assert synced == [middle, end]


def test_a_server_that_lost_what_it_acknowledged_is_sent_it_again(tmp_path: Path, writer: Writer) -> None:
    with serving(tmp_path / "server") as server:
        sink = HTTPSink(server.address, tmp_path / "client")
        sink.open("r", "w")
        sink.write(writer.batch())
        with server.services.storage.changing() as db:  # as after a power cut
            db.execute("update writers set position = 0")
            for table in ("points", "series", "summary"):
                db.execute(f"delete from {table}")

        with pytest.raises(SinkError, match="lost what it had acknowledged"):
            sink.sync()

        assert sink.open("r", "w") == 0
        sink.write(writer.batch())
        sink.sync()
        sink.close()
        assert server.get("/runs/r")["run"]["keys"]["metric"][0]["count"] == 1


# Several servers


def both(*servers: Serving | Process) -> str:
    return "http://" + ",".join(server.address.removeprefix("http://") for server in servers)


def test_addresses_of_several_servers_are_read() -> None:
    assert credentials.origins_of("http://one:5757,two:5757/p") == ["http://one:5757", "http://two:5757"]
    assert credentials.origins_of("https://one,[::1]:8,one") == ["https://one", "https://[::1]:8"]
    for wrong in ("http://", "http://one,", "ftp://one", "http://one:x", "http://,one", "one:5757"):
        with pytest.raises(ValueError, match="is no address of a server"):
            credentials.origins_of(wrong)


def test_a_token_kept_for_one_of_several_servers_is_good_for_all(tmp_path: Path) -> None:
    with serving(tmp_path / "a", auth=True) as server:
        credentials.keep("http://127.0.0.1:9", server.token())
        uri = f"http://127.0.0.1:9,{server.address.removeprefix('http://')}"

        assert HTTPSink(uri, tmp_path).open("r", "w") == 0


def test_a_server_that_is_away_or_in_trouble_is_passed_over(
    pretender: Pretender, tmp_path: Path, writer: Writer
) -> None:
    pretender.refuse(503, "the database is away")
    with serving(tmp_path / "server") as server:
        uri = f"http://127.0.0.1:{free_port()},{both(server).removeprefix('http://')}"
        for first in (uri, f"{pretender.address},{both(server).removeprefix('http://')}"):
            sink = HTTPSink(first, tmp_path / "client")
            sink.open("r", "w")
            sink.write(writer.batch())
            sink.close()
        asked = len(pretender.requests)
        again = HTTPSink(f"{pretender.address},{both(server).removeprefix('http://')}", tmp_path / "client")
        again.open("r", "w")
        again.close()

        assert len(pretender.requests) == asked, "the one that answered last is asked first"
        assert server.get("/runs/r")["run"]["keys"]["metric"][0]["count"] == 1


def test_where_all_servers_are_away_the_last_reason_is_told(tmp_path: Path) -> None:
    sink = HTTPSink(f"http://127.0.0.1:{free_port()},127.0.0.1:{free_port()}", tmp_path)

    with pytest.raises(SinkError, match="Connection refused"):
        sink.open("r", "w")


def test_a_refusal_is_not_asked_for_elsewhere(pretender: Pretender, tmp_path: Path) -> None:
    pretender.refuse(403, "not you")
    with serving(tmp_path / "server") as server, pytest.raises(SinkRefused, match="not you"):
        HTTPSink(f"{pretender.address},{both(server).removeprefix('http://')}", tmp_path).open("r", "w")


@pytest.mark.postgres
def test_a_run_goes_on_with_the_other_server_when_its_own_is_killed(
    postgres_url: str, tmp_path: Path, folder: Path
) -> None:
    import trackkit

    arguments = ("--store", postgres_url)
    with process(tmp_path / "files", *arguments) as one, process(tmp_path / "files", *arguments) as other:
        settings = {"quiet": True, "system": False, "console": "off", "interval": 0.05}
        run = trackkit.init(id="r", project="p", dir=folder, sink=both(one, other), settings=settings)
        for step in range(400):
            run.log({"x": step})
            if step == 100:
                until(lambda: count(one) > 0)
                one.end(signal.SIGKILL)
        run.finish()

        shown = other.ask("/runs/r")["run"]
        assert (shown["state"], shown["summary"]["x"], shown["keys"]["metric"][0]["count"]) == ("finished", 399, 400)
        assert not list((folder / "journals").glob("*/*"))


def count(server: Process) -> int:
    with contextlib.suppress(AssertionError):
        return sum(key["count"] for key in server.ask("/runs/r")["run"]["keys"]["metric"])
    return 0


def test_a_server_that_hangs_holds_up_no_finish(
    folder: Path, read_journals: ReadJournals, recwarn: pytest.WarningsRecorder
) -> None:

    import trackkit

    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = {"quiet": True, "system": False, "console": "off", "git": False, "packages": False, "code": False}
        run = trackkit.init(id="r", dir=folder, sink=address, settings=settings)
        for step in range(10):
            run.log({"x": step})
        began = time.monotonic()

        run.finish(timeout=0.5)

        assert time.monotonic() - began < 15
    kept = len(read_journals(folder, run="r"))
    told = " ".join(str(warning.message) for warning in recwarn)
    (remaining,) = re.findall(r"(\d+) records of default/r are not delivered yet", told)
    assert int(remaining) == kept  # all of them
    assert f"trackkit sync {folder / 'journals' / 'r'} --to {address}" in told


def test_a_timeout_that_is_none_is_refused(folder: Path) -> None:
    import trackkit

    run = trackkit.init(dir=folder, settings={"quiet": True})
    for wrong in (-1, float("nan")):
        with pytest.raises(ValueError, match="timeout must be a number of seconds"):
            run.finish(timeout=wrong)
    assert run.state == "running"
    run.finish(timeout=5)

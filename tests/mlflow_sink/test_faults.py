"""Servers that die, answers that are lost, refusals and full queues: nothing is lost, doubled or out of order."""

from __future__ import annotations

import http.server
import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import trackkit
from tests.faults.conftest import Script, make_script, script  # noqa: F401
from tests.mlflow_sink import mlflow_server
from tests.mlflow_sink.mlflow_server import Reader, Server
from tests.servers import until
from tests.store.journals import Writer
from trackkit.core import records
from trackkit.core.pump import Lane
from trackkit.core.sink import SinkError, SinkRefused, find_factory
from trackkit.sinks.mlflow import client
from trackkit.sync import sync


class Meddler:
    """Stands before a server, and decides of each request whether and how it is answered."""

    def __init__(self, target: str) -> None:
        self.requests: list[tuple[str, str]] = []
        self.meddle: Callable[[str, str], int] = lambda method, path: 0
        """0 passes a request on; a status answers with it at once; -1 passes it on and loses the answer."""
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def respond(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                outer.requests.append((self.command, self.path))
                wanted = outer.meddle(self.command, self.path)
                if wanted > 0:
                    self.answer(wanted, b'{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "not now"}')
                    return
                kept = {
                    key: value
                    for key, value in self.headers.items()
                    if key.lower() in ("content-type", "authorization")
                }
                request = urllib.request.Request(
                    f"{target}{self.path}", data=body or None, headers=kept, method=self.command
                )
                try:
                    with urllib.request.urlopen(request, timeout=60) as found:
                        status, content = found.status, found.read()
                except urllib.error.HTTPError as error:
                    status, content = error.code, error.read()
                if wanted < 0:
                    self.close_connection = True
                    return
                self.answer(status, content)

            def answer(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = respond  # noqa: N815

            def log_message(self, *arguments: object) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.sink = f"mlflow+http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def meddler(mlflow: Server) -> Iterator[Meddler]:
    found = Meddler(mlflow.address)
    yield found
    found.close()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    with mlflow_server.server(tmp_path / "own") as started:
        yield started


def only(read: Reader, address: str, project: str) -> Any:
    (found,) = read("runs", address, project)
    return found


def lines(read: Reader, address: str, run: Any, path: str) -> list[str]:
    return list(read("text", address, run["id"], path).splitlines())


def test_a_server_that_is_killed_in_the_middle_has_everything_once_it_is_back(
    own_server: Server, read: Reader, folder: Path, project: str, settings: dict[str, Any]
) -> None:
    run = trackkit.init(project=project, sink=own_server.sink, dir=folder / "store", settings=settings, config={"a": 1})
    for step in range(200):
        run.log({"x": float(step)})
    until(lambda: (read("runs", own_server.address, project) or [{"metrics": {}}])[0]["metrics"])
    own_server.kill()
    slowest = 0.0
    for step in range(200, 400):
        began = time.perf_counter()
        run.log({"x": float(step), "text": f"line {step}"})
        slowest = max(slowest, time.perf_counter() - began)
    run.config.b = 2
    time.sleep(1)
    own_server.start()
    run.finish()

    found = only(read, own_server.address, project)

    assert slowest < 1, "a call waited for the server"
    assert [point[::2] for point in found["history"]["x"]] == [[step, float(step)] for step in range(400)]
    assert found["params"] == {"a": "1", "b": "2"}
    assert found["status"] == "FINISHED"
    texts = [json.loads(line)["text"] for line in lines(read, own_server.address, found, "texts.jsonl")]
    assert texts == [f"line {step}" for step in range(200, 400)]


def test_a_run_whose_server_never_comes_is_sent_later(
    mlflow: Server, read: Reader, folder: Path, project: str, settings: dict[str, Any]
) -> None:
    away = f"mlflow+http://127.0.0.1:{mlflow_server.free_port()}"
    run = trackkit.init(project=project, sink=away, dir=folder / "store", settings={**settings, "finish_timeout": 0.5})
    run.log({"x": 1.0})
    began = time.perf_counter()
    with pytest.warns(RuntimeWarning, match="safe in the journal: trackkit sync"):
        run.finish()
    assert time.perf_counter() - began < 20

    sync([folder / "store"], mlflow.sink)

    assert only(read, mlflow.address, project)["metrics"] == {"x": 1.0}


@pytest.mark.parametrize("every", [2, 3, 5])
def test_lost_answers_double_nothing(
    meddler: Meddler, mlflow: Server, read: Reader, folder: Path, project: str, every: int
) -> None:
    drawn = random.Random(every)
    meddler.meddle = lambda method, path: -1 if method != "GET" and drawn.random() < 1 / every else 0
    writer = Writer(folder / "store", f"{project}-r", "w").start(project=project, tags=["t"])
    for step in range(300):
        writer.log({"x": float(step), "y": 0.5, "note": f"n{step}"})
        writer.say(records.Lines(2e9, "stdout", f"line {step}\n"))
    writer.say(records.Config(2e9, {"lr": 1, "wd": 2}), records.Config(2e9, {"lr": 3})).finish().die()
    sink: Any = None
    position, batches = 0, list(writer.batches(*[40] * 14))
    pending = list(batches)
    deadline = time.monotonic() + 250
    while sink is None or pending or sink.files_waiting:
        assert time.monotonic() < deadline, f"{len(pending)} batches are not there"
        try:
            if sink is None:
                sink = find_factory(meddler.sink)(meddler.sink, folder / "store")
                position = sink.open(f"{project}-r", "w")
                pending = [batch for batch in batches if batch.end > position]
            if pending:
                sink.write(pending[0])
                pending.pop(0)
            else:
                time.sleep(0.05)
        except SinkError:
            sink.close()
            sink = None
    sink.close()

    found = only(read, mlflow.address, project)

    assert [point[2] for point in found["history"]["x"]] == list(map(float, range(300)))
    assert len(found["history"]["y"]) == 300
    assert found["params"] == {"lr": "1", "wd": "2"}
    assert found["tags"]["trackkit.config.lr"] == "3"
    assert lines(read, mlflow.address, found, "console/stdout.log") == [f"line {step}" for step in range(300)]
    notes = [json.loads(line)["text"] for line in lines(read, mlflow.address, found, "texts.jsonl")]
    assert notes == [f"n{step}" for step in range(300)]
    assert found["status"] == "FINISHED"


def test_a_file_store_that_would_keep_twins_gets_none(tmp_path: Path, read: Reader, folder: Path, project: str) -> None:
    if read("version").split(".")[0] != "2":
        return  # MLflow 3 has no file store to write to
    with mlflow_server.server(tmp_path / "files", store=str(tmp_path / "files" / "mlruns")) as server:
        meddler = Meddler(server.address)
        counted = iter(range(10**9))
        meddler.meddle = lambda method, path: -1 if path.endswith("log-batch") and next(counted) % 2 == 0 else 0
        writer = Writer(folder / "store", f"{project}-r", "w").start(project=project)
        for step in range(100):
            writer.log({"x": float(step)})
        writer.finish().die()
        for _ in range(40):
            (sent,) = sync([folder / "store"], meddler.sink)
            if not sent.error:
                break
        meddler.close()

        found = only(read, server.address, project)

        assert [point[2] for point in found["history"]["x"]] == list(map(float, range(100)))


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_waited_for(
    meddler: Meddler, mlflow: Server, read: Reader, folder: Path, project: str, status: int, settings: dict[str, Any]
) -> None:
    until_then = time.monotonic() + 1.5
    meddler.meddle = lambda method, path: status if time.monotonic() < until_then else 0
    run = trackkit.init(project=project, sink=meddler.sink, dir=folder / "store", settings=settings)
    for step in range(50):
        run.log({"x": float(step)})
    run.finish()

    assert [point[2] for point in only(read, mlflow.address, project)["history"]["x"]] == list(map(float, range(50)))


def test_a_proxy_that_takes_small_messages_alone_gets_small_ones(
    mlflow: Server, read: Reader, folder: Path, project: str
) -> None:
    meddler = Meddler(mlflow.address)
    sizes: list[int] = []
    log_batches = client.Client.post

    def post(self: client.Client, endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
        if endpoint == "runs/log-batch":
            size = len(json.dumps(body))
            sizes.append(size)
            if size > 4000:
                raise client.TooLarge("413")
        return log_batches(self, endpoint, body)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client.Client, "post", post)
        writer = Writer(folder / "store", f"{project}-r", "w").start(project=project)
        for step in range(200):
            writer.log({"x": float(step)})
        writer.finish().die()
        sync([folder / "store"], meddler.sink)
    meddler.close()

    assert max(sizes) > 4000
    assert [point[2] for point in only(read, mlflow.address, project)["history"]["x"]] == list(map(float, range(200)))


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_lets_nobody_in_ends_the_sending_with_its_reason(
    meddler: Meddler, tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_CONFIRMING_PAUSES", (0.0, 0.0))
    meddler.meddle = lambda method, path: status
    lane = Lane(meddler.sink, tmp_path, Writer(tmp_path, "r", "w").start().journal, lambda: None)

    lane.deliver()

    assert "does not let us in: not now" in lane.refused
    assert not lane.due(1e12)


def test_what_is_no_mlflow_server_is_tried_again(tmp_path: Path, meddler: Meddler) -> None:
    sink = find_factory(f"{meddler.sink}/elsewhere")(f"{meddler.sink}/elsewhere", tmp_path)
    with pytest.raises((SinkError, client.Rejected), match="has nothing under"):
        sink.open("r", "w")
    lane = Lane(f"{meddler.sink}/elsewhere", tmp_path, Writer(tmp_path, "r", "w").start().journal, lambda: None)
    lane.deliver()
    assert lane.refused == ""
    assert "has nothing under" in lane.trouble


def test_users_and_passwords_are_those_of_mlflow_s_variables(
    tmp_path: Path, folder: Path, project: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's own authentication needs packages that are not always there; its wire is Basic, as a proxy asks it."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get("authorization", ""))
            self.send_response(401)
            self.send_header("content-length", "16")
            self.end_headers()
            self.wfile.write(b"You are not auth")

        do_POST = do_GET  # noqa: N815

        def log_message(self, *arguments: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    monkeypatch.setattr(client, "_CONFIRMING_PAUSES", (0.0, 0.0))
    address = f"mlflow+http://127.0.0.1:{server.server_port}"
    for variables, expected in (
        ({"USERNAME": "jo", "PASSWORD": "pä"}, "Basic am86cMOk"),
        ({"TOKEN": "t0k"}, "Bearer t0k"),
        ({}, ""),
    ):
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(f"MLFLOW_TRACKING_{name}", value)
            sink = find_factory(address)(address, tmp_path)
            with pytest.raises(SinkRefused, match="does not let us in"):
                sink.open("r", "w")
            assert asked[-1] == expected
    server.shutdown()
    server.server_close()


def test_a_killed_process_leaves_what_sync_brings_to_its_end_without_twins(
    mlflow: Server,
    read: Reader,
    script: Script,  # noqa: F811
    project: str,
) -> None:
    process = script.start(
        f"""
        run = trackkit.init(project={project!r}, dir=ROOT, id="{project}-k", sink={mlflow.sink!r}, settings=QUIET)
        for step in range(100000):
            run.log({{"x": float(step)}})
            print("line", step)
            time.sleep(0.002)
            if step == 400:
                sys.stderr.write("far enough\\n"); sys.stderr.flush()
        """
    )
    assert process.stderr is not None
    while "far enough" not in process.stderr.readline():
        pass
    until(lambda: read("runs", mlflow.address, project))
    script.stop()
    logged = sum(isinstance(record, records.Points) for record in _records(script.root, f"{project}-k"))

    (sent,) = sync([script.root], mlflow.sink)

    assert sent.error == ""
    found = only(read, mlflow.address, project)
    assert logged >= 400
    assert [point[::2] for point in found["history"]["x"]] == [[step, float(step)] for step in range(logged)]
    assert found["status"] == "FAILED"
    console = lines(read, mlflow.address, found, "console/stdout.log")
    assert console == [f"line {step}" for step in range(len(console))]
    assert len(console) > 100


def _records(root: Path, run: str) -> list[records.AnyRecord]:
    from trackkit.core.journal import JournalReader, writer_folders

    found: list[records.AnyRecord] = []
    for writer in writer_folders(root, run):
        reader, offset = JournalReader(writer, final=True), 0
        while (frames := reader.read(offset)).payloads:
            found += map(records.decode, frames.payloads)
            offset = frames.end
    return found

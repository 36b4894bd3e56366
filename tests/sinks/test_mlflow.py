"""The MLflow sink where no server is needed: addresses, variables, keys, what training waits for."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import trackkit
from tests.servers import free_port
from tests.sinks.mlflow_fake import FakeMLflow
from tests.store.journals import Writer
from trackkit.core import records
from trackkit.core.sink import find_factory
from trackkit.sinks.mlflow.access import Access, address_of
from trackkit.sinks.mlflow.content import safe_path
from trackkit.sinks.mlflow.limits import Limits, Names, as_number, fitting_key
from trackkit.sinks.mlflow.state import Mark, status_of
from trackkit.sinks.mlflow.system import named


@pytest.fixture
def fake() -> Iterator[FakeMLflow]:
    found = FakeMLflow()
    yield found
    found.close()


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("URI", "USERNAME", "PASSWORD", "TOKEN", "INSECURE_TLS", "SERVER_CERT_PATH", "CLIENT_CERT_PATH"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("mlflow+http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("mlflow+https://mlflow.example.org/tracking/", "https://mlflow.example.org/tracking"),
        ("MLFLOW+http://host", "http://host"),
    ],
)
def test_an_address_is_what_follows_the_plus(uri: str, address: str) -> None:
    assert address_of(uri) == address


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("mlflow+sqlite:///mlflow.db", "trackkit speaks to MLflow over REST alone; start a server on it"),
        ("mlflow+postgresql://h/db", "start a server on it"),
        ("mlflow+file:///tmp/mlruns", "start a server on it"),
        ("mlflow", "MLFLOW_TRACKING_URI names, and it is not set"),
        ("mlflow+http://jo:secret@host", "must not hold a user and password"),
        ("mlflow+http://", "is no address of an MLflow server"),
        ("mlflow+http://host:port", "its port is no number"),
        ("mlflow+ftp://host", "is no address of an MLflow server"),
    ],
)
def test_what_is_no_address_is_refused_where_the_run_begins(uri: str, message: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        trackkit.init(sink=uri, dir=folder, settings={"quiet": True})
    assert "secret" not in str(caught.value)


def test_mlflow_s_variables_say_who_we_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Access.of("mlflow+https://h") == Access("https://h")
    (tmp_path / ".mlflow").mkdir()
    credentials = "[mlflow]\nmlflow_tracking_username = kept\nmlflow_tracking_password = %secret\n"
    (tmp_path / ".mlflow" / "credentials").write_text(credentials)
    assert Access.of("mlflow+https://h") == Access("https://h", "kept", "%secret")
    for name, value in {
        "USERNAME": "jo", "PASSWORD": "pw", "TOKEN": "t", "SERVER_CERT_PATH": "/ca.pem", "CLIENT_CERT_PATH": "/me.pem",
        "URI": "https://named/x/",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    assert Access.of("mlflow") == Access("https://named/x", "jo", "pw", "t", "/ca.pem", "/me.pem")
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    with pytest.raises(ValueError, match="unset one of them"):
        Access.of("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_SERVER_CERT_PATH")
    assert Access.of("mlflow").verify is False


@pytest.mark.parametrize(
    ("key", "name"),
    [("a/b.c-d e_f", "a/b.c-d e_f"), ("größe", "größe"), ("a//b", "a/b"), ("./a", "_/a"), ("../a", "_/a"), ("/a", "a"),
     ("a/", "a"), ("/", "_"), (".", "_"), ("..", "_"), ("lr [0]", "lr _0_"), ("a:b", "a:b")],
)  # fmt: skip
def test_keys_are_what_they_are_where_that_is_allowed(key: str, name: str) -> None:
    assert fitting_key(key, Limits(colon=True)) == name


def test_two_keys_never_share_a_name() -> None:
    keys = ["a@1", "a_1", "a#1", "x" * 240 + "@", "x" * 260, "x" * 259 + "y"]
    names = Names(Limits(), {}, set())
    given = [names.name(key) for key in keys]
    assert len(set(given)) == len(keys)
    assert max(map(len, given)) <= 250
    again = Names(Limits(), dict(names.fresh), set(given))
    assert [again.name(key) for key in keys] == given
    assert not again.fresh


def test_values_that_json_has_no_number_for_are_words() -> None:
    assert [as_number(value) for value in (0.5, float("nan"), float("inf"), float("-inf"))] == [
        0.5, "NaN", "Infinity", "-Infinity"
    ]  # fmt: skip


def test_system_metrics_have_mlflow_s_names_and_units() -> None:
    assert named("memory.used_bytes", 3e9) == ("system/system_memory_usage_megabytes", 3000.0)
    assert named("gpu.1.power_watts", 70.0) == ("system/gpu_1_power_usage_watts", 70.0)
    assert named("network.sent_bytes_per_second", 5.0, "rank 1") == (
        "system/rank 1/network_sent_bytes_per_second", 5.0
    )  # fmt: skip


def test_paths_lead_nowhere_else() -> None:
    assert safe_path("/a/../..\\b/c?.txt") == "a/_/.._b/c_.txt"


@pytest.mark.parametrize(
    ("others", "own", "status"),
    [
        ([], Mark(state="finished", time=9.0), "FINISHED"),
        ([Mark(state="failed", time=8.0)], Mark(state="finished", time=9.0), "FAILED"),
        ([Mark(state="running", time=8.0)], Mark(state="finished", time=9.0), None),
        ([Mark(state="running", time=8.0)], Mark(state="finished", time=900.0), "FINISHED"),
        ([Mark(state="failed", time=8.0)], Mark(state="finished", started=20.0, time=30.0), "FINISHED"),
        ([Mark(state="running", role="child", time=8.0)], Mark(state="killed", time=9.0), "KILLED"),
        ([], Mark(state="finished", role="child", time=9.0), None),
    ],
)
def test_a_run_ends_as_its_writers_do(others: list[Mark], own: Mark, status: str | None) -> None:
    assert status_of([*others, own], own) == status


def test_training_waits_for_no_server(folder: Path) -> None:
    settings = {"quiet": True, "system": False, "console": "off", "git": False, "finish_timeout": 0.2}
    run = trackkit.init(sink=f"mlflow+http://127.0.0.1:{free_port()}", dir=folder / "s", settings=settings)
    for step in range(1000):
        run.log({"x": step})
    with pytest.warns(RuntimeWarning, match="safe in the journal"):
        run.finish()
    assert list((folder / "s").glob("journals/*/*/*.journal"))


def test_a_process_that_logs_imports_no_mlflow() -> None:
    source = (
        "import sys, trackkit, trackkit.sinks.mlflow.sink\n"
        "print([name for name in ('mlflow', 'pandas', 'pyarrow', 'click') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", source], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_console_is_put_whole_and_in_parts_once_it_is_long(fake: FakeMLflow, tmp_path: Path) -> None:
    writer = Writer(tmp_path, "r", "w").start()
    lines = [f"{number:06}" + "x" * 500 + "\n" for number in range(5000)]
    for line in lines:
        writer.say(records.Lines(2e9, "stdout", line))
    writer.finish()
    sink: Any = find_factory(fake.sink)(fake.sink, tmp_path)
    sink.open("r", "w")
    for batch in writer.batches(1000, 1000, 1000, 1000):
        sink.write(batch)
        _settle(sink)
    sink.close()

    parts = {path.rpartition("/")[2]: content for path, content in fake.files.items() if "/console/" in path}
    assert len(parts) >= 2
    ordered = [parts["stdout.log"], *(parts[f"stdout.{number}.log"] for number in range(1, len(parts)))]
    assert b"".join(ordered).decode() == "".join(lines)


def test_what_was_sent_is_not_asked_for_again(fake: FakeMLflow, tmp_path: Path) -> None:
    writer = Writer(tmp_path, "r", "w").start().log({"x": 1.0}).finish()
    sink: Any = find_factory(fake.sink)(fake.sink, tmp_path)
    sink.open("r", "w")
    sink.write(writer.batch())
    sink.close()
    fake.requests.clear()

    again: Any = find_factory(fake.sink)(fake.sink, tmp_path / "elsewhere")
    position = again.open("r", "w")
    assert position == writer.batch().end
    assert again.write(writer.batch()) == position
    again.close()

    assert all(method == "GET" or path.endswith("/search") for method, path in fake.requests)
    (run,) = fake.runs.values()
    assert run["status"] == "FINISHED"
    assert json.loads(run["tags"]["trackkit.writer.w"])["position"] == position


def _settle(sink: Any) -> None:
    deadline = time.monotonic() + 60
    while sink.files_waiting:
        assert time.monotonic() < deadline
        time.sleep(0.02)

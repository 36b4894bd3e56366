"""`ui`, `serve`, `login`, `logout` and `token`, as people type them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner

from tests.servers import process, serving, until
from tests.store.journals import Writer
from trackkit.cli import main
from trackkit.core import credentials, wire
from trackkit.sinks.http import HTTPSink


def run(*arguments: str, **more: object):
    return CliRunner().invoke(main, list(arguments), **more)  # type: ignore[arg-type]


def test_serving_a_network_without_tokens_is_refused_with_the_way_out(tmp_path: Path) -> None:
    result = run("serve", str(tmp_path), "--host", "0.0.0.0")

    assert result.exit_code == 1
    assert "add --auth" in result.stderr
    assert not (tmp_path / "trackkit.db").exists()


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        result = run("serve", str(tmp_path), "--port", str(server.port))

    assert result.exit_code == 1
    assert f"another program listens on port {server.port}" in result.stderr


def test_the_dashboard_of_no_store_says_what_to_do(tmp_path: Path) -> None:
    result = run("ui", str(tmp_path / "nowhere"))

    assert result.exit_code == 1
    assert "there is no store at" in result.stderr


def test_the_first_administrator_is_given_a_token_once(tmp_path: Path) -> None:
    with process(tmp_path, "--auth") as server:
        server.end()
    (secret,) = re.findall(r"^\s+(tk_\S+)$", server.output, re.MULTILINE)
    with process(tmp_path, "--auth") as again:
        answer = requests.get(
            f"{again.address}/api/v1/tokens", headers={"authorization": f"Bearer {secret}"}, timeout=10
        )
        again.end()

    assert [(token["name"], token["scope"]) for token in answer.json()["tokens"]] == [("first administrator", "admin")]
    assert "tk_" not in again.output


def test_a_server_told_to_end_does_so_though_streams_are_open(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        stream = requests.get(f"{server.address}/api/v1/events", stream=True, timeout=20)
        threading.Thread(target=lambda: list(stream.iter_lines()), daemon=True).start()
        began = time.monotonic()

        server.end(signal.SIGTERM)

        assert time.monotonic() - began < 5
        assert "Traceback" not in server.output


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_told_to_end_takes_what_is_being_sent(tmp_path: Path, workers: str) -> None:
    content = b"x" * 200_000
    digest = hashlib.sha256(content).hexdigest()
    with process(tmp_path, "--workers", workers) as server:

        def drip() -> Iterator[bytes]:
            yield content[:100_000]
            until(lambda: list((tmp_path / "incoming").glob("*")))
            server.send(signal.SIGTERM)
            time.sleep(0.5)
            yield content[100_000:]

        url, headers = f"{server.address}/api/v1/blobs/{digest}", {"x-trackkit-csrf": "x"}
        taken = requests.put(url, data=drip(), headers=headers, timeout=20)
        server.end()

    assert taken.status_code == 201
    assert "Traceback" not in server.output


def test_the_log_is_lines_of_json_where_asked_and_nobody_forges_a_line(tmp_path: Path) -> None:
    forged = "/api/v1/runs/x%0A12:00:00 INFO trackkit.server: all is well"
    with process(tmp_path, "--log-json", "--log-level", "debug") as server:
        requests.get(f"{server.address}/api/v1/projects", timeout=10)
        requests.get(server.address + forged, timeout=10)
        server.end()
    with process(tmp_path) as plain:
        requests.get(plain.address + forged, timeout=10)
        plain.end()

    entries = [json.loads(line) for line in server.output.splitlines() if line.startswith("{")]
    assert len(entries) == len(server.output.splitlines()) - 1  # the first line is for people
    (entry,) = [entry for entry in entries if entry.get("path") == "/api/v1/projects"]
    assert {"time", "level", "logger", "message", "method", "status", "ms", "client"} <= set(entry)
    assert (entry["method"], entry["status"], entry["level"]) == ("GET", 200, "debug")
    assert [entry["status"] for entry in entries if "/runs/x" in entry.get("path", "")] == [404]
    assert "\n12:00:00 INFO trackkit.server: all is well" not in plain.output
    assert "%0A12" in plain.output


def test_the_browser_is_sent_to_the_dashboard(tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    (tmp_path / "store").mkdir()
    child = subprocess.Popen(
        [sys.executable, "-m", "trackkit", "ui", str(tmp_path / "store"), "--port", "0"],
        env={**os.environ, "BROWSER": str(browser)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: (tmp_path / "opened").exists() and (tmp_path / "opened").read_text())
        address = (tmp_path / "opened").read_text().strip()

        assert until(lambda: requests.get(f"{address}/health", timeout=5).status_code == 200)
        assert address.startswith("http://127.0.0.1:")
    finally:
        child.terminate()
        child.communicate(timeout=20)


def test_the_first_administrator_can_choose_a_token_that_is_long_enough(tmp_path: Path) -> None:
    refused = run("serve", str(tmp_path), "--auth", "--port", "0", env={"TRACKKIT_ADMIN_TOKEN": "admin"})
    chosen = "c" * 32
    with process(tmp_path, "--auth", env={"TRACKKIT_ADMIN_TOKEN": chosen}) as server:
        headers = {"authorization": f"Bearer {chosen}"}
        answer = requests.get(f"{server.address}/api/v1/tokens", headers=headers, timeout=10)
        server.end()

    assert refused.exit_code == 1
    assert "has 5 characters, which can be guessed" in refused.stderr
    assert answer.status_code == 200
    assert chosen not in server.output


@pytest.mark.postgres
@pytest.mark.parametrize("on", ["sqlite", "postgres"])
def test_a_run_is_taken_by_several_processes_that_count_together(
    on: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store = ("--store", request.getfixturevalue("postgres_url")) if on == "postgres" else ()
    with process(tmp_path / "server", "--workers", "3", *store) as server:
        sent, hints = 0, []
        stream = requests.get(f"{server.address}/api/v1/events", stream=True, timeout=20)
        reading = threading.Thread(target=lambda: hints.extend(_lines_until_finished(stream)), daemon=True)
        reading.start()
        writer = Writer(tmp_path / "client", "r", "w").start()
        for step in range(60):
            batch = writer.log({"x": step}).batch(0 if step == 0 else step + 1)
            body = wire.encode("r", "w", batch.start, batch)
            headers = {"content-type": wire.CONTENT_TYPE, "x-trackkit-csrf": "x"}
            url = f"{server.address}/api/v1/runs/r/journals/w"
            assert requests.post(url, data=body, headers=headers, timeout=20).status_code == 200  # a new connection
            sent += len(batch)
        sink = HTTPSink(server.address, tmp_path / "client")
        sink.open("r", "w")
        sink.write(writer.finish().batch(61))
        sink.close()
        sent += 1
        shown = server.ask("/runs/r")["run"]
        counted = requests.get(f"{server.address}/metrics", timeout=10).text
        reading.join(20)
        server.end()

    assert (shown["state"], shown["keys"]["metric"][0]["count"]) == ("finished", 60)
    assert f"trackkit_ingested_records_total {float(sent)}" in counted
    assert hints[-1]["state"] == "finished"
    assert "Traceback" not in server.output


def _lines_until_finished(stream: requests.Response) -> Iterator[Any]:
    for line in stream.iter_lines(chunk_size=1, decode_unicode=True):
        if line.startswith("data: ") and "state" in (data := json.loads(line[6:])):
            yield data
            if data["state"] == "finished":
                return


@pytest.mark.postgres
def test_tokens_of_a_store_on_postgresql_are_given_out_too(postgres_url: str, tmp_path: Path) -> None:
    with serving(tmp_path, postgres_url, auth=True) as server:
        secret = run("token", "create", "ada", "-d", postgres_url).stdout.strip()
        headers = {"authorization": f"Bearer {secret}"}
        (listed,) = json.loads(run("token", "ls", "-d", postgres_url, "--json").stdout)

        assert server.ask("GET", "/runs", headers=headers).status_code == 200
        assert run("token", "revoke", listed["id"], "-d", postgres_url).exit_code == 0
        assert server.ask("GET", "/runs", headers=headers).status_code == 401


def test_several_processes_serve_one_store(tmp_path: Path) -> None:
    with process(tmp_path, "--workers", "2") as server:
        for number in range(20):
            view = {"project": "p", "name": f"v{number}", "content": {}}
            answer = requests.put(
                f"{server.address}/api/v1/views/v{number}", json=view, headers={"x-trackkit-csrf": "x"}, timeout=10
            )
            assert answer.status_code == 200
        listed = requests.get(f"{server.address}/api/v1/views?project=p", timeout=10).json()["views"]
        server.end()

    assert len(listed) == 20
    assert "Traceback" not in server.output


def test_tokens_are_made_listed_and_revoked(tmp_path: Path) -> None:
    with serving(tmp_path, auth=True) as server:
        secret = run("token", "create", "ada", "--scope", "read", "-d", str(tmp_path)).stdout.strip()
        headers = {"authorization": f"Bearer {secret}"}
        assert server.ask("GET", "/runs", headers=headers).status_code == 200

        (listed,) = json.loads(run("token", "ls", "-d", str(tmp_path), "--json").stdout)
        assert (listed["name"], listed["scope"], listed["projects"]) == ("ada", "read", None)
        assert "ada" in run("token", "ls", "-d", str(tmp_path)).stdout
        assert run("token", "revoke", listed["id"], "-d", str(tmp_path)).exit_code == 0
        assert server.ask("GET", "/runs", headers=headers).status_code == 401

    missing = run("token", "revoke", listed["id"], "-d", str(tmp_path))
    assert missing.exit_code == 1
    assert "there is no token" in missing.stderr


def test_logging_in_keeps_a_token_that_is_good_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path, auth=True) as server:
        secret = server.token("ada")

        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password theirs\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))  # which is for another service of that host
        refused = run("login", server.address, "--token", "tk_wrong")
        done = run("login", f"{server.address}/projects/x", input=f"{secret}\n")

        assert refused.exit_code == 1
        assert "this token is wrong" in refused.stderr
        assert done.exit_code == 0, done.output
        assert "as ada (scope write)" in done.stdout
        assert secret not in done.stdout
        assert credentials.token_for(server.address) == secret
        assert run("logout", server.address).stdout == "forgotten\n"
        assert credentials.token_for(server.address) == ""


def test_logging_in_at_several_servers_keeps_the_token_for_each(tmp_path: Path) -> None:
    with serving(tmp_path, auth=True) as server:
        secret = server.token("ada")
        address = f"{server.address},other.example.org:5757"

        assert run("login", address, "--token", secret).exit_code == 0
        assert credentials.token_for("http://other.example.org:5757") == secret
        assert run("logout", address).stdout == "forgotten\n"
        assert credentials.token_for("http://other.example.org:5757") == ""
    wrong = run("login", "track.example.org", "--token", "tk_x")
    assert wrong.exit_code == 1
    assert "is no address of a server" in wrong.stderr


def test_logging_in_where_nobody_answers_says_so() -> None:
    result = run("login", "http://127.0.0.1:9", "--token", "tk_x")

    assert result.exit_code == 1
    assert "can't be reached" in result.stderr


def test_the_file_of_tokens_is_its_owner_s_alone(tmp_path: Path) -> None:
    path = credentials.keep("https://track.example.org/p", "tk_1")

    assert path.stat().st_mode & 0o077 == 0
    assert credentials.token_for("https://track.example.org:443") == "tk_1"
    assert credentials.token_for("http://track.example.org") == ""


def test_the_environment_s_token_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials.keep("http://h:1", "tk_kept")
    monkeypatch.setenv("TRACKKIT_TOKEN", "tk_given")

    assert credentials.token_for("http://h:1") == "tk_given"


def test_the_dashboard_takes_the_next_free_port(tmp_path: Path) -> None:
    with process(tmp_path) as taken:
        child = subprocess.Popen(
            [sys.executable, "-m", "trackkit", "ui", str(tmp_path), "--port", str(taken.port), "--no-browser"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert child.stdout is not None
            address = re.findall(r"http://\S+", child.stdout.readline())[0]
            until(lambda: requests.get(f"{address}/health", timeout=5).status_code == 200)
        finally:
            child.terminate()
            child.wait(20)

    assert address != taken.address

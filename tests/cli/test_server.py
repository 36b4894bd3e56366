"""`ui`, `serve`, `login`, `logout` and `token`, as people type them."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from tests.servers import process, serving, until
from trackkit.cli import main
from trackkit.core import credentials


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


def test_logging_in_keeps_a_token_that_is_good_and_no_other(tmp_path: Path) -> None:
    with serving(tmp_path, auth=True) as server:
        secret = server.token("ada")

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
    import subprocess
    import sys

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

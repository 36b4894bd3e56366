"""`trackkit sync`."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path


def test_sync_brings_an_offline_run_into_the_store_here(ask, start_run, tmp_path: Path):
    with start_run("away", mode="offline") as run:
        run.log({"loss": 0.5})
    (sent,) = ask("sync", root=tmp_path)
    assert sent["finished"]
    assert [run["state"] for run in ask("ls", root=tmp_path)] == ["finished"]


def test_sync_sends_to_another_store_and_sends_nothing_twice(ask, start_run, tmp_path: Path):
    with start_run("away", mode="offline") as run:
        for step in range(10):
            run.log({"loss": step})
    target = tmp_path / "elsewhere" / "trackkit.db"
    arguments = ("sync", str(tmp_path), "--to", f"sqlite:///{target}")
    first, second = ask(*arguments), ask(*arguments)
    assert first[0]["sent"] > 0
    assert second[0]["sent"] == 0
    assert ask("sql", "select count(*) as n from history", root=target.parent) == [{"n": 10}]


def test_a_synced_run_counts_as_sent(ask, start_run, tmp_path: Path):
    with start_run("away", mode="offline") as run:
        run.log({"loss": 0.5})
    ask("sync", root=tmp_path)
    assert [journal["unsent"] for journal in ask("status", root=tmp_path)["journals"]] == [0]


def test_a_journal_that_cannot_be_sent_is_told_and_fails_the_command(call, start_run, tmp_path: Path):
    with start_run("away", mode="offline") as run:
        run.log({"loss": 0.5})
    (tmp_path / "file").write_text("")
    result = call("sync", "--to", f"sqlite:///{tmp_path}/file/trackkit.db", root=tmp_path)
    assert result.exit_code == 1
    assert "not sent to its end" in result.stderr


def test_a_sink_nobody_knows_is_wrong_usage(call, start_run, tmp_path: Path):
    with start_run("away", mode="offline") as run:
        run.log({"loss": 0.5})
    result = call("sync", "--to", "pigeon://post", root=tmp_path)
    assert result.exit_code == 2
    assert "pigeon" in result.stderr


def test_a_store_without_journals_has_nothing_to_send(call):
    assert "everything was delivered" in call("sync").stdout


def test_an_interrupt_ends_the_following_and_what_was_sent_is_told(start_run, tmp_path: Path):
    run = start_run("away", mode="offline")
    run.log({"loss": 0.5})
    command = [sys.executable, "-m", "trackkit", "sync", str(tmp_path), "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30
        while not (tmp_path / "trackkit.db").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert out.startswith("away/")
    assert out.endswith("still going\n")

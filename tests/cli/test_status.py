"""`trackkit status`."""

from __future__ import annotations

from pathlib import Path


def test_status_of_a_store_at_rest_has_runs_and_sizes(ask):
    status = ask("status")
    assert status["runs"] == 4
    assert status["running"] == []
    assert status["database_size"] > 0


def test_status_shows_a_run_that_is_running_with_its_journal(ask, make_run, start_run, tmp_path: Path):
    make_run("done")
    start_run("live").log({"loss": 1.0})
    status = ask("status", root=tmp_path)
    assert [(journal["run"], journal["alive"]) for journal in status["journals"]] == [("live", True)]


def test_status_counts_the_records_of_an_offline_run_that_nobody_has(ask, call, start_run, tmp_path: Path):
    with start_run("away", mode="offline") as run:
        for step in range(100):
            run.log({"loss": step})
    (journal,) = ask("status", root=tmp_path)["journals"]
    assert not journal["alive"]
    assert journal["unsent"] >= 100
    assert "offline" in call("status", root=tmp_path).stdout

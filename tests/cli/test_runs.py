"""`trackkit ls` and `trackkit rm`."""

from __future__ import annotations

from pathlib import Path

import pytest


def test_ls_lists_runs_newest_first(ask):
    assert [run["id"] for run in ask("ls")] == ["broken", "other", "fast", "slow"]


def test_ls_filters_orders_and_limits(ask):
    runs = ask("ls", "config.lr < 5", "--project", "digits", "--order", "-summary.accuracy", "--limit", "1")
    assert [run["id"] for run in runs] == ["fast"]


def test_ls_gives_config_nested_and_summary_flat(ask):
    (run,) = ask("ls", 'tags has "baseline"')
    assert run["config"] == {"lr": 0.01, "model": {"depth": 3}}
    assert run["summary"]["loss.min"] == pytest.approx(1 / 1.19)
    assert run["state"] == "finished"


def test_ls_writes_nan_as_a_string_that_json_can_hold(ask):
    (run,) = ask("ls", 'state = "failed"')
    assert run["summary"]["loss"] == "NaN"


def test_ls_picks_the_config_that_differs_and_takes_no_name_for_markup(call):
    output = call("ls", "--project", "digits").stdout
    header = output.splitlines()[0].split()
    assert "lr" in header
    assert "model.depth" not in header or "broken" in output
    assert "net [lr=0.01]" in output


def test_ls_shows_the_columns_asked_for(call):
    header = call("ls", "--columns", "config.model.depth,summary.loss").stdout.splitlines()[0].split()
    assert header[-2:] == ["model.depth", "loss"]


def test_ls_quiet_prints_ids_for_other_commands(call):
    assert call("ls", "-q", "--project", "digits").stdout.split() == ["broken", "fast", "slow"]


def test_ls_counts_the_runs_of_projects(ask):
    assert {each["name"]: each["runs"] for each in ask("ls", "--projects")} == {"digits": 3, "letters": 1}


def test_a_filter_that_means_nothing_points_at_the_place(call):
    result = call("ls", "config.lr <")
    assert result.exit_code == 1
    assert "^" in result.stderr
    assert "Traceback" not in result.stderr


def test_rm_deletes_what_is_confirmed(ask, call, make_run, tmp_path: Path):
    make_run("one")
    make_run("two")
    result = call("rm", "digits/one", input="y\n", root=tmp_path)
    assert result.exit_code == 0
    assert [run["id"] for run in ask("ls", root=tmp_path)] == ["two"]


def test_rm_deletes_nothing_if_the_answer_is_no(ask, call, make_run, tmp_path: Path):
    make_run("one")
    result = call("rm", "one", input="n\n", root=tmp_path)
    assert result.exit_code == 1
    assert [run["id"] for run in ask("ls", root=tmp_path)] == ["one"]


def test_rm_deletes_nothing_if_one_of_the_runs_is_unknown(ask, call, make_run, tmp_path: Path):
    make_run("one")
    result = call("rm", "one", "none", "--yes", root=tmp_path)
    assert result.exit_code == 1
    assert "there is no run 'none'" in result.stderr
    assert [run["id"] for run in ask("ls", root=tmp_path)] == ["one"]


def test_rm_with_json_wants_to_be_told_yes(call):
    assert call("rm", "slow", "--json").exit_code == 2

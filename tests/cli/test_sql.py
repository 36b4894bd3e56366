"""`trackkit sql`."""

from __future__ import annotations


def test_sql_answers_from_the_history_of_every_run(ask):
    rows = ask("sql", "select run, count(*) as points from history where key = 'loss' group by run order by run")
    assert rows == [{"run": "broken", "points": 1}] + [{"run": run, "points": 20} for run in ("fast", "other", "slow")]


def test_sql_takes_parameters(ask):
    assert ask("sql", "select id from runs where project = :p", "-p", "p", "letters") == [{"id": "other"}]


def test_sql_prints_csv(call):
    lines = call("sql", "select id, project from runs order by id", "--csv").stdout.splitlines()
    assert lines[:2] == ["id,project", "broken,digits"]


def test_sql_cannot_change_the_store(ask, call):
    result = call("sql", "delete from runs")
    assert result.exit_code == 1
    assert "readonly" in result.stderr
    assert ask("sql", "select count(*) as n from runs") == [{"n": 4}]


def test_wrong_sql_is_told_in_a_sentence(call):
    result = call("sql", "selec 1")
    assert result.exit_code == 1
    assert "syntax error" in result.stderr
    assert "Traceback" not in result.stderr

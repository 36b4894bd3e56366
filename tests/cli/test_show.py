"""`trackkit show`."""

from __future__ import annotations


def test_show_says_what_a_run_was_given_and_what_came_out(call):
    output = call("show", "slow").stdout
    assert "net [lr=0.01]" in output
    assert "finished" in output
    assert "model.depth" in output
    assert "baseline" in output


def test_show_without_a_name_shows_the_newest_run(ask):
    assert ask("show")["id"] == "broken"


def test_show_draws_a_sparkline_of_each_metric(call):
    lines = call("show", "fast").stdout.splitlines()
    (loss,) = (line for line in lines if line.strip().startswith("loss") and "█" in line)
    assert loss.split()[1].startswith("█")
    assert loss.split()[1].endswith("▁")


def test_show_draws_the_charts_asked_for(call):
    output = call("show", "fast", "--key", "acc*").stdout
    assert "accuracy" in output
    assert "└──" in output


def test_show_names_the_metrics_there_are_if_none_matches(call):
    result = call("show", "fast", "--key", "nope")
    assert result.exit_code == 1
    assert "accuracy, loss" in result.stderr


def test_show_tells_how_a_run_failed_and_its_alerts(ask, call):
    output = call("show", "broken").stdout
    assert "ZeroDivisionError" in output
    assert "the loss is no number" in output
    page = ask("show", "broken")
    assert page["exit_code"] == 1
    assert page["alerts"][0]["level"] == "error"


def test_show_says_in_a_line_what_tracking_cost(ask, call):
    assert ask("show", "fast")["accounting"]["calls"] >= 20
    last = call("show", "fast").stdout.splitlines()[-1]
    assert "µs a call" in last
    assert "nothing dropped" in last


def test_an_unknown_run_is_told_in_a_sentence(call):
    result = call("show", "fest")
    assert result.exit_code == 1
    assert "there is no run 'fest'" in result.stderr
    assert "did you mean digits/fast" in result.stderr

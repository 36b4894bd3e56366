"""`trackkit show`."""

from __future__ import annotations

import time

import trackkit
from trackkit.cli.show import accounting_line


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


def test_show_tells_a_program_what_it_shows_people(ask, start_run, tmp_path):
    assert [metric["key"] for metric in ask("show", "fast")["metrics"]] == ["accuracy", "loss"]
    assert [metric["key"] for metric in ask("show", "fast", "--key", "acc*")["metrics"]] == ["accuracy"]
    assert "system" not in ask("show", "fast")
    run = start_run("watched", settings={"system": True, "system_interval": 0.05, "interval": 0.05})
    run.log({"loss": 1.0})
    told: list[dict[str, object]] = []
    end = time.monotonic() + 30
    while not told and time.monotonic() < end:
        time.sleep(0.1)
        if (tmp_path / "trackkit.db").exists():
            told = ask("show", "watched", "--system", root=tmp_path)["system"]
    assert "memory.percent" in [metric["key"] for metric in told]
    assert all(metric["count"] > 0 for metric in told)


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


def test_a_call_that_was_not_timed_is_not_told_to_cost_nothing():
    line = accounting_line({"calls": 12.0, "call_microseconds": 0.0, "journal_bytes": 900.0, "dropped": 0.0})
    assert line == "tracking: 12 records, 900 B of journal, nothing dropped"


def test_show_tells_the_machines_readings_in_their_units(start_run, call, tmp_path):
    start_run("machine", settings={"system": True, "system_interval": 0.1}).log({"loss": 1.0})
    time.sleep(0.5)
    trackkit.finish()
    lines = call("show", "machine", "--system", root=tmp_path).stdout.splitlines()
    (memory,) = (line for line in lines if line.strip().startswith("memory.used_bytes"))
    (share,) = (line for line in lines if line.strip().startswith("memory.percent"))
    assert memory.count("iB") == 4
    assert share.count("%") == 4


def test_show_lists_files_and_counts_source_files(start_run, call, tmp_path):
    sources = tmp_path / "sources"
    sources.mkdir()
    for name in ("a.py", "b.py"):
        (sources / name).write_text("print(1)\n")
    run = start_run("files", group="sweep 7", job_type="train")
    run.log_code(sources)
    run.finish()
    output = call("show", "files", root=tmp_path).stdout
    assert "2 source files  code  18 B" in output
    assert "sweep 7" in output
    assert "job type train" in output
    assert output.count("files") == 3, "the id, the heading and the line; the name, which is the id, is not repeated"


def test_a_run_with_very_many_keys_is_shown_in_part(start_run, call, ask, tmp_path):
    start_run("many").log({f"key_{number:03d}": float(number) for number in range(200)})
    trackkit.finish()
    lines = call("show", "many", root=tmp_path).stdout.splitlines()
    assert len(lines) < 130
    assert "  and 140 more, which --json lists" in lines
    assert "  and 160 more; --key GLOB draws them" in lines
    assert len(ask("show", "many", root=tmp_path)["metrics"]) == 200


def test_the_terminal_obeys_nothing_a_run_has_in_its_names(start_run, call, tmp_path):
    start_run("odd", name="clear\x1b[2J", config={"a\nb": "\x1b]0;title\x07"}).log({"c\rd": 1.0})
    trackkit.finish()
    for command in (["show", "odd"], ["ls"], ["tail", "odd"]):
        output = call(*command, root=tmp_path).stdout
        assert not set(output) & set("\x1b\x07\r")
    assert "a\\nb" in call("show", "odd", root=tmp_path).stdout
    assert "clear\\x1b[2J" in call("ls", root=tmp_path).stdout


def test_an_unknown_run_is_told_in_a_sentence(call):
    result = call("show", "fest")
    assert result.exit_code == 1
    assert "there is no run 'fest'" in result.stderr
    assert "did you mean digits/fast" in result.stderr

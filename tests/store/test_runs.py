"""Runs are listed in order, loaded a page at a time, changed and deleted."""

from __future__ import annotations

import math
import re

import pytest

from tests.store.conftest import EPOCH
from trackkit.backend.store import changes, direct, mlflow_runs, run_tags, runs, submissions, writers
from trackkit.backend.store.filters import FilterError, parse
from trackkit.backend.store.schema import MIGRATIONS
from trackkit.core import records


def test_runs_are_ordered_by_several_keys_with_missing_values_last(db, fill):
    a = fill.run(config={"lr": 0.1}, summary={"acc": 0.5})
    b = fill.run(config={"lr": 0.1}, summary={"acc": 0.9})
    c = fill.run(config={"lr": 0.2})
    d = fill.run(config={"lr": math.nan}, summary={"acc": 1})
    e = fill.run()

    assert runs.numbers(db, order="config.lr,-summary.acc") == [b, a, c, d, e]
    assert runs.numbers(db, order=["-config.lr", "+summary.acc"])[:3] == [c, a, b]
    assert runs.numbers(db, order="-summary.acc")[-2:] == [e, c]


def test_ties_keep_the_order_in_which_runs_began(db, fill):
    numbers = [fill.run(name="same") for _ in range(5)]

    assert runs.numbers(db, order="name") == numbers
    assert runs.numbers(db, order="-name") == numbers[::-1]


def test_numbers_come_before_text_when_a_key_has_both(db, fill):
    text, number = fill.run(config={"x": "a"}), fill.run(config={"x": 3})

    assert runs.numbers(db, order="config.x") == [number, text]


def test_an_order_by_an_unknown_key_is_refused(db):
    with pytest.raises(FilterError, match="there is no field 'loss'"):
        runs.numbers(db, order="-loss")
    with pytest.raises(FilterError, match="runs can't be ordered by tags"):
        runs.numbers(db, order="tags")


def test_a_listing_is_filtered_limited_and_counted(db, fill):
    numbers = [fill.run(config={"lr": position}) for position in range(10)]
    filters = parse("config.lr >= 5")

    assert runs.numbers(db, filters, "created", limit=3) == numbers[5:8]
    assert runs.count(db, filters) == 5
    assert runs.count(db) == 10


def test_a_page_comes_with_config_summary_and_tags_in_the_order_asked(db, fill):
    a = fill.run("a", config={"model": {"dim": 8}, "layers": [1, 2]}, summary={"loss": math.inf}, tags=["y", "x"])
    b = fill.run("b", notes="hello", run_group="g")

    second, first = runs.load(db, [b, 404, a])

    assert (second.id, second.notes, second.group, second.config) == ("b", "hello", "g", {})
    assert first.config == {"layers": [1, 2], "model.dim": 8}
    assert first.summary == {"loss": math.inf}
    assert first.tags == ["x", "y"]


def test_a_listing_of_many_runs_loads_over_several_pages(db, fill):
    numbers = [fill.run(config={"n": position}) for position in range(runs.PAGE + 3)]

    assert [row.config["n"] for row in runs.load(db, numbers)] == list(range(len(numbers)))


def test_a_run_is_found_by_id_and_project(db, fill):
    number = fill.run("abc", project="mnist")

    assert runs.find(db, "abc") == runs.find(db, "abc", "mnist") == number
    assert runs.find(db, "abc", "cifar") is None


def test_projects_show_the_latest_activity_first(db, fill):
    fill.run(project="old", updated=EPOCH)
    fill.run(project="new", updated=EPOCH + 5, state="running")
    fill.run(project="new", updated=EPOCH + 1)

    assert [(p.name, p.runs, p.running, p.updated) for p in runs.projects(db)] == [
        ("new", 2, 1, EPOCH + 5),
        ("old", 1, 0, EPOCH),
    ]


def test_a_run_is_edited(db, fill):
    number = fill.run(config={"lr": 0.1, "gone": 1}, summary={"acc": 0.5, "bad": 1}, tags=["a"])

    runs.describe(db, number, {"name": "better", "group": "g"})
    runs.set_tags(db, number, ["b", "c", "b"])
    runs.edit_config(db, number, {"lr": 0.2, "opt": "sgd"}, ["gone"])
    runs.edit_summary(db, number, {"acc": 0.7}, ["bad"])

    (row,) = runs.load(db, [number])
    assert (row.name, row.group, row.tags) == ("better", "g", ["b", "c"])
    assert row.config == {"lr": 0.2, "opt": "sgd"}
    assert row.summary == {"acc": 0.7}
    assert db.query("select edited from summary where key = 'acc'") == [(1,)]
    assert row.updated > EPOCH + 10**12


def test_a_deleted_run_leaves_no_row_and_others_whole(db, fill):
    gone, kept = (
        fill.run(config={"a": 1}, summary={"b": 2}, tags=["t"], host="h"),
        fill.run(config={"a": 1}, summary={"b": 2}, tags=["t"], host="h"),
    )
    for number in (gone, kept):
        fill.series(number, "loss", [1.0] * 20, per_chunk=16)
        fill.texts(number, "note", ["x"])
        fill.lines(number, [("stdout", "x\n")])
        fill.object(number, "a.txt")
        db.insert_many("metrics", ["run", "name", "hidden", "position"], [(number, "loss", 0, 0)])
        alert = (number, "w", 0, EPOCH, "info", "t", "")
        db.insert_many("alerts", ["run", "writer", "seq", "time", "level", "title", "text"], [alert])
        db.insert_many("rewinds", ["run", "writer", "seq", "time", "step"], [(number, "w", 0, EPOCH, 9)])
        submissions.receive(db, number, "w", 1, records.Artifact(1.0, "t", "data", "dataset", "0" * 64, 1, 1))
        submissions.note_use(db, number, "w", 2, records.Use(1.0, "data:v0", "p", "data", "dataset", 0, "0" * 64))
        run_tags.set_all(db, number, {"kind": "test"})
        direct.log(db, number, [direct.Point("m", 2, EPOCH, 1.0), direct.Point("m", 1, EPOCH, 2.0)])
        dataset = mlflow_runs.DatasetInput("d", "1", "local", "{}", None, None, [])
        mlflow_runs.add_datasets(db, number, "p", [dataset])
        mlflow_runs.add_models(db, number, "output", [("m-1", 0)])
    before = rows_per_table(db, kept)

    runs.delete(db, gone)

    assert set(rows_per_table(db, gone).values()) == {0}
    assert rows_per_table(db, kept) == before
    assert min(before.values()) > 0


def rows_per_table(db, run):
    statements = [statement for _, migration in MIGRATIONS for statement in migration]
    tables = [table for sql in statements for table in re.findall(r"create table (\w+) \(\s*run ", sql)]
    return {table: db.query(f"select count(*) from {table} where run = ?", [run])[0][0] for table in tables}


@pytest.mark.sqlite
def test_no_statement_of_a_listing_scans_config_or_summary(db, fill):
    plans = []
    db.connection.set_trace_callback(plans.append)
    runs.numbers(db, parse("config.lr < 1 and summary.acc > 0"), "-summary.acc")
    runs.load(db, [fill.run()])
    db.connection.set_trace_callback(None)

    for sql in [plan for plan in plans if plan.startswith("select")]:
        steps = [row[3] for row in db.query(f"explain query plan {sql}")]
        assert not [step for step in steps if step.startswith("SCAN") and "runs" not in step], steps


def test_a_run_in_the_trash_is_in_no_listing_and_comes_back(db, fill):
    a, b = fill.run(), fill.run()

    runs.trash(db, [a])

    assert runs.numbers(db) == [b]
    assert runs.numbers(db, trash=True) == [a]
    assert runs.count(db) == 1
    assert [project.runs for project in runs.projects(db)] == [1]

    runs.restore(db, [a])

    assert sorted(runs.numbers(db)) == [a, b]
    assert runs.numbers(db, trash=True) == []


def test_a_change_moves_the_version_of_its_run_alone(db, fill):
    a, b = fill.run("a"), fill.run("b")
    runs.set_tags(db, a, ["x"])
    seen = changes.latest(db)

    runs.set_tags(db, b, ["x"])
    runs.set_tags(db, b, ["x", "y"])

    assert [change.run for change in changes.since(db, seen)] == ["b"]
    assert changes.versions(db, [a, b]) == {a: seen, b: changes.latest(db)}
    assert changes.since(db, changes.latest(db)) == []


def test_only_a_running_run_can_be_asked_to_stop(db, fill):
    running, finished = fill.run(state="running"), fill.run(state="finished")

    writers.ask_to_stop(db, running)
    writers.ask_to_stop(db, finished)

    assert writers.is_asked_to_stop(db, running)
    assert not writers.is_asked_to_stop(db, finished)

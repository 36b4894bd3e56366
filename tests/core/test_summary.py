"""The rules by which a metric's points become its summary, and `run.summary` while a run goes on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trackkit
from trackkit.core.journal import Frames
from trackkit.core.recorder import Recorder
from trackkit.core.records import Define
from trackkit.core.run import Run
from trackkit.core.summary import Definition, Statistics, define, entry_keys, match, summarise
from trackkit.core.summary_view import RunSummary
from trackkit.core.writer import JournalWriter

NAN, INF = math.nan, math.inf
SETTINGS: dict[str, Any] = {"system": False, "git": False, "packages": False, "console": "off", "quiet": True}


def statistics(values: list[float]) -> Statistics:
    made = Statistics()
    for value in values:
        made.add(value)
    return made


def described(found: Statistics) -> str:
    return repr([getattr(found, name) for name in ("count", "finite", "min", "max", "first", "last")])


@pytest.mark.parametrize(
    ("values", "entries"),
    [
        ([], {"x": NAN, "x.min": NAN, "x.max": NAN, "x.mean": NAN, "x.first": NAN, "x.best": NAN}),
        ([NAN], {"x": NAN, "x.min": NAN, "x.max": NAN, "x.mean": NAN, "x.first": NAN, "x.best": NAN}),
        ([2.0, 1.0, 3.0], {"x": 3.0, "x.min": 1.0, "x.max": 3.0, "x.mean": 2.0, "x.first": 2.0, "x.best": 1.0}),
        ([NAN, 2.0, NAN], {"x": NAN, "x.min": 2.0, "x.max": 2.0, "x.mean": 2.0, "x.first": NAN, "x.best": 2.0}),
        ([1.0, -INF], {"x": -INF, "x.min": -INF, "x.max": 1.0, "x.mean": -INF, "x.first": 1.0, "x.best": -INF}),
        ([INF, INF], {"x": INF, "x.min": INF, "x.max": INF, "x.mean": INF, "x.first": INF, "x.best": INF}),
    ],
    ids=repr,
)
def test_each_rule_gives_an_entry_and_nan_never_hides_a_number(values: list[float], entries: dict[str, float]) -> None:
    definition = Definition("x", summary=("last", "min", "max", "mean", "first", "best"))

    found = summarise("x", statistics(values), definition)

    assert list(found) == list(entries)
    assert repr(found) == repr(entries)  # NaN is not equal to itself
    assert set(found) == set(entry_keys("x"))


@given(st.lists(st.floats()), st.lists(st.floats()))
def test_statistics_of_two_parts_are_those_of_the_whole(before: list[float], after: list[float]) -> None:
    joined = statistics(before)
    joined.merge(statistics(after))

    whole = statistics(before + after)

    assert described(joined) == described(whole)
    assert joined.mean == pytest.approx(whole.mean, rel=1e-9, abs=1e280, nan_ok=True)


def test_without_a_rule_the_last_value_stands_under_the_metrics_key() -> None:
    found = statistics([3.0, 1.0])

    assert summarise("loss", found) == {"loss": 1.0}
    assert summarise("loss", found, Definition("loss", goal="minimize")) == {"loss": 1.0}
    assert summarise("loss", found, Definition("loss", summary=("none",))) == {}
    assert summarise("loss", found, Definition("loss", summary=("min",))) == {"loss.min": 1.0}


def test_best_follows_the_goal() -> None:
    found = statistics([3.0, 1.0])

    assert summarise("x", found, Definition("x", summary=("best",), goal="maximize")) == {"x.best": 3.0}
    assert summarise("x", found, Definition("x", summary=("best",), goal="minimize")) == {"x.best": 1.0}


def test_a_metric_falls_under_its_name_before_any_glob_and_under_the_latest_of_globs() -> None:
    definitions = [Definition("loss"), Definition("*"), Definition("val/*"), Definition("val/acc*")]

    def matching(key: str) -> str | None:
        found = match(definitions, key)
        return None if found is None else found.name

    assert [matching(key) for key in ("loss", "val/loss", "val/accuracy", "other")] == [
        "loss",
        "val/*",
        "val/acc*",
        "*",
    ]
    assert match([], "loss") is None
    assert match([Definition("Loss")], "loss") is None


def test_definitions_of_one_name_add_up() -> None:
    definitions: tuple[Definition, ...] = ()
    for record in (
        Define(1.0, "loss", "epoch", ["min"], "minimize", False),
        Define(2.0, "acc", None, ["max"], None, False),
        Define(3.0, "loss", None, ["max", "min"], None, True),
    ):
        definitions = define(definitions, record)

    assert definitions == (
        Definition("acc", None, ["max"], None, False),
        Definition("loss", "epoch", ["min", "max"], "minimize", True),
    )


@pytest.fixture
def run(folder: Path) -> Iterator[Run]:
    with trackkit.init(id="abc", settings=SETTINGS) as started:
        yield started


def test_the_last_value_is_there_at_once(run: Run) -> None:
    run.log({"loss": 0.5, "note": "a"})
    first = run.summary.as_dict()
    run.log({"loss": 0.25, "note": "b"})

    assert first == {"loss": 0.5, "note": "a"}
    assert run.summary.as_dict() == {"loss": 0.25, "note": "b"}
    assert (run.summary["loss"], run.summary.loss, len(run.summary)) == (0.25, 0.25, 2)


def test_what_is_set_by_hand_stands_whatever_is_logged(run: Run) -> None:
    run.summary["best"] = {"epoch": 3, "score": 0.9}
    run.summary.update({"loss": 0.1}, note="chosen by hand")
    run.log({"loss": 0.5})

    assert run.summary["best"] == {"epoch": 3, "score": 0.9}
    assert run.summary["best.epoch"] == 3
    assert run.summary["loss"] == 0.1


def test_a_nested_entry_reads_as_a_dict_and_a_missing_one_is_an_error(run: Run) -> None:
    run.log({"val": {"loss": 0.5, "acc": {"top1": 0.9}}})

    assert run.summary["val"] == {"loss": 0.5, "acc.top1": 0.9}
    assert "val.acc.top1" in run.summary
    with pytest.raises(KeyError):
        _ = run.summary["test"]
    with pytest.raises(AttributeError, match="summary has no entry 'test'"):
        _ = run.summary.test


def test_an_entry_is_set_and_deleted_as_an_attribute_too(run: Run) -> None:
    run.summary.best = 0.9
    trackkit.summary.note = "chosen by hand"
    run.summary.gone = 1
    del run.summary.gone

    assert run.summary.as_dict() == {"best": 0.9, "note": "chosen by hand"}
    run.finish()
    assert dict(trackkit.Api(run.dir).run(run.path).summary) == {"best": 0.9, "note": "chosen by hand"}


def test_a_deleted_entry_of_a_metric_comes_back_with_its_next_value(run: Run) -> None:
    run.log({"loss": 2.0, "val": {"acc": 0.5}})
    del run.summary["loss"]
    del run.summary["val"]

    assert run.summary.as_dict() == {}
    with pytest.raises(KeyError):
        del run.summary["loss"]
    run.log({"loss": 1.0})
    assert run.summary.as_dict() == {"loss": 1.0}


@pytest.mark.parametrize(("before", "after"), [((3.0, 1.0), (2.0, 4.0)), ((1.0, 5.0), (math.nan, 2.0))])
def test_the_summary_of_a_resumed_run_counts_what_was_logged_before(
    folder: Path, before: tuple[float, float], after: tuple[float, float]
) -> None:
    def log(values: tuple[float, float], resume: str) -> dict[str, Any]:
        with trackkit.init(id="again", resume=resume, settings=SETTINGS) as run:
            run.define_metric("loss", summary="min,max,first,last,best", goal="maximize")
            for value in values:
                run.log({"loss": value})
            return run.summary.as_dict()

    log(before, "never")
    live = log(after, "must")

    assert live == pytest.approx(dict(trackkit.Api(folder / ".trackkit").run("again").summary))
    known = [value for value in (*before, *after) if value == value]
    assert (live["loss.min"], live["loss.max"], live["loss.first"]) == (min(known), max(known), before[0])


def test_rules_hold_from_the_first_value_on(run: Run) -> None:
    run.define_metric("val/*", summary="min, max, mean", goal="minimize")
    run.define_metric("hidden", summary="none")
    for value in (3.0, 1.0, 2.0):
        run.log({"val/loss": value, "hidden": value, "loss": value})

    assert run.summary.as_dict() == {"val/loss.min": 1.0, "val/loss.max": 3.0, "val/loss.mean": 2.0, "loss": 2.0}


def test_the_store_comes_to_the_same_summary_as_the_process(folder: Path) -> None:
    with trackkit.init(id="same", settings=SETTINGS) as run:
        run.define_metric("acc", summary=["best", "last"], goal="maximize")
        run.define_metric("val/*", summary="min,max,mean,first")
        for step in range(5000):
            run.log({"loss": 1 / (step + 1), "acc": math.sin(step), "note": f"step {step}"})
            if step % 10 == 0:
                run.log({"val/loss": math.cos(step), "val/nan": NAN if step % 20 else 1.0})
        run.summary["by hand"] = 7
        live = run.summary.as_dict()

    kept = dict(trackkit.Api(folder / ".trackkit").run("same").summary)

    assert kept == pytest.approx(live, nan_ok=True)
    assert set(kept) == {
        "loss", "acc", "acc.best", "note", "by hand",
        "val/loss.min", "val/loss.max", "val/loss.mean", "val/loss.first",
        "val/nan.min", "val/nan.max", "val/nan.mean", "val/nan.first",
    }  # fmt: skip


def test_each_record_is_read_once_however_often_somebody_looks(folder: Path) -> None:
    writer = JournalWriter(folder, "abc", "w", sinks=[])
    recorder = Recorder(writer, 0)
    offsets: list[int] = []

    def read(offset: int) -> Frames:
        offsets.append(offset)
        return writer.read(offset)

    summary = RunSummary(read)
    for value in (3.0, 2.0, 1.0):
        recorder.log({"loss": value})
        end = writer.end

        assert summary["loss"] == value
        assert offsets.pop() == end
    assert offsets[1:] == sorted(set(offsets[1:]))
    writer.close(acknowledged=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"summary": "median"}, "a summary rule is one of last, min, max, mean, first, best, none, not 'median'"),
        ({"goal": "up"}, "goal must be 'minimize' or 'maximize', not 'up'"),
    ],
)
def test_an_unknown_rule_or_goal_is_refused(run: Run, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run.define_metric("loss", **arguments)


def test_a_deleted_entry_is_gone_from_the_store(folder: Path) -> None:
    with trackkit.init(id="gone", settings=SETTINGS) as run:
        run.summary.update({"kept": 1, "gone": 2})
        del run.summary["gone"]
        assert run.summary.as_dict() == {"kept": 1}

    assert dict(trackkit.Api(folder / ".trackkit").run("gone").summary) == {"kept": 1}

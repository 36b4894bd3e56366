"""Runs that go back to an earlier step: one line is shown, and nothing is lost."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store.journals import Writer
from trackkit.backend.store import entries, history, recount, series, writers
from trackkit.backend.store.ingest import Ingest
from trackkit.backend.store.panels import Axis, Wanted, panel
from trackkit.backend.store.rewinds import Rewinds
from trackkit.core import records

LONG = 3 * 4096
"""Points of a series that is sealed in chunks."""


def summary_of(db, run: int) -> dict[str, object]:
    rows = db.query("select key, type, number, text from summary where run = ? order by key", [run])
    return {key: entries.decode(*columns) for key, *columns in rows}


class Journals:
    """Sends records of the run `r`, a batch per call, a second between records unless they say their time."""

    def __init__(self, db, root) -> None:
        self.db, self.root = db, root
        self.clock = 1_700_000_000.0
        self.writers: dict[str, tuple[Writer, Ingest]] = {}

    def send(self, writer: str, *sent: records.AnyRecord) -> int:
        if writer not in self.writers:
            self.writers[writer] = Writer(self.root, "r", writer), Ingest(self.db, "r", writer)
            self.writers[writer][0].start(time=self.tick(), run="r", project="p", name="r")
        journal, ingest = self.writers[writer]
        ingest.write(journal.say(*sent).batch())
        number = writers.find(self.db, "r")
        assert number is not None
        return number

    def tick(self) -> float:
        self.clock += 1.0
        return self.clock

    def points(self, first: int, *values: float, key: str = "loss") -> list[records.Points]:
        return [
            records.Points(first + number, self.tick(), [key], np.array([value], ">f8").tobytes())
            for number, value in enumerate(values)
        ]

    def rewind(self, step: int) -> records.Rewind:
        return records.Rewind(self.tick(), step)


@pytest.fixture
def journals(db, root) -> Journals:
    return Journals(db, root)


def test_after_a_rewind_the_history_is_one_line_and_the_old_points_stay(db, journals):
    journals.send("a", *journals.points(0, 5.0, 4.0, 3.0, 2.0))
    run = journals.send("b", journals.rewind(2), *journals.points(2, 30.0, 20.0, 10.0))

    assert series.points(db, run, "loss").values.tolist() == [5, 4, 30, 20, 10]
    assert series.points(db, run, "loss").steps.tolist() == [0, 1, 2, 3, 4]
    assert series.points(db, run, "loss", superseded=True).values.tolist() == [5, 4, 3, 2, 30, 20, 10]
    assert history.read(db, run).columns["loss"].values.tolist() == [5, 4, 30, 20, 10]


def test_a_rewind_between_points_of_one_batch_counts_where_it_stands(db, journals):
    run = journals.send("a", *journals.points(0, 1.0, 2.0, 3.0), journals.rewind(1), *journals.points(1, 7.0))

    assert series.points(db, run, "loss").values.tolist() == [1, 7]
    assert summary_of(db, run) == {"loss": 7.0}


def test_the_summary_forgets_what_is_superseded(db, journals):
    rules = records.Define(journals.tick(), "loss", summary=["min", "max", "mean", "first", "last"])
    journals.send("a", rules, *journals.points(0, 9.0, 8.0, 1.0, 100.0))
    run = journals.send("b", journals.rewind(2), *journals.points(2, 7.0))

    expected = {"loss": 7.0, "loss.min": 7.0, "loss.max": 9.0, "loss.mean": 8.0, "loss.first": 9.0}
    assert summary_of(db, run) == expected


def test_a_metric_with_nothing_left_leaves_the_summary_until_it_is_logged_again(db, journals):
    rules = records.Define(journals.tick(), "late", summary=["first", "last"])
    journals.send("a", rules, *journals.points(0, 1.0), *journals.points(5, 2.0, key="late"))
    run = journals.send("a", journals.rewind(3))
    assert summary_of(db, run) == {"loss": 1.0}

    journals.send("a", *journals.points(4, 8.0, 9.0, key="late"))

    assert summary_of(db, run) == {"loss": 1.0, "late": 9.0, "late.first": 8.0}


def test_points_of_a_dead_writer_that_arrive_after_the_rewind_are_superseded(db, journals):
    journals.send("a", *journals.points(0, 5.0))
    late = journals.points(1, 0.5, 0.25)  # in the journal when the process died
    rules = records.Define(journals.tick(), "loss", summary=["min", "last"])
    journals.send("b", journals.rewind(1), rules, *journals.points(1, 4.0))
    run = journals.send("a", *late)

    assert series.points(db, run, "loss").values.tolist() == [5, 4]
    assert summary_of(db, run) == {"loss": 4.0, "loss.min": 4.0}


def test_a_writer_that_goes_on_takes_note_of_a_rewind_by_another(db, journals):
    rules = records.Define(journals.tick(), "loss", summary=["max", "last"])
    journals.send("a", rules, *journals.points(0, 1.0, 50.0))
    journals.send("b", journals.rewind(1))
    run = journals.send("a", *journals.points(1, 2.0))

    assert summary_of(db, run) == {"loss": 2.0, "loss.max": 2.0}


def test_the_next_step_of_a_resumed_run_is_where_it_went_back_to(db, journals):
    journals.send("a", *journals.points(0, *map(float, range(100))))
    run = journals.send("b", journals.rewind(40))
    assert series.last_step(db, run) == 39

    journals.send("b", *journals.points(40, 1.0, 2.0))
    assert series.last_step(db, run) == 41


def test_rewinding_a_metric_with_no_point_before_lets_steps_go_on_there(db, journals):
    journals.send("a", *journals.points(10, 1.0, 2.0))
    run = journals.send("b", journals.rewind(10))

    assert series.last_step(db, run) == 9
    assert series.keys(db, run) == ["loss"]


@pytest.mark.parametrize("axis", [Axis(), Axis("time"), Axis("relative"), Axis(scale="log"), Axis("metric", "epoch")])
def test_charts_of_long_series_show_no_superseded_point(db, journals, axis):
    both = [
        records.Points(step, journals.tick(), ["loss", "epoch"], np.array([1000.0, step], ">f8").tobytes())
        for step in range(LONG)
    ]
    journals.send("a", *both)
    back = journals.rewind(0)
    again = [
        records.Points(step, journals.tick(), ["loss", "epoch"], np.array([1.0, step], ">f8").tobytes())
        for step in range(LONG)
    ]
    run = journals.send("b", back, *again)

    shown = panel(db, [Wanted(run, 0, "loss")], axis, 100).lines[0]

    assert np.nanmax(shown.max) == 1.0
    assert shown.points == LONG - (axis.scale == "log")


def test_texts_are_superseded_too(db, journals):
    texts = [records.Points(step, journals.tick(), [], b"", {"note": f"old {step}"}) for step in range(3)]
    journals.send("a", *texts)
    back = journals.rewind(1)
    run = journals.send("b", back, records.Points(1, journals.tick(), [], b"", {"note": "new 1"}))

    assert series.texts(db, run, ["note"])["note"].values.tolist() == ["old 0", "new 1"]


def test_system_readings_are_not_rewound(db, journals):
    journals.send("a", records.System(journals.tick(), {"cpu": 1.0}))
    run = journals.send("a", journals.rewind(0), records.System(journals.tick(), {"cpu": 2.0}))

    assert series.points(db, run, "cpu", "system").values.tolist() == [1, 2]


@pytest.mark.sqlite
def test_the_view_for_other_programs_shows_the_line_too(db, journals):
    journals.send("a", *journals.points(0, 1.0, 2.0, 3.0))
    journals.send("b", journals.rewind(1), *journals.points(1, 8.0))
    db.execute("pragma query_only = on")

    assert db.query("select step, value from history order by step") == [(0, 1.0), (1, 8.0)]


@pytest.mark.sqlite
def test_the_view_filters_sealed_points(db, journals):
    journals.send("a", *journals.points(0, *[1.0] * LONG))
    journals.send("b", journals.rewind(10))

    assert db.query("select count(*), max(step) from history") == [(10, 9)]


def test_counting_anew_changes_nothing_where_nothing_is_superseded(db, journals):
    rules = records.Define(journals.tick(), "loss", summary=["min", "max", "mean", "first", "last"])
    run = journals.send("a", rules, *journals.points(0, 3.0, math.nan, -1.0), journals.rewind(100))
    before = db.query("select * from series order by series"), summary_of(db, run)

    with db.atomic():
        recount.recount(db, run, ["loss"])

    assert (db.query("select * from series order by series"), summary_of(db, run)) == before


moments = st.integers(0, 20)


@given(
    back=st.lists(st.tuples(moments, moments), max_size=5).map(sorted),
    points=st.lists(st.tuples(moments, moments), max_size=20),
)
def test_a_point_stands_unless_a_later_rewind_led_to_its_step_or_before(back, points):
    steps, times = np.array(points, np.int64).reshape(-1, 2).T

    found = Rewinds.of(back).live(steps, times)

    expected = [not any(time < when and step >= to for when, to in back) for step, time in points]
    assert found.tolist() == expected

"""From calls of `log` to records: steps are counted, values gathered, and both ways through give the same."""

from __future__ import annotations

import math
import struct
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackkit.core import records
from trackkit.core.recorder import Recorder
from trackkit.core.writer import JournalWriter


class Recording:
    """A recorder, and what it recorded so far."""

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        self.journal = JournalWriter(folder, "run", f"writer{time.monotonic_ns()}", sinks=[])
        self.recorder = Recorder(self.journal, first_step)

    def log(self, *arguments: Any, **named: Any) -> None:
        self.recorder.log(*arguments, **named)

    @property
    def points(self) -> list[records.Points]:
        found, offset = [], 0
        while (frames := self.journal.read(offset)).payloads:
            found += map(records.decode, frames.payloads)
            offset = frames.end
        assert all(isinstance(record, records.Points) for record in found)
        return found  # type: ignore[return-value]

    @property
    def logged(self) -> list[tuple[int, dict[str, Any]]]:
        """Step and values of each record."""
        return [(record.step, {**numbers(record), **record.texts}) for record in self.points]

    @property
    def steps(self) -> list[int]:
        return [record.step for record in self.points]


def numbers(record: records.Points) -> dict[str, float]:
    return dict(zip(record.keys, struct.unpack(f">{len(record.keys)}d", record.values), strict=True))


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    made = Recording(tmp_path)
    yield made
    made.journal.close(acknowledged=False)


VALUES = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    st.floats() | st.integers(-(2**63), 2**64) | st.booleans() | st.floats(width=32).map(np.float32),
    max_size=20,
)


@given(calls=st.lists(VALUES, max_size=4), steps=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=2))
@settings(max_examples=80, deadline=None)
def test_whatever_is_logged_comes_back_the_first_time_and_every_time_after(
    tmp_path_factory: pytest.TempPathFactory, calls: list[dict[str, Any]], steps: list[int]
) -> None:
    recording = Recording(tmp_path_factory.mktemp("journal"))
    for values in calls:
        for step in steps:
            recording.log(values, step=step)

    expected = [(step, values) for values in calls for step in steps]
    assert len(recording.points) == len(expected)
    for record, (step, values) in zip(recording.points, expected, strict=True):
        assert record.step == step
        assert record.keys == list(values)
        for found, given_value in zip(numbers(record).values(), values.values(), strict=True):
            assert found == float(given_value) or (math.isnan(found) and math.isnan(given_value))
    recording.journal.close(acknowledged=True)


def test_without_a_step_the_calls_are_counted(recording: Recording) -> None:
    for _ in range(5):
        recording.log({"loss": 1.0})

    assert recording.steps == [0, 1, 2, 3, 4]
    assert recording.recorder.next_step == 5


def test_counting_begins_where_a_resumed_run_stopped(tmp_path: Path) -> None:
    recording = Recording(tmp_path, first_step=1000)
    recording.log({"loss": 1.0})
    recording.log({"loss": 1.0})

    assert recording.steps == [1000, 1001]


def test_counting_goes_on_after_a_step_that_was_given(recording: Recording) -> None:
    for step in (None, 10, None, 5, None, -3, None, np.int64(20), None):
        recording.log({"loss": 1.0}, step=step)

    assert recording.steps == [0, 10, 11, 5, 6, -3, -2, 20, 21]
    assert recording.recorder.next_step == 22


def test_steps_may_repeat_and_be_extreme(recording: Recording) -> None:
    for step in (7, 7, -(2**63), 2**63 - 1, 0):
        recording.log({"loss": 1.0}, step=step)

    assert recording.steps == [7, 7, -(2**63), 2**63 - 1, 0]


def test_counting_past_the_largest_step_is_refused(recording: Recording) -> None:
    recording.log({"loss": 1.0}, step=2**63 - 1)

    with pytest.raises(ValueError, match="does not fit a signed 64-bit integer"):
        recording.log({"loss": 1.0})


@pytest.mark.parametrize("step", [1.0, "1", True, np.float64(1), 2**63, [1]])
@pytest.mark.parametrize("known", [False, True], ids=["new keys", "known keys"])
def test_what_is_no_step_is_refused_however_often_the_keys_were_seen(
    recording: Recording, step: Any, known: bool
) -> None:
    if known:
        recording.log({"loss": 1.0}, step=3)
        recording.log({"loss": 1.0}, step=3)
    before = recording.steps

    with pytest.raises((TypeError, ValueError), match=r"^step "):
        recording.log({"loss": 1.0}, step=step)

    assert recording.steps == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"loss": None},
        {"loss": [1]},
        {"loss": b"1"},
        {"loss": 10**400},
        {"": 1.0},
        {1: 1.0},
        {"x" * 1025: 1.0},
        None,
        ["loss"],
        "loss",
    ],
    ids=lambda value: repr(value)[:20],
)
def test_an_error_records_nothing_and_takes_no_step(recording: Recording, wrong: Any) -> None:
    recording.log({"loss": 1.0})
    recording.log({"loss": 2.0})

    with pytest.raises((TypeError, ValueError)):
        recording.log(wrong)
    with pytest.raises((TypeError, ValueError)):
        recording.log(wrong, step=99)
    recording.log({"loss": 3.0})

    assert recording.logged == [(0, {"loss": 1.0}), (1, {"loss": 2.0}), (2, {"loss": 3.0})]


def test_the_kind_of_a_keys_values_may_change(recording: Recording) -> None:
    for value in (1.0, 2, True, np.float32(3), Decimal(4), Fraction(5), np.array([6.0]), "seven", math.inf, {"x": 9}):
        recording.log({"loss": value})

    assert [values for _, values in recording.logged] == [
        *({"loss": number} for number in (1.0, 2.0, 1.0, 3.0, 4.0, 5.0, 6.0)),
        {"loss": "seven"},
        {"loss": math.inf},
        {"loss.x": 9.0},
    ]


def test_numbers_and_text_are_one_record(recording: Recording) -> None:
    recording.log({"loss": 1.0, "stage": "warm-up", "val": {"loss": 2, "note": "ok"}})

    assert recording.logged == [(0, {"loss": 1.0, "val.loss": 2.0, "stage": "warm-up", "val.note": "ok"})]


def test_ten_thousand_keys_fit_one_record(recording: Recording) -> None:
    values = {f"layer{number}/weight": float(number) for number in range(10_000)}

    recording.log(values)
    recording.log(values)

    assert recording.logged == [(0, values), (1, values)]


def test_every_call_may_have_other_keys(recording: Recording) -> None:
    for number in range(10_000):
        recording.log({f"key{number}": number, "loss": number})

    assert recording.logged == [(number, {f"key{number}": number, "loss": number}) for number in range(10_000)]


@pytest.mark.parametrize("count", [1, 15, 16, 31, 32, 255, 4000, 4001, 8191, 8192])
def test_any_number_of_keys_is_recorded_alike_at_first_and_later(recording: Recording, count: int) -> None:
    values = {f"k{number}": number / 3 for number in range(count)}

    for _ in range(3):
        recording.log(values)

    assert recording.logged == [(step, values) for step in range(3)]


def test_commit_false_gathers_until_the_next_call(recording: Recording) -> None:
    recording.log({"a": 1}, commit=False)
    recording.log({"b": "text"}, commit=False)
    recording.log({"a": 2, "c": 3})
    recording.log({"a": 4})

    assert recording.logged == [(0, {"a": 2.0, "b": "text", "c": 3.0}), (1, {"a": 4.0})]


def test_what_was_gathered_for_one_step_is_not_recorded_at_another(recording: Recording) -> None:
    recording.log({"a": 1}, step=5, commit=False)
    recording.log({"b": 2}, step=5, commit=False)
    recording.log({"b": 3}, step=6)
    recording.log({"b": 4})

    assert recording.logged == [(5, {"a": 1.0, "b": 2.0}), (6, {"b": 3.0}), (7, {"b": 4.0})]


def test_what_was_gathered_for_a_step_joins_a_call_without_one(recording: Recording) -> None:
    recording.log({"a": 1}, step=5, commit=False)
    recording.log({"b": 2})

    assert recording.logged == [(5, {"a": 1.0, "b": 2.0})]


def test_commit_true_records_at_once(recording: Recording) -> None:
    recording.log({"a": 1}, commit=True)
    recording.log({"a": 2}, commit=True)

    assert recording.logged == [(0, {"a": 1.0}), (1, {"a": 2.0})]


def test_an_error_keeps_what_was_gathered(recording: Recording) -> None:
    recording.log({"a": 1}, commit=False)
    with pytest.raises(TypeError):
        recording.log({"b": None}, commit=False)
    with pytest.raises(TypeError):
        recording.log({"b": None})
    recording.log({"c": 2})

    assert recording.logged == [(0, {"a": 1.0, "c": 2.0})]


def test_what_was_never_committed_is_recorded_at_the_end(recording: Recording) -> None:
    recording.log({"a": 1}, commit=False)
    recording.recorder.commit()
    recording.recorder.commit()

    assert recording.logged == [(0, {"a": 1.0})]


def test_threads_share_the_count_without_a_gap_or_a_double(recording: Recording) -> None:
    def work(name: int) -> None:
        for number in range(1000):
            recording.log({f"thread{name}": number})

    in_threads(8, work)

    assert sorted(recording.steps) == list(range(8000))
    for name in range(8):
        mine = [values[f"thread{name}"] for _, values in recording.logged if f"thread{name}" in values]
        assert mine == list(range(1000))


def test_errors_in_one_thread_double_no_step_of_the_others(recording: Recording) -> None:
    def work(name: int) -> None:
        for number in range(1000):
            if name < 2:
                with pytest.raises(TypeError):
                    recording.log({"wrong": None})
            else:
                recording.log({f"thread{name}": number, "text": "slow"})

    in_threads(8, work)

    assert len(recording.steps) == 6000
    assert len(set(recording.steps)) == 6000


def in_threads(count: int, work: Any) -> None:
    threads = [threading.Thread(target=work, args=(name,)) for name in range(count)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)


def test_times_never_go_back_when_the_clock_is_set_back(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    recording.log({"loss": 1})
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    recording.recorder.follow_clock()
    recording.log({"loss": 2})
    recording.log({"loss": 3, "text": "slow"})
    monkeypatch.setattr(time, "time", real)
    recording.recorder.follow_clock()
    recording.log({"loss": 4})

    times = [record.time for record in recording.points]
    assert times == sorted(times)
    assert times[-1] - times[0] < 60


def test_times_follow_a_clock_that_jumps_ahead(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    recording.log({"loss": 1})
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    recording.recorder.follow_clock()
    recording.log({"loss": 2})

    first, second = (record.time for record in recording.points)
    assert second - first == pytest.approx(3600, abs=60)


def test_times_are_the_time_of_day(recording: Recording) -> None:
    before = time.time()
    recording.log({"loss": 1})
    recording.log({"loss": 1})

    for record in recording.points:
        assert record.time == pytest.approx(before, abs=5)


@pytest.mark.parametrize("values", [{"loss": 1.0}, {"loss": 1.0, "note": "text takes the long way"}])
def test_some_calls_are_timed_more_of_the_first(recording: Recording, values: dict[str, Any]) -> None:
    recorder = recording.recorder
    for _ in range(130):
        recorder.log(values)
    early = recorder.timed_calls
    for _ in range(20_000):
        recorder.log(values)

    assert 1 <= early <= 20
    assert 20_000 // 128 <= recorder.timed_calls - early <= 20_000 / 128 + 130
    assert recorder.timed_nanoseconds > 0

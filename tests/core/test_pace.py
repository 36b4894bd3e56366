"""The pace of a training: what counts as one, and what does not."""

from __future__ import annotations

import pytest

from trackkit.core import pace
from trackkit.core.pace import Pace


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(pace, "time", made)
    return made


def batch(measured: Pace, clock: Clock, waited: float, worked: float, samples: int) -> None:
    clock.now += waited
    measured.waited()
    clock.now += worked
    measured.count(samples)


def test_batches_samples_and_waiting_are_told_of_the_time_that_was_training(clock: Clock) -> None:
    measured = Pace()
    batch(measured, clock, 1.0, 3.0, 8)
    clock.now += 50.0  # an evaluation
    measured.pause()
    batch(measured, clock, 1.0, 3.0, 8)
    assert measured.rates() == {
        "throughput/batches_per_second": 2 / 8,
        "throughput/samples_per_second": 16 / 8,
        "throughput/waiting_for_data": 2 / 8,
    }


def test_rates_are_those_since_they_were_last_asked(clock: Clock) -> None:
    measured = Pace()
    batch(measured, clock, 0.0, 4.0, 8)
    measured.rates()
    assert measured.rates() == {}
    batch(measured, clock, 0.0, 1.0, 8)
    assert measured.rates()["throughput/samples_per_second"] == 8.0


def test_waiting_begins_where_it_is_told_to(clock: Clock) -> None:
    measured = Pace()
    clock.now += 2.0
    measured.wait()
    batch(measured, clock, 1.0, 1.0, 4)
    assert measured.rates()["throughput/waiting_for_data"] == 1 / 4

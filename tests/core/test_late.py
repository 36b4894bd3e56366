"""Values on a device are not waited for, keep their order, and are what they were when they were logged."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.core.test_recorder import Recording
from tests.servers import until
from trackkit.core.device import Copy


class Scalar:
    """A number on a device: reading it at once fails the test, as it would wait."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __float__(self) -> float:
        raise AssertionError("the value was waited for")


class Underway:
    """A copy that arrives when the test says so; it took the value when it began."""

    def __init__(self, value: float) -> None:
        self.value = value
        self.here = False
        self.broken = False

    def ready(self) -> bool:
        if self.broken:
            raise RuntimeError("the device is gone")
        return self.here

    def array(self) -> float:
        assert self.here
        return self.value


class Device:
    """Stands in for a device: it copies in its own time."""

    def __init__(self) -> None:
        self.copies: list[Underway] = []
        self.full = False

    def is_remote(self, value: Any) -> bool:
        return isinstance(value, Scalar)

    def scalars(self, values: Sequence[Any]) -> list[Copy]:
        if self.full:
            raise RuntimeError("out of memory")
        made = [Underway(value.value) for value in values]
        self.copies += made
        return list(made)

    def block(self, tensor: Any) -> Copy:
        raise AssertionError("nothing here is a block")

    def arrive(self, *positions: int) -> None:
        for position in positions or range(len(self.copies)):
            self.copies[position].here = True


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def recording(tmp_path: Path, device: Device) -> Iterator[Recording]:
    made = Recording(tmp_path)
    made.recorder.late.copier = device
    yield made
    if made.recorder.late.arrivals is not None:
        made.recorder.late.arrivals.stop(5.0)
    made.journal.close(acknowledged=False)


def settle(recording: Recording) -> None:
    arrivals = recording.recorder.late.arrivals
    assert arrivals is None or arrivals.drain(10.0) == 0


def test_a_value_on_a_device_is_recorded_when_it_arrives_with_the_step_and_time_of_the_call(
    recording: Recording, device: Device
) -> None:
    before = recording.recorder.now()
    recording.log({"loss": Scalar(0.5)})
    after = recording.recorder.now()
    assert recording.logged == []
    time.sleep(0.05)
    device.arrive()
    settle(recording)
    assert recording.logged == [(0, {"loss": 0.5})]
    assert before <= recording.points[0].time <= after


def test_a_value_is_what_it_was_when_it_was_logged(recording: Recording, device: Device) -> None:
    loss = Scalar(1.0)
    recording.log({"loss": loss})
    loss.value = 99.0
    device.arrive()
    settle(recording)
    assert recording.logged == [(0, {"loss": 1.0})]


def test_plain_numbers_of_the_same_call_are_in_the_journal_when_it_returns(
    recording: Recording, device: Device
) -> None:
    recording.log({"loss": Scalar(0.5), "lr": 0.1, "phase": "warm-up"})
    assert recording.logged == [(0, {"lr": 0.1, "phase": "warm-up"})]
    device.arrive()
    settle(recording)
    assert recording.logged[1:] == [(0, {"loss": 0.5})]
    assert recording.points[0].time == recording.points[1].time


def test_later_values_of_the_key_wait_behind_it_and_other_keys_do_not(recording: Recording, device: Device) -> None:
    recording.log({"loss": Scalar(1.0)})
    recording.log({"loss": 2.0, "lr": 0.1})
    recording.log({"loss": Scalar(3.0)})
    recording.log({"lr": 0.2})
    assert recording.logged == [(1, {"lr": 0.1}), (3, {"lr": 0.2})]
    device.arrive(1)  # out of turn
    time.sleep(0.05)
    assert len(recording.logged) == 2
    device.arrive(0)
    settle(recording)
    assert [pair for pair in recording.logged if "loss" in pair[1]] == [
        (0, {"loss": 1.0}), (1, {"loss": 2.0}), (2, {"loss": 3.0}),
    ]  # fmt: skip


def test_the_fast_path_is_taken_again_once_everything_has_arrived(recording: Recording, device: Device) -> None:
    recording.log({"lr": 0.1})
    recording.log({"loss": Scalar(1.0)})
    assert recording.recorder.detour
    device.arrive()
    settle(recording)
    until(lambda: not recording.recorder.detour)
    recording.log({"loss": 2.0})
    assert recording.steps == [0, 1, 2]


def test_keys_that_were_plain_numbers_at_first_are_soon_not_waited_for(recording: Recording, device: Device) -> None:
    class Slow(Scalar):
        waits = 0

        def __float__(self) -> float:
            Slow.waits += 1
            return self.value

    recording.log({"loss": 0.0})
    for step in range(1, 400):
        recording.log({"loss": Slow(step)})
        device.arrive()
    settle(recording)
    assert recording.steps == list(range(400))
    assert Slow.waits <= 128


def test_gathered_values_from_a_device_are_committed_with_their_step(recording: Recording, device: Device) -> None:
    recording.log({"a": Scalar(1.0), "b": 2.0}, commit=False)
    recording.log({"a": Scalar(3.0), "c": Scalar(4.0)}, commit=True)
    device.arrive()
    settle(recording)
    assert recording.logged == [(0, {"b": 2.0}), (0, {"a": 3.0, "c": 4.0})]


def test_a_plain_value_replaces_a_gathered_one_from_a_device(recording: Recording, device: Device) -> None:
    recording.log({"a": Scalar(1.0)}, commit=False)
    recording.log({"a": 5.0}, commit=True)
    device.arrive()
    settle(recording)
    assert recording.logged == [(0, {"a": 5.0})]


def test_nested_values_from_a_device_are_flattened(recording: Recording, device: Device) -> None:
    recording.log({"train": {"loss": Scalar(0.25)}}, step=7)
    device.arrive()
    settle(recording)
    assert recording.logged == [(7, {"train.loss": 0.25})]


def test_a_device_that_fails_loses_its_value_and_nothing_else(recording: Recording, device: Device) -> None:
    recording.log({"loss": Scalar(1.0)})
    recording.log({"loss": 2.0})
    device.copies[0].broken = True
    settle(recording)
    assert recording.logged == [(1, {"loss": 2.0})]
    until(lambda: not recording.recorder.detour)


def test_where_nothing_can_be_copied_in_the_background_the_value_is_waited_for(
    recording: Recording, device: Device
) -> None:
    class Readable(Scalar):
        def __float__(self) -> float:
            return self.value

    device.full = True
    recording.log({"loss": Readable(1.5)})
    assert recording.logged == [(0, {"loss": 1.5})]


def test_draining_gives_up_after_its_time_and_says_how_much_is_missing(recording: Recording, device: Device) -> None:
    recording.log({"loss": Scalar(1.0)})
    arrivals = recording.recorder.late.arrivals
    assert arrivals is not None
    assert arrivals.drain(0.05) == 1

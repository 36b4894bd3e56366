"""A call in progress is found on the stack, and its end is noticed, however it comes."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest

from trackkit.core.calls import caller, when_over


def train(callback: Any, fail: bool = False) -> str:
    callback()
    callback()
    if fail:
        raise ZeroDivisionError
    return "a model"


def here() -> FrameType:
    found = caller(sys._getframe(1), "train", __name__.partition(".")[0])
    assert found is not None
    return found


def test_the_nearest_call_of_a_function_is_found() -> None:
    found: list[Any] = []
    train(lambda: found.append(here().f_locals["fail"]))
    assert found == [False, False]
    assert caller(sys._getframe(), "train", __name__.partition(".")[0]) is None
    assert caller(sys._getframe(), "no_such_function", "tests") is None


@pytest.mark.parametrize("fail", [False, True])
def test_the_end_of_a_call_is_noticed_once(fail: bool) -> None:
    told: list[str] = []

    def callback() -> None:
        if not told:
            told.append("began")
            when_over(here(), told.append, "over")
        else:
            told.append("goes on")

    try:
        train(callback, fail)
    except ZeroDivisionError:
        assert told == ["began", "goes on"]
    assert told == ["began", "goes on", "over"]


def test_an_end_that_is_known_otherwise_is_not_told() -> None:
    told: list[str] = []
    train(lambda: when_over(here(), told.append, "over").detach())
    assert told == []

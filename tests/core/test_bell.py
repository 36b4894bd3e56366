"""Waking a thread, from anywhere."""

from __future__ import annotations

import threading
import time

from trackkit.core.bell import Bell


def test_a_ring_wakes_the_thread_that_waits() -> None:
    bell, answers = Bell(), []
    waiting = threading.Thread(target=lambda: answers.append(bell.wait(10)))
    waiting.start()
    time.sleep(0.05)

    bell.ring()
    waiting.join(5)

    assert answers == [True]


def test_a_ring_nobody_waited_for_keeps_the_next_one_from_waiting() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()

    assert bell.rung
    assert bell.wait(10)
    assert not bell.rung
    assert not bell.wait(0.0)


def test_waiting_ends_by_itself() -> None:
    began = time.monotonic()

    answer = Bell().wait(0.05)

    assert not answer
    assert 0.04 < time.monotonic() - began < 2

"""What one call of log costs the training thread: in a tight loop, and between steps that keep the CPU busy."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import trackers

COUNTS = {"mlflow on SQLite": 300, "wandb offline": 20_000, "trackio": 20_000, "tensorboardX": 20_000}
STEPS = {"mlflow on SQLite": 200}
ADDED_ROUNDS = 41


def tight(log: Any, values: dict[str, Any], count: int) -> dict[str, float]:
    """Percentiles of `count` calls in a row, in µs, the clock's own cost taken off."""
    taken, clock = [0] * count, time.perf_counter_ns
    for index in range(count):
        began = clock()
        log(values)
        taken[index] = clock() - began
    nothing = sorted(-clock() + clock() for _ in range(1000))[500]
    taken.sort()
    at = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    found = {name: (taken[int(count * share)] - nothing) / 1000 for name, share in at.items()}
    return {**found, "worst": (taken[-1] - nothing) / 1000}


def busy(milliseconds: float) -> None:
    """Keep the CPU at something else, with the caches it needs."""
    until = time.perf_counter() + milliseconds / 1000
    while time.perf_counter() < until:
        sum(range(50))


def added_to_step(log: Any, values: dict[str, Any], steps: int) -> dict[str, float]:
    """The median cost of a call, in µs, with 1 ms of other work before each."""
    taken, clock = [], time.perf_counter_ns
    for _ in range(steps):
        busy(1.0)
        began = clock()
        log(values)
        taken.append(clock() - began)
    taken.sort()
    return {"step_p50": taken[steps // 2] / 1000, "step_mean": sum(taken) / steps / 1000}


def added_wall(log: Any, values: dict[str, Any], steps: int) -> float:
    """What logging adds to the wall time of a fixed piece of work of about 1 ms, in µs a step."""

    def work() -> None:
        total = 0
        for number in range(18_000):
            total += number

    def loop(also: Any) -> float:
        began = time.perf_counter()
        for _ in range(steps):
            work()
            also(values)
        return (time.perf_counter() - began) / steps * 1e6

    def nothing(values: dict[str, Any]) -> None: ...

    # In short turns, so that whatever else the machine does falls on both.
    rounds = sorted(-loop(nothing) + loop(log) for _ in range(ADDED_ROUNDS))
    return rounds[ADDED_ROUNDS // 2]


def measure(name: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=".") as folder:
        tracker = trackers.make(name)
        tracker.start(Path(folder))
        plain = trackers.values()
        for _ in range(min(2000, COUNTS.get(name, 2000))):
            tracker.log(plain)
        time.sleep(2)  # background threads have started by then
        count, steps = COUNTS.get(name, 100_000), STEPS.get(name, 1000)
        found = tight(tracker.log, plain, count)
        time.sleep(1)
        found.update(added_to_step(tracker.log, plain, steps))
        found["added_wall"] = added_wall(tracker.log, plain, max(10, steps // 20))
        if not name.startswith("struct"):
            found["numpy_p50"] = tight(tracker.log, trackers.values("numpy"), min(count, 20_000))["p50"]
        tracker.finish()
        return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("tracker")
    print(json.dumps(measure(parser.parse_args().tracker)))

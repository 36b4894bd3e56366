"""From the first log to the end of finish: points a second, and bytes a point on the disk, all a run keeps included."""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

from benchmarks import trackers

CALLS = 20_000
FEWER = {"mlflow on SQLite": 300}


def measure(name: str) -> dict[str, float]:
    calls = FEWER.get(name, CALLS)
    generator = random.Random(1)
    keys = list(trackers.values())
    rows = [{key: generator.gauss(0, 1) for key in keys} for _ in range(calls)]
    with tempfile.TemporaryDirectory(dir=".") as place:
        folder = Path(place)
        tracker = trackers.make(name)
        tracker.start(folder)
        time.sleep(3)
        began = time.perf_counter()
        for row in rows:
            tracker.log(row)
        logged = time.perf_counter()
        tracker.finish()
        ended = time.perf_counter()
        return {
            "points_per_second": calls * 10 / (ended - began),
            "log_ms": (logged - began) * 1000,
            "finish_ms": (ended - logged) * 1000,
            "bytes_per_point": trackers.size_of(folder) / (calls * 10),
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("tracker")
    print(json.dumps(measure(parser.parse_args().tracker)))

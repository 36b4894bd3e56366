"""Two minutes on a network that cuts, delays, repeats and damages: what arrives, and what it costs the training.

`python -m benchmarks.network [SECONDS]`. A script logs two values a step of a millisecond through the TCP proxy of
the tests, which does something to every fifth piece of 4 KiB; then once more without any sink but its journal. Prints
how many values were lost and doubled, and what a step took with and without.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.server import serving
from tests.faults.proxies import proxy
from trackkit import sync
from trackkit.backend.store import runs, series
from trackkit.backend.store.sqlite import SQLiteDatabase

MISCHIEF = {"cut": 0.05, "delay": 0.05, "repeat": 0.05, "damage": 0.05}

TRAIN = """
import json, sys, time
import trackkit

folder, sink, seconds = json.loads(sys.argv[1])
run = trackkit.init(id="run", project="network", dir=folder, sink=sink or None, mode="online" if sink else "offline",
                    settings={"quiet": True, "system": False, "console": "off", "finish_timeout": 60})
took, step, until = [], 0, time.monotonic() + seconds
while time.monotonic() < until:
    began = time.perf_counter()
    while time.perf_counter() - began < 0.001:  # the training's own work
        pass
    before = time.perf_counter()
    run.log({"x": step, "y": -step}, step=step)
    took.append(time.perf_counter() - before)
    step += 1
run.finish()
took.sort()
print(json.dumps([step, *(took[int(len(took) * share)] * 1e6 for share in (0.5, 0.99, 0.999)), took[-1] * 1e6]))
"""


def train(folder: Path, sink: str, seconds: float) -> dict[str, float]:
    """Run the script; how many steps it made, and what a call took, µs."""
    arguments = json.dumps([str(folder), sink, seconds])
    done = subprocess.run([sys.executable, "-c", TRAIN, arguments], stdout=subprocess.PIPE, text=True, check=True)
    return dict(zip(("steps", "p50", "p99", "p999", "worst"), json.loads(done.stdout.splitlines()[-1]), strict=True))


def arrived(root: Path, key: str) -> list[float]:
    with contextlib.closing(SQLiteDatabase(root / "trackkit.db", read_only=True)) as db:
        number = runs.find(db, "run")
        return [] if number is None else series.points(db, number, key).values.tolist()


def measure(seconds: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "server"
        root.mkdir()
        with serving(root) as server, proxy(int(server.address.rpartition(":")[2]), **MISCHIEF) as bad:
            through = train(Path(place) / "client", bad.address, seconds)
            if list((Path(place) / "client" / "journals").glob("*/*")):  # what did not pass within finish's minute
                sync.sync([Path(place) / "client"], to=server.address)
        alone = train(Path(place) / "alone", "", seconds)
        values = [*arrived(root, "x"), *(-value for value in arrived(root, "y"))]
        counts = Counter(values)
        steps = int(through["steps"])
    os.sync()
    return {
        "values_logged": 2 * steps,
        "values_lost": sum(max(0, 2 - counts[step]) for step in range(steps)),
        "values_doubled": len(values) - 2 * steps,
        **{f"pieces_{what}": count for what, count in bad.done.items()},
        **{
            f"log_{name}_us{where}": figures[name]
            for name in ("p50", "p99", "p999", "worst")
            for where, figures in (("", through), ("_without_network", alone))
        },
        "steps_per_second": steps / seconds,
        "steps_per_second_without_network": alone["steps"] / seconds,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("seconds", type=float, nargs="?", default=120)
    print(json.dumps(measure(parser.parse_args().seconds)))

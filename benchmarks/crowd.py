"""A hundred runs at once on one server: 10 keys each at 10 Hz, for a minute.

Prints what was lost, what a call to `log` takes beside the same runs without a server, the server's share of a core,
and how long after `log` a value can be seen by a page that listens to the server's events.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import requests

from benchmarks.server import Server, serving

PROCESSES, RUNS_EACH = 10, 10
HERTZ = 10
WATCHED = "run-0-0"

TRAIN = """
import json, sys, time
import trackkit

number, runs, seconds, hertz, sink, folder = json.loads(sys.argv[1])
settings = {"quiet": True, "system": False, "console": "off"}
started = [
    trackkit.init(id=f"run-{number}-{each}", project="crowd", dir=folder, mode="offline" if sink == "" else "online",
                  sink=sink or None, reinit="create_new", settings=settings)
    for each in range(runs)
]
time.sleep(max(0.0, float(sys.argv[2]) - time.time()))
began, took = time.perf_counter(), []
for step in range(seconds * hertz):
    for run in started:
        values = {f"key_{key}": float(step) for key in range(9)} | {"sent": time.time()}
        before = time.perf_counter()
        run.log(values, step=step)
        took.append(time.perf_counter() - before)
    time.sleep(max(0.0, began + (step + 1) / hertz - time.perf_counter()))
for run in started:
    run.finish()
took.sort()
print(json.dumps([took[len(took) // 2] * 1e6, took[int(len(took) * 0.99)] * 1e6, took[-1] * 1e6]))
"""


def train(folder: Path, sink: str, seconds: int) -> dict[str, float]:
    """Run the crowd to its end; the median over processes of what a call takes, in µs."""
    start = time.time() + 8
    arguments = [
        [number, RUNS_EACH, seconds, HERTZ, sink, str(folder / f"client{number}")] for number in range(PROCESSES)
    ]
    children = [
        subprocess.Popen([sys.executable, "-c", TRAIN, json.dumps(each), str(start)], stdout=subprocess.PIPE, text=True)
        for each in arguments
    ]
    outputs = [json.loads(child.communicate()[0].splitlines()[-1]) for child in children]
    return {
        name: statistics.median(column)
        for name, column in zip(("p50", "p99", "worst"), zip(*outputs, strict=True), strict=True)
    }


class Watcher:
    """A page that listens, and on every hint reads what is new."""

    def __init__(self, server: Server) -> None:
        self.latencies: list[float] = []
        self._server = server
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        session, seen = requests.Session(), 0.0
        with contextlib.suppress(requests.RequestException):
            stream = session.get(f"{self._server.address}/api/v1/events?run={WATCHED}", stream=True, timeout=600)
            for line in stream.iter_lines(chunk_size=1):
                if line == b"event: run":
                    seen = self._read(seen)

    def _read(self, seen: float) -> float:
        run: dict[str, Any] = requests.get(f"{self._server.address}/api/v1/runs/{WATCHED}", timeout=60).json()["run"]
        now = time.time()
        latest = next((key["last"] for key in run["keys"]["metric"] if key["key"] == "sent"), 0.0)
        missed = round((latest - seen) * HERTZ) if seen else 0
        self.latencies += [now - latest + each / HERTZ for each in range(missed)]
        return float(latest)


def measure(seconds: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as place:
        alone = train(Path(place) / "alone", "", seconds)
        folder = Path(place) / "server"
        folder.mkdir()
        with serving(folder) as server:
            watcher = Watcher(server)
            used = server.cpu()
            together = train(Path(place) / "together", server.address, seconds)
            cpu = server.cpu() - used
            found = requests.get(f"{server.address}/api/v1/runs?limit=1000", timeout=60).json()
            ids = [run["id"] for run in found["runs"] if run["state"] == "finished"]
            points = 0
            for id in ids:
                keys = requests.get(f"{server.address}/api/v1/runs/{id}", timeout=60).json()["run"]["keys"]["metric"]
                points += sum(key["count"] for key in keys)
    expected = PROCESSES * RUNS_EACH * seconds * HERTZ * 10
    latencies = sorted(watcher.latencies)
    return {
        "lost_points": expected - points,
        "log_p50_us": together["p50"],
        "log_p50_without_server_us": alone["p50"],
        "log_p99_us": together["p99"],
        "log_p99_without_server_us": alone["p99"],
        "server_core_percent": cpu / seconds * 100,
        "visible_p50_s": latencies[len(latencies) // 2],
        "visible_p95_s": latencies[int(len(latencies) * 0.95)],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("seconds", type=int, nargs="?", default=60)
    print(json.dumps(measure(parser.parse_args().seconds)))

"""The server over real sockets: taking records in, drawing charts, and doing nothing.

`ingest` sends journals of records of ten keys over HTTP and tells how many points the server takes in a second of one
core; `panel` asks for a chart of 20 runs of a million points each; `idle` tells what a server costs that nobody uses.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import requests

from trackkit.backend.store import seal, writers
from trackkit.backend.store.columns import Column
from trackkit.backend.store.sqlite import SQLiteDatabase
from trackkit.core import records
from trackkit.core.sink import Batch
from trackkit.core.summary import Statistics
from trackkit.sinks.http import HTTPSink

KEYS = [f"train/metric_{number}" for number in range(10)]
RECORDS = 400_000
BATCH = 40_000
"""Records of a batch, some 8 MB: what the pump sends at most."""
RUNS, POINTS = 20, 1_000_000


class Server:
    """A server process for a folder."""

    def __init__(self, root: Path) -> None:
        port = free_port()
        command = [sys.executable, "-m", "trackkit", "serve", str(root), "--port", str(port), "--log-level", "warning"]
        self.child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.process = psutil.Process(self.child.pid)
        self.address = f"http://127.0.0.1:{port}"
        self.session = requests.Session()
        while True:
            with contextlib.suppress(requests.ConnectionError):
                self.session.get(f"{self.address}/health", timeout=5)
                break
            time.sleep(0.05)

    def cpu(self) -> float:
        """Seconds of processor time used so far."""
        used = self.process.cpu_times()
        return float(used.user + used.system)


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def serving(root: Path) -> Iterator[Server]:
    server = Server(root)
    try:
        yield server
    finally:
        server.child.terminate()
        server.child.wait()


def batches(seed: int) -> Iterator[Batch]:
    """A run's records as the pump would send them."""
    values = np.random.default_rng(seed).standard_normal((RECORDS, len(KEYS))).astype(">f8")
    start, position = records.Start(time.time(), "r", "p", "r"), 0
    payloads, ends = [], []
    for step in range(RECORDS):
        record: Any = start if step == 0 else records.Points(step, 1.7e9 + step, KEYS, values[step].tobytes())
        payloads.append(records.encode(record))
        ends.append((ends[-1] if ends else position) + 8 + len(payloads[-1]))
        if len(payloads) == BATCH or step == RECORDS - 1:
            yield Batch(position, ends[-1], payloads, ends)
            position, payloads, ends = ends[-1], [], []


def ingest(folder: Path) -> dict[str, float]:
    made = list(batches(0))
    with serving(folder) as server:
        sink = HTTPSink(server.address, folder / "client")
        sink.open("warm", "w")
        sink.write(made[0])
        sink.close()
        sink.open("run", "w")
        began, used = time.perf_counter(), server.cpu()
        for batch in made:
            sink.write(batch)
        wall, cpu = time.perf_counter() - began, server.cpu() - used
        sink.close()
    points = RECORDS * len(KEYS)
    return {"points_per_second": points / wall, "points_per_core_second": points / cpu}


def panel(folder: Path) -> dict[str, float]:
    fill(folder)
    with serving(folder) as server:
        full: dict[str, Any] = {"keys": ["loss"], "project": "uncategorized", "limit": RUNS, "buckets": 800}
        zoomed = {**full, "range": [400_000, 450_000]}
        return {
            "panel_ms": timed(lambda: ask(server, full)),
            "panel_zoomed_ms": timed(lambda: ask(server, zoomed)),
            "panel_log_axis_ms": timed(lambda: ask(server, {**full, "scale": "log"})),
            "rss_after_mb": server.process.memory_info().rss / 1e6,
        }


def ask(server: Server, spec: dict[str, Any]) -> None:
    answer = server.session.get(
        f"{server.address}/api/v1/panel",
        params={"spec": json.dumps(spec)},
        headers={"accept-encoding": "identity"},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text


def timed(work: Callable[[], object], times: int = 9) -> float:
    """The median of some runs, in milliseconds; the first is left out."""
    work()
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append((time.perf_counter() - began) * 1000)
    return statistics.median(found)


def fill(folder: Path, runs: int = RUNS, points: int = POINTS) -> None:
    """Runs of a million noisy points."""
    db = SQLiteDatabase(folder / "trackkit.db")
    db.migrate()
    rng = np.random.default_rng(0)
    steps = np.arange(points)
    for number in range(runs):
        times = 1_700_000_000_000_000 + np.cumsum(rng.integers(1000, 1300, points))
        values = np.exp(-steps / 3e5) + 0.1 * rng.standard_normal(points)
        column = Column("metric", "loss", 0, steps, times, values, _statistics(values))
        with db.atomic():
            run = writers.create(db, writers.new_number(), f"run{number}", "w", int(times[0]))
            seal.write(db, run, "w", seal.plan(db, run, "w", {}, [column], ending=True, rest=lambda: None))
    db.close()


def _statistics(values: Any) -> Statistics:
    ends = float(values[0]), float(values[-1])
    return Statistics(len(values), len(values), float(values.sum()), float(values.min()), float(values.max()), *ends)


def idle(folder: Path) -> dict[str, float]:
    with serving(folder) as server:
        time.sleep(2)
        used = server.cpu()
        time.sleep(5)
        cpu = (server.cpu() - used) / 5 * 100
        return {"idle_rss_mb": server.process.memory_info().rss / 1e6, "idle_cpu_percent": cpu}


PARTS: dict[str, Callable[[Path], dict[str, float]]] = {"ingest": ingest, "panel": panel, "idle": idle}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=list(PARTS))
    with tempfile.TemporaryDirectory() as place:
        print(json.dumps(PARTS[parser.parse_args().part](Path(place))))

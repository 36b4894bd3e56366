"""Servers compared: how many points a second they take over HTTP, and how long they need for a chart.

`python -m benchmarks.remote SERVER`, or none for the names. The server runs on the first core alone, its client on the
others, over one kept connection. Each is sent what its own client would send: trackkit compressed journal frames,
MLflow `log-batch` of 1,000 values, trackio `bulk_log` of 1,000 records of ten. The floor is a server that reads
trackkit's bytes and forgets them. The chart is of one metric of 20 runs, as each server's own pages ask for it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
import requests

from benchmarks import server as own
from tests.store.postgres import Cluster, missing
from trackkit.core import wire
from trackkit.core.sink import Batch
from trackkit.sinks.http import HTTPSink

CHART_RUNS = 20
CHART_POINTS = 100_000
"""Points of a run of the chart: MLflow and trackio keep a row each, and a million would take them minutes to make."""
START_SECONDS = 180
WRITE_TOKEN = "benchmark"


class Process:
    """A server in a process of its own on the first core."""

    def __init__(self, command: Sequence[str], port: int, path: str, env: dict[str, str] | None = None) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.child = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **(env or {})}
        )
        self.process = psutil.Process(self.child.pid)
        self.session = requests.Session()
        self.session.trust_env = False
        until = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(requests.RequestException):
                if self.session.get(self.address + path, timeout=5).status_code < 500:
                    break
            if self.child.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{command} did not start")
            time.sleep(0.1)
        for each in self._all():
            with contextlib.suppress(AttributeError, psutil.Error):  # macOS can't
                each.cpu_affinity([0])

    def _all(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def cpu(self) -> float:
        """Seconds of processor time used so far."""
        return float(sum(sum(each.cpu_times()[:2]) for each in self._all()))

    def memory(self) -> float:
        """Resident memory, MB."""
        return float(sum(each.memory_info().rss for each in self._all())) / 1e6

    def post(self, path: str, body: Any, **headers: str) -> None:
        answer = self.session.post(self.address + path, json=body, headers=headers, timeout=600)
        assert answer.status_code == 200, answer.text[:500]

    def close(self) -> None:
        """End it, once."""
        if self.child.poll() is not None:
            return
        children = self._all()
        for each in children:
            with contextlib.suppress(psutil.Error):
                each.terminate()
        psutil.wait_procs(children, 10)


class Subject(Protocol):
    """A server to be measured."""

    def start(self, folder: Path) -> Process: ...

    def send(self, process: Process) -> int:
        """Send points; how many."""
        ...

    def chart(self, process: Process) -> Callable[[], int] | None:
        """Fill the server with the runs of the chart; what asks for it and gives the bytes of the answer."""
        ...


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def command(folder: Path, *more: str) -> tuple[list[str], int]:
    port = free_port()
    base = [sys.executable, "-m", "trackkit", "serve", str(folder), "--port", str(port), "--log-level", "warning"]
    return [*base, *more], port


def send_run(address: str, folder: Path, made: list[Batch], run: str) -> None:
    sink = HTTPSink(address, folder)
    sink.open(run, "w")
    for batch in made:
        sink.write(batch)
    sink.close()


class Trackkit:
    """On SQLite."""

    def start(self, folder: Path) -> Process:
        self.folder = folder
        own.fill(folder, CHART_RUNS, CHART_POINTS)
        given, port = command(folder)
        return Process(given, port, "/health")

    def send(self, process: Process) -> int:
        made = list(own.batches(0))
        send_run(process.address, self.folder / "client", made[:1], "warm")
        self.began, self.used = time.perf_counter(), process.cpu()
        send_run(process.address, self.folder / "client", made, "run")
        return own.RECORDS * len(own.KEYS)

    def chart(self, process: Process) -> Callable[[], int] | None:
        spec = {"keys": ["loss"], "project": "uncategorized", "limit": CHART_RUNS, "buckets": 800}
        params = {"spec": json.dumps(spec)}
        return lambda: len(process.session.get(f"{process.address}/api/v1/panel", params=params, timeout=60).content)


class TrackkitOnPostgres(Trackkit):
    """On a throwaway PostgreSQL with its default settings: every commit is on the disk when it returns."""

    servers = 1

    def start(self, folder: Path) -> Process:
        self.folder = folder
        self.cluster = Cluster({"shared_buffers": "256MB", "max_wal_size": "4GB"})
        self.url = self.cluster.url(self.cluster.create())
        self.processes = []
        for _ in range(self.servers):
            given, port = command(folder, "--store", self.url)
            self.processes.append(Process(given, port, "/health"))
        if self.servers > 1:
            for process in self.processes:
                process.process.cpu_affinity(list(range(os.cpu_count() or 1)))
        return self.processes[0]

    def send(self, process: Process) -> int:
        made = list(own.batches(0))
        for number, each in enumerate(self.processes):
            send_run(each.address, self.folder / "client", made[:1], f"warm{number}")
        threads = [
            threading.Thread(target=send_run, args=[each.address, self.folder / "client", made, f"run{number}"])
            for number, each in enumerate(self.processes)
        ]
        self.began, self.used = time.perf_counter(), sum(each.cpu() for each in self.processes)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        process.cpu = lambda: sum(Process.cpu(each) for each in self.processes)  # type: ignore[method-assign]
        return own.RECORDS * len(own.KEYS) * len(self.processes)

    def chart(self, process: Process) -> Callable[[], int] | None:
        return None

    def close(self) -> None:
        for each in self.processes:
            each.close()
        self.cluster.remove()


class TwoTrackkitsOnPostgres(TrackkitOnPostgres):
    servers = 2


class Forgetful(Trackkit):
    """The floor: reads what trackkit's sink sends and forgets it."""

    APP = """
import json, sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

async def take(request):
    async for part in request.stream():
        pass
    return Response(b"{}")

uvicorn.run(Starlette(routes=[Route("/{path:path}", take, methods=["GET", "POST"])]), port=int(sys.argv[1]),
            log_level="warning")
"""

    def start(self, folder: Path) -> Process:
        port = free_port()
        return Process([sys.executable, "-c", self.APP, str(port)], port, "/health")

    def send(self, process: Process) -> int:
        import zstandard

        made, compressor = list(own.batches(0)), zstandard.ZstdCompressor(level=1)
        self.began, self.used = time.perf_counter(), process.cpu()
        for batch in made:
            body = compressor.compress(wire.encode("r", "w", 0, batch))
            process.session.post(f"{process.address}/batch", data=body, timeout=60)
        return own.RECORDS * len(own.KEYS)

    def chart(self, process: Process) -> Callable[[], int] | None:
        return None


class Mlflow:
    def start(self, folder: Path) -> Process:
        self.folder, port = folder, free_port()
        env = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
        store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/files"]
        base = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        return Process([*base, *store], port, "/health", env)

    def _run(self, process: Process) -> str:
        answer = process.session.post(
            f"{process.address}/api/2.0/mlflow/runs/create",
            json={"experiment_id": "0", "start_time": 1_700_000_000_000},
            timeout=60,
        )
        return str(answer.json()["run"]["info"]["run_id"])

    def send(self, process: Process) -> int:
        run, count = self._run(process), 20
        values = np.random.default_rng(0).standard_normal((count * 100, 10))
        self.began, self.used = time.perf_counter(), process.cpu()
        for number in range(count):
            metrics = [
                {"key": own.KEYS[key], "value": values[step, key], "timestamp": 1_700_000_000_000 + step, "step": step}
                for step in range(number * 100, number * 100 + 100)
                for key in range(10)
            ]
            process.post("/api/2.0/mlflow/runs/log-batch", {"run_id": run, "metrics": metrics})
        return count * 1000

    def chart(self, process: Process) -> Callable[[], int] | None:
        ids = [self._run(process) for _ in range(CHART_RUNS)]
        values = np.random.default_rng(0).standard_normal((CHART_RUNS, CHART_POINTS))
        with contextlib.closing(sqlite3.connect(self.folder / "mlflow.db", timeout=60)) as db, db:
            for id, row in zip(ids, values.tolist(), strict=True):
                rows = [("loss", value, 1_700_000_000_000 + step, id, step, 0) for step, value in enumerate(row)]
                db.executemany(
                    "insert into metrics (key, value, timestamp, run_uuid, step, is_nan) values (?, ?, ?, ?, ?, ?)",
                    rows,
                )
        url = f"{process.address}/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"
        params = {"run_ids": ids, "metric_key": "loss", "max_results": 320}  # what its charts ask for

        def ask() -> int:
            answer = process.session.get(url, params=params, timeout=600)
            assert answer.status_code == 200, answer.text[:500]
            return len(answer.content)

        return ask


class Trackio:
    APP = """
import sys, uvicorn
from trackio.server import build_starlette_app_only
uvicorn.run(build_starlette_app_only()[0], port=int(sys.argv[1]), log_level="warning")
"""
    FILL = """
import sys, numpy
from trackio.sqlite_storage import SQLiteStorage
runs, points = int(sys.argv[1]), int(sys.argv[2])
values = numpy.random.default_rng(0).standard_normal((runs, points)).tolist()
for number, row in enumerate(values):
    for start in range(0, points, 10_000):
        part = [{"loss": value} for value in row[start : start + 10_000]]
        steps = list(range(start, start + len(part)))
        SQLiteStorage.bulk_log("chart", f"run{number}", part, steps, run_id=f"run{number}")
"""

    def start(self, folder: Path) -> Process:
        self.env, port = {"TRACKIO_DIR": str(folder), "TRACKIO_WRITE_TOKEN": WRITE_TOKEN}, free_port()
        return Process([sys.executable, "-c", self.APP, str(port)], port, "/version", self.env)

    def send(self, process: Process) -> int:
        count = 20
        values = np.random.default_rng(0).standard_normal((count * 1000, 10)).tolist()
        self.began, self.used = time.perf_counter(), process.cpu()
        for number in range(count):
            logs = [
                {
                    "project": "p", "run": "r", "run_id": "r", "step": step, "config": None,
                    "metrics": dict(zip(own.KEYS, values[step], strict=True)), "log_id": f"r-{step}",
                }
                for step in range(number * 1000, number * 1000 + 1000)
            ]  # fmt: skip
            process.post("/api/bulk_log", {"logs": logs, "hf_token": None}, **{"x-trackio-write-token": WRITE_TOKEN})
        return count * 10_000

    def chart(self, process: Process) -> Callable[[], int] | None:
        arguments = [sys.executable, "-c", self.FILL, str(CHART_RUNS), str(CHART_POINTS)]
        subprocess.run(arguments, env={**os.environ, **self.env}, check=True)
        runs = [{"run": f"run{number}", "run_id": f"run{number}"} for number in range(CHART_RUNS)]

        def ask() -> int:
            body = {"project": "chart", "runs": runs, "max_points": 3000}
            answer = process.session.post(f"{process.address}/api/get_logs_batch", json=body, timeout=600)
            assert answer.status_code == 200, answer.text[:500]
            return len(answer.content)

        return ask


SUBJECTS: dict[str, tuple[type[Any], Callable[[], bool]]] = {
    "reads and forgets": (Forgetful, lambda: True),
    "trackkit on SQLite": (Trackkit, lambda: True),
    "trackkit on PostgreSQL": (TrackkitOnPostgres, lambda: not missing()),
    "two trackkits on one PostgreSQL": (TwoTrackkitsOnPostgres, lambda: not missing()),
    "trackio": (Trackio, lambda: importlib.util.find_spec("trackio") is not None),
    "mlflow on SQLite": (Mlflow, lambda: importlib.util.find_spec("mlflow") is not None),
}


def installed() -> list[str]:
    """The servers that can be measured here."""
    return [name for name, (_, there) in SUBJECTS.items() if there()]


@contextlib.contextmanager
def started(subject: Any, folder: Path) -> Iterator[Process]:
    process = subject.start(folder)
    try:
        yield process
    finally:
        process.close()
        if hasattr(subject, "close"):
            subject.close()


def measure(name: str) -> dict[str, float]:
    subject = SUBJECTS[name][0]()
    with contextlib.suppress(AttributeError):
        os.sched_setaffinity(0, range(1, os.cpu_count() or 1))
    with tempfile.TemporaryDirectory() as place, started(subject, Path(place)) as process:
        time.sleep(1)
        figures = {"idle_rss_mb": process.memory()}
        points = subject.send(process)
        figures["points_per_second"] = points / (time.perf_counter() - subject.began)
        figures["points_per_core_second"] = points / (process.cpu() - subject.used)
        ask = subject.chart(process)
        if ask is not None:
            figures["chart_kb"] = ask() / 1e3
            figures["chart_ms"] = own.timed(ask, 3)
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("server", nargs="?")
    chosen = parser.parse_args().server
    print(json.dumps(measure(chosen) if chosen else installed()))

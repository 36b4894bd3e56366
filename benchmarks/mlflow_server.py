"""trackkit's server and `mlflow server` on SQLite, asked the same by the same clients, one after the other.

`python -m benchmarks.mlflow_server [--seconds 5] [--runs 10000] [--points 100000]`. Clients are processes that speak
HTTP on one connection each, without MLflow's own client, which takes a millisecond a call on either side. Figures of
both stand side by side with their ratio; memory is of the server's processes in all.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from tests.servers import free_port

API = "/api/2.0/mlflow/"
BATCH = 100
"""Metrics of a batch."""
CLIENTS = (1, 8)
_WARM_SECONDS = 0.5


class Connection:
    """One client's connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """What a request gives, which must succeed."""
        answer = self._send(method, path, None if body is None else json.dumps(body).encode())
        found: dict[str, Any] = json.loads(answer or b"{}")
        return found

    def post(self, path: str, body: bytes) -> None:
        """A POST whose answer is of no interest."""
        self._send("POST", path, body)

    def _send(self, method: str, path: str, body: bytes | None) -> bytes:
        try:
            self._connection.request(method, API + path, body, {"content-type": "application/json"})
        except OSError:  # a server ends connections that are idle for some seconds
            self._connection.close()
            self._connection.request(method, API + path, body, {"content-type": "application/json"})
        answer = self._connection.getresponse()
        content = answer.read()
        assert answer.status == 200, (path, answer.status, content[:500])
        return content


@contextlib.contextmanager
def serving(kind: str, folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """A server of one kind as it is installed: its port and its process."""
    port = free_port()
    if kind == "trackkit":
        command = [sys.executable, "-m", "trackkit", "serve", str(folder), "--port", str(port)]
    else:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
                   "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
                   "--artifacts-destination", f"{folder}/artifacts"]  # fmt: skip
    env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd=folder, start_new_session=True)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError, AssertionError):
                Connection(port).ask("GET", "experiments/get?experiment_id=0")
                break
            time.sleep(0.2)
        else:
            raise RuntimeError(f"{kind} does not answer: {(folder / 'log').read_text()[-2000:]}")
        time.sleep(2)  # workers that start one after the other
        yield port, psutil.Process(server.pid)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def memory(server: psutil.Process) -> float:
    """MiB that a server's processes hold, what they share counted once."""
    total = 0
    for process in [server, *server.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total / 2**20


def log_metric(port: int, run: str, client: int) -> Callable[[int], None]:
    connection = Connection(port)

    def call(number: int) -> None:
        body = {
            "run_id": run,
            "run_uuid": run,
            "key": f"loss{client}",
            "value": 0.5,
            "timestamp": number,
            "step": number,
        }
        connection.post("runs/log-metric", json.dumps(body).encode())

    return call


def log_batch(port: int, run: str, client: int) -> Callable[[int], None]:
    connection = Connection(port)

    def call(number: int) -> None:
        metrics = [
            {"key": f"m{client}-{key}", "value": 0.5, "timestamp": number, "step": number} for key in range(BATCH)
        ]
        connection.post("runs/log-batch", json.dumps({"run_id": run, "metrics": metrics}).encode())

    return call


def _client(make: Any, port: int, run: str, client: int, seconds: float, start: Any, results: Any) -> None:
    call = make(port, run, client)
    call(0)
    start.wait()
    until, done = time.perf_counter() + seconds, 0
    while time.perf_counter() < until:
        done += 1
        call(done)
    results.put(done / seconds)


def rate(make: Any, port: int, run: str, clients: int, seconds: float) -> float:
    """Requests a second that some clients get answered together."""
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(clients), context.Queue()
    found = [
        context.Process(target=_client, args=(make, port, run, number, seconds, start, results))
        for number in range(clients)
    ]
    for process in found:
        process.start()
    total = sum(results.get(timeout=300) for _ in found)
    for process in found:
        process.join()
    return float(total)


def milliseconds(call: Callable[[], Any], times: int = 3) -> float:
    """The best of some times."""
    best = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - began)
    return best * 1000


def history(connection: Connection, run: str, points: int) -> None:
    """Read a metric as MLflow's client does, a page after the other."""
    found, token = 0, ""
    while True:
        page = f"&page_token={token}" if token else ""
        answer = connection.ask("GET", f"metrics/get-history?run_id={run}&metric_key=long&max_results=25000{page}")
        found += len(answer["metrics"])
        token = answer.get("next_page_token", "")
        if not token:
            assert found == points, found
            return


def measure(kind: str, seconds: float, runs: int, points: int) -> dict[str, float]:
    """The figures of one server."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, serving(kind, Path(folder)) as (port, server):
        connection = Connection(port)
        found["idle_mib"] = memory(server)
        experiment = connection.ask("POST", "experiments/create", {"name": "speed"})["experiment_id"]

        def new_run(number: int = 0) -> str:
            body = {"experiment_id": experiment, "start_time": number, "run_name": f"run {number}"}
            return str(connection.ask("POST", "runs/create", body)["run"]["info"]["run_id"])

        for name, make in (("log_metric", log_metric), ("log_batch", log_batch)):
            for clients in CLIENTS:
                found[f"{name}_{clients}"] = rate(make, port, new_run(), clients, seconds)
        found["loaded_mib"] = memory(server)
        run = new_run()
        for start in range(0, points, 1000):
            metrics = [
                {"key": "long", "value": step / 7, "timestamp": step, "step": step}
                for step in range(start, start + 1000)
            ]
            connection.ask("POST", "runs/log-batch", {"run_id": run, "metrics": metrics})
        found["history_ms"] = milliseconds(lambda: history(connection, run, points))
        many = connection.ask("POST", "experiments/create", {"name": "many"})["experiment_id"]
        for number in range(runs):
            body = {"experiment_id": many, "start_time": number, "run_name": f"run {number}"}
            made = connection.ask("POST", "runs/create", body)["run"]["info"]["run_id"]
            batch = {
                "run_id": made,
                "metrics": [{"key": f"m{key}", "value": number % 97 / 97, "timestamp": 1} for key in range(5)],
                "params": [{"key": f"p{key}", "value": str(number % 10)} for key in range(5)],
                "tags": [{"key": "kind", "value": f"k{number % 3}"}],
            }
            connection.ask("POST", "runs/log-batch", batch)
        filter = "metrics.m1 > 0.5 and params.p2 != '3' and tags.kind LIKE 'k%'"
        search = {"experiment_ids": [many], "filter": filter, "order_by": ["metrics.m1 DESC"]}
        for most in (100, 10_000):
            body = {**search, "max_results": most}
            found[f"search_{most}_ms"] = milliseconds(lambda body=body: connection.ask("POST", "runs/search", body))  # type: ignore[misc]
        found["searched_mib"] = memory(server)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=100_000)
    options = parser.parse_args()
    figures = {
        kind: measure(kind, options.seconds, options.runs, options.points) for kind in ("trackkit", "mlflow server")
    }
    ours, theirs = figures.values()
    table = Table("", *figures, "ratio", title="MLflow's API on SQLite")
    for name in ours:
        is_rate = not name.endswith(("_ms", "_mib"))
        ratio = ours[name] / theirs[name] if is_rate else theirs[name] / ours[name]
        table.add_row(name, f"{ours[name]:,.1f}", f"{theirs[name]:,.1f}", f"{ratio:.1f}×")
    Console().print(table)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

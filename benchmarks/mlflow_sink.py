"""What a call costs the training with a run that goes to an MLflow server: `python -m benchmarks.mlflow_sink`.

Three ways to log ten floats a step, each in a process of its own, against one `mlflow server` on SQLite: trackkit with
the MLflow sink, trackkit with its own SQLite file (which says what the sink adds: nothing should), and MLflow's client,
which makes a request a call. TRACKKIT_MLFLOW names the Python that has mlflow.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

STEPS = 2_000
MLFLOW_STEPS = 200
"""Its calls take milliseconds each."""
_TRACKKIT = """
import json, sys, time, trackkit
run = trackkit.init(project="bench", sink=sys.argv[1], dir=sys.argv[2], settings={"quiet": True})
values = {f"m{number}": number / 7 for number in range(10)}
taken = []
for step in range(int(sys.argv[3])):
    began = time.perf_counter_ns()
    run.log(values)
    taken.append(time.perf_counter_ns() - began)
    time.sleep(0.0005)
began = time.perf_counter()
run.finish(timeout=120)
print(json.dumps([sorted(taken), time.perf_counter() - began]))
"""
_MLFLOW = """
import json, sys, time, mlflow
mlflow.set_tracking_uri(sys.argv[1].removeprefix("mlflow+"))
mlflow.set_experiment("bench")
values = {f"m{number}": number / 7 for number in range(10)}
taken = []
with mlflow.start_run():
    for step in range(int(sys.argv[3])):
        began = time.perf_counter_ns()
        mlflow.log_metrics(values, step=step)
        taken.append(time.perf_counter_ns() - began)
        time.sleep(0.0005)
    began = time.perf_counter()
print(json.dumps([sorted(taken), time.perf_counter() - began]))
"""


def measure(python: str, source: str, sink: str, folder: Path, steps: int) -> tuple[list[int], float]:
    """The nanoseconds of each call, sorted, and the seconds of the end."""
    command = [python, "-W", "ignore", "-c", source, sink, str(folder), str(steps)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    calls, end = json.loads(done.stdout.splitlines()[-1])
    return calls, end


def serve(python: str, folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A server of MLflow on SQLite, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    env = {**os.environ, "PATH": f"{Path(python).parent}:{os.environ.get('PATH', '')}"}
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env, cwd=folder)
    address = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            if requests.get(f"{address}/health", timeout=2).status_code == 200:
                return child, address
        except requests.RequestException:
            time.sleep(0.2)
    child.terminate()
    raise SystemExit("the MLflow server did not start")


def main() -> None:
    """Print the figures."""
    python = os.environ.get("TRACKKIT_MLFLOW", "")
    if not python:
        raise SystemExit("set TRACKKIT_MLFLOW to the Python of an environment with mlflow")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        child, address = serve(python, folder)
        try:
            rows = [
                ("trackkit, to its own file", measure(sys.executable, _TRACKKIT, "sqlite:", folder / "a", STEPS)),
                ("trackkit, to MLflow", measure(sys.executable, _TRACKKIT, f"mlflow+{address}", folder / "b", STEPS)),
                ("mlflow.log_metrics", measure(python, _MLFLOW, f"mlflow+{address}", folder / "c", MLFLOW_STEPS)),
            ]
        finally:
            child.terminate()
            child.wait(30)
    print(f"{'ten floats a call':28} {'p50 µs':>10} {'p99 µs':>10} {'worst µs':>10} {'finish s':>10}")
    for title, (calls, end) in rows:
        figures = (calls[len(calls) // 2], calls[len(calls) * 99 // 100], calls[-1])
        print(f"{title:28} " + " ".join(f"{figure / 1000:10,.1f}" for figure in figures) + f" {end:10.2f}")


if __name__ == "__main__":
    main()

"""MLflow's UI and trackio's dashboard on the data that trackkit's is timed on.

Each keeps its runs in a SQLite file, which is filled row by row, as logging 10,000 runs through their clients takes
hours. What is timed is how long after the address was opened the first run, or the first line, is in the document.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import requests
from playwright.sync_api import Browser, TimeoutError

from benchmarks.server import free_port

RUNS, CONFIG_KEYS, SUMMARY_KEYS, LONG_RUNS = 10_000, 60, 40, 20
TIMES = 3
PATIENCE_MS = 180_000
WINDOW = {"width": 1280, "height": 800}
BEGAN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class Peer(Protocol):
    """A tracker with a dashboard, in a folder."""

    def __init__(self, folder: Path) -> None: ...

    def fill_runs(self) -> None: ...

    def fill_long(self, points: int) -> None: ...

    def command(self, port: int) -> list[str]: ...

    environment: dict[str, str]
    runs: tuple[str, str]
    """The path of its table of runs, and a selector of what says that it is there."""
    panel: tuple[str, str]


class Mlflow:
    runs = ("/#/experiments/1/runs?compareRunsMode=TABLE", ".ag-row")
    panel = ("/#/experiments/1/runs?compareRunsMode=CHART", ".js-plotly-plot .trace")

    def __init__(self, folder: Path) -> None:
        self.file = folder / "mlflow.db"
        self.environment = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
        uri = f"sqlite:///{self.file}"
        self._arguments = ["server", "--backend-store-uri", uri, "--workers", "1"]
        subprocess.run(
            ["mlflow", "experiments", "create", "--experiment-name", "bench"],
            env={**os.environ, **self.environment, "MLFLOW_TRACKING_URI": uri},
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip

    def fill_runs(self) -> None:
        random = np.random.default_rng(1)
        with contextlib.closing(self._runs(RUNS)) as db, db:
            for number in range(RUNS):
                values = random.random(CONFIG_KEYS + SUMMARY_KEYS).tolist()
                id = f"{number:032x}"
                params = [(f"key_{key}", repr(value), id) for key, value in enumerate(values[:CONFIG_KEYS])]
                metrics = [(f"metric_{key}", value, 0, 0, 0, id) for key, value in enumerate(values[CONFIG_KEYS:])]
                db.executemany("insert into params (key, value, run_uuid) values (?, ?, ?)", params)
                db.executemany(f"insert into latest_metrics {_LATEST}", metrics)

    def fill_long(self, points: int) -> None:
        with contextlib.closing(self._runs(LONG_RUNS)) as db, db:
            for number in range(LONG_RUNS):
                id = f"{number:032x}"
                rows = (("loss", value, step, step, 0, id) for step, value in enumerate(noise(number, points)))
                db.executemany(f"insert into metrics {_LATEST}", rows)
                db.execute(f"insert into latest_metrics {_LATEST}", ("loss", 0.1, points, points, 0, id))

    def command(self, port: int) -> list[str]:
        return ["mlflow", *self._arguments, "--port", str(port)]

    def _runs(self, count: int) -> sqlite3.Connection:
        db = sqlite3.connect(self.file)
        now = time.time_ns() // 1_000_000
        fixed = {
            "source_type": "LOCAL", "source_name": "", "entry_point_name": "", "user_id": "bench", "status": "FINISHED",
            "source_version": "", "lifecycle_stage": "active", "artifact_uri": "/none", "experiment_id": 1,
        }  # fmt: skip
        times = {"start_time": now, "end_time": now}
        rows = [(f"{number:032x}", f"run {number}", *fixed.values(), *times.values()) for number in range(count)]
        columns = ", ".join(["run_uuid", "name", *fixed, *times])
        db.executemany(f"insert into runs ({columns}) values ({', '.join('?' * len(rows[0]))})", rows)
        names = [("mlflow.runName", row[1], row[0]) for row in rows]
        db.executemany("insert into tags (key, value, run_uuid) values (?, ?, ?)", names)
        return db


_LATEST = "(key, value, timestamp, step, is_nan, run_uuid) values (?, ?, ?, ?, ?, ?)"


class Trackio:
    runs = ("/runs?project=bench", "tbody tr")
    panel = ("/metrics?project=bench", ".vega-embed canvas")

    def __init__(self, folder: Path) -> None:
        self.file = folder / "bench.db"
        self.environment = {"TRACKIO_DIR": str(folder), "BROWSER": "true"}
        # Its own client makes the tables.
        program = shutil.which("trackio")
        assert program is not None
        init = "import trackio; trackio.init(project='bench', name='x', embed=False)"
        script = f"{init}; trackio.log({{'loss': 1.0}}); trackio.finish()"
        python = Path(program).with_name("python")
        subprocess.run([python, "-c", script], env={**os.environ, **self.environment}, check=True, capture_output=True)
        with contextlib.closing(sqlite3.connect(self.file)) as db, db:
            db.execute("delete from metrics")
            db.execute("delete from configs")

    def fill_runs(self) -> None:
        random = np.random.default_rng(1)
        with contextlib.closing(sqlite3.connect(self.file)) as db, db:
            for number in range(RUNS):
                values = random.random(CONFIG_KEYS + SUMMARY_KEYS).tolist()
                self._run(db, number, {f"key_{key}": value for key, value in enumerate(values[:CONFIG_KEYS])})
                self._log(db, number, 0, {f"metric_{key}": value for key, value in enumerate(values[CONFIG_KEYS:])})

    def fill_long(self, points: int) -> None:
        with contextlib.closing(sqlite3.connect(self.file)) as db, db:
            for number in range(LONG_RUNS):
                self._run(db, number, {})
                for step, value in enumerate(noise(number, points)):
                    self._log(db, number, step, {"loss": value})

    def command(self, port: int) -> list[str]:
        self.environment["GRADIO_SERVER_PORT"] = str(port)
        return ["trackio", "show", "--project", "bench"]

    def _run(self, db: sqlite3.Connection, number: int, config: dict[str, float]) -> None:
        began = (BEGAN + datetime.timedelta(seconds=number)).isoformat()
        text = json.dumps({**config, "_Username": None, "_Created": began, "_Group": None}).encode()
        columns = "run_id, run_name, config, created_at"
        db.execute(
            f"insert into configs ({columns}) values (?, ?, ?, ?)", (f"id{number}", f"run {number}", text, began)
        )

    def _log(self, db: sqlite3.Connection, number: int, step: int, values: dict[str, float]) -> None:
        at = (BEGAN + datetime.timedelta(seconds=number + step)).isoformat()
        row = (f"id{number}", at, f"run {number}", step, json.dumps(values).encode(), f"{number}-{step}")
        columns = "run_id, timestamp, run_name, step, metrics, log_id"
        db.execute(f"insert into metrics ({columns}) values (?, ?, ?, ?, ?, ?)", row)


PEERS: dict[str, type[Peer]] = {"mlflow": Mlflow, "trackio": Trackio}


def measure(browser: Browser, part: str, points: int) -> dict[str, dict[str, float]]:
    """The figures of the peers that are installed; `part` is `runs` or `panel`."""
    found = {}
    for name, kind in PEERS.items():
        if shutil.which(name) is None:
            print(f"{name} is not installed, so it is not measured")
            continue
        with tempfile.TemporaryDirectory() as place:
            peer = kind(Path(place))
            if part == "runs":
                peer.fill_runs()
                label, (path, selector) = "first rows, ms", peer.runs
            else:
                peer.fill_long(points)
                label, (path, selector) = "20 runs on the screen, ms", peer.panel
            with serving(peer, Path(place)) as address:
                first = seen(browser, address + path, selector)
                again = [seen(browser, address + path, selector) for _ in range(0 if math.isinf(first) else TIMES)]
                found[name] = {label: statistics.median(again or [first])}
    return found


@contextlib.contextmanager
def serving(peer: Peer, folder: Path) -> Iterator[str]:
    """The address of a peer's server, until the block ends."""
    port = free_port()
    command = peer.command(port)
    with (folder / "server.log").open("wb") as log:
        child = subprocess.Popen(
            command, env={**os.environ, **peer.environment}, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 180
        while True:
            with contextlib.suppress(requests.RequestException):
                requests.get(address, timeout=5)
                break
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not answer: {(folder / 'server.log').read_text()[-2000:]}")
            time.sleep(0.2)
        yield address
    finally:
        # Its workers as well.
        os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def seen(browser: Browser, address: str, selector: str) -> float:
    """How long after the address was opened something is in the document, in milliseconds; infinite if it never is."""
    context = browser.new_context(viewport=WINDOW)  # type: ignore[arg-type]
    try:
        page = context.new_page()
        began = time.perf_counter()
        page.goto(address, wait_until="commit")
        page.locator(selector).first.wait_for(state="attached", timeout=PATIENCE_MS)
        return (time.perf_counter() - began) * 1000
    except TimeoutError:
        return math.inf
    finally:
        context.close()


def noise(seed: int, points: int) -> list[float]:
    random = np.random.default_rng(seed)
    found: list[float] = (np.exp(-np.arange(points) / (0.3 * points)) + 0.1 * random.standard_normal(points)).tolist()
    return found

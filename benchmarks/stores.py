"""The store by itself: replaying a long journal, reading a long series, searching ten thousand runs."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def replay(points: int = 10_000_000) -> dict[str, float]:
    """A journal of 10 keys a record, as a killed run leaves it, brought into the store by a process of its own."""
    from trackkit.core import records
    from trackkit.core.recorder import Recorder
    from trackkit.core.writer import JournalWriter

    with tempfile.TemporaryDirectory(dir=".") as folder:
        journal = JournalWriter(Path(folder), "replayed", "writer", sinks=["sqlite:"])
        recorder = Recorder(journal)
        journal.append(records.encode(records.Start(recorder.now(), "replayed", "bench", "replayed")))
        noise = np.random.default_rng(1).normal(size=(1000, 10)).tolist()
        keys = [f"metric_{number}" for number in range(10)]
        rows = [dict(zip(keys, row, strict=True)) for row in noise]
        for _ in range(points // 10_000):
            for row in rows:
                recorder.log(row)
            journal.keep_ahead()
        journal.close(acknowledged=False)
        done = subprocess.run(
            [sys.executable, "-c", _RECOVER, folder], capture_output=True, text=True, check=True, timeout=600
        )
        seconds, peak_kb = map(float, done.stdout.split())
        return {"replay_points_per_second": points / seconds, "replay_peak_rss_mb": peak_kb / 1024}


_RECOVER = """
import re, sys, time
from pathlib import Path
from trackkit.backend.store.recovery import recover
began = time.perf_counter()
recover(Path(sys.argv[1]))
seconds = time.perf_counter() - began
print(seconds, re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])  # getrusage has the parent's
"""


def series(points: int = 1_000_000) -> dict[str, float]:
    """One noisy series of a million points: its bytes, and its way to NumPy."""
    import trackkit
    from trackkit import Api

    with tempfile.TemporaryDirectory(dir=".") as folder:
        root = Path(folder)
        quiet = {"quiet": True, "system": False, "console": "off", "git": False, "packages": False, "code": False}
        run = trackkit.init(project="bench", dir=root, settings=quiet)
        for value in np.random.default_rng(1).normal(size=points).tolist():
            run.log({"loss": value})
        run.finish()
        stored = (root / "trackkit.db").stat().st_size
        saved = Api(root).run(run.path)
        taken = []
        for _ in range(7):
            began = time.perf_counter()
            found = saved.series("loss")
            taken.append(time.perf_counter() - began)
        assert len(found.value) == points
        return {"bytes_per_point": stored / points, "series_read_ms": sorted(taken)[3] * 1000}


def search(count: int = 10_000) -> dict[str, float]:
    """`Api.runs(filters, order)` over 10,000 runs × 50 config keys × 20 summary keys: the first page, whole."""
    from trackkit import Api
    from trackkit.backend.store.sqlite import SQLiteDatabase

    with tempfile.TemporaryDirectory(dir=".") as folder:
        root = Path(folder)
        database = SQLiteDatabase(root / "trackkit.db")
        database.migrate()
        fill_runs(database, count)
        database.close()
        api = Api(root)
        found = {}
        for name, filters in (
            ("search_two_conditions_ms", "config.key_3 < 0.3 and summary.metric_5 > 0.5"),
            ("search_state_and_tag_ms", 'state = "finished" and tags has "baseline"'),
        ):
            taken = []
            for _ in range(5):
                began = time.perf_counter()
                runs = api.runs("bench", filters, order="-summary.metric_0")
                page = runs[:50]
                assert page
                _ = [(run.config, run.summary) for run in page]
                taken.append(time.perf_counter() - began)
            found[name] = sorted(taken)[2] * 1000
        return found


def fill_runs(database: object, count: int) -> None:
    """Runs as ingest writes them, without the time ingest takes."""
    from trackkit.backend.store.sqlite import SQLiteDatabase

    assert isinstance(database, SQLiteDatabase)
    random = np.random.default_rng(1)
    columns = (
        "run, id, project, name, run_group, job_type, notes, state, created, updated, ended, exit_code, error, metadata"
    )
    with database.atomic():
        for number in range(1, count + 1):
            database.execute(
                f"insert into runs ({columns}) values (?, ?, 'bench', ?, '', '', '', ?, ?, ?, ?, 0, '', '{{}}')",
                (
                    number,
                    f"run{number}",
                    f"run {number}",
                    "finished" if number % 3 else "failed",
                    number,
                    number,
                    number,
                ),
            )
            if number % 10 == 0:
                database.execute("insert into tags values (?, 'baseline')", (number,))
            config = [
                (number, f"key_{key}", "float", value, None) for key, value in enumerate(random.random(50).tolist())
            ]
            database.insert_many("config", ["run", "key", "type", "number", "text"], config)
            summary = [
                (number, f"metric_{key}", "float", value, None, 0)
                for key, value in enumerate(random.random(20).tolist())
            ]
            database.insert_many("summary", ["run", "key", "type", "number", "text", "edited"], summary)


PARTS = {"replay": replay, "series": series, "search": search}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=sorted(PARTS))
    print(json.dumps(PARTS[parser.parse_args().part]()))

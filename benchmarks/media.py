"""What logging an image and a table costs the training thread, beside wandb's and a copy of the data."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import trackkit
from benchmarks import trackers

IMAGES = 60
ROWS = 1_000_000
ROUNDS = 5


def image(seed: int) -> Any:
    """A photo-like image, 512 × 512 × 3 bytes: smooth, with some noise."""
    y, x = np.mgrid[0:512, 0:512] / 512.0
    base = np.stack([x, y, np.sin(6 * (x + y)) / 2 + 0.5], axis=-1) * 200
    noise = np.random.default_rng(seed).normal(20, 8, (512, 512, 3))
    return np.clip(base + noise, 0, 255).astype(np.uint8)


def frame(rows: int = ROWS) -> Any:
    """A table of numbers, bools, times and texts, as pandas has it."""
    import pandas as pd

    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": np.arange(rows),
            "loss": rng.normal(size=rows),
            "score": rng.random(rows),
            "label": rng.integers(0, 10, rows),
            "right": rng.random(rows) > 0.5,
            "when": pd.date_range("2026-01-01", periods=rows, freq="s"),
            "name": [f"sample {number}" for number in range(rows)],
        }
    )


def timed(work: Callable[[], Any]) -> float:
    """Milliseconds a call takes."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def log_images(log: Callable[[dict[str, Any]], Any], make: Callable[[Any], Any]) -> dict[str, float]:
    """The cost of making an image and logging it, in ms; 20 ms of other work in between, as between steps."""
    images = [image(seed) for seed in range(8)]
    taken = []
    for number in range(IMAGES):
        data = images[number % len(images)]
        taken.append(timed(lambda data=data: log({"image": make(data)})))  # type: ignore[misc]
        until = time.perf_counter() + 0.02
        while time.perf_counter() < until:
            sum(range(100))
    return {"p50": median(taken[5:]), "worst": max(taken[5:])}


def images_of_trackkit(folder: Path) -> dict[str, float]:
    run = trackkit.init(project="bench", dir=folder, settings={"quiet": True})
    time.sleep(1)
    found = log_images(run.log, trackkit.Image)
    return {f"image_trackkit_{name}_ms": value for name, value in found.items()} | {
        "image_finish_ms": timed(run.finish)
    }


def images_of_wandb(folder: Path) -> dict[str, float]:
    import wandb

    os.environ["WANDB_SILENT"] = "true"
    run = wandb.init(project="bench", dir=str(folder), mode="offline")
    found = log_images(run.log, wandb.Image)
    run.finish()
    return {f"image_wandb_{name}_ms": value for name, value in found.items()}


def tables(folder: Path) -> dict[str, float]:
    """A million rows handed over, in turns with a copy of the same data frame, and its bytes written to a file.

    What survives SIGKILL has to be with the kernel, so that write is the floor; a copy in memory is lost.
    """
    data = frame()
    raw = bytes(sum(map(len, trackkit.Table(dataframe=data).snapshot().buffers[0])))
    folder.mkdir()
    run = trackkit.init(project="bench", dir=folder, settings={"quiet": True, "finish_timeout": 300})
    time.sleep(1)
    copies, writes, logs = [], [], []
    for number in range(ROUNDS):
        copies.append(timed(lambda: data.copy()))
        writes.append(timed(lambda number=number: (folder / str(number)).write_bytes(raw)))  # type: ignore[misc]
        logs.append(timed(lambda: run.log({"table": trackkit.Table(dataframe=data)})))
        time.sleep(3)
    finish = timed(run.finish)
    found = {"table_mb": len(raw) / 1e6, "table_copy_ms": median(copies), "table_write_ms": median(writes)}
    found |= {"table_trackkit_ms": median(logs), "table_finish_ms": finish}
    ratios = {"copy": median(copies), "write": median(writes)}
    return found | {f"table_log_over_{name}": median(logs) / value for name, value in ratios.items()}


def table_of_wandb(folder: Path, rows: int) -> float:
    """Milliseconds that wandb takes for a table, of which it keeps rows as Python objects and writes JSON."""
    import wandb

    data = frame(rows).drop(columns="when")
    run = wandb.init(project="bench", dir=str(folder), mode="offline")
    taken = timed(lambda: run.log({"table": wandb.Table(dataframe=data)}))
    run.finish()
    return taken


def main() -> dict[str, float]:
    found: dict[str, float] = {}
    here = Path.cwd()
    with tempfile.TemporaryDirectory(dir=here) as folder:
        data = image(0)
        found["image_array_copy_ms"] = median([timed(lambda: data.copy()) for _ in range(50)])
        found |= images_of_trackkit(Path(folder) / "trackkit")
        found |= tables(Path(folder) / "tables")
        if "wandb offline" in trackers.installed():
            found |= images_of_wandb(Path(folder))
            found["table_wandb_10000_rows_ms"] = table_of_wandb(Path(folder), 10_000)
    return found


if __name__ == "__main__":
    print(json.dumps(main()))

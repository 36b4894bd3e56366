"""The dashboard as it is seen: how long until something is on the screen, and what it costs to watch.

`runs` opens a project of 10,000 runs × 100 columns and scrolls its table; `panel` draws 20 long runs and zooms into
them; `live` watches a page of 50 panels change once a second. Each is timed inside the page, in headless Chromium
without a GPU. MLflow's UI and trackio's dashboard show the same data where their programs are on the PATH (`--peers`);
their long runs have 10,000 points, as a SQLite file of theirs with 20 million takes longer to make than anybody waits.

    python -m benchmarks.browser                # all of it, trackkit alone
    python -m benchmarks.browser --peers        # beside the peers
    python -m benchmarks.browser panel --points 1000000
"""

from __future__ import annotations

import argparse
import contextlib
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console
from rich.table import Table

from benchmarks import browser_peers
from benchmarks.server import Server, fill, serving
from tests.browser import chromium
from trackkit.backend.store import entries
from trackkit.backend.store.sqlite import SQLiteDatabase

RUNS, CONFIG_KEYS, SUMMARY_KEYS = 10_000, 60, 40
LIVE_RUNS, LIVE_PANELS, LIVE_SECONDS = 5, 50, 30
TIMES = 5
PEER_POINTS = 10_000
WINDOW = {"width": 1280, "height": 800}
EVERYTHING = {"width": 1280, "height": 7600}
"""A window in which all fifty panels are in sight at once."""
FRAME_MS = 1000 / 60

NOTE_TIMES = """
window.times = { rows: 0, drawn: 0, requested: 0, answered: 0, released: 0 };
let answerIsDrawn = true;
const now = () => performance.now();
// What is in the document is on the screen two frames later at most.
const shown = (name) => requestAnimationFrame(() => requestAnimationFrame(() => { window.times[name] = now(); }));
new MutationObserver((_, observer) => {
  if (!document.querySelector('[data-row="0"] a')) return;
  observer.disconnect();
  shown('rows');
}).observe(document, { childList: true, subtree: true });
const clear = CanvasRenderingContext2D.prototype.clearRect;
CanvasRenderingContext2D.prototype.clearRect = function (...area) {
  if (!answerIsDrawn) shown('drawn');
  answerIsDrawn = true;
  return clear.apply(this, area);
};
const fetched = window.fetch;
window.fetch = async (address, options) => {
  if (!String(address).includes('/panel?')) return fetched(address, options);
  window.times.requested ||= now();
  const response = await fetched(address, options);
  window.times.answered = now();
  window.times.drawn = 0;
  answerIsDrawn = false;
  return response;
};
addEventListener('mouseup', () => { window.times.released = now(); }, true);
"""

SCROLL = """(seconds) => new Promise((done) => {
  const table = document.querySelector('[role=table]');
  const frames = [];
  const began = performance.now();
  let last = began;
  const step = (at) => {
    frames.push(at - last);
    last = at;
    table.scrollTop += 40;
    if (at - began < seconds * 1000) requestAnimationFrame(step);
    else done(frames.slice(2));
  };
  requestAnimationFrame(step);
})"""


@contextlib.contextmanager
def page_of(browser: Browser, server: Server, window: dict[str, int] = WINDOW) -> Iterator[Page]:
    context = browser.new_context(base_url=server.address, viewport=window)  # type: ignore[arg-type]
    context.add_init_script(NOTE_TIMES)
    try:
        yield context.new_page()
    finally:
        context.close()


def wait(page: Page, name: str, seconds: float = 60) -> float:
    """When something was first seen, in milliseconds since the navigation began."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := page.evaluate(f"window.times.{name}"):
            return float(found)
        page.wait_for_timeout(5)
    raise TimeoutError(f"{name} did not come within {seconds} s")


def runs(browser: Browser, folder: Path) -> dict[str, float]:
    """A large project: how soon its first rows are on the screen, and how its table scrolls."""
    fill_runs(folder)
    found = []
    with serving(folder) as server:
        for _ in range(TIMES):
            with page_of(browser, server) as page:
                page.goto("/projects/bench")
                found.append(wait(page, "rows"))
        with page_of(browser, server) as page:
            page.goto("/projects/bench")
            wait(page, "rows")
            page.wait_for_timeout(1000)
            used = sum(renderer_seconds(browser).values())
            frames = page.evaluate(SCROLL, 5)
            used = sum(renderer_seconds(browser).values()) - used
    return {
        "first rows, first visit, ms": found[0],
        "first rows, ms": statistics.median(found[1:]),
        "frames a second while scrolling": 1000 / statistics.mean(frames),
        "frames dropped while scrolling, %": dropped(frames),
        "longest frame, ms": max(frames),
        "processor time a frame, ms": 1000 * used / len(frames),
    }


def dropped(frames: list[float]) -> float:
    """The share of the frames that a screen of 60 Hz would have shown and that were not drawn, in per cent."""
    missed = sum(max(0, round(frame / FRAME_MS) - 1) for frame in frames)
    return 100 * missed / (len(frames) + missed)


def panel(browser: Browser, folder: Path, points: int) -> dict[str, float]:
    """One chart of 20 long runs: from the question to the screen, and again after a zoom."""
    fill(folder, points=points)
    opened, zoomed = [], []
    with serving(folder) as server:
        for _ in range(TIMES):
            with page_of(browser, server) as page:
                page.goto(f"/projects/uncategorized#look={LOOK_TWENTY}")
                opened.append(wait(page, "drawn") - wait(page, "requested"))
                page.wait_for_timeout(1000)
                over = page.locator(".u-over").first.bounding_box()
                assert over is not None
                page.evaluate("window.times.answered = window.times.drawn = 0")
                page.mouse.move(over["x"] + over["width"] * 0.4, over["y"] + 50)
                page.mouse.down()
                page.mouse.move(over["x"] + over["width"] * 0.45, over["y"] + 50, steps=3)
                page.mouse.up()
                zoomed.append(wait(page, "drawn") - wait(page, "released"))
    return {"20 runs on the screen, ms": statistics.median(opened), "zoomed, ms": statistics.median(zoomed)}


LOOK_TWENTY = "eyJjb3VudCI6MjB9"
"""`{"count":20}`: twenty runs are charted, not ten."""

TRAIN = """
import sys, time
import trackkit
folder, number, panels, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
settings = {"quiet": True, "system": False, "console": "off"}
run = trackkit.init(project="live", id=f"live-{number}", dir=folder, settings=settings)
began, step = time.monotonic(), 0
while time.monotonic() - began < seconds:
    run.log({f"part{key // 10}/metric_{key}": key + 1 / (step + 1) for key in range(panels)})
    step += 1
    time.sleep(max(0.0, began + step - time.monotonic()))
run.finish()
"""


def live(browser: Browser, folder: Path) -> dict[str, float]:
    """A page of 50 panels of runs that log once a second: what its process uses of a core."""
    folder.mkdir(exist_ok=True)
    arguments = [
        [str(folder), str(number), str(LIVE_PANELS), str(3 * LIVE_SECONDS + 30)] for number in range(LIVE_RUNS)
    ]
    children = [subprocess.Popen([sys.executable, "-c", TRAIN, *each]) for each in arguments]
    try:
        time.sleep(8)
        with serving(folder) as server:
            return {
                f"{LIVE_PANELS} panels, those in a laptop's window, % of a core": watch(browser, server, WINDOW),
                f"{LIVE_PANELS} panels, all of them in sight, % of a core": watch(browser, server, EVERYTHING),
            }
    finally:
        for child in children:
            child.kill()
            child.wait()


def watch(browser: Browser, server: Server, window: dict[str, int]) -> float:
    """The processor time a page's process takes a second while its runs go on, in per cent."""
    with page_of(browser, server, window) as page:
        page.goto("/projects/live")
        page.locator(".u-over").first.wait_for()
        page.wait_for_timeout(4000)
        before = renderer_seconds(browser)
        page.wait_for_timeout(LIVE_SECONDS * 1000)
        after = renderer_seconds(browser)
    return 100 * sum(after[pid] - before.get(pid, 0.0) for pid in after) / LIVE_SECONDS


def renderer_seconds(browser: Browser) -> dict[int, float]:
    """Processor time of the browser's page processes so far, by process."""
    session = browser.new_browser_cdp_session()
    processes: list[dict[str, Any]] = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    return {process["id"]: process["cpuTime"] for process in processes if process["type"] == "renderer"}


def fill_runs(folder: Path) -> None:
    """Runs as ingest writes them, without the time ingest takes."""
    database = SQLiteDatabase(folder / "trackkit.db")
    database.migrate()
    random = np.random.default_rng(1)
    now = time.time_ns() // 1000
    fixed: dict[str, Any] = {
        "project": "bench", "run_group": "", "job_type": "", "notes": "", "exit_code": 0, "error": "", "metadata": "{}",
    }  # fmt: skip
    with database.atomic():
        for number in range(1, RUNS + 1):
            began = now - (RUNS - number) * 60_000_000
            row = {
                **fixed, "run": number, "id": f"run{number}", "name": f"run {number}", "created": began,
                "updated": began + 1_000_000, "ended": began + 1_000_000,
                "state": "finished" if number % 3 else "failed",
            }  # fmt: skip
            database.insert_many("runs", list(row), [list(row.values())])
            for table, name, count in (("config", "key", CONFIG_KEYS), ("summary", "metric", SUMMARY_KEYS)):
                values = random.random(count).tolist()
                extra = [0] if table == "summary" else []
                rows = [(number, f"{name}_{key}", *entries.encode(value), *extra) for key, value in enumerate(values)]
                columns = ["run", "key", "type", "number", "text", *(["edited"] if extra else [])]
                database.insert_many(table, columns, rows)
    database.close()


def measure(part: str, points: int, peers: bool) -> dict[str, dict[str, float]]:
    """The figures of a part, by who was measured."""
    found: dict[str, dict[str, float]] = {}
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as place:
        browser = chromium.launch(playwright)
        folder = Path(place)
        if part == "runs":
            found["trackkit"] = runs(browser, folder)
        elif part == "live":
            found["trackkit"] = live(browser, folder)
        else:
            found["trackkit"] = panel(browser, folder, points)
        if peers and part != "live":
            found |= browser_peers.measure(browser, part, points)
        browser.close()
    return found


PARTS = ("runs", "panel", "live")
BUDGETS = {
    "first rows, ms": "≤ 1,000", "frames a second while scrolling": "60", "20 runs on the screen, ms": "≤ 400",
    "zoomed, ms": "≤ 200", "50 panels, those in a laptop's window, % of a core": "≤ 20",
    "50 panels, all of them in sight, % of a core": "≤ 20",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the dashboard in a browser.")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--points", type=int, default=1_000_000, help="points of each of the panel's runs")
    parser.add_argument("--peers", action="store_true", help="measure MLflow and trackio as well, where installed")
    options = parser.parse_args()
    console = Console(width=120)
    for part in options.parts or PARTS:
        if part == "panel":
            show(console, f"panel: 20 runs × {options.points:,} points", measure(part, options.points, False))
            if options.peers:
                show(console, f"panel: 20 runs × {PEER_POINTS:,} points", measure(part, PEER_POINTS, True))
        else:
            show(console, part, measure(part, options.points, options.peers))


def told(figure: float | None) -> str:
    if figure is None:
        return ""
    return f"not within {browser_peers.PATIENCE_MS:,}" if math.isinf(figure) else f"{figure:,.1f}"


def show(console: Console, title: str, found: dict[str, dict[str, float]]) -> None:
    table = Table("", *found, "budget", title=title)
    for name in dict.fromkeys(name for figures in found.values() for name in figures):
        cells = (told(figures.get(name)) for figures in found.values())
        table.add_row(name, *cells, BUDGETS.get(name, ""))
    console.print(table)


if __name__ == "__main__":
    main()

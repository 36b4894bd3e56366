"""Scripts that run while somebody watches: nothing is reloaded."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.board import chart, hover, panel, row
from tests.browser.conftest import NewPage
from tests.servers import Process, until

Train = Callable[..., "subprocess.Popen[str]"]

SCRIPT = """
import sys, time
import trackkit

project, name, hold = sys.argv[1:4]
run = trackkit.init(project=project, name=name, id=f"{project}-{name}", config={"lr": 0.1},
                    settings={"quiet": True, "system_interval": 0.5})
try:
    for step in range(100_000):
        run.log({"loss": 1 / (step + 1), "step_squared": step * step})
        if step % 20 == 0:
            print(f"\\x1b[32mstep\\x1b[0m {step}", flush=True)
        if step == 40:
            run.alert("half way", "to nowhere", level="warning")
        time.sleep(0.02)
except trackkit.RunStopped:
    print("stopped, saving a checkpoint", flush=True)
    raise
"""


@pytest.fixture
def train(root: Path, project: str, tmp_path: Path) -> Iterator[Train]:
    """Starts a script that logs fifty times a second into the store, until it is ended."""
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(SCRIPT))
    started: list[subprocess.Popen[str]] = []

    def start(name: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(script), project, name, "0"]
        env = {**os.environ, "TRACKKIT_DIR": str(root)}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, text=True))
        return started[-1]

    yield start
    for child in started:
        child.kill()
        child.wait()


def last_step(page: Page) -> int:
    found = re.search(r"Step ([\d,]+)", hover(page, "loss", 0.999))
    assert found is not None
    return int(found[1].replace(",", ""))


def test_a_line_grows_while_its_script_runs(server: Process, project: str, train: Train, open_page: NewPage) -> None:
    page = open_page(server, f"/projects/{project}")
    expect(page.get_by_text("This project has no runs.")).to_be_visible()
    marked = page.evaluate("window.unloaded = false")
    assert marked is False
    train("first")
    expect(row(page, "first")).to_be_visible(timeout=20_000)
    expect(panel(page, "loss")).to_be_visible(timeout=25_000)
    chart(page, "loss")
    seen = last_step(page)
    for _ in range(3):
        before = seen
        until(lambda before=before: last_step(page) > before)
        seen = last_step(page)
    train("second")
    expect(row(page, "second")).to_be_visible(timeout=20_000)
    expect(panel(page, "loss").get_by_role("list", name="Legend")).to_contain_text("second", timeout=20_000)
    # The page is the one that was opened.
    assert page.evaluate("window.unloaded") is False


def test_a_run_is_followed_from_tab_to_tab_and_stopped(
    server: Process, project: str, train: Train, open_page: NewPage
) -> None:
    child = train("run")
    until(lambda: any(found["id"] == f"{project}-run" for found in server.ask(f"/runs?project={project}")["runs"]))
    page = open_page(server, f"/runs/{project}-run/console")
    log = page.get_by_role("log")
    expect(log).to_contain_text("step 0")
    expect(log).to_contain_text("step 80")
    newest = page.get_by_text(re.compile(r"^\d+step \d+$")).last
    before = newest.inner_text()
    expect(newest).not_to_have_text(before)
    expect(newest).to_be_in_viewport()

    tabs = page.get_by_role("navigation", name="Parts of the run")
    expect(tabs.get_by_role("link", name=re.compile("Alerts"))).to_contain_text("1")
    tabs.get_by_role("link", name=re.compile("Alerts")).click()
    expect(page.get_by_text("half way")).to_be_visible()
    tabs.get_by_role("link", name="System").click()
    expect(panel(page, "cpu.percent")).to_be_visible(timeout=20_000)
    tabs.get_by_role("link", name="Charts").click()
    seen = last_step(page)
    until(lambda: last_step(page) > seen)
    tabs.get_by_role("link", name="Overview").click()
    expect(page.locator(".facts").get_by_text("running")).to_be_visible()

    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Stop it").click()
    expect(page.get_by_role("button", name="Stopping")).to_be_disabled()
    until(lambda: child.poll() is not None)
    expect(page.locator(".facts").get_by_text("killed")).to_be_visible(timeout=20_000)
    tabs.get_by_role("link", name="Console").click()
    expect(page.get_by_role("log")).to_contain_text("stopped, saving a checkpoint")


def test_several_runs_are_stopped_at_once(server: Process, project: str, train: Train, open_page: NewPage) -> None:
    children = [train("one"), train("two")]
    page = open_page(server, f"/projects/{project}")
    for name in ("one", "two"):
        row(page, name).get_by_role("checkbox").check(timeout=20_000)
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("dialog", name="Stop 2 runs?").get_by_role("button", name="Stop them").click()
    expect(page.get_by_text("Asked 2 runs to stop.")).to_be_visible()
    until(lambda: all(child.poll() is not None for child in children))
    expect(row(page, "one").get_by_text("killed")).to_be_visible(timeout=20_000)


def test_the_home_page_counts_what_runs(server: Process, project: str, train: Train, open_page: NewPage) -> None:
    page = open_page(server)
    train("run")
    card = page.get_by_role("link", name=re.compile(rf"^{project}\b"))
    expect(card).to_contain_text("1 running", timeout=20_000)
    expect(card).to_contain_text("1 run")

"""Who may look, and what happens where there is nothing to see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.conftest import QUIET, NewPage
from tests.browser.recording import Recording
from tests.browser.watch import Watch
from tests.servers import Process, process

TOKEN = "tk_" + "a" * 43
NOW = 1_760_000_000.0


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Process]:
    """A server that asks for a token."""
    Recording("run", NOW, project="secret", name="run").finish(3).keep(tmp_path)
    with process(tmp_path, *QUIET, "--auth", env={"TRACKKIT_ADMIN_TOKEN": TOKEN}) as server:
        yield server


def test_a_token_opens_the_dashboard_and_logging_out_closes_it(
    guarded: Process, open_page: NewPage, watches: list[Watch]
) -> None:
    page = open_page(guarded, "/projects/secret")
    watches[0].allow("401")
    expect(page.get_by_role("heading", name="Log in to trackkit")).to_be_visible()
    assert Axe().run(page).violations_count == 0
    field = page.get_by_label("Token")
    expect(field).to_be_focused()
    field.fill("tk_wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).not_to_be_empty()
    field.fill(TOKEN)
    page.keyboard.press("Enter")
    # The page that was asked for, not another.
    expect(page.get_by_role("link", name="run", exact=True)).to_be_visible()
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("button", name=re.compile("^Log out")).click()
    expect(page.get_by_role("heading", name="Log in to trackkit")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Log in to trackkit")).to_be_visible()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Process]:
    """A server over an empty store that no other test knows of."""
    with process(tmp_path, *QUIET) as server:
        yield server


def test_an_empty_store_says_how_to_fill_it(own: Process, open_page: NewPage) -> None:
    page = open_page(own)
    expect(page.get_by_text("No run has been recorded in this store yet.")).to_be_visible()
    expect(page.locator("pre")).to_contain_text("trackkit.init(")
    assert Axe().run(page).violations_count == 0
    # The first run appears without a reload.
    Recording("run", NOW, project="first", name="run").finish(3).keep(own.root)
    expect(page.get_by_role("link", name=re.compile("^first"))).to_be_visible()


def test_empty_places_say_what_would_be_there(root: Path, server: Process, project: str, open_page: NewPage) -> None:
    Recording(f"{project}-bare", NOW, project=project, name="bare").finish(3).keep(root)
    page = open_page(server, f"/projects/{project}")
    expect(page.get_by_text("No metric has been logged in this project yet.")).to_be_visible()
    for tab, text in {
        "charts": "This run has logged no metric yet.", "system": "No reading of the system was taken",
        "console": "This run has printed nothing.", "code": "No code was kept with this run.",
        "files": "This run has kept no files.", "alerts": "This run has raised no alert.",
        "": "This run was started without a config.",
    }.items():  # fmt: skip
        page.goto(f"/runs/{project}-bare/{tab}".rstrip("/"))
        expect(page.get_by_text(text)).to_be_visible()
    page.goto(f"/projects/{project}?filter=state%20%3D%20%22failed%22")
    expect(page.get_by_text("No run matches the filter.")).to_be_visible()
    page.get_by_role("button", name="Clear the filter").last.click()
    expect(page.get_by_role("link", name="bare")).to_be_visible()


def test_what_does_not_exist_is_said_to_be_missing(studied: Process, open_page: NewPage, watches: list[Watch]) -> None:
    page = open_page(studied, "/runs/nobody")
    watches[0].allow("404")
    expect(page.get_by_role("alert")).to_contain_text("nobody")
    page.goto("/nowhere")
    expect(page.get_by_text("There is nothing at this address.")).to_be_visible()


def test_a_server_that_goes_away_is_said_to_and_found_again(
    own: Process, open_page: NewPage, watches: list[Watch]
) -> None:
    Recording("run", NOW, project="p", name="run").finish(3).keep(own.root)
    page = open_page(own)
    watches[0].allow("ERR_CONNECTION|ERR_INCOMPLETE|ERR_EMPTY")
    expect(page.get_by_role("link", name=re.compile("^p"))).to_be_visible()
    own.end()
    page.get_by_role("link", name=re.compile("^p")).click()
    expect(page.get_by_text("This page could not be loaded: the server does not answer.")).to_be_visible()
    page.keyboard.press("Control+k")
    page.keyboard.type("run")
    expect(page.get_by_text("The server does not answer. Is it still running?")).to_be_visible()
    page.keyboard.press("Escape")
    again = Process(own.root, own.port, *QUIET)
    try:
        page.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("link", name="run", exact=True)).to_be_visible()
        page.context.close()
    finally:
        again.end()

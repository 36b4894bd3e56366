"""Pages fit a laptop's window and a phone's."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.board import chart, hover, opened, row
from tests.browser.conftest import PHONE, WIDE, NewPage
from tests.browser.test_accessibility import PAGES, settle
from tests.browser.watch import scrolls_sideways
from tests.servers import Process


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["laptop", "phone"])
def test_no_page_scrolls_sideways(studied: Process, open_page: NewPage, viewport: dict[str, int]) -> None:
    page = open_page(studied, "/", viewport=viewport)
    for name, path in PAGES.items():
        page.goto(path)
        settle(page)
        assert not scrolls_sideways(page), name


def test_a_phone_shows_charts_or_runs(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, "/projects/vision", viewport=PHONE)
    assert "resnet" in hover(page, "train/loss")
    expect(page.get_by_role("table", name="Runs")).to_have_count(0)
    page.get_by_role("tab", name="Runs").click()
    expect(row(page, "resnet50-adamw-059")).to_be_visible()
    expect(page.get_by_role("article")).to_have_count(0)
    box = opened(page, "Table menu").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE["width"]


def test_a_page_does_not_jump_while_it_loads(studied: Process, open_page: NewPage) -> None:
    """The layout shifts, as browsers measure them, stay within what counts as good."""
    page = open_page(studied)
    page.add_init_script(
        "window.shift = 0; new PerformanceObserver((list) => { for (const entry of list.getEntries())"
        " if (!entry.hadRecentInput) window.shift += entry.value; }).observe({ type: 'layout-shift', buffered: true });"
    )
    for path in ("/projects/vision", "/runs/vision-047", "/"):
        page.goto(path)
        settle(page)
        page.wait_for_timeout(700)
        assert page.evaluate("window.shift") < 0.1, path
    page.goto("/projects/vision")
    chart(page, "train/loss")

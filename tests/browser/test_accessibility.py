"""axe-core finds nothing wrong on any page, in light and in dark."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.board import chart, choose, opened, row
from tests.browser.conftest import PHONE, NewPage
from tests.servers import Process

PAGES = {
    "home": "/",
    "project": "/projects/vision",
    "groups": "/projects/vision?group=config.optimizer",
    "overview": "/runs/vision-047",
    "failed": "/runs/vision-013",
    "charts": "/runs/vision-047/charts",
    "system": "/runs/vision-047/system",
    "console": "/runs/vision-047/console",
    "code": "/runs/vision-047/code",
    "files": "/runs/vision-047/files",
    "alerts": "/runs/vision-047/alerts",
    "compare": "/compare?runs=vision-047,vision-013",
    "compare-code": "/compare?runs=vision-047,vision-013&part=code",
    "missing": "/nowhere",
}


def check(page: Page, within: str = "html") -> None:
    """Let axe-core look at a part of the page as it is, in light and in dark."""
    # Nothing moves any more, so that no colour is seen half way.
    page.add_style_tag(content="*, *::before, *::after { animation: none !important; transition: none !important; }")
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        found = Axe().run(page, context=within)
        assert found.violations_count == 0, f"{theme}: {found.generate_report()}"


def settle(page: Page) -> None:
    expect(page.get_by_role("heading", level=1).first).to_be_attached()
    expect(page.locator(".skeleton")).to_have_count(0)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_violations(studied: Process, open_page: NewPage, name: str) -> None:
    page = open_page(studied, PAGES[name])
    settle(page)
    if name in ("project", "charts", "system"):
        page.locator("canvas").first.wait_for()
    check(page)


def test_what_opens_over_a_page_has_no_violations(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, "/projects/vision")
    chart(page, "train/loss")
    for menu in ("Lines", "Views", "Column menu: State", "Panel menu: train/loss"):
        found = opened(page, menu)
        check(page, ":popover-open")
        page.keyboard.press("Escape")
        expect(found).not_to_be_visible()
    choose(page, "Table menu", "Choose columns")
    check(page, "dialog")
    page.keyboard.press("Escape")
    choose(page, "Add panel", "Scatter plot")
    check(page, "dialog")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    check(page, "dialog")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.keyboard.type("resnet")
    expect(page.get_by_role("option").first).to_be_visible()
    check(page, "dialog")
    page.keyboard.press("Escape")
    page.get_by_role("combobox", name="Filter runs").fill("config.")
    check(page, ".filter")
    page.keyboard.press("Escape")
    page.get_by_role("combobox", name="Filter runs").fill("")
    page.keyboard.press("Escape")
    row(page, "resnet50-adamw-059").get_by_role("checkbox").check()
    check(page)


def test_a_phone_s_page_has_no_violations(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, "/projects/vision", viewport=PHONE)
    chart(page, "train/loss")
    check(page)
    page.get_by_role("tab", name="Runs").click()
    expect(row(page, "resnet50-adamw-059")).to_be_visible()
    check(page)

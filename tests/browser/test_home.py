"""Finding one's way: the projects, the search, the keyboard, light and dark."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.board import chart, names, row
from tests.browser.conftest import NewPage
from tests.servers import Process, until


def test_home_lists_projects_by_their_last_activity(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied)
    cards = page.get_by_role("main").get_by_role("listitem")
    expect(cards).to_have_count(3)
    for card, (name, runs) in zip(
        cards.all(), (("vision", "60 runs"), ("language", "14 runs"), ("tabular", "5 runs")), strict=True
    ):
        expect(card).to_contain_text(name)
        expect(card).to_contain_text(runs)
        expect(card.locator("time")).to_have_attribute("title", re.compile(r"^\d{4}-"))
        expect(card.get_by_role("img")).to_have_attribute(
            "aria-label", re.compile(r"Runs started on each of the last 30 days")
        )
    page.get_by_role("link", name=re.compile("^language")).click()
    expect(page).to_have_url(re.compile("/projects/language"))


def test_the_search_finds_projects_and_runs_by_part_of_a_name(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied)
    expect(page.get_by_role("heading", name="Projects")).to_be_visible()
    page.keyboard.press("Control+k")
    dialog = page.get_by_role("dialog", name="Search projects, runs and artifacts")
    page.keyboard.type("adamw-04")
    options = dialog.get_by_role("option")
    expect(options.first).to_contain_text("resnet")
    page.keyboard.press("ArrowDown")
    wanted = options.nth(1).locator(".cut").first.inner_text()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=wanted)).to_be_visible()
    page.keyboard.press("Control+k")
    page.keyboard.type("lang")
    expect(options.first).to_contain_text("project")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/projects/language"))
    page.keyboard.press("Control+k")
    page.keyboard.type("no such thing")
    expect(dialog.get_by_text('Nothing is called "no such thing".')).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_the_keyboard_shortcuts_are_listed_and_do_what_they_say(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, "/projects/vision")
    expect(row(page, "resnet50-adamw-059")).to_be_visible()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    for key, does in (
        ("Ctrl K", "Search projects, runs and artifacts"),
        ("/", "Search panels"),
        ("f", "Filter runs"),
        ("t", "Switch between light and dark"),
        ("g", "Go to all projects"),
    ):
        expect(dialog.locator(".line").filter(has=page.get_by_text(key, exact=True))).to_contain_text(does)
    page.keyboard.press("Escape")
    page.keyboard.press("f")
    expect(page.get_by_role("combobox", name="Filter runs")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.locator("h1").first.evaluate("h1 => document.activeElement.blur()")
    page.keyboard.press("g")
    expect(page.get_by_role("heading", name="Projects")).to_be_visible()


def test_dark_follows_the_system_until_somebody_chooses(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, "/projects/vision", theme="dark")
    chart(page, "train/loss")
    body = page.locator("body")
    expect(body).to_have_css("background-color", "rgb(17, 21, 27)")
    page.emulate_media(color_scheme="light")
    expect(body).to_have_css("background-color", "rgb(246, 247, 249)")
    dark_canvas = page.locator("canvas").first
    light = dark_canvas.evaluate("canvas => canvas.toDataURL()")
    page.keyboard.press("t")
    expect(body).to_have_css("background-color", "rgb(17, 21, 27)")
    # Charts are drawn in other inks.
    until(lambda: page.locator("canvas").first.evaluate("canvas => canvas.toDataURL()") != light)
    page.reload()
    expect(body).to_have_css("background-color", "rgb(17, 21, 27)")
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("button", name="As the system").click()
    expect(body).to_have_css("background-color", "rgb(246, 247, 249)")


def focus_on(page: Page, name: str, most: int = 60) -> None:
    """Press Tab until the focus is on what is named so."""
    for _ in range(most):
        page.keyboard.press("Tab")
        found = page.evaluate(
            "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim()"
        )
        if found == name:
            return
    raise AssertionError(f"{most} times Tab did not reach {name!r}")


def test_everything_is_reached_by_keyboard_alone(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied)
    expect(page.get_by_role("link", name=re.compile("^vision"))).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Registry")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name=re.compile("^vision"))).to_be_focused()
    page.keyboard.press("Enter")
    expect(row(page, "resnet50-adamw-059")).to_be_visible()

    focus_on(page, "Column menu: State")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Sort up")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("button", name="Sort down")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("order=-state"))

    focus_on(page, "Select resnet18-adamw-048")
    page.keyboard.press("Space")
    expect(page.get_by_text("1 selected")).to_be_visible()
    focus_on(page, "resnet18-adamw-048")
    page.keyboard.press("ArrowDown")
    second = names(page)[1]
    expect(page.get_by_role("link", name=second)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=second)).to_be_visible()


def test_the_splitter_moves_with_the_arrow_keys(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, "/projects/vision")
    splitter = page.get_by_role("separator", name="Width of the table")
    before = int(splitter.get_attribute("aria-valuenow") or 0)
    splitter.focus()
    page.keyboard.press("ArrowRight")
    expect(splitter).to_have_attribute("aria-valuenow", str(before + 24))

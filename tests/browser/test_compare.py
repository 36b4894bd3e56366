"""Runs side by side."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.board import chart, panel, row
from tests.browser.conftest import NewPage
from tests.servers import Process

PAIR = "/compare?runs=vision-047,vision-013"


def test_selected_runs_are_compared_in_what_they_differ(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, "/projects/vision")
    for name in ("resnet50-adamw-059", "resnet50-adamw-058"):
        row(page, name).get_by_role("checkbox").check()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name="Compare runs")).to_be_visible()
    table = page.get_by_role("region", name="Config")
    expect(table.get_by_role("rowheader", name="lr", exact=True)).to_be_visible()
    expect(table.get_by_role("rowheader", name="epochs")).to_have_count(0)
    page.get_by_role("checkbox", name="Differences only").uncheck()
    expect(table.get_by_role("rowheader", name="epochs")).to_be_visible()
    page.get_by_role("searchbox", name="Search entries").fill("drop")
    expect(table.get_by_role("rowheader")).to_have_text(["model.dropout"])


def test_summary_environment_and_curves_are_compared(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, PAIR)
    page.get_by_role("tab", name="Summary").click()
    expect(page.get_by_role("rowheader", name="val/accuracy")).to_be_visible()
    page.get_by_role("tab", name="Environment").click()
    expect(page.get_by_role("rowheader", name="git.commit")).to_be_visible()
    page.get_by_role("tab", name="Curves").click()
    chart(page, "train/loss")
    legend = panel(page, "train/loss").get_by_role("list", name="Legend")
    expect(legend).to_contain_text("resnet18-adamw-047")
    expect(legend).to_contain_text("resnet50-adamw-013")
    expect(page).to_have_url(re.compile("part=curves"))


def test_the_code_of_two_runs_is_shown_as_a_diff(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, f"{PAIR}&part=code")
    between = page.get_by_role("region", name="From resnet18-adamw-047 to resnet50-adamw-013")
    expect(between.get_by_role("row").filter(has_text="train(epoch, ema=0.999)")).to_contain_text("removed:")
    expect(between).to_contain_text(re.compile("Commit [0-9a-f]{10} → [0-9a-f]{10}"))
    expect(page.get_by_role("region", name="Uncommitted changes of resnet18-adamw-047")).to_contain_text(
        "nesterov=True"
    )
    expect(page.get_by_role("region", name="Uncommitted changes of resnet50-adamw-013")).to_contain_text(
        "The same as of"
    )


def test_a_run_has_the_same_colour_on_every_page(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, "/projects/vision")
    colors = []
    for name in ("resnet50-adamw-059", "resnet50-adamw-058"):
        dot = row(page, name).get_by_role("button", name=f"Colour of {name}")
        colors.append(dot.evaluate("dot => getComputedStyle(dot).backgroundColor"))
        row(page, name).get_by_role("checkbox").check()
    page.get_by_role("button", name="Compare").click()
    dots = page.locator(".runs .dot")
    expect(dots).to_have_count(2)
    assert dots.evaluate_all("dots => dots.map(dot => getComputedStyle(dot).backgroundColor)") == colors


def test_one_run_alone_cannot_be_compared(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, "/compare?runs=vision-047")
    expect(page.get_by_text("Choose two or more runs to compare.")).to_be_visible()

"""The address holds what a page shows, and a view keeps it under a name."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.board import asking, chart, choose, drag, names, opened, panel, row
from tests.browser.conftest import NewPage
from tests.servers import Process, until


def arrange(page: Page) -> None:
    """Change everything a look is made of."""
    page.get_by_role("combobox", name="Filter runs").fill('config.optimizer = "sgd"')
    page.keyboard.press("Enter")
    expect(page.get_by_text("15 runs", exact=True)).to_be_visible()
    page.get_by_role("columnheader").get_by_role("button", name="Created", exact=True).click()
    until(lambda: names(page)[:1] == ["resnet18-sgd-015"])
    row(page, "resnet18-sgd-016").get_by_role("button", name="Show resnet18-sgd-016 in charts").click()
    page.get_by_role("searchbox", name="Search panels").fill("loss")
    menu = opened(page, "Lines")
    menu.get_by_role("combobox", name="Smoothing", exact=True).select_option(label="Gaussian")
    menu.get_by_role("textbox", name="Legend").fill("{config.lr}")
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    box = chart(page, "train/loss").bounding_box()
    assert box is not None
    with asking(page, lambda spec: spec["range"] is not None):
        drag(page, (box["x"] + 50, box["y"] + 50), (box["x"] + 150, box["y"] + 50))


def assert_arranged(page: Page) -> None:
    expect(page.get_by_text("15 runs", exact=True)).to_be_visible()
    until(lambda: names(page)[:1] == ["resnet18-sgd-015"])
    expect(page.get_by_role("button", name="9 charted")).to_be_visible()
    assert {*page.get_by_role("article").locator("h3").all_inner_texts()} == {"train/loss", "val/loss"}
    zoomed = panel(page, "train/loss")
    expect(zoomed.get_by_role("button", name="zoomed")).to_be_visible()
    expect(zoomed.get_by_role("list", name="Legend")).to_contain_text("0.0003")
    expect(opened(page, "Lines").get_by_role("combobox", name="Smoothing", exact=True)).to_have_value("gaussian")
    page.keyboard.press("Escape")


def test_an_address_shows_somebody_else_the_same(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, "/projects/vision")
    arrange(page)
    expect(page).to_have_url(re.compile("#look="))
    page.wait_for_timeout(400)  # the address follows a moment later
    other = open_page(studied, page.url.removeprefix(studied.address))
    assert_arranged(other)


def test_a_page_comes_back_as_it_was_left(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, "/projects/vision")
    arrange(page)
    page.wait_for_timeout(400)
    page.get_by_role("link", name="resnet18-sgd-015").click()
    expect(page.get_by_role("heading", name="resnet18-sgd-015")).to_be_visible()
    page.get_by_role("navigation", name="Where you are").get_by_role("link", name="vision").click()
    assert_arranged(page)
    page.go_back()
    expect(page.get_by_role("heading", name="resnet18-sgd-015")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="resnet18-sgd-015")).to_be_visible()


def test_a_view_is_saved_for_everybody_and_deleted_with_undo(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, "/projects/vision")
    arrange(page)
    choose(page, "Views", "Save this view")
    page.get_by_label("Name", exact=True).fill("losses of sgd")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved the view losses of sgd.")).to_be_visible()
    choose(page, "Views", "As it was at first")
    expect(page.get_by_text("60 runs", exact=True)).to_be_visible()

    other = open_page(studied, "/projects/vision")
    choose(other, "Views", "losses of sgd")
    assert_arranged(other)

    opened(page, "Views").get_by_role("button", name="Delete the view losses of sgd").click()
    expect(page.get_by_text("Deleted the view losses of sgd.")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    until(lambda: [view["name"] for view in studied.ask("/views?project=vision")["views"]] == ["losses of sgd"])
    page.keyboard.press("Escape")
    opened(page, "Views").get_by_role("button", name="Delete the view losses of sgd").click()
    expect(page.get_by_text("No view is saved yet.")).to_be_visible()


def test_an_address_that_cannot_be_read_shows_the_page_as_usual(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, "/projects/vision#look=%%%garbage")
    expect(page.get_by_text("60 runs", exact=True)).to_be_visible()

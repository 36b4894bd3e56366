"""The parts of a page of charts, as tests speak of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Locator, Page, Request, expect


def panel(page: Page, title: str) -> Locator:
    """The panel of that title."""
    return page.get_by_role("article", name=title, exact=True)


def chart(page: Page, title: str) -> Locator:
    """The drawn chart of a panel."""
    panel(page, title).scroll_into_view_if_needed()
    drawn = panel(page, title).locator(".u-over")
    expect(drawn).to_be_visible()
    return drawn


def hover(page: Page, title: str, x: float = 0.5, y: float = 0.5) -> str:
    """What the tooltip says at a place of a chart, from 0 to 1 rightwards and downwards."""
    point(page, title, x, y)
    tip = panel(page, title).locator(".tip")
    expect(tip).to_be_visible()
    return tip.inner_text()


def point(page: Page, title: str, x: float, y: float) -> tuple[float, float]:
    """Move the pointer to a place of a chart; where that is on the page."""
    drawn = chart(page, title)
    drawn.scroll_into_view_if_needed()
    box = drawn.bounding_box()
    assert box is not None
    # From aside, so that a pointer that is there already moves.
    page.mouse.move(box["x"] + box["width"] * x + 3, box["y"] + box["height"] * y + 3)
    place = (box["x"] + box["width"] * x, box["y"] + box["height"] * y)
    page.mouse.move(*place)
    return place


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Press at one place, move, and let go at another."""
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    page.mouse.move(*end)
    page.mouse.up()


def middle(locator: Locator) -> tuple[float, float]:
    box = locator.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def choose(page: Page, menu: str, item: str) -> None:
    """Open a menu by its button's name, and choose an item."""
    opened(page, menu).get_by_text(item, exact=True).click()


def opened(page: Page, menu: str) -> Locator:
    """The menu of a button, opened."""
    button = page.get_by_role("button", name=menu, exact=True)
    button.scroll_into_view_if_needed()
    button.hover()
    button.click()
    return page.locator(f"[id='{button.get_attribute('popovertarget')}']")


def spec_of(request: Request) -> dict[str, Any]:
    """What a chart asked the server for."""
    found: dict[str, Any] = json.loads(parse_qs(urlsplit(request.url).query)["spec"][0])
    return found


def asking(page: Page, matches: Callable[[dict[str, Any]], bool]) -> Any:
    """Within the block, a chart must ask the server for what matches."""
    return page.expect_request(lambda request: "/api/v1/panel" in request.url and matches(spec_of(request)))


def row(page: Page, name: str) -> Locator:
    """The row of the runs table that is headed so."""
    return (
        page.get_by_role("table", name="Runs").get_by_role("row").filter(has=page.get_by_role("rowheader", name=name))
    )


def names(page: Page) -> list[str]:
    """The names in the runs table, from top to bottom, of the rows that are drawn."""
    links = page.get_by_role("table", name="Runs").locator("[role=rowheader] a")
    found: list[tuple[int, str]] = links.evaluate_all(
        "links => links.map(a => [Number(a.closest('[data-row]').dataset.row), a.textContent])"
    )
    return [name for _, name in sorted(found)]

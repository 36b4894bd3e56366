"""The lineage of runs and artifacts: readable with hundreds of nodes, by pointer, by keyboard, and as a table."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser import shelf
from tests.browser.conftest import PHONE, QUIET, NewPage
from tests.browser.test_accessibility import check, settle
from tests.browser.watch import scrolls_sideways
from tests.servers import Process, process

LINEAGE = f"/projects/{shelf.PROJECT}/artifacts/digits-data/v1/lineage"
RUNS = shelf.SWEEP + 3
"""Of the sweep, and those that prepared, trained and judged."""
NODES = RUNS + shelf.SWEEP + 5
"""With the sweep's models, two editions of the dataset, the final model, its link, and the report."""
GATHERED = 10


@pytest.fixture(scope="module")
def shelved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server over a lineage of some hundred nodes."""
    root = tmp_path_factory.mktemp("lineage")
    shelf.fill(root)
    with process(root, *QUIET) as server:
        yield server


def graph(page: Page) -> Locator:
    found = page.get_by_role("group", name=re.compile("^Lineage graph"))
    expect(found).to_be_visible()
    return found


def node(page: Page, name: str | re.Pattern[str]) -> Locator:
    return graph(page).get_by_role("button", name=name)


def names(page: Page) -> list[str]:
    """What is drawn."""
    return graph(page).locator("button .name").all_inner_texts()


def left(found: Locator) -> float:
    box = found.bounding_box()
    assert box is not None
    return box["x"]


def test_a_sweep_is_one_node_and_what_came_of_it_another(shelved: Process, open_page: NewPage) -> None:
    page = open_page(shelved, LINEAGE)
    gathered = [f"{shelf.SWEEP} runs", f"{shelf.SWEEP} artifacts"]
    alone = [
        "prepare",
        "digits-data:v0",
        "digits-data:v1",
        "final",
        "digits-model:v0",
        "digits:v0",
        "judge",
        "report:v0",
    ]
    assert sorted(names(page)) == sorted(gathered + alone)
    expect(page.locator("header").get_by_role("status")).to_have_text(
        re.compile(f"{RUNS} runs, {NODES - RUNS} artifacts")
    )
    assert left(node(page, "prepare")) < left(node(page, "digits-data:v1")) < left(node(page, "final"))
    assert left(node(page, "final")) < left(node(page, "digits-model:v0")) < left(node(page, "judge"))


def test_hundreds_of_nodes_are_drawn_where_that_is_wanted(shelved: Process, open_page: NewPage) -> None:
    page = open_page(shelved, LINEAGE)
    node(page, re.compile(f"^{shelf.SWEEP} runs")).click()
    expect(graph(page)).to_have_accessible_name(f"Lineage graph, {NODES} nodes")
    # None lies over another.
    boxes = (
        graph(page)
        .locator("button")
        .evaluate_all("list => list.map(b => [b.offsetLeft, b.offsetTop, b.offsetWidth, b.offsetHeight])")
    )
    assert len(boxes) == NODES
    for place, (x, y, width, height) in enumerate(boxes):
        for other in boxes[place + 1 :]:
            assert abs(x - other[0]) >= width or abs(y - other[1]) >= height
    page.get_by_role("button", name="Gather again").click()
    expect(graph(page)).to_have_accessible_name(f"Lineage graph, {GATHERED} nodes")
    page.get_by_label("Gather what is alike").uncheck()
    expect(graph(page)).to_have_accessible_name(f"Lineage graph, {NODES} nodes")
    page.reload()
    expect(graph(page)).to_have_accessible_name(f"Lineage graph, {NODES} nodes")


def test_focus_shows_what_led_to_a_node_and_came_of_it(shelved: Process, open_page: NewPage) -> None:
    page = open_page(shelved, LINEAGE)
    node(page, "digits-model:v0").click()
    dimmed = graph(page).locator("button.dim")
    expect(dimmed).to_have_count(3)  # the sweep, what it made, and the edition that nobody used
    page.get_by_label("Only what led to it and came of it").check()
    expect(graph(page)).to_have_accessible_name("Lineage graph, 7 nodes")
    page.reload()
    expect(graph(page)).to_have_accessible_name("Lineage graph, 7 nodes")
    page.get_by_role("button", name="Leave the focus").click()
    expect(graph(page)).to_have_accessible_name(f"Lineage graph, {GATHERED} nodes")
    node(page, "digits-model:v0").click()
    page.get_by_role("link", name="Open").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("digits-model:v0")
    expect(graph(page)).to_be_visible()


def test_the_depth_is_limited_by_the_server(shelved: Process, open_page: NewPage) -> None:
    page = open_page(shelved, LINEAGE)
    graph(page)
    page.get_by_label("Steps away at most").select_option("1")
    expect(graph(page)).to_have_accessible_name("Lineage graph, 3 nodes")  # the maker, the users as one
    expect(page.locator("header").get_by_role("status")).to_contain_text("there is more")
    assert "depth=1" in page.url


def test_the_graph_is_moved_and_zoomed(shelved: Process, open_page: NewPage) -> None:
    page = open_page(shelved, LINEAGE)
    window = graph(page)
    window.scroll_into_view_if_needed()
    box = window.bounding_box()
    assert box is not None
    world = window.locator(".world")
    before = world.evaluate("w => w.style.transform")
    page.mouse.move(box["x"] + 10, box["y"] + box["height"] - 10)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + box["height"] - 60, steps=4)
    page.mouse.up()
    moved = world.evaluate("w => w.style.transform")
    assert moved != before
    page.get_by_role("button", name="Zoom out").click()
    assert world.evaluate("w => w.style.transform") != moved
    page.keyboard.down("Control")
    page.mouse.move(box["x"] + 200, box["y"] + 100)
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    scale = float(str(world.evaluate("w => w.style.transform")).rpartition("scale(")[2].rstrip(")"))
    page.get_by_role("button", name="Fit").click()
    fitted = float(str(world.evaluate("w => w.style.transform")).rpartition("scale(")[2].rstrip(")"))
    assert scale != fitted
    for found in ("prepare", "report:v0"):
        expect(node(page, found)).to_be_in_viewport()


def test_the_keyboard_reaches_every_node(shelved: Process, open_page: NewPage) -> None:
    page = open_page(shelved, LINEAGE)
    node(page, "digits-data:v1").focus()
    page.keyboard.press("ArrowLeft")
    expect(node(page, "prepare")).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    seen = {page.evaluate("document.activeElement.querySelector('.name').textContent")}
    page.keyboard.press("ArrowDown")
    seen.add(page.evaluate("document.activeElement.querySelector('.name').textContent"))
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    seen.add(page.evaluate("document.activeElement.querySelector('.name').textContent"))
    assert seen == {f"{shelf.SWEEP} runs", "final"}
    node(page, "final").focus()
    page.keyboard.press("Enter")
    expect(node(page, "final")).to_have_attribute("aria-pressed", "true")
    expect(node(page, "final")).to_be_in_viewport()


def test_the_table_tells_the_same(shelved: Process, open_page: NewPage) -> None:
    page = open_page(shelved, LINEAGE)
    page.get_by_role("button", name="Table").click()
    table = page.get_by_role("region", name="Runs and artifacts, the nearest first")
    expect(page.get_by_text(f"{NODES} nodes")).to_be_visible()
    expect(table.get_by_role("row").nth(1)).to_contain_text("digits-data:v1")
    page.get_by_role("searchbox", name="Search the lineage").fill("judge")
    row = table.get_by_role("row").nth(1)
    expect(row.get_by_role("link")).to_have_text(["judge", "digits-model:v0", "report:v0"])
    row.get_by_role("button", name=re.compile("Focus")).click()
    page.get_by_label("Only what led to it and came of it").check()
    page.get_by_role("searchbox", name="Search the lineage").fill("")
    expect(page.get_by_text("6 nodes")).to_be_visible()
    page.reload()
    expect(page.get_by_text("6 nodes")).to_be_visible()


@pytest.mark.parametrize("view", ["graph", "table"])
def test_the_lineage_has_no_violations(shelved: Process, open_page: NewPage, view: str) -> None:
    page = open_page(shelved, f"{LINEAGE}?view={view}" if view == "table" else LINEAGE)
    settle(page)
    if view == "graph":
        node(page, "digits-model:v0").click()
    check(page)


def test_a_phone_shows_the_lineage(shelved: Process, open_page: NewPage) -> None:
    page = open_page(shelved, LINEAGE, viewport=PHONE)
    expect(node(page, "digits-data:v1")).to_be_in_viewport()
    assert not scrolls_sideways(page)
    check(page)

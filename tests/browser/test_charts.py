"""One chart: hovered, zoomed, enlarged, saved."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Page, expect

from tests.browser.board import asking, chart, choose, drag, hover, panel, point, spec_of
from tests.browser.conftest import NewPage
from tests.browser.recording import Recording
from tests.browser.watch import Watch
from tests.servers import Process, until

NOW = 1_760_000_000.0
POINTS = 5000
SPIKE = 3210


@pytest.fixture
def page(root: Path, server: Process, project: str, open_page: NewPage) -> Page:
    """A project with two long runs; the loss of one has a spike of one point."""
    for number in range(2):
        run = Recording(f"{project}-{number}", NOW + number, project=project, name=f"run-{number}")
        for step in range(POINTS):
            run.log(
                step, step * 1.0, {"loss": 90.0 if number == 0 and step == SPIKE else 1 + number, "score": step * 1.0}
            )
        run.finish(POINTS)
        run.keep(root)
    opened = open_page(server, f"/projects/{project}")
    chart(opened, "loss")
    return opened


def test_hovering_tells_the_values_of_every_run_and_marks_the_place_in_the_other_charts(page: Page) -> None:
    tip = hover(page, "score", 0.5)
    step = re.search(r"Step ([\d,]+)", tip)
    assert step is not None
    assert abs(int(step[1].replace(",", "")) - POINTS / 2) < POINTS / 50
    assert "run-0" in tip
    assert "run-1" in tip
    other = panel(page, "loss").locator(".u-cursor-x")
    over = chart(page, "loss").bounding_box()
    assert over is not None
    mark = other.bounding_box()
    assert mark is not None
    assert abs(mark["x"] - over["x"] - over["width"] / 2) < 6
    expect(panel(page, "loss").locator(".tip")).to_have_count(0)


def test_hovering_a_run_in_the_table_puts_the_others_back(page: Page) -> None:
    canvas = panel(page, "loss").locator("canvas")
    before = canvas.evaluate("canvas => canvas.toDataURL()")
    page.get_by_role("rowheader", name="run-1").hover()
    until(lambda: canvas.evaluate("canvas => canvas.toDataURL()") != before)


def test_zooming_asks_the_server_for_that_stretch_and_shows_its_points(page: Page) -> None:
    over = chart(page, "loss").bounding_box()
    assert over is not None
    left = over["x"] + over["width"] * (SPIKE - 40) / POINTS
    right = over["x"] + over["width"] * (SPIKE + 40) / POINTS
    with asking(page, lambda spec: spec["range"] is not None) as question:
        drag(page, (left, over["y"] + 60), (right, over["y"] + 60))
    first, last = spec_of(question.value)["range"]
    assert SPIKE - 60 < first < SPIKE - 20
    assert SPIKE + 20 < last < SPIKE + 60
    # At this scale every point stands for itself, and the spike is one of them.
    share = (SPIKE - first) / (last - first)
    until(lambda: f"Step {SPIKE:,}" in (tip := hover(page, "loss", share)) and "90" in tip)
    expect(panel(page, "loss").get_by_role("button", name="zoomed")).to_be_visible()
    expect(panel(page, "score").get_by_role("button", name="zoomed")).to_have_count(0)

    with asking(page, lambda spec: spec["range"] is None and spec["keys"] == ["loss"]):
        x, y = point(page, "loss", 0.5, 0.3)
        page.mouse.dblclick(x, y)
    expect(panel(page, "loss").get_by_role("button", name="zoomed")).to_have_count(0)


def test_no_spike_is_averaged_away(page: Page) -> None:
    # 5,000 points in 500 buckets: the mean of the spike's is 10, and the band reaches up to 90.
    label = panel(page, "loss").get_by_role("img").get_attribute("aria-label") or ""
    assert float(label.rpartition(" to ")[2]) > 90


def test_a_chart_is_seen_in_full_screen(page: Page) -> None:
    panel(page, "loss").hover()
    page.get_by_role("button", name="Full screen: loss").click()
    dialog = page.get_by_role("dialog", name="loss")
    box = dialog.locator(".u-over").bounding_box()
    assert box is not None
    assert box["width"] > 1000
    assert box["height"] > 500
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    chart(page, "loss")


def test_a_chart_is_saved_as_a_picture_as_lines_and_as_numbers(page: Page, tmp_path: Path) -> None:
    for kind in ("PNG", "SVG", "CSV"):
        with page.expect_download() as saving:
            choose(page, "Panel menu: loss", f"Save as {kind}")
        assert saving.value.suggested_filename == f"loss.{kind.lower()}"
        saving.value.save_as(tmp_path / saving.value.suggested_filename)

    picture = (tmp_path / "loss.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(picture[16:20], "big") > 300

    drawn = ElementTree.parse(tmp_path / "loss.svg").getroot()
    texts = ["".join(text.itertext()) for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"loss", "run-0", "run-1"} <= {*texts}
    assert len([path for path in drawn.iter("{http://www.w3.org/2000/svg}path") if path.get("clip-path")]) == 2

    rows = list(csv.DictReader((tmp_path / "loss.csv").open()))
    assert [*rows[0]] == ["step", "run-1", "run-0"]
    assert 400 < len(rows) <= 501
    assert {row["run-1"] for row in rows} == {"2"}


def test_new_data_keeps_the_chart_where_it_is(page: Page, root: Path, project: str, watches: list[Watch]) -> None:
    canvas = panel(page, "loss").locator("canvas").element_handle()
    later = Recording(f"{project}-later", NOW + 10, project=project, name="later")
    for step in range(50):
        later.log(step, step, {"loss": 7.0})
    later.keep(root)
    expect(panel(page, "loss").get_by_role("list", name="Legend")).to_contain_text("later", timeout=20_000)
    assert canvas is not None

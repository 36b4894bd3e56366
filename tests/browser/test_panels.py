"""Panels: made, changed, moved, found, and drawn as their settings say."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.board import asking, chart, choose, drag, hover, middle, opened, panel, spec_of
from tests.browser.conftest import NewPage
from tests.browser.recording import Recording
from tests.browser.watch import Watch
from tests.servers import Process, until

NOW = 1_760_000_000.0
SPIKE_AT = 50


@pytest.fixture
def board(root: Path, server: Process, project: str, open_page: NewPage) -> Page:
    """The page of a project with eight runs of a few metrics; the loss of each has one enormous value."""
    for number in range(8):
        run = Recording(f"{project}-{number}", NOW + number * 60, project=project, name=f"run-{number}")
        run.config(
            {"lr": 10.0 ** -(number % 4 + 1), "width": 16 * (number + 1), "optimizer": "sgd" if number % 2 else "adam"}
        )
        for step in range(100):
            loss = 5000.0 if step == SPIKE_AT else 1.0 / (step + 1) + 0.01 * number + 0.3 * (step % 2)
            run.log(
                step,
                step * 10.0,
                {
                    "train/loss": loss,
                    "train/score": number + step / 100,
                    "val/loss": math.exp(-step / 9),
                    "epoch": step / 10,
                },
            )
        run.finish(1000)
        run.keep(root)
    page = open_page(server, f"/projects/{project}")
    chart(page, "train/loss")
    return page


def titles(page: Page) -> list[str]:
    return page.get_by_role("article").locator("h3").all_inner_texts()


def set_lines(page: Page, **settings: Any) -> None:
    """Choose how all lines are drawn."""
    menu = opened(page, "Lines")
    for label, value in settings.items():
        name = label.replace("_", " ")
        if isinstance(value, bool):
            menu.get_by_role("checkbox", name=name, exact=True).set_checked(value)
        elif name == "Legend":
            menu.get_by_role("textbox", name=name, exact=True).fill(str(value))
            page.keyboard.press("Tab")
        else:
            menu.get_by_role("combobox", name=name, exact=True).select_option(label=value)
    page.keyboard.press("Escape")


def test_every_metric_has_a_panel_in_the_section_of_its_prefix(board: Page) -> None:
    assert titles(board) == ["epoch", "train/loss", "train/score", "val/loss"]
    for section, count in (("Charts", 1), ("train", 2), ("val", 1)):
        assert board.get_by_role("region", name=section, exact=True).get_by_role("article").count() == count
    board.get_by_role("button", name="train 2").click()
    expect(panel(board, "train/loss")).to_have_count(0)
    board.get_by_role("button", name="train 2").click()
    expect(panel(board, "train/loss")).to_be_visible()


def test_panels_are_found_by_a_regular_expression(board: Page) -> None:
    board.keyboard.press("/")
    board.keyboard.type("^(train|val)/loss$")
    until(lambda: titles(board) == ["train/loss", "val/loss"])
    board.get_by_role("searchbox", name="Search panels").fill("nothing at all")
    board.get_by_role("button", name="Clear the search").click()
    until(lambda: len(titles(board)) == 4)


def test_a_panel_of_several_metrics_is_added_edited_copied_and_removed(board: Page) -> None:
    choose(board, "Add panel", "Line chart")
    dialog = board.get_by_role("dialog", name="Add a panel")
    expect(dialog.get_by_role("button", name="Add", exact=True)).to_be_disabled()
    dialog.get_by_role("button", name="train/loss", exact=True).click()
    dialog.get_by_role("button", name="val/loss", exact=True).click()
    dialog.get_by_label("Title").fill("Both losses")
    with asking(board, lambda spec: spec["keys"] == ["train/loss", "val/loss"]):
        dialog.get_by_role("button", name="Add", exact=True).click()
    assert titles(board)[0] == "Both losses"

    choose(board, "Panel menu: Both losses", "Edit")
    board.get_by_role("dialog").get_by_label("Title").fill("Losses")
    board.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(panel(board, "Losses")).to_be_visible()

    choose(board, "Panel menu: train/score", "Duplicate")
    until(lambda: titles(board).count("train/score") == 2)

    choose(board, "Panel menu: Losses", "Remove")
    expect(panel(board, "Losses")).to_have_count(0)
    board.get_by_role("status").get_by_role("button", name="Undo").click()
    expect(panel(board, "Losses")).to_be_visible()


def test_a_panel_is_dragged_before_another_and_moved_by_its_menu(board: Page) -> None:
    source = panel(board, "train/score").locator("header")
    source.drag_to(panel(board, "train/loss").locator("header"))
    until(lambda: titles(board).index("train/score") < titles(board).index("train/loss"))
    choose(board, "Panel menu: train/score", "Move later")
    until(lambda: titles(board).index("train/score") > titles(board).index("train/loss"))


def test_a_panel_is_resized_by_its_corner_and_by_its_menu(board: Page) -> None:
    def size() -> tuple[float, float]:
        box = panel(board, "train/loss").bounding_box()
        assert box is not None
        return box["width"], box["height"]

    width, height = size()
    corner = middle(panel(board, "train/loss").locator(".grip"))
    drag(board, corner, (corner[0] + width, corner[1] + 100))
    until(lambda: size()[0] > 1.8 * width and size()[1] == height + 100)
    # The chart fills its panel anew.
    until(lambda: (chart(board, "train/loss").bounding_box() or {})["width"] > 1.5 * width)
    choose(board, "Panel menu: train/loss", "Narrow")
    choose(board, "Panel menu: train/loss", "Taller")
    until(lambda: abs(size()[0] - width) < 2 and size()[1] == height + 160)


def value_of(tip: str, name: str) -> float:
    lines = tip.splitlines()
    return float(lines[lines.index(name) + 1].replace("\N{MINUS SIGN}", "-").replace(",", ""))


def test_smoothing_draws_the_smooth_line_and_keeps_the_raw_one(board: Page) -> None:
    tip = hover(board, "train/loss", x=10.05 / 99)
    assert "Step 10" in tip
    raw = value_of(tip, "run-0")
    assert raw == pytest.approx(1 / 11, rel=1e-3)
    before = pixels(board, "train/loss")
    set_lines(board, Smoothing="Running mean")
    until(lambda: value_of(hover(board, "train/loss", x=10.05 / 99), "run-0") > raw * 1.5)
    with_raw = pixels(board, "train/loss")
    assert with_raw != before
    set_lines(board, Keep_the_raw_line=False)
    until(lambda: pixels(board, "train/loss") != with_raw)
    for kind in ("Time-weighted EMA", "Exponential moving average", "Gaussian"):
        set_lines(board, Smoothing=kind)
        until(lambda: value_of(hover(board, "train/loss", x=10.05 / 99), "run-0") != raw)


def pixels(page: Page, title: str) -> str:
    return str(panel(page, title).locator("canvas").evaluate("canvas => canvas.toDataURL()"))


def test_leaving_out_outliers_shows_what_a_spike_had_flattened(board: Page) -> None:
    def tops(page: Page) -> float:
        label = panel(page, "train/loss").get_by_role("img").get_attribute("aria-label") or ""
        return float(label.rpartition(" to ")[2].replace(",", ""))

    assert tops(board) > 5000
    set_lines(board, Leave_out_outliers=True)
    until(lambda: tops(board) < 2)


def test_axes_are_logarithmic_where_asked_for(board: Page) -> None:
    with asking(board, lambda spec: spec["scale"] == "log"):
        set_lines(board, Logarithmic_x=True, Logarithmic_y=True)
    # Step 10 stands in the middle of an axis from 1 to 100.
    until(lambda: re.search(r"Step (9|10|11)\b", hover(board, "val/loss", x=0.5)))


def test_an_axis_has_the_range_it_was_given(board: Page) -> None:
    choose(board, "Panel menu: train/score", "Edit")
    dialog = board.get_by_role("dialog")
    dialog.get_by_label("Y axis from").fill("2")
    dialog.get_by_label("Y axis to").fill("4.5")
    dialog.get_by_label("X axis from").fill("20")
    with asking(board, lambda spec: spec["range"] == [20, None]):
        dialog.get_by_role("button", name="Save").click()
    expect(panel(board, "train/score").get_by_role("img", name="train/score: 8 lines from 2 to 4.5")).to_be_visible()
    until(lambda: "Step 20" in hover(board, "train/score", x=0.002))


def test_a_legend_says_what_its_template_asks_for(board: Page) -> None:
    set_lines(board, Legend="{name} lr={config.lr} {state}")
    expect(panel(board, "train/loss").get_by_role("list", name="Legend")).to_contain_text("run-7 lr=0.0001 finished")
    assert "run-7 lr=0.0001 finished" in hover(board, "train/loss")


def test_a_legend_that_has_no_room_is_opened(board: Page) -> None:
    shown = panel(board, "train/loss")
    more = shown.get_by_role("button", name=re.compile(r"^\+\d+$"))
    expect(more).to_be_visible()
    more.click()
    expect(shown.get_by_role("list", name="Legend").get_by_text("run-0")).to_be_in_viewport()


@pytest.mark.parametrize(
    ("name", "x", "said"),
    [
        ("Time since the start", "relative", "8m 20s"),
        ("Wall time", "time", "2025"),
        ("epoch", "metric:epoch", "epoch 5"),
    ],
)
def test_lines_run_over_time_and_over_other_metrics(board: Page, name: str, x: str, said: str) -> None:
    with asking(board, lambda spec: spec["x"] == x):
        set_lines(board, X_axis=name)
    until(lambda: said in hover(board, "val/loss", x=50 / 99))


def test_scatter_bar_parallel_and_comparer_show_the_runs(board: Page) -> None:
    add(
        board,
        "Scatter plot",
        {"X axis": "config.width", "Y axis": "summary.train/score", "Colour (optional)": "config.lr"},
    )
    scatter = panel(board, "train/score by width")
    expect(scatter.locator("circle")).to_have_count(8)
    expect(scatter.locator("title").first).to_contain_text("config.width")

    add(board, "Bar chart", {"Value": "summary.train/score"})
    bars = panel(board, "train/score").filter(has=board.get_by_role("listitem"))
    expect(bars.first).to_contain_text("run-7")

    add(board, "Parallel coordinates", {"Axes, in order": ["config.lr", "config.optimizer", "summary.train/score"]})
    parallel = panel(board, "Parallel coordinates")
    expect(parallel.locator("path.run")).to_have_count(8)
    area = parallel.locator("rect.area").nth(1)
    box = area.bounding_box()
    assert box is not None
    # A brush over the upper half of the optimizers leaves those with sgd.
    drag(board, (box["x"] + 10, box["y"] + 2), (box["x"] + 10, box["y"] + box["height"] / 2 - 10))
    expect(parallel.locator("path.run.off")).to_have_count(4)

    add(board, "Run comparer", {})
    comparer = panel(board, "Run comparer")
    expect(comparer.get_by_role("rowheader", name="config.width")).to_be_visible()
    expect(comparer.get_by_role("rowheader", name="epoch")).to_have_count(0)


def test_importance_finds_the_parameter_that_matters(board: Page) -> None:
    add(board, "Parameter importance", {"Target": "summary.train/score"})
    rows = panel(board, "What matters for train/score").get_by_role("row")
    expect(rows.nth(1)).to_contain_text("width")
    # The score rises with the width of every run.
    expect(rows.nth(1).get_by_role("cell").nth(2)).to_contain_text("1")


def test_notes_are_rendered_and_cannot_run_scripts(board: Page, watches: list[Watch]) -> None:
    # Chromium says so when the policy stops what the text tries while it is being cleaned.
    watches[0].allow("inline event handler|script-src-attr")
    choose(board, "Add panel", "Markdown")
    dialog = board.get_by_role("dialog")
    dialog.get_by_label("Markdown").fill(
        "# Plan\n\n- **one**\n\n<img src=x onerror='document.title=1'><script>document.title = 2</script>"
    )
    dialog.get_by_role("button", name="Add", exact=True).click()
    notes = panel(board, "Notes")
    expect(notes.get_by_role("heading", name="Plan")).to_be_visible()
    expect(notes.locator("strong")).to_have_text("one")
    assert "trackkit" in board.title()
    assert notes.locator("script, [onerror]").count() == 0


def add(page: Page, kind: str, keys: dict[str, Any]) -> None:
    choose(page, "Add panel", kind)
    dialog = page.get_by_role("dialog", name="Add a panel")
    for label, chosen in keys.items():
        group = dialog.get_by_role("group", name=label)
        for key in chosen if isinstance(chosen, list) else [chosen]:
            group.get_by_role("button", name=key, exact=True).click()
    dialog.get_by_role("button", name="Add", exact=True).click()
    expect(dialog).to_have_count(0)


def test_only_panels_in_sight_ask_for_data(studied: Process, open_page: NewPage, watches: list[Watch]) -> None:
    page = open_page(studied, "/projects/vision")
    chart(page, "train/loss")

    def asked() -> set[str]:
        return {key for request in watches[0].asked("/api/v1/panel") for key in spec_of(request)["keys"]}

    assert "train/loss" in asked()
    assert "val/loss" not in asked()
    with asking(page, lambda spec: "val/loss" in spec["keys"]):
        panel(page, "val/loss").scroll_into_view_if_needed()

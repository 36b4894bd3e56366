"""The panel of a run whose model was watched: layers over steps, and one layer's histogram."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import NewPage
from tests.browser.recording import Recording
from tests.servers import Process
from trackkit.core import records
from trackkit.core.gradients import frames
from trackkit.core.gradients.frames import BINS, STATISTICS, Frame, Layers

NOW = 1_760_000_000.0
NAMES = [f"blocks.{number}.weight" for number in range(5)]
STEPS = 20
EVERY = 10
VANISHED = 3
"""A layer whose gradients get smaller from step to step."""
NAN_AT = 15


def watched(run: Recording, key: str, level: float, *, histograms: bool = True) -> None:
    """Let a run have been watched: norms of the layers fall by a tenth from each to the next."""
    layers = Layers(NAMES, [[8, 8]] * len(NAMES), [64] * len(NAMES), ["Linear"] * len(NAMES))
    keep(run, key, "layers", layers.encode(), None, {"digest": layers.digest})
    for index in range(STEPS):
        statistics = np.zeros((len(STATISTICS), len(NAMES)), np.float32)
        statistics[0] = [level * 10.0**-number for number in range(len(NAMES))]
        statistics[0, VANISHED] *= 0.5**index
        statistics[STATISTICS.index("zeros")] = 0.25
        if index == NAN_AT and key == "gradients":
            statistics[:2, 0] = np.nan
            statistics[STATISTICS.index("nan"), 0] = 7
        frame = Frame(statistics)
        if histograms:
            frame.tops = np.full(len(NAMES), -2, np.int16)
            frame.histograms = np.zeros((len(NAMES), BINS), np.uint32)
            frame.histograms[:, BINS - 1 - index] = 48
            frame.histograms[:, index] = 16
        keep(run, key, "watch", frames.encode(frame), index * EVERY, {"layers": layers.digest})


def keep(run: Recording, key: str, kind: str, content: bytes, step: int | None, metadata: dict[str, object]) -> None:
    path = f"watch/{key}/{kind}-{step}"
    after = 1.0 + (step or 0)
    run.say(records.Object(run.began + after, key, kind, path, len(content), "", content, step, metadata))  # type: ignore[arg-type]


@pytest.fixture
def page(root: Path, server: Process, project: str, open_page: NewPage) -> Page:
    """The charts of a run whose gradients and parameters were watched."""
    run = Recording(f"{project}-watched", NOW, project=project, name="watched")
    for step in range(STEPS * EVERY):
        run.log(step, step, {"loss": 1.0 / (step + 1)})
    watched(run, "gradients", 10.0)
    watched(run, "parameters", 1000.0)
    run.finish(STEPS * EVERY)
    run.keep(root)
    return open_page(server, f"/runs/{project}-watched/charts")


def flow(page: Page) -> Locator:
    return page.get_by_role("article", name="Gradient flow")


def heat_map(page: Page) -> Locator:
    return flow(page).get_by_role("application")


def point(page: Page, layer: int, step: int) -> Locator:
    """Move the mouse to a cell, and give what is shown about it."""
    target = heat_map(page)
    target.scroll_into_view_if_needed()
    box = target.bounding_box()
    assert box is not None
    page.mouse.move(
        box["x"] + box["width"] * (step / EVERY + 0.5) / STEPS, box["y"] + box["height"] * (layer + 0.5) / len(NAMES)
    )
    return target.locator(".tip")


READ = """(canvas, [x, y]) => {
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    return [...copy.getImageData(x, y, 1, 1).data.slice(0, 3)];
}"""


def shade(page: Page, layer: int, step: int) -> list[int]:
    """Red, green, blue of a cell."""
    found: list[int] = heat_map(page).locator("canvas").evaluate(READ, [step // EVERY, layer])
    return found


def test_all_layers_are_in_one_panel_a_row_each_over_steps(page: Page) -> None:
    expect(heat_map(page)).to_have_attribute("aria-label", re.compile(r"^Norm of 5 layers over steps"))
    expect(page.get_by_role("article", name="Gradient flow")).to_have_count(1)
    assert heat_map(page).locator("canvas").evaluate("canvas => [canvas.width, canvas.height]") == [STEPS, len(NAMES)]
    assert flow(page).locator(".names span").all_inner_texts() == NAMES
    assert flow(page).locator(".steps span").all_inner_texts() == ["0", "90", "190"]


def test_a_cell_tells_layer_step_and_number(page: Page) -> None:
    tip = point(page, 1, 50)
    expect(tip.locator(".name")).to_have_text(NAMES[1])
    expect(tip).to_contain_text("50")
    expect(tip.locator(".number")).to_have_text("1")


def test_a_nan_is_said_and_shown(page: Page) -> None:
    expect(point(page, 0, NAN_AT * EVERY).locator(".bad")).to_have_text("7 NaN or infinite")
    assert shade(page, 0, NAN_AT * EVERY) != shade(page, 0, (NAN_AT - 1) * EVERY)


def test_shades_follow_the_numbers(page: Page) -> None:
    expect(heat_map(page)).to_be_visible()
    assert shade(page, 1, 0) == shade(page, 1, 190)
    assert shade(page, VANISHED, 0) != shade(page, VANISHED, 190)
    assert len({tuple(shade(page, layer, 0)) for layer in range(len(NAMES))}) == len(NAMES)


def test_another_statistic_and_the_parameters_can_be_chosen(page: Page) -> None:
    flow(page).get_by_label("Statistic").select_option(label="Share of zeros")
    expect(heat_map(page)).to_have_attribute("aria-label", re.compile("^Share of zeros of 5 layers"))
    expect(point(page, 2, 30).locator(".number")).to_have_text("0.25")
    flow(page).get_by_label("What was watched").select_option("parameters")
    flow(page).get_by_label("Statistic").select_option(label="Norm")
    expect(point(page, 0, 0).locator(".number")).to_have_text(re.compile(r"^1,?000$|^1k$|^1e\+?3$"))


def test_a_layer_has_its_histogram_over_steps(page: Page) -> None:
    expect(heat_map(page)).to_be_visible()
    point(page, 2, 40)
    page.mouse.down()
    page.mouse.up()
    histogram = flow(page).get_by_role("region", name=f"Histogram of {NAMES[2]} over steps")
    expect(histogram.get_by_role("heading", name=NAMES[2])).to_be_visible()
    canvas = histogram.locator("canvas")
    expect(canvas).to_be_visible()
    assert canvas.evaluate("canvas => canvas.width") == STEPS
    box = histogram.get_by_role("img").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 3, box["y"] + 2)  # three quarters of the numbers of the first step are the largest
    expect(histogram.locator(".tip .number")).to_have_text(re.compile(r"^75(\.0)? %$"))
    histogram.get_by_role("button", name="Close the histogram").click()
    expect(histogram).to_have_count(0)


def test_layers_are_chosen_by_the_keyboard(page: Page) -> None:
    heat_map(page).focus()
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    expect(flow(page).get_by_role("heading", name=NAMES[1])).to_be_visible()
    page.keyboard.press("ArrowUp")
    expect(flow(page).get_by_role("heading", name=NAMES[0])).to_be_visible()


def test_a_run_that_was_not_watched_has_no_such_panel(
    root: Path, server: Process, project: str, open_page: NewPage
) -> None:
    run = Recording(f"{project}-plain", NOW, project=project, name="plain")
    run.log(0, 1.0, {"loss": 1.0}).finish(2.0)
    run.keep(root)
    plain = open_page(server, f"/runs/{project}-plain/charts")
    expect(plain.get_by_role("article").filter(has_text="loss")).to_be_visible()
    expect(flow(plain)).to_have_count(0)

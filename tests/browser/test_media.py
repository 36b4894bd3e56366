"""Media that were logged through trackkit: panels by themselves, steps, overlays, enlarging, players and charts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

import trackkit
from tests.browser import album
from tests.browser.board import choose, middle, opened, panel
from tests.browser.conftest import PHONE, NewPage
from tests.browser.test_accessibility import check
from tests.browser.watch import Watch, scrolls_sideways
from tests.servers import Process, process, until

PROJECT = "street"
PATIENCE_MS = 60_000
"""Three-dimensional scenes are drawn without a graphics processor here."""
KINDS = (
    "val/examples", "val/roc", "val/confusion", "train/weights", "speech", "drive", "report", "notes", "curve",
    "surface", "cloud", "drug", "model",
)  # fmt: skip
QUIET = ("--log-level", "warning")
FROM_PAGES = (r"/content/", r"content security policy: connect-src forbids .*/api/v1/projects")
"""What a browser notes of a logged page that tries to reach us."""
FROM_GRAPHICS = r"GL Driver Message"


@pytest.fixture(scope="module")
def album_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server over a project of three runs with media of every kind."""
    root = tmp_path_factory.mktemp("album")
    album.fill(root, PROJECT)
    with process(root, *QUIET) as server:
        yield server


def shown(page: Page, key: str) -> Locator:
    """The panel of a key, with what is in it come."""
    found = panel(page, key)
    found.scroll_into_view_if_needed()
    expect(found).to_be_visible()
    expect(found.locator(".skeleton")).to_have_count(0, timeout=PATIENCE_MS)
    return found


def only(open_page: NewPage, server: Process, key: str, **options: object) -> tuple[Page, Locator]:
    """A project's page that shows one panel."""
    page = open_page(server, f"/projects/{PROJECT}?search=%5E{key.replace('/', '%2F')}%24", **options)  # type: ignore[arg-type]
    return page, shown(page, key)


def slider(found: Locator) -> Locator:
    return found.get_by_role("slider", name=re.compile("^Step of"))


def pictures(found: Locator) -> list[str]:
    """The addresses of the images in a panel."""
    return [str(image.get_attribute("src")) for image in found.locator("img").all()]


def painted(canvas: Locator) -> int:
    """How many pixels of a canvas are not clear."""
    return int(
        canvas.evaluate(
            """canvas => { const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
            let count = 0; for (let i = 3; i < data.length; i += 4) count += data[i] > 0; return count; }"""
        )
    )


def test_every_key_has_a_panel_in_its_section(album_server: Process, open_page: NewPage, watches: list[Watch]) -> None:
    page = open_page(album_server, f"/projects/{PROJECT}")
    for pattern in (*FROM_PAGES, FROM_GRAPHICS):
        watches[0].allow(pattern)
    for key in KINDS:
        expect(panel(page, key)).to_have_count(1)
    sections = page.locator("section:has(> h2)").evaluate_all("all => all.map(one => one.ariaLabel)")
    assert sections == ["Media", "train", "val"]
    found = shown(page, "val/examples")
    # Three runs of four examples each, the newest run first as in the table.
    expect(found.get_by_role("button", name=re.compile("^Enlarge val.examples"))).to_have_count(12)
    of_runs = found.get_by_role("group", name=re.compile("^val.examples of [a-z]"))
    assert of_runs.evaluate_all("all => all.map(one => one.ariaLabel)") == [
        f"val/examples of {name}" for name in reversed(album.RUNS)
    ]
    expect(found.get_by_text("street 3").first).to_be_visible()


def test_the_slider_goes_through_the_steps_by_keys_and_the_address_keeps_its_place(
    album_server: Process, open_page: NewPage
) -> None:
    page, found = only(open_page, album_server, "val/examples")
    last = pictures(found)
    expect(found.get_by_text("Step 80")).to_be_visible()
    slider(found).focus()
    page.keyboard.press("ArrowLeft")
    expect(found.get_by_text("Step 60")).to_be_visible()
    expect(slider(found)).to_have_attribute("aria-valuetext", "step 60")
    until(lambda: pictures(found) != last)
    page.keyboard.press("Home")
    expect(found.get_by_text("Step 0")).to_be_visible()
    until(lambda: "look=" in page.url)
    first = pictures(found)
    page.reload()
    found = shown(page, "val/examples")
    expect(found.get_by_text("Step 0")).to_be_visible()
    assert pictures(found) == first

    found.get_by_role("button", name="Next step of val/examples").click()
    expect(found.get_by_text("Step 20")).to_be_visible()
    found.get_by_role("button", name="Play the steps of val/examples").click()
    expect(found.get_by_text("Step 80")).to_be_visible()
    until(lambda: pictures(found) == last)


def test_overlays_are_switched_class_by_class_and_boxes_by_their_score(
    album_server: Process, open_page: NewPage, watches: list[Watch]
) -> None:
    page, found = only(open_page, album_server, "val/examples")
    watches[0].allow("willReadFrequently")  # this test reads
    first = found.get_by_role("button", name=re.compile("^Enlarge val.examples, image 1 of 4")).first
    mask = first.locator("canvas")
    until(lambda: painted(mask) == album.WIDTH * album.HEIGHT)
    boxes = first.locator("rect:not(.under)")
    expect(boxes).to_have_count(4)
    menu = opened(page, "Overlays of val/examples")
    classes = album.street(0, 0, 0)[1]

    menu.get_by_role("group", name="Mask: segments").get_by_role("checkbox", name="sky").uncheck()
    until(lambda: painted(mask) == int((classes != album.SKY).sum()))
    menu.get_by_role("group", name="Mask: segments").get_by_role("checkbox", name="road").uncheck()
    until(lambda: painted(mask) == int((classes == album.CAR).sum()))
    # In the colour that the list shows for the class.
    swatch = menu.get_by_role("group", name="Mask: segments").locator("label", has_text="car").locator(".swatch")
    color = swatch.evaluate("node => getComputedStyle(node).backgroundColor")
    # Half clear pixels lose a little to rounding.
    assert _first_color(mask) == pytest.approx([int(part) for part in re.findall(r"\d+", color)], abs=2)

    predictions = menu.get_by_role("group", name="Boxes: predictions")
    predictions.get_by_role("checkbox", name="bus").uncheck()
    expect(boxes).to_have_count(3)
    predictions.get_by_role("checkbox", name="bus").check()
    expect(boxes).to_have_count(4)
    # The surer box has 0.95, the other 0.65.
    menu.get_by_role("slider", name=re.compile("confidence")).evaluate(
        "node => { node.value = '0.8'; node.dispatchEvent(new Event('input', { bubbles: true })); }"
    )
    expect(boxes).to_have_count(3)
    menu.get_by_role("group", name="Boxes: truth").get_by_role("checkbox").first.uncheck()
    expect(boxes).to_have_count(1)
    page.keyboard.press("Escape")
    page.wait_for_timeout(1000)  # the address is written a few times a second
    page.reload()
    found = shown(page, "val/examples")
    expect(found.locator("button.zoom").first.locator("rect:not(.under)")).to_have_count(1)


def _first_color(canvas: Locator) -> list[int]:
    """The colour of the first pixel that is not clear."""
    return [
        int(value)
        for value in canvas.evaluate(
            """canvas => { const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
            const at = data.findIndex((value, index) => index % 4 === 3 && value > 0);
            return [data[at - 3], data[at - 2], data[at - 1]]; }"""
        )
    ]


def test_an_image_is_enlarged_moved_and_closed_by_keys(album_server: Process, open_page: NewPage) -> None:
    page, found = only(open_page, album_server, "val/examples")
    button = found.get_by_role("button", name=re.compile("image 2 of 4")).first
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="val/examples")
    window = dialog.get_by_role("application")
    expect(window).to_be_visible()
    expect(dialog.get_by_text("2 of 4")).to_be_visible()
    expect(dialog.locator(".text", has_text="bus 0.65")).to_be_visible()
    scale = float(window.get_attribute("data-scale") or 0)
    assert scale > 2
    window.focus()
    page.keyboard.press("+")
    page.keyboard.press("+")
    until(lambda: float(window.get_attribute("data-scale") or 0) > scale * 1.5)
    before = dialog.locator("img").bounding_box()
    page.keyboard.press("ArrowRight")
    until(lambda: (dialog.locator("img").bounding_box() or {})["x"] < (before or {})["x"])
    page.keyboard.press("0")
    until(lambda: float(window.get_attribute("data-scale") or 0) == scale)
    window.hover()
    page.mouse.wheel(0, -400)
    until(lambda: float(window.get_attribute("data-scale") or 0) > scale * 1.5)
    dialog.get_by_role("button", name="Next in the list").click()
    expect(dialog.get_by_text("3 of 4")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(button).to_be_focused()


def test_runs_and_steps_stand_side_by_side(album_server: Process, open_page: NewPage) -> None:
    page, found = only(open_page, album_server, "val/examples")
    found.get_by_role("button", name=re.compile("image 1 of 4")).first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Add beside").click()
    dialog.get_by_role("button", name="Add beside").click()
    runs = dialog.get_by_role("combobox", name="Run")
    expect(runs).to_have_count(3)
    names = runs.evaluate_all("all => all.map(one => one.selectedOptions[0].textContent)")
    assert sorted(names) == sorted(album.RUNS)
    expect(dialog.locator("img")).to_have_count(3)
    assert len(set(pictures(dialog))) == 3
    # One is set to the run of another, at an earlier step.
    runs.nth(1).select_option(label=names[0])
    sliders = dialog.get_by_role("slider", name=re.compile("^Step of"))
    sliders.nth(1).focus()
    page.keyboard.press("Home")
    expect(dialog.get_by_text("Step 0")).to_be_visible()
    until(lambda: len(set(pictures(dialog))) == 3)
    # What is zoomed in one is zoomed in all.
    windows = dialog.get_by_role("application")
    windows.nth(0).focus()
    page.keyboard.press("+")
    until(lambda: len({windows.nth(n).get_attribute("data-scale") for n in range(3)}) == 1)
    dialog.get_by_role("button", name=re.compile("^Remove")).first.click()
    expect(dialog.locator("img")).to_have_count(2)


def test_sound_and_video_can_be_played(album_server: Process, open_page: NewPage) -> None:
    _, sound = only(open_page, album_server, "speech")
    expect(sound.locator("audio")).to_have_count(3)
    until(lambda: sound.locator("audio").first.evaluate("audio => audio.duration") == pytest.approx(0.5, abs=0.01))
    _, drive = only(open_page, album_server, "drive")
    video = drive.locator("video").first
    until(lambda: video.evaluate("video => [video.videoWidth, video.videoHeight]") == [album.WIDTH, album.HEIGHT])
    assert video.evaluate("video => video.duration") == pytest.approx(2, abs=0.2)


def test_a_logged_page_runs_in_a_frame_from_which_it_reaches_nothing(
    album_server: Process, open_page: NewPage, watches: list[Watch]
) -> None:
    page, found = only(open_page, album_server, "report")
    for pattern in FROM_PAGES:
        watches[0].allow(pattern)
    frame = found.locator("iframe").first
    assert frame.get_attribute("sandbox") == "allow-scripts"
    out = found.frame_locator("iframe").first.locator("#out")
    expect(out).not_to_have_text("waiting")
    tried = json.loads(out.inner_text())
    assert tried == {
        "parent": "SecurityError",
        "cookie": "SecurityError",
        "storage": "SecurityError",
        "origin": "null",
        "fetch": "TypeError",
    }
    # Opened as a page of its own, it is a download and nothing that runs.
    address = str(frame.get_attribute("src"))
    answer = page.request.get(album_server.address + address)
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-type"] == "application/octet-stream"


def test_markdown_is_shown_without_what_is_not_text(album_server: Process, open_page: NewPage) -> None:
    _, found = only(open_page, album_server, "notes")
    expect(found.get_by_role("heading", name="Notes of step 80").first).to_be_visible()
    expect(found.locator("strong", has_text="loss").first).to_be_visible()
    assert found.locator(".markdown script").count() == 0


def test_charts_are_drawn_and_tell_what_lies_under_the_pointer(album_server: Process, open_page: NewPage) -> None:
    page, found = only(open_page, album_server, "val/confusion")
    cells = found.locator("svg .mark-rect path")
    expect(cells.first).to_be_visible()
    assert cells.count() >= 9
    page.mouse.move(*middle(cells.first))
    expect(page.locator(".tip")).to_contain_text("of actual")
    page, found = only(open_page, album_server, "val/roc")
    expect(found.locator("svg").locator("path[aria-roledescription='line mark']").first).to_be_visible()
    expect(found.get_by_text(re.compile(r"^dog \(area [01]\.\d{3}\)$")).first).to_be_visible()


def test_a_figure_of_plotly_is_drawn_under_the_page_s_policy(album_server: Process, open_page: NewPage) -> None:
    page, found = only(open_page, album_server, "surface")
    expect(found.locator(".js-plotly-plot .heatmaplayer image").first).to_be_attached(timeout=PATIENCE_MS)
    expect(found.get_by_text("A surface").first).to_be_visible()
    page.mouse.move(*middle(found.locator(".js-plotly-plot .nsewdrag").first))
    expect(found.locator(".hoverlayer text").first).to_be_visible()


def test_a_figure_of_matplotlib_is_enlarged_from_its_drawing(album_server: Process, open_page: NewPage) -> None:
    page, found = only(open_page, album_server, "curve")
    found.get_by_role("button", name=re.compile("^Enlarge curve")).first.click()
    image = page.get_by_role("dialog").locator("img")
    until(lambda: image.evaluate("image => image.complete && image.naturalWidth > 0"))
    answer = page.request.get(album_server.address + str(image.get_attribute("src")))
    assert answer.headers["content-type"].startswith("image/svg+xml")


@pytest.mark.parametrize("key", ["cloud", "drug"])
def test_what_has_three_dimensions_is_turned_by_keys(
    album_server: Process, open_page: NewPage, watches: list[Watch], key: str
) -> None:
    page, found = only(open_page, album_server, key)
    watches[0].allow(FROM_GRAPHICS)
    scene = found.get_by_role("application").first
    expect(scene.locator("[data-drawn=true]")).to_be_attached(timeout=PATIENCE_MS)
    page.wait_for_timeout(300)
    before = scene.screenshot()
    scene.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    until(lambda: scene.screenshot() != before)


def test_a_graph_is_laid_out_and_tells_of_its_nodes(album_server: Process, open_page: NewPage) -> None:
    page, found = only(open_page, album_server, "model")
    graph = found.get_by_role("application").first
    assert "6 nodes, 6 edges" in str(graph.get_attribute("aria-label"))
    expect(graph.locator("g")).to_have_count(6)
    graph.locator("g", has_text="Residual").hover()
    expect(found.locator("dl").first).to_contain_text("73,984")
    found.get_by_role("button", name=re.compile("^Enlarge model")).first.click()
    expect(page.get_by_role("dialog").locator("g", has_text="Linear")).to_be_visible()


def test_histograms_are_a_heat_map_and_one_step_is_bars(album_server: Process, open_page: NewPage) -> None:
    page, found = only(open_page, album_server, "train/weights")
    plot = found.get_by_role("application")
    canvas = plot.locator("canvas")
    expect(canvas).to_be_visible()
    assert canvas.evaluate("canvas => [canvas.width, canvas.height]") == [len(album.STEPS), 64]
    until(lambda: painted(canvas) > 100)
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.5)
    tip = plot.locator(".tip")
    expect(tip).to_contain_text("step 60")
    expect(tip).to_contain_text(re.compile(r"to .*\d+.*%", re.S))
    bars = found.get_by_role("img", name=re.compile("train.weights at step 60"))
    expect(bars).to_be_visible()
    expect(bars.locator("rect")).to_have_count(64)
    plot.focus()
    page.keyboard.press("ArrowLeft")
    page.mouse.move(5, 5)
    page.keyboard.press("ArrowRight")
    link = found.get_by_role("link", name="Step 60")
    expect(link).to_be_visible()
    found.get_by_role("combobox", name="Run").select_option(label="baseline")
    expect(found.get_by_role("application")).to_have_attribute("aria-label", re.compile("of baseline"))


def test_a_histogram_s_step_leads_to_the_run_at_that_step(
    album_server: Process, open_page: NewPage, watches: list[Watch]
) -> None:
    page, found = only(open_page, album_server, "train/weights")
    for pattern in (*FROM_PAGES, FROM_GRAPHICS):
        watches[0].allow(pattern)
    found.get_by_role("application").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    found.get_by_role("link", name="Step 60").click()
    page.wait_for_url(re.compile("/charts"))
    page.get_by_role("searchbox", name=re.compile("^Search panels")).fill("examples")
    expect(shown(page, "val/examples").get_by_text("Step 60")).to_be_visible()


def test_panels_of_media_are_added_by_hand(album_server: Process, open_page: NewPage) -> None:
    page, _ = only(open_page, album_server, "train/loss")
    choose(page, "Add panel", "Histograms over steps")
    dialog = page.get_by_role("dialog", name="Add a panel")
    dialog.get_by_role("button", name="train/weights").click()
    dialog.get_by_role("textbox", name="Title").fill("Mine")
    dialog.get_by_role("button", name="Add", exact=True).click()
    page.get_by_role("searchbox", name=re.compile("^Search panels")).fill("Mine")
    expect(shown(page, "Mine").get_by_role("application").locator("canvas")).to_be_visible()


def test_a_run_s_page_and_a_comparison_show_them_too(
    album_server: Process, open_page: NewPage, watches: list[Watch]
) -> None:
    for path, count in (
        (f"/runs/{PROJECT}-wide/charts", album.EXAMPLES),
        (f"/compare?runs={PROJECT}-wide,{PROJECT}-baseline&part=curves", 2 * album.EXAMPLES),
    ):
        page = open_page(album_server, path)
        for pattern in (*FROM_PAGES, FROM_GRAPHICS):
            watches[-1].allow(pattern)
        page.get_by_role("searchbox", name=re.compile("^Search panels")).fill("examples")
        expect(shown(page, "val/examples").locator("img")).to_have_count(count)


SCRIPT = """
import sys, time
import numpy as np
import trackkit

project, root = sys.argv[1:3]
settings = {"quiet": True, "system": False, "console": "off", "git": False, "packages": False, "code": False}
run = trackkit.init(project=project, name="run", id=f"{project}-run", dir=root, settings=settings)
for step in range(100_000):
    values = {"picture": trackkit.Image(np.full((24, 32, 3), step % 256, np.uint8)), "loss": 1 / (step + 1)}
    if step > 20:
        values["later"] = trackkit.Text(f"said at {step}")
    run.log(values)
    time.sleep(0.2)
"""


def test_new_media_arrive_while_the_script_runs(
    server: Process, root: Path, project: str, tmp_path: Path, open_page: NewPage
) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    child = subprocess.Popen([sys.executable, str(script), project, str(root)], cwd=tmp_path, env=os.environ.copy())
    try:
        page = open_page(server, f"/projects/{project}")
        page.evaluate("window.unloaded = false")
        expect(panel(page, "picture")).to_be_visible(timeout=PATIENCE_MS)
        found = shown(page, "picture")
        place = found.get_by_text(re.compile(r"^Step \d+$"))
        for _ in range(3):
            before, picture = place.inner_text(), pictures(found)
            expect(place).not_to_have_text(before, timeout=PATIENCE_MS)
            until(lambda picture=picture: pictures(found) != picture)
        # Whoever looks at a step stays there; what is new waits at the end of the slider.
        slider(found).focus()
        page.keyboard.press("Home")
        expect(place).to_have_text("Step 0")
        most = int(slider(found).get_attribute("max") or 0)
        until(lambda: int(slider(found).get_attribute("max") or 0) > most)
        expect(place).to_have_text("Step 0")
        # A key that comes later gets its panel.
        expect(panel(page, "later")).to_be_visible(timeout=PATIENCE_MS)
        expect(shown(page, "later").get_by_text(re.compile(r"said at \d+"))).to_be_visible()
        assert page.evaluate("window.unloaded") is False
    finally:
        child.kill()
        child.wait()


def test_an_image_whose_content_is_gone_is_told_in_words(
    server: Process, root: Path, project: str, open_page: NewPage, watches: list[Watch]
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (128, 128, 3), np.uint8)
    with trackkit.init(
        project=project, id=f"{project}-run", dir=root, settings=album.SETTINGS, reinit="create_new"
    ) as run:
        run.log({"picture": trackkit.Image(noise), "loss": 1.0})
    (item,) = trackkit.Api(root).run(f"{project}-run").media("picture")
    (blob,) = [path for path in root.rglob(f"*{item.digest[2:]}*") if path.is_file()]
    blob.unlink()
    page = open_page(server, f"/projects/{project}")
    watches[0].allow("404")
    expect(shown(page, "picture").get_by_text("This image can't be shown")).to_be_visible()


def test_media_have_no_violations_in_light_and_dark(
    album_server: Process, open_page: NewPage, watches: list[Watch]
) -> None:
    page = open_page(album_server, f"/projects/{PROJECT}")
    for pattern in (*FROM_PAGES, FROM_GRAPHICS):
        watches[0].allow(pattern)
    for key in KINDS:
        shown(page, key)
    check(page)
    page.get_by_role("searchbox", name=re.compile("^Search panels")).fill("examples")
    found = shown(page, "val/examples")
    opened(page, "Overlays of val/examples")
    check(page, ":popover-open")
    page.keyboard.press("Escape")
    found.locator("button.zoom").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Add beside").click()
    expect(dialog.locator("img")).to_have_count(2)
    check(page, "dialog")


def test_media_fit_a_phone(album_server: Process, open_page: NewPage) -> None:
    page, found = only(open_page, album_server, "val/examples", viewport=PHONE)
    expect(slider(found)).to_be_visible()
    assert not scrolls_sideways(page)
    check(page)
    found.locator("button.zoom").first.click()
    expect(page.get_by_role("dialog").locator("img")).to_be_visible()
    assert not scrolls_sideways(page)

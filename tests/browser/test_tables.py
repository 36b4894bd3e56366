"""Tables that runs logged: asked for a page at a time, narrowed, gathered, compared, taken along."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Locator, Page, Request, Route, expect

import trackkit
from tests.browser.board import choose, opened, panel
from tests.browser.conftest import PHONE, NewPage
from tests.browser.test_accessibility import check
from tests.browser.watch import Watch, scrolls_sideways
from tests.servers import Process

SETTINGS = {"quiet": True, "system": False, "console": "off", "git": False, "packages": False, "code": False}
LARGE = 300_000
"""Rows: more than a browser would lay out below each other."""
PROJECT = "tables"


def started(server: Process, folder: Path, id: str, project: str = PROJECT) -> trackkit.Run:
    return trackkit.init(
        project=project, id=id, name=id, dir=folder, sink=server.address, settings=SETTINGS, reinit="create_new"
    )


def predictions(changed: bool) -> trackkit.Table:
    """Sixty predictions; another run guesses one differently, lacks one and has one more."""
    table = trackkit.Table(columns=["id", "label", "guess", "score", "right", "picture", "sound"])
    tone = np.sin(np.arange(2000) / 20).astype(np.float32)
    for number in range(60):
        if changed and number == 7:
            continue
        label = ("cat", "dog", "bird")[number % 3]
        guess = "fish" if changed and number == 4 else label
        picture = trackkit.Image(np.full((24, 24, 3), number * 4, np.uint8), caption=f"picture {number}")
        sound = trackkit.Audio(tone, 8000) if number < 2 else None
        table.add_data(number, label, guess, 1 / (number + 1), guess == label, picture, sound)
    if changed:
        table.add_data(100, "cat", "cat", 0.5, True, trackkit.Image(np.zeros((24, 24, 3), np.uint8)), None)
    return table


def large() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "place": np.arange(LARGE),
            "loss": rng.normal(size=LARGE),
            "label": [f"class {number}" for number in rng.integers(0, 12, LARGE)],
            "val loss": rng.random(LARGE),
            "when": pd.date_range("2026-01-01", periods=LARGE, freq="s"),
        }
    )


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return large()


@pytest.fixture(scope="module")
def logged(server: Process, frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Process:
    """The server with a project of tables."""
    folder = tmp_path_factory.mktemp("client")
    with started(server, folder, "second") as run:
        run.log({"predictions": predictions(True)})
    with started(server, folder, "first") as run:
        run.log({"predictions": predictions(False)})
        artifact = trackkit.Artifact("evaluation", "result")
        artifact.add(predictions(True), "table")
        run.log_artifact(artifact)
    with started(server, folder, "whole") as run:
        run.log({"large": frame})
    return server


@pytest.fixture
def small(logged: Process, open_page: NewPage) -> Page:
    """The page of the run with the predictions."""
    page = open_page(logged, "/runs/first/charts")
    expect(row(page, "predictions", 0)).to_be_visible()
    return page


@pytest.fixture
def big(logged: Process, open_page: NewPage) -> Page:
    """The page of the run with the large table."""
    page = open_page(logged, "/runs/whole/charts")
    expect(row(page, "large", 0)).to_be_visible()
    return page


def grid(page: Page, title: str) -> Locator:
    return panel(page, title).get_by_role("grid")


def row(page: Page, title: str, index: int) -> Locator:
    """The row at a place, from 0, of the order shown, once its cells are there."""
    return panel(page, title).locator(f"[data-index='{index}']:not(:has(.blank))")


def cells(page: Page, title: str, index: int) -> list[str]:
    expect(row(page, title, index)).to_be_visible()
    return row(page, title, index).get_by_role("gridcell").all_inner_texts()


def column(page: Page, title: str, name: str, rows: int = 5) -> list[str]:
    """The cells of a column in the first rows."""
    heads = grid(page, title).get_by_role("columnheader").locator(".title").all_inner_texts()
    place = [re.sub(r"[↑↓]\d*$", "", head).strip() for head in heads].index(name)
    return [cells(page, title, index)[place] for index in range(rows)]


def status(page: Page, title: str) -> Locator:
    return panel(page, title).locator(".foot")


def filter_rows(page: Page, title: str, expression: str) -> None:
    box = page.get_by_role("combobox", name=f"Filter rows of {title}")
    box.fill(expression)
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")


def spec_of(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(parse_qs(urlsplit(request.url).query)["spec"][0])
    return found


def test_every_table_has_a_panel_with_its_rows_and_media(small: Page) -> None:
    assert cells(small, "predictions", 1)[:5] == ["1", "dog", "dog", "0.5", "true"]
    expect(status(small, "predictions")).to_contain_text("60 rows, 7 columns")
    picture = row(small, "predictions", 1).get_by_role("img", name="picture 1")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 24
    sound = row(small, "predictions", 0).locator("audio")
    assert sound.evaluate(
        "audio => new Promise((resolve) => { audio.onloadedmetadata = () => resolve(audio.duration); audio.load(); "
        "audio.preload = 'metadata'; })"
    ) == pytest.approx(0.25, abs=0.01)


def test_the_heads_show_what_the_cells_are_like(small: Page, big: Page, frame: pd.DataFrame) -> None:
    label = grid(small, "predictions").get_by_role("columnheader").filter(has_text="label")
    expect(label).to_contain_text("3 values")
    loss = grid(big, "large").get_by_role("columnheader").filter(has=big.get_by_text("loss", exact=True))
    expect(loss).to_contain_text("–")
    counts = [int(text.rpartition(": ")[2].replace(",", "")) for text in loss.locator(".bar title").all_text_contents()]
    assert sum(counts) == LARGE
    values = opened(small, "Column menu: label")
    expect(values).to_contain_text("3 different")
    values.get_by_role("button", name=re.compile("cat")).click()
    expect(status(small, "predictions")).to_contain_text("20 of 60 rows")


def test_rows_are_sorted_by_several_columns(big: Page, frame: pd.DataFrame) -> None:
    head = grid(big, "large").get_by_role("button", name="label", exact=True)
    head.click()
    expect(grid(big, "large").get_by_role("columnheader", name="label")).to_have_attribute("aria-sort", "ascending")
    grid(big, "large").get_by_role("button", name="val loss", exact=True).click(modifiers=["Shift"])
    grid(big, "large").get_by_role("button", name=re.compile("val loss")).first.click(modifiers=["Shift"])
    expect(grid(big, "large").get_by_role("columnheader", name="val loss")).to_have_attribute("aria-sort", "descending")

    expected = frame.sort_values(["label", "val loss"], ascending=[True, False]).place[:5]
    expect(row(big, "large", 0)).to_contain_text(f"{expected.iloc[0]:,}")
    assert [int(text.replace(",", "")) for text in column(big, "large", "place")] == expected.tolist()


def test_a_filter_is_completed_and_applied(big: Page, frame: pd.DataFrame) -> None:
    box = big.get_by_role("combobox", name="Filter rows of large")
    box.click()
    box.press_sequentially("va")
    expect(big.get_by_role("option").first).to_have_text(re.compile("`val loss`"))
    for key in ("ArrowDown", "Enter"):
        big.keyboard.press(key)
    expect(box).to_have_value("`val loss` ")
    box.press_sequentially('< 0.25 and label = "class 1')
    expect(big.get_by_role("option", name='"class 10"')).to_be_visible()
    box.press_sequentially('"')
    big.keyboard.press("Escape")
    big.keyboard.press("Enter")

    expected = ((frame["val loss"] < 0.25) & (frame.label == "class 1")).sum()
    expect(status(big, "large")).to_contain_text(f"{expected:,} of {LARGE:,} rows")
    assert set(column(big, "large", "label")) == {"class 1"}


def test_a_wrong_filter_is_told_where_it_is_wrong(small: Page, watches: list[Watch]) -> None:
    watches[0].allow("status of 400")

    filter_rows(small, "predictions", "score > 0.1 and gess = 1")

    problem = panel(small, "predictions").get_by_role("alert").filter(has_text="no column 'gess'")
    expect(problem).to_contain_text("column 17 of the filter")
    expect(row(small, "predictions", 0)).to_be_visible()
    filter_rows(small, "predictions", "score > 0.1")
    expect(status(small, "predictions")).to_contain_text("9 of 60 rows")
    expect(problem).not_to_be_visible()


def test_a_search_finds_texts_and_numbers(small: Page) -> None:
    small.get_by_role("searchbox", name="Search rows of predictions").fill("BIR")
    expect(status(small, "predictions")).to_contain_text("20 of 60 rows")
    small.get_by_role("searchbox", name="Search rows of predictions").fill("nothing such")
    expect(panel(small, "predictions").get_by_text("No row matches.")).to_be_visible()
    small.get_by_role("button", name="Clear filter and search").click()
    expect(status(small, "predictions")).to_contain_text("60 rows")


def test_rows_are_gathered_and_a_group_opens(big: Page, frame: pd.DataFrame) -> None:
    opened(big, "Group rows of large").get_by_role("button", name="label").click()
    expect(status(big, "large")).to_contain_text(f"12 groups of {LARGE:,} rows")
    counts = frame.label.value_counts()

    found = cells(big, "large", 0)
    assert found[:2] == [counts.index[0], f"{counts.iloc[0]:,}"]
    mean = frame[frame.label == counts.index[0]].loss.mean()
    heads = grid(big, "large").get_by_role("columnheader").locator(".title").all_inner_texts()
    shown = found[heads.index("mean(loss)")].replace("\N{MINUS SIGN}", "-")
    assert float(shown) == pytest.approx(mean, rel=1e-3, abs=1e-4)
    menu = opened(big, "Compute")
    menu.get_by_label("Column").select_option("val loss")
    menu.get_by_label("What to compute").select_option("max")
    menu.get_by_role("button", name="Add").click()
    expect(grid(big, "large").get_by_role("columnheader", name="max(val loss)")).to_be_attached()
    grid(big, "large").focus()
    for key in ("ArrowDown", "Enter"):
        big.keyboard.press(key)
    expect(status(big, "large")).to_contain_text(f"{counts.iloc[1]:,} of {LARGE:,} rows")
    expect(big.get_by_role("combobox", name="Filter rows of large")).to_have_value(f'label = "{counts.index[1]}"')


def test_scrolling_far_asks_for_what_is_seen_alone(big: Page, frame: pd.DataFrame, watches: list[Watch]) -> None:
    grid(big, "large").focus()
    big.keyboard.press("End")
    assert cells(big, "large", LARGE - 1)[0] == f"{LARGE - 1:,}"
    opened(big, "Table menu: large").get_by_label("Go to row").fill("200,001")
    big.keyboard.press("Enter")
    assert cells(big, "large", 200_000)[0] == "200,000"
    box = grid(big, "large").bounding_box()
    assert box is not None
    big.mouse.move(box["x"] + 200, box["y"] + 200)
    for _ in range(10):
        big.mouse.wheel(0, 320)
    expect(row(big, "large", 200_105)).to_be_visible()
    big.keyboard.press("Home")
    assert cells(big, "large", 0)[0] == "0"

    asked = [spec_of(request) for request in watches[0].asked("/api/v1/tables/rows")]
    assert max(spec["limit"] for spec in asked) <= 100
    assert len(asked) < 30, "a few pages, not the table"


def test_the_whole_scrollbar_is_the_whole_table(big: Page) -> None:
    scroller = grid(big, "large")
    for share, expected in (
        (0.5, r"^149,9\d\d$|^150,0\d\d$"),
        (1.0, r"^299,9\d\d$"),
        (0.0, r"^\d$"),
        (0.25, r"^7[45],\d\d\d$"),
    ):
        scroller.evaluate("(grid, share) => grid.scrollTo(0, share * (grid.scrollHeight - grid.clientHeight))", share)
        expect(scroller.locator("[data-index]:not(:has(.blank)) [role=gridcell]").first).to_have_text(
            re.compile(expected)
        )


@pytest.mark.parametrize("format", ["CSV", "Parquet"])
def test_what_is_seen_is_what_is_taken_along(big: Page, frame: pd.DataFrame, format: str) -> None:
    filter_rows(big, "large", "loss > 2")
    expect(status(big, "large")).to_contain_text("of 300,000 rows")
    choose(big, "Column menu: when", "Hide")
    choose(big, "Column menu: loss", "Sort down")
    expect(grid(big, "large").get_by_role("columnheader", name="loss").first).to_have_attribute(
        "aria-sort", "descending"
    )

    with big.expect_download() as download:
        choose(big, "Table menu: large", f"Save these rows as {format}")
    content = Path(download.value.path()).read_bytes()

    found = (pd.read_csv if format == "CSV" else pd.read_parquet)(io.BytesIO(content))
    expected = frame[frame.loss > 2].sort_values("loss", ascending=False).drop(columns="when").reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected)
    assert download.value.suggested_filename == f"large.{format.lower()}"


def test_a_row_opens_in_full_and_leads_to_its_neighbours(small: Page) -> None:
    row(small, "predictions", 3).get_by_text("cat").first.click()
    dialog = small.get_by_role("dialog", name="Row 4 of predictions")
    expect(dialog.get_by_role("row", name="score")).to_contain_text("0.25")
    small.keyboard.press("ArrowRight")
    dialog = small.get_by_role("dialog", name="Row 5 of predictions")
    expect(dialog.get_by_role("row", name="score")).to_contain_text("0.2")
    expect(dialog.get_by_role("img", name="picture 4")).to_be_visible()
    small.keyboard.press("ArrowLeft")
    small.keyboard.press("ArrowLeft")
    expect(small.get_by_role("dialog", name="Row 3 of predictions")).to_contain_text("0.333")
    small.keyboard.press("Escape")
    expect(small.get_by_role("dialog")).to_have_count(0)
    small.keyboard.press("ArrowDown")
    small.keyboard.press("Enter")
    expect(small.get_by_role("dialog", name="Row 4 of predictions")).to_be_visible()
    small.get_by_role("button", name="Only rows with this label").click()
    expect(status(small, "predictions")).to_contain_text("20 of 60 rows")


def test_columns_are_hidden_pinned_moved_and_resized_and_the_address_keeps_it(small: Page) -> None:
    choose(small, "Column menu: sound", "Hide")
    choose(small, "Column menu: guess", "Pin")
    choose(small, "Column menu: score", "Move left")
    width = grid(small, "predictions").get_by_role("columnheader", name="label").bounding_box()
    opened(small, "Column menu: label").get_by_text("Wider").click()
    small.keyboard.press("Escape")
    filter_rows(small, "predictions", "id < 10")
    expect(status(small, "predictions")).to_contain_text("10 of 60 rows, 7 columns, 1 of them hidden")
    heads = ["guess", "id", "score", "label", "right", "picture"]

    def shown() -> list[str]:
        return grid(small, "predictions").get_by_role("columnheader").locator(".title").all_inner_texts()

    assert [text.strip() for text in shown()] == heads
    small.wait_for_url(re.compile("look="))
    small.wait_for_timeout(400)
    small.reload()
    expect(status(small, "predictions")).to_contain_text("10 of 60 rows")
    assert [text.strip() for text in shown()] == heads
    now = grid(small, "predictions").get_by_role("columnheader", name="label").bounding_box()
    assert width is not None
    assert now is not None
    assert now["width"] == width["width"] + 40
    choose(small, "Table menu: predictions", "As it was logged")
    expect(status(small, "predictions")).to_contain_text("60 rows, 7 columns")


def compare_with_second(page: Page) -> None:
    page.get_by_role("article", name="predictions").get_by_role("button", name="Compare").click()
    page.get_by_role("list", name="Runs with this table").get_by_role("button", name="second").click()


def test_two_runs_are_joined_on_a_key_and_what_changed_is_marked(small: Page) -> None:
    compare_with_second(small)
    expect(panel(small, "predictions").get_by_role("button", name="Joined on id")).to_be_visible()
    expect(status(small, "predictions")).to_have_text(
        "61 rows: 1 changed, 2 not in every table, 58 the same", use_inner_text=True
    )

    changed = row(small, "predictions", 4)
    expect(changed).to_contain_text("2 changed cells")
    expect(changed.get_by_role("img", name="changed")).to_have_count(2)
    expect(changed.locator(".changed").first).to_contain_text("fish")
    expect(row(small, "predictions", 7)).to_contain_text("only in first")
    panel(small, "predictions").get_by_role("checkbox", name="Changed only").check()
    expect(row(small, "predictions", 2)).to_contain_text("only in second")
    expect(row(small, "predictions", 3)).to_have_count(0)
    row(small, "predictions", 0).get_by_text("2 changed cells").click()
    dialog = small.get_by_role("dialog", name="id 4")
    expect(dialog.get_by_role("row", name="guess")).to_contain_text("changed")
    expect(dialog.get_by_role("row", name="label")).not_to_contain_text("changed")
    check(small, "dialog")


def test_tables_side_by_side_scroll_together(small: Page) -> None:
    compare_with_second(small)
    panel(small, "predictions").get_by_role("checkbox", name="Side by side").check()
    left, right = (
        panel(small, "predictions").get_by_role("grid", name=f"predictions, {run}") for run in ("first", "second")
    )
    expect(right.locator("[data-index='4'] .changed").first).to_contain_text("fish")
    left.evaluate("grid => grid.scrollTo(40, 1500)")
    small.wait_for_function(
        "() => [...document.querySelectorAll('article[aria-label=predictions] [role=grid]')]"
        ".every((grid) => Math.abs(grid.scrollTop - 1500) < 2 && Math.abs(grid.scrollLeft - 40) < 2)"
    )
    check(small, "article[aria-label=predictions]")


def test_a_table_in_an_artifact_is_compared(small: Page) -> None:
    small.get_by_role("article", name="predictions").get_by_role("button", name="Compare").click()
    dialog = small.get_by_role("dialog", name="Compare predictions with")
    dialog.get_by_label("Artifact").select_option("evaluation")
    dialog.get_by_label("Version").select_option(index=1)
    expect(dialog.get_by_label("File")).to_have_value("table.parquet")
    dialog.get_by_role("button", name="Add", exact=True).last.click()
    expect(status(small, "predictions")).to_contain_text("61 rows: 1 changed, 2 not in every table")
    grid(small, "predictions").evaluate("grid => grid.scrollTo(900, 0)")
    expect(row(small, "predictions", 4).get_by_role("img", name="picture 4")).to_have_count(2)
    for picture in row(small, "predictions", 4).get_by_role("img", name="picture 4").all():
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 24


def test_a_project_s_page_has_the_tables_of_its_runs(logged: Process, open_page: NewPage) -> None:
    page = open_page(logged, f"/projects/{PROJECT}")
    expect(row(page, "predictions", 0)).to_be_visible()
    expect(panel(page, "predictions").get_by_label("Run of predictions")).to_have_value("first")
    panel(page, "predictions").get_by_label("Run of predictions").select_option("second")
    expect(row(page, "predictions", 4)).to_contain_text("fish")
    expect(panel(page, "large")).to_be_attached()
    check(page)


def test_runs_that_are_compared_have_their_tables_compared(logged: Process, open_page: NewPage) -> None:
    page = open_page(logged, "/compare?runs=first,second&part=curves")
    expect(status(page, "predictions")).to_contain_text("1 changed")


def test_a_new_step_arrives_by_itself(server: Process, tmp_path: Path, project: str, open_page: NewPage) -> None:
    with started(server, tmp_path, f"{project}-live", project) as run:
        run.log({"table": pd.DataFrame({"x": [1, 2, 3]}), "loss": 1.0}, step=0)
        run.log({"loss": 0.5}, step=1)
        page = open_page(server, f"/runs/{run.id}/charts")
        expect(status(page, "table")).to_contain_text("3 rows")
        run.log({"table": pd.DataFrame({"x": [1, 2, 3, 4, 5]}), "loss": 0.1}, step=2)
        expect(status(page, "table")).to_contain_text("5 rows", timeout=30_000)
        slider = panel(page, "table").get_by_role("slider", name="Step")
        expect(slider).to_have_attribute("aria-valuetext", "step 2, the last")
        slider.focus()
        page.keyboard.press("ArrowLeft")
        expect(status(page, "table")).to_contain_text("3 rows")
        run.log({"other": pd.DataFrame({"y": ["a"]}), "loss": 0.1}, step=3)
        expect(row(page, "other", 0)).to_contain_text("a", timeout=30_000)
        expect(status(page, "table")).to_contain_text("3 rows")


def test_what_is_no_longer_wanted_is_aborted(big: Page) -> None:
    aborted: list[str] = []
    big.on("requestfailed", lambda request: aborted.append(request.url) if "/tables/rows" in request.url else None)
    held: list[Route] = []

    def take_time(route: Route) -> None:
        if spec_of(route.request)["filter"] == "loss > 1":
            held.append(route)
        else:
            route.continue_()

    big.route("**/tables/rows?*", take_time)
    filter_rows(big, "large", "loss > 1")
    expect(panel(big, "large").locator("[aria-busy=true]")).to_be_visible()
    big.wait_for_timeout(300)
    filter_rows(big, "large", "loss > 2")

    expect(status(big, "large")).to_contain_text(f"of {LARGE:,} rows")
    assert [spec_of_url(url)["filter"] for url in aborted] == ["loss > 1"]
    assert all(float(text) > 2 for text in column(big, "large", "loss"))
    big.unroute_all(behavior="ignoreErrors")


def spec_of_url(url: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(parse_qs(urlsplit(url).query)["spec"][0])
    return found


def test_a_table_fills_the_screen(small: Page) -> None:
    panel(small, "predictions").hover()
    small.get_by_role("button", name="Full screen: predictions").click()
    dialog = small.get_by_role("dialog", name="predictions")
    expect(dialog.locator("[data-index='7']")).to_be_visible()
    box = dialog.get_by_role("grid").bounding_box()
    assert box is not None
    assert box["height"] > 500
    check(small, "dialog")
    small.keyboard.press("Escape")
    expect(row(small, "predictions", 0)).to_be_visible()


def test_a_table_has_no_violations(small: Page, watches: list[Watch]) -> None:
    expect(grid(small, "predictions").locator(".caption").first).not_to_be_empty()
    check(small)
    for menu in ("Column menu: label", "Group rows of predictions", "Table menu: predictions"):
        found = opened(small, menu)
        check(small, ":popover-open")
        small.keyboard.press("Escape")
        expect(found).not_to_be_visible()
    row(small, "predictions", 3).get_by_text("cat").first.click()
    expect(small.get_by_role("dialog").get_by_role("row", name="score")).to_be_visible()
    check(small, "dialog")
    small.keyboard.press("Escape")
    compare_with_second(small)
    expect(status(small, "predictions")).to_contain_text("1 changed")
    check(small)
    small.get_by_role("button", name="Add", exact=True).click()
    check(small, "dialog")
    small.keyboard.press("Escape")
    watches[0].allow("status of 400")
    filter_rows(small, "predictions", "nothing = 1")
    expect(panel(small, "predictions").get_by_role("alert").filter(has_text="no column")).to_be_visible()
    check(small)


def test_a_phone_s_table_has_no_violations(logged: Process, open_page: NewPage) -> None:
    page = open_page(logged, "/runs/first/charts", viewport=PHONE)
    expect(row(page, "predictions", 0)).to_be_visible()
    assert not scrolls_sideways(page)
    check(page)

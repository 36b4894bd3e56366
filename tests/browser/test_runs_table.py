"""The table of runs: found, ordered, grouped, chosen and changed."""

from __future__ import annotations

import contextlib
import csv
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.board import choose, drag, middle, names, row
from tests.browser.conftest import NewPage
from tests.browser.recording import Recording
from tests.browser.watch import Watch
from tests.servers import Process, until

NOW = 1_760_000_000.0


def keep_few(root: Path, project: str) -> None:
    """Six runs that differ in everything a table shows."""
    for number in range(6):
        fields = {"project": project, "name": f"few-{number}", "tags": ["old"] if number < 2 else []}
        run = Recording(f"{project}-run-{number}", NOW + number * 60, **fields)
        run.config({"lr": 0.1 / (number + 1), "optimizer": "sgd" if number % 2 else "adam", "depth": number // 3})
        for step in range(20):
            run.log(step, step, {"loss": 1 / (step + 1) + number / 10, "accuracy": number / 10})
        run.finish(30 + number)
        run.keep(root)


@pytest.fixture
def table(root: Path, server: Process, project: str, open_page: NewPage) -> Page:
    """The page of a project with six runs, its table as wide as the window nearly."""
    keep_few(root, project)
    page = open_page(server, f"/projects/{project}")
    expect(row(page, "few-5")).to_be_visible()
    splitter = page.get_by_role("separator", name="Width of the table")
    left, top = middle(splitter)
    drag(page, (left, top), (1150, top))
    return page


def shown(page: Page, expected: list[str]) -> None:
    with contextlib.suppress(AssertionError):
        until(lambda: names(page) == expected, 8)
    assert names(page) == expected


def head(page: Page, name: str) -> str:
    return f"[role=columnheader]:has(button.title:text-is('{name}'))"


def test_a_filter_leaves_the_runs_it_is_true_of(table: Page) -> None:
    table.get_by_role("combobox", name="Filter runs").fill('config.optimizer = "adam" and config.depth = 0')
    table.keyboard.press("Enter")
    shown(table, ["few-2", "few-0"])
    expect(table.get_by_text("2 runs", exact=True)).to_be_visible()
    expect(table).to_have_url(re.compile("filter="))
    table.get_by_role("button", name="Clear the filter").click()
    expect(table.get_by_text("6 runs", exact=True)).to_be_visible()


def test_a_filter_that_cannot_be_read_says_what_is_wrong_with_it(table: Page, watches: list[Watch]) -> None:
    watches[0].allow("400")
    box = table.get_by_role("combobox", name="Filter runs")
    box.fill("config.lr <")
    table.keyboard.press("Enter")
    expect(table.get_by_role("alert").filter(has_text=re.compile("config.lr <"))).to_be_visible()
    expect(box).to_have_attribute("aria-invalid", "true")


def test_the_filter_completes_names_and_values(table: Page) -> None:
    box = table.get_by_role("combobox", name="Filter runs")
    box.press_sequentially("config.opt")
    suggestions = table.get_by_role("listbox", name="Suggestions")
    expect(suggestions.get_by_role("option").first).to_contain_text("config.optimizer")
    table.keyboard.press("ArrowDown")
    table.keyboard.press("Tab")
    box.press_sequentially("= ")
    expect(suggestions).to_contain_text('"adam"')
    expect(suggestions).to_contain_text('"sgd"')


def test_runs_are_sorted_by_one_key_and_then_by_another(table: Page) -> None:
    table.locator(head(table, "optimizer")).get_by_role("button").first.click()
    until(lambda: {*names(table)[:3]} == {"few-0", "few-2", "few-4"})
    table.locator(head(table, "depth")).get_by_role("button").first.click(modifiers=["Shift"])
    until(lambda: [{*names(table)[:2]}, names(table)[2]] == [{"few-0", "few-2"}, "few-4"])
    assert names(table)[3] == "few-1"
    assert {*names(table)[4:]} == {"few-3", "few-5"}
    expect(table.locator(head(table, "depth"))).to_have_attribute("aria-sort", "ascending")
    expect(table.locator("[role=columnheader]", has_text="optimizer")).to_have_attribute("aria-sort", "ascending")
    expect(table).to_have_url(re.compile(re.escape("order=%2Bconfig.optimizer%2C%2Bconfig.depth")))


def test_groups_show_the_means_of_their_runs(table: Page) -> None:
    choose(table, "Column menu: optimizer", "Group by this")
    adam, sgd = row(table, "adam"), row(table, "sgd")
    expect(adam.locator(".tag")).to_have_text("3")
    # The accuracies of few-0, few-2 and few-4 are 0, 0.2 and 0.4.
    cell = adam.locator("[title^='mean 0.20']")
    expect(cell).to_contain_text(re.compile(r"0\.2\s*±"))
    expect(cell).to_have_attribute("title", re.compile("from 0 to 0.4"))
    expect(sgd.locator("[title^='mean 0.3,']")).to_be_visible()
    adam.get_by_role("button", expanded=False).first.click()
    expect(table.get_by_role("link", name="few-4", exact=True)).to_be_visible()
    table.get_by_role("button", name="Ungroup").click()
    shown(table, [f"few-{number}" for number in reversed(range(6))])


def test_a_run_is_hidden_from_the_charts_shown_again_and_coloured(table: Page) -> None:
    expect(table.get_by_role("button", name="6 charted")).to_be_visible()
    row(table, "few-3").get_by_role("button", name="Show few-3 in charts").click()
    expect(table.get_by_role("button", name="5 charted")).to_be_visible()
    expect(row(table, "few-3").get_by_role("button", name="Show few-3 in charts")).to_have_attribute(
        "aria-pressed", "false"
    )
    row(table, "few-3").get_by_role("button", name="Show few-3 in charts").click()
    expect(table.get_by_role("button", name="6 charted")).to_be_visible()
    row(table, "few-3").get_by_role("button", name="Colour of few-3").click()
    table.get_by_role("dialog").get_by_role("button", name="Colour 12", exact=True).click()
    expect(row(table, "few-3").get_by_role("button", name="Colour of few-3")).to_have_css(
        "background-color", "rgb(93, 205, 250)"
    )
    table.wait_for_timeout(400)  # the address follows a moment later
    table.reload()
    expect(row(table, "few-3").get_by_role("button", name="Colour of few-3")).to_have_css(
        "background-color", "rgb(93, 205, 250)"
    )


def test_columns_are_chosen_pinned_moved_and_widened(table: Page) -> None:
    choose(table, "Table menu", "Choose columns")
    dialog = table.get_by_role("dialog", name="Columns")
    dialog.get_by_role("searchbox").fill("job|^notes")
    dialog.get_by_role("button", name="notes", exact=True).click()
    dialog.get_by_role("button", name="Done").click()
    expect(table.locator(head(table, "Notes"))).to_be_visible()

    choose(table, "Column menu: lr", "Pin")
    first = table.locator("[role=columnheader]").nth(1)
    expect(first).to_have_text("lr")

    def order() -> list[str]:
        heads = table.locator("[role=columnheader] button.title")
        return [text.rstrip("↑↓") for text in heads.all_inner_texts()]

    assert order().index("depth") < order().index("optimizer")
    table.locator(head(table, "optimizer")).drag_to(table.locator(head(table, "depth")))
    until(lambda: order().index("optimizer") < order().index("depth"))
    choose(table, "Column menu: optimizer", "Move right")
    until(lambda: order().index("optimizer") > order().index("depth"))

    table.get_by_role("table", name="Runs").evaluate("table => table.scrollTo(0, 0)")
    state = table.locator(head(table, "State"))
    width = state.bounding_box()
    assert width is not None
    grip = middle(state.locator(".grip"))
    drag(table, grip, (grip[0] + 80, grip[1]))
    until(lambda: abs((state.bounding_box() or {})["width"] - width["width"] - 80) < 4)
    choose(table, "Column menu: State", "Hide")
    expect(state).to_have_count(0)


def test_tags_and_notes_are_edited_where_they_stand(table: Page, server: Process, project: str) -> None:
    row(table, "few-4").get_by_role("button", name="Tags of few-4: edit").click()
    table.get_by_role("textbox", name="Tags of few-4").fill("good, kept")
    table.keyboard.press("Enter")
    until(lambda: server.ask(f"/runs/{project}-run-4")["run"]["tags"] == ["good", "kept"])
    expect(row(table, "few-4").get_by_text("kept", exact=True)).to_be_visible()
    choose(table, "Table menu", "Choose columns")
    table.get_by_role("dialog").get_by_role("button", name="notes", exact=True).click()
    table.keyboard.press("Escape")
    row(table, "few-4").get_by_role("button", name="Notes on few-4: edit").click()
    table.get_by_role("textbox", name="Notes on few-4").fill("not this time")
    table.keyboard.press("Escape")
    row(table, "few-4").get_by_role("button", name="Notes on few-4: edit").click()
    table.get_by_role("textbox", name="Notes on few-4").fill("warm-up helps")
    table.keyboard.press("Enter")
    until(lambda: server.ask(f"/runs/{project}-run-4")["run"]["notes"] == "warm-up helps")


def select(page: Page, *chosen: str) -> None:
    for name in chosen:
        row(page, name).get_by_role("checkbox", name=f"Select {name}").check()


def test_several_runs_are_tagged_and_untagged_at_once(table: Page, server: Process, project: str) -> None:
    select(table, "few-1", "few-2", "few-3")
    bar = table.get_by_role("toolbar", name="What to do with the selected runs")
    expect(bar).to_contain_text("3 selected")
    bar.get_by_role("button", name="Tag", exact=True).click()
    table.get_by_label("Tags, separated by commas").fill("batch")
    table.get_by_role("button", name="Add them").click()
    until(lambda: all("batch" in server.ask(f"/runs/{project}-run-{number}")["run"]["tags"] for number in (1, 2, 3)))
    assert "old" in server.ask(f"/runs/{project}-run-1")["run"]["tags"]
    table.get_by_role("status").get_by_role("button", name="Undo").click()
    until(
        lambda: not any("batch" in server.ask(f"/runs/{project}-run-{number}")["run"]["tags"] for number in (1, 2, 3))
    )


def test_deleted_runs_come_back_with_undo(table: Page, server: Process, project: str) -> None:
    select(table, "few-0", "few-5")
    table.get_by_role("button", name="Delete", exact=True).click()
    shown(table, ["few-4", "few-3", "few-2", "few-1"])
    assert server.ask(f"/runs?project={project}")["total"] == 4
    expect(table.get_by_role("status").filter(has_text="Deleted 2 runs.")).to_be_visible()
    table.get_by_role("button", name="Undo").click()
    shown(table, [f"few-{number}" for number in reversed(range(6))])
    assert server.ask(f"/runs?project={project}")["total"] == 6


def test_the_table_is_saved_as_csv(table: Page, project: str, tmp_path: Path) -> None:
    with table.expect_download() as saving:
        choose(table, "Table menu", "Save as CSV")
    saving.value.save_as(tmp_path / "runs.csv")
    lines = list(csv.DictReader((tmp_path / "runs.csv").open()))
    assert saving.value.suggested_filename == f"{project}-runs.csv"
    assert [line["name"] for line in lines] == [f"few-{number}" for number in reversed(range(6))]
    # Every digit, not the four that the table shows.
    assert float(lines[0]["config.lr"]) == 0.1 / 6
    assert lines[0]["state"] == "finished"


def test_only_the_rows_in_sight_are_drawn(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, "/projects/vision")
    expect(row(page, "resnet50-adamw-059")).to_be_visible()
    table = page.get_by_role("table", name="Runs")
    assert table.get_attribute("aria-rowcount") == "61"
    drawn = table.locator("[data-row]").count()
    assert drawn < 45
    table.evaluate("table => table.scrollTo(0, table.scrollHeight)")
    expect(row(page, "resnet18-adamw-000")).to_be_visible()
    expect(row(page, "resnet50-adamw-059")).to_have_count(0)

"""A run's page: what it was started with, what it said, what it kept."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser import study
from tests.browser.board import hover, panel
from tests.browser.conftest import NewPage
from tests.browser.recording import Recording
from tests.servers import Process, until

NOW = 1_760_000_000.0


def tab(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Parts of the run").get_by_role("link", name=re.compile(name)).click()


def test_the_overview_tells_where_a_run_came_from(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, f"/runs/{study.BEST}")
    facts = page.get_by_role("region", name="About this run")
    for fact in (
        "finished",
        "1h 33m",
        "python train.py --config configs/resnet.yaml",
        "on main",
        "node-3",
        "64 cores, 256 GiB",
    ):
        expect(facts).to_contain_text(fact)
    expect(facts.locator("time")).to_have_attribute("title", re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$"))
    expect(page.get_by_role("region", name="Notes").locator("strong")).to_have_text("Nesterov")
    facts.get_by_role("link", name="with changes").click()
    expect(page.get_by_role("row").filter(has_text="return AdamW(groups")).to_be_visible()


def test_config_and_summary_are_trees_that_can_be_searched(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, f"/runs/{study.BEST}")
    config = page.get_by_role("region", name="Config")
    config.locator("summary", has_text="model").click()
    expect(config.get_by_title("depth", exact=True)).not_to_be_visible()
    config.get_by_role("searchbox", name="Search Config").fill("depth")
    expect(config.get_by_text("model.depth")).to_be_visible()
    expect(config.get_by_title("lr", exact=True)).to_have_count(0)
    config.get_by_role("searchbox").fill("nowhere")
    expect(config.get_by_text("Nothing matches.")).to_be_visible()
    # The exact number is at hand where a rounded one is shown.
    exact = page.get_by_role("region", name="Summary").get_by_title(re.compile(r"^0\.\d{9,}$"))
    expect(exact.first).to_have_text(re.compile(r"^0\.\d{3,6}$"))


def test_a_failed_run_begins_with_its_error(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, f"/runs/{study.FAILED}")
    expect(page.get_by_role("region", name="Error")).to_contain_text("torch.OutOfMemoryError: CUDA out of memory.")


def test_notes_and_tags_are_edited_on_the_page(root: Path, server: Process, project: str, open_page: NewPage) -> None:
    Recording(f"{project}-run", NOW, project=project, name="run").finish(10).keep(root)
    page = open_page(server, f"/runs/{project}-run")
    page.get_by_role("button", name="Edit the notes").click()
    page.get_by_label("Notes, in Markdown").fill("It *works*.")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("region", name="Notes").locator("em")).to_have_text("works")
    page.get_by_text("Add tags").click()
    page.get_by_role("textbox", name="Tags").fill("kept")
    page.keyboard.press("Enter")
    until(lambda: server.ask(f"/runs/{project}-run")["run"]["tags"] == ["kept"])


def test_a_run_is_deleted_from_its_page_and_brought_back(
    root: Path, server: Process, project: str, open_page: NewPage
) -> None:
    Recording(f"{project}-run", NOW, project=project, name="run").finish(10).keep(root)
    page = open_page(server, f"/runs/{project}-run")
    page.get_by_role("button", name="Run menu").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("Deleted run.")).to_be_visible()
    expect(page.get_by_text("This project has no runs.")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("heading", name="run", exact=True)).to_be_visible()


def test_the_machine_s_readings_stand_in_the_phases_of_the_run(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, f"/runs/{study.BEST}/system")
    assert "training" in hover(page, "cpu.percent", 0.7)
    # The warning was raised half way.
    assert "GPU 0 is hot" in hover(page, "cpu.percent", 0.5)
    assert re.search(r"\d+ GiB", hover(page, "memory.used_bytes", 0.6))
    expect(panel(page, "disk.read_bytes_per_second").get_by_role("img")).to_have_attribute(
        "aria-label", re.compile("MiB/s$")
    )


def test_the_console_shows_colours_and_one_line_a_progress_bar(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, f"/runs/{study.BEST}/console")
    log = page.get_by_role("log")
    # It follows: the last line is in sight.
    expect(log.get_by_text("best checkpoint kept")).to_be_in_viewport()
    expect(log.get_by_text("✓", exact=True)).to_have_css("color", "rgb(110, 212, 147)")
    expect(log.get_by_text(re.compile(r"epoch 39: 100%"))).to_have_count(1)
    assert "\x1b" not in log.inner_text()
    page.get_by_role("searchbox", name="Search the console").fill("channels_last")
    expect(page.get_by_text("1 of 1")).to_be_visible()
    expect(log.get_by_text("channels_last")).to_be_in_viewport()
    expect(page.get_by_role("checkbox", name="Follow")).not_to_be_checked()
    page.get_by_role("searchbox", name="Search the console").fill("accuracy")
    expect(page.get_by_text(re.compile("1 of 4[01]"))).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile("2 of 4[01]"))).to_be_visible()
    page.get_by_role("checkbox", name="Follow").check()
    expect(log.get_by_text("best checkpoint kept")).to_be_in_viewport()
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save as text").click()
    text = Path(saving.value.path()).read_text()
    assert "\x1b" not in text
    assert text.count("epoch 39: 100%") == 1


def test_only_the_console_s_lines_in_sight_are_drawn(
    root: Path, server: Process, project: str, open_page: NewPage
) -> None:
    run = Recording(f"{project}-run", NOW, project=project, name="run")
    run.print(1, "".join(f"line {number}\n" for number in range(20_000))).finish(2)
    run.keep(root)
    page = open_page(server, f"/runs/{project}-run/console")
    log = page.get_by_role("log")
    expect(log.get_by_text("line 19999", exact=True)).to_be_in_viewport()
    assert log.locator(".text").count() < 120
    log.evaluate("log => log.scrollTo(0, 0)")
    expect(log.get_by_text("line 0", exact=True)).to_be_in_viewport()


def test_code_and_changes_are_shown(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, f"/runs/{study.BEST}/code")
    expect(page.get_by_role("row").filter(has_text="nesterov=True")).to_contain_text("added:")
    expect(page.get_by_text("configs/resnet.yaml").last).to_be_visible()
    page.get_by_role("button", name="code/train.py").click()
    expect(page.locator("pre")).to_contain_text("def main() -> None:")


def test_files_are_listed_found_and_downloaded(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, f"/runs/{study.BEST}/files")
    expect(page.get_by_text("4 files")).to_be_visible()
    page.get_by_role("searchbox", name="Search files").fill("csv")
    expect(page.get_by_role("row")).to_have_count(2)
    with page.expect_download() as saving:
        page.get_by_role("link", name="Download reports/classes.csv").click()
    assert Path(saving.value.path()).read_text().startswith("class,accuracy")


def test_alerts_are_listed_with_their_level(studied: Process, open_page: NewPage) -> None:
    page = open_page(studied, f"/runs/{study.BEST}/alerts")
    alerts = page.get_by_role("main").get_by_role("listitem")
    expect(alerts).to_have_count(2)
    expect(alerts.first).to_contain_text("GPU 0 is hot")
    expect(alerts.first).to_contain_text("warning")

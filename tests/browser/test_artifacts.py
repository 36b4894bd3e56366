"""The pages of artifacts: found, read, compared, changed, deleted, and the registry."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

import trackkit
from tests.browser import shelf
from tests.browser.conftest import PHONE, QUIET, NewPage
from tests.browser.test_accessibility import check, settle
from tests.browser.watch import Watch, scrolls_sideways
from tests.servers import Process, process, until

DATA = f"/projects/{shelf.PROJECT}/artifacts/digits-data"


@pytest.fixture(scope="module")
def shelved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server over artifacts that tests only look at."""
    root = tmp_path_factory.mktemp("shelf")
    shelf.fill(root, sweep=3)
    with process(root, *QUIET) as server:
        yield server


def part(page: Page, name: str) -> None:
    """Go to a part of an artifact's page."""
    page.get_by_role("navigation", name="Parts of the artifact").get_by_role("link", name=re.compile(name)).click()


def content(page: Page) -> Locator:
    return page.get_by_role("region", name="Preview")


def log(root: Path, project: str, name: str, text: str, aliases: list[str] | None = None) -> None:
    with shelf.start(root, project, f"maker of {text}") as run:
        made = trackkit.Artifact(name, "dataset")
        shelf.write(made, "f.txt", text)
        run.log_artifact(made, aliases=aliases or []).wait(60)


def test_a_project_s_artifacts_stand_by_type_and_are_searched(shelved: Process, open_page: NewPage) -> None:
    page = open_page(shelved, f"/projects/{shelf.PROJECT}")
    page.get_by_role("navigation", name="Where you are").get_by_role("link", name="Artifacts").click()
    expect(page).to_have_url(re.compile(rf"/projects/{shelf.PROJECT}/artifacts$"))
    expect(page.locator("section > h2")).to_contain_text(["dataset", "evaluation", "model"])
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="digits-data"))
    for fact in ("v1", "clean", "prepare"):
        expect(row).to_contain_text(fact)
    page.get_by_role("searchbox", name="Search artifacts").fill("BEST")
    expect(page.get_by_role("link", name="digits-model")).to_be_visible()
    expect(page.get_by_role("link", name="digits-data")).to_have_count(0)
    page.reload()
    expect(page.get_by_role("searchbox", name="Search artifacts")).to_have_value("BEST")
    page.get_by_role("searchbox", name="Search artifacts").fill("nowhere")
    page.get_by_role("button", name="Show all").click()
    page.get_by_role("link", name="digits-data").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("digits-data:v1")
    page.go_back()
    page.get_by_role("navigation", name="Where you are").get_by_role("link", name="Runs").click()
    expect(page.get_by_role("table", name="Runs")).to_be_visible()


def test_a_version_says_where_it_came_from_and_who_used_it(shelved: Process, open_page: NewPage) -> None:
    page = open_page(shelved, DATA)
    facts = page.get_by_role("region", name="About this version")
    for fact in ("latest", "clean", "deduplicated", "in 17 files"):
        expect(facts).to_contain_text(fact)
    expect(page.get_by_role("region", name="Description").locator("strong")).to_have_text("digits")
    users = page.get_by_role("region", name="Runs", exact=True)
    expect(users.get_by_role("link")).to_have_text(["sweep-0", "sweep-1", "sweep-2", "final"])
    page.get_by_role("list", name="Versions, the newest first").get_by_role("link", name=re.compile("^v0")).click()
    expect(page).to_have_url(re.compile("/digits-data/v0$"))
    expect(facts).to_contain_text("first")
    facts.get_by_role("link", name="prepare").click()
    expect(page).to_have_url(re.compile("/runs/"))


def test_files_are_a_tree_and_are_shown_by_kind(shelved: Process, open_page: NewPage) -> None:
    page = open_page(shelved, f"{DATA}/v1/files")
    tree = page.get_by_role("region", name="Files", exact=True)
    tree.get_by_role("button", name=re.compile("^README.md")).click()
    expect(content(page).locator(".markdown strong")).to_have_text("8 by 8")
    tree.get_by_role("button", name=re.compile("^config")).click()
    tree.get_by_role("button", name=re.compile("^load.py")).click()
    expect(content(page).locator("pre")).to_contain_text("# edition 2")
    tree.get_by_role("button", name=re.compile("^settings.json")).click()
    expect(content(page).get_by_title("edition", exact=True)).to_be_visible()
    tree.get_by_role("button", name=re.compile("^labels")).click()
    tree.get_by_role("button", name=re.compile("^train.csv")).click()
    expect(content(page).get_by_role("columnheader")).to_have_text(["index", "digit", "writer"])
    expect(content(page).get_by_role("row")).to_have_count(401)
    tree.get_by_role("button", name=re.compile("^images")).click()
    # The only folder in it is opened with it.
    tree.get_by_role("button", name=re.compile("^003.png")).click()
    picture = content(page).locator("img")
    expect(picture).to_have_js_property("naturalWidth", 96)
    # The address leads to the same file.
    expect(page).to_have_url(re.compile(r"path=images/train/003\.png$"))
    page.reload()
    expect(content(page).locator("img")).to_have_js_property("naturalWidth", 96)


def test_a_parquet_file_is_sorted_searched_and_paged_by_the_server(shelved: Process, open_page: NewPage) -> None:
    page = open_page(shelved, f"{DATA}/v1/files?path=labels/scores.parquet")
    rows = content(page).get_by_role("row")
    expect(rows).to_have_count(101)
    content(page).get_by_role("button", name="index").click()
    content(page).get_by_role("button", name="index").click()
    expect(rows.nth(1)).to_contain_text("249")
    content(page).get_by_role("button", name="Next").click()
    expect(rows.nth(1)).to_contain_text("149")
    content(page).get_by_role("searchbox", name="Search rows").fill("249")
    expect(rows).to_have_count(2)


def test_a_file_and_all_files_are_downloaded(shelved: Process, open_page: NewPage, tmp_path: Path) -> None:
    page = open_page(shelved, f"{DATA}/v1/files?path=config/load.py")
    with page.expect_download() as one:
        content(page).get_by_role("link", name="Download config/load.py").click()
    assert "# edition 2" in one.value.path().read_text()
    with page.expect_download() as whole:
        page.get_by_role("link", name=re.compile("^Download"), exact=False).first.click()
    assert whole.value.suggested_filename == "digits-data-v1.zip"
    with zipfile.ZipFile(whole.value.path()) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 17


def test_two_versions_are_compared_file_by_file_and_line_by_line(shelved: Process, open_page: NewPage) -> None:
    page = open_page(shelved, f"{DATA}/v1/compare")
    files = page.get_by_role("region", name="Files that differ")
    expect(files.get_by_role("button", name=re.compile("^Added"))).to_contain_text("1")
    expect(files.get_by_role("button", name=re.compile("^Removed"))).to_contain_text("1")
    files.get_by_role("button", name="config/load.py").click()
    expect(files.locator("tr.removed")).to_contain_text("# edition 1")
    expect(files.locator("tr.added")).to_contain_text("# edition 2")
    files.get_by_role("button", name=re.compile("^Removed")).click()
    expect(files.get_by_text("images/old/011.png")).to_be_visible()
    expect(files.get_by_text("config/load.py")).to_have_count(0)
    metadata = page.get_by_role("region", name="Metadata that differs")
    expect(metadata.get_by_role("row")).to_contain_text(["Key", "edition", "split.train"])
    page.get_by_role("button", name="Swap").click()
    expect(page).to_have_url(re.compile("/v0/compare\\?with=v1"))
    expect(files.get_by_role("button", name=re.compile("^Added"))).to_contain_text("1")


def test_metadata_is_a_tree(shelved: Process, open_page: NewPage) -> None:
    page = open_page(shelved, f"{DATA}/v1/metadata")
    expect(page.get_by_role("region", name="Metadata").get_by_title("train", exact=True)).to_be_visible()


def test_the_registry_says_what_aliases_mean_and_who_moved_them(shelved: Process, open_page: NewPage) -> None:
    page = open_page(shelved)
    page.get_by_role("link", name="Registry").click()
    entry = page.get_by_role("article", name="digits")
    expect(entry).to_contain_text("production")
    expect(entry.get_by_role("link", name="digits/digits-model:v0").first).to_be_visible()
    entry.get_by_role("button", name="History of aliases").click()
    expect(entry.get_by_role("listitem").filter(has_text="production set to v0")).to_be_visible()
    page.get_by_role("button", name="All projects").click()
    expect(page.get_by_role("link", name="digits-data")).to_be_visible()


def test_search_finds_artifacts(shelved: Process, open_page: NewPage) -> None:
    page = open_page(shelved)
    page.get_by_role("heading", name="Projects").wait_for()
    page.keyboard.press("Control+k")
    page.keyboard.type("digits-da")
    expect(page.get_by_role("option")).to_contain_text(["digits-data"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("digits-data:v1")


def test_a_run_tells_what_it_made_and_used(shelved: Process, open_page: NewPage) -> None:
    final = next(run for run in shelved.ask(f"/runs?project={shelf.PROJECT}")["runs"] if run["name"] == "final")
    page = open_page(shelved, f"/runs/{final['id']}")
    page.get_by_role("navigation", name="Parts of the run").get_by_role("link", name="Artifacts").click()
    expect(page.get_by_role("region", name="Made", exact=True).get_by_role("link")).to_have_text(["digits-model:v0"])
    expect(page.get_by_role("region", name="Used", exact=True).get_by_role("link")).to_have_text(["digits-data:v1"])
    expect(page.get_by_role("button", name="final train")).to_be_visible()


def test_aliases_tags_and_descriptions_are_edited_on_the_page(
    root: Path, server: Process, project: str, open_page: NewPage
) -> None:
    log(root, project, "data", "one", ["gold"])
    log(root, project, "data", "two")
    page = open_page(server, f"/projects/{project}/artifacts/data")
    facts = page.get_by_role("region", name="About this version")

    def version(name: str) -> dict[str, object]:
        found: dict[str, object] = server.ask(f"/artifacts/find?reference={project}/data:{name}")["version"]
        return found

    facts.get_by_role("textbox", name=re.compile("Add an alias")).fill("gold")
    facts.get_by_role("button", name="Move from v0").click()
    until(lambda: version("gold")["number"] == 1)
    facts.get_by_role("button", name="Alias gold").click()
    page.get_by_role("button", name=re.compile("^Protect")).click()
    expect(facts.get_by_text("protected:")).to_be_attached()
    assert version("gold")["protected"] == ["gold"]
    facts.get_by_role("button", name="Alias gold").click()
    page.get_by_role("button", name="Take it away").click()
    expect(facts.get_by_text("gold")).to_have_count(0)
    facts.get_by_text("Add tags").click()
    facts.get_by_role("textbox", name="Tags").fill("a, b")
    page.keyboard.press("Enter")
    until(lambda: version("v1")["tags"] == ["a", "b"])
    page.get_by_role("button", name="Edit the description").click()
    page.get_by_label("Description, in Markdown").fill("It is *clean*.")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("region", name="Description").locator("em")).to_have_text("clean")
    page.get_by_text("Say what data is").click()
    page.get_by_role("textbox", name="What data is").fill("All we have")
    page.keyboard.press("Enter")
    until(lambda: server.ask(f"/collections?project={project}&name=data")["collection"]["description"] == "All we have")
    page.get_by_role("navigation", name="Parts of the artifact").get_by_role("link", name="History").click()
    expect(page.get_by_role("row").filter(has_text="gold")).to_have_count(3)


def test_a_version_is_linked_to_the_registry(root: Path, server: Process, project: str, open_page: NewPage) -> None:
    log(root, project, "data", "linked")
    page = open_page(server, f"/projects/{project}/artifacts/data")
    page.get_by_role("button", name="Artifact menu").click()
    page.get_by_role("button", name="Link to the registry").click()
    page.get_by_label("Name").fill(f"{project}-data")
    page.get_by_label("Aliases").fill("production")
    page.get_by_role("button", name="Link", exact=True).click()
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{project}-data:v0")
    expect(page.get_by_role("link", name=f"{project}/data:v0")).to_be_visible()


def test_deleting_says_what_it_frees_and_asks_first(
    root: Path, server: Process, project: str, open_page: NewPage
) -> None:
    log(root, project, "data", "one" * 2000)
    log(root, project, "data", "two")
    page = open_page(server, f"/projects/{project}/artifacts/data/v0")

    page.get_by_role("button", name="Artifact menu").click()
    page.get_by_role("button", name="Delete v0").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("status")).to_contain_text(re.compile(r"frees 6\.\d KiB in 2 blobs"))
    dialog.get_by_role("button", name="Keep").click()
    assert server.ask(f"/collections?project={project}&name=data")["collection"]["versions"] == 2
    page.get_by_role("button", name="Artifact menu").click()
    page.get_by_role("button", name="Delete v0").click()
    dialog.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("data:v1")
    until(lambda: server.ask(f"/collections?project={project}&name=data")["collection"]["versions"] == 1)

    page.get_by_role("button", name="Artifact menu").click()
    page.get_by_role("button", name="Delete all versions").click()
    dialog.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("This project has no artifacts yet.")).to_be_visible()


def test_those_who_only_read_are_offered_no_change(tmp_path: Path, open_page: NewPage, watches: list[Watch]) -> None:
    from trackkit.backend.store import tokens
    from trackkit.backend.store.sqlite import SQLiteDatabase

    folder = tmp_path / "guarded"
    log(folder, "p", "data", "guarded")
    db = SQLiteDatabase(folder / "trackkit.db")
    db.migrate()
    with db.atomic():
        secret = tokens.create(db, "reader", "read")[1]
    db.close()
    with process(folder, *QUIET, "--auth") as server:
        page = open_page(server, "/projects/p/artifacts/data")
        watches[0].allow("401|ERR_INCOMPLETE")
        page.get_by_label("Token").fill(secret)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("data:v0")
        expect(page.get_by_role("link", name=re.compile("^Download"))).to_be_visible()
        for name in ("Artifact menu", "Edit the description", "Alias"):
            expect(page.get_by_role("button", name=name)).to_have_count(0)
        expect(page.get_by_role("textbox", name=re.compile("Add an alias"))).to_have_count(0)


def test_thousands_of_versions_scroll(root: Path, server: Process, project: str, open_page: NewPage) -> None:
    with shelf.start(root, project, "many") as run:
        for number in range(700):
            made = trackkit.Artifact("many", "dataset")
            shelf.write(made, "f.txt", str(number))
            last = run.log_artifact(made)
        last.wait(120)
    page = open_page(server, f"/projects/{project}/artifacts/many")
    versions = page.get_by_role("list", name="Versions, the newest first")
    expect(versions.get_by_role("link", name=re.compile("^v699"))).to_be_visible()
    assert versions.get_by_role("listitem").count() < 60
    versions.evaluate("list => list.scrollTo(0, list.scrollHeight)")
    expect(versions.get_by_role("link", name=re.compile("^v0"))).to_be_visible()
    assert versions.get_by_role("listitem").count() < 60
    page.get_by_role("searchbox", name="Search versions").fill("v123")
    expect(versions.get_by_role("listitem")).to_have_count(1)
    versions.get_by_role("link", name=re.compile("^v123")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("many:v123")


def test_an_artifact_that_is_not_there_is_said_so(
    server: Process, project: str, open_page: NewPage, watches: list[Watch]
) -> None:
    page = open_page(server, "/")
    watches[0].allow("404")
    page.goto(f"/projects/{project}/artifacts/none")
    expect(page.get_by_role("alert")).to_contain_text("none")
    page.get_by_role("link", name=re.compile("See all artifacts")).click()
    expect(page.get_by_text("This project has no artifacts yet.")).to_be_visible()


PAGES = {
    "artifacts": f"/projects/{shelf.PROJECT}/artifacts",
    "registry": "/registry",
    "all": "/registry?all=1",
    "overview": f"{DATA}/v1",
    "markdown": f"{DATA}/v1/files?path=README.md",
    "parquet": f"{DATA}/v1/files?path=labels/scores.parquet",
    "csv": f"{DATA}/v1/files?path=labels/train.csv",
    "metadata": f"{DATA}/v1/metadata",
    "compare": f"{DATA}/v1/compare",
    "history": f"{DATA}/v1/history",
    "empty": "/projects/nowhere/artifacts",
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_artifacts_has_no_violations(shelved: Process, open_page: NewPage, name: str) -> None:
    page = open_page(shelved, PAGES[name])
    settle(page)
    if name == "compare":
        page.get_by_role("button", name="config/load.py").click()
        expect(page.locator("tr.added").first).to_be_visible()
    check(page)


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_shows_the_pages_of_artifacts(shelved: Process, open_page: NewPage, name: str) -> None:
    page = open_page(shelved, PAGES[name], viewport=PHONE)
    settle(page)
    page.wait_for_load_state("networkidle")
    assert not scrolls_sideways(page)
    if name == "overview":
        page.get_by_role("button", name="Versions").click()
        expect(page.get_by_role("list", name="Versions, the newest first")).to_be_visible()
        check(page)

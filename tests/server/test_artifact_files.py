"""What the dashboard asks of artifacts: folders, archives, rows, what a deletion frees, and what is found."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

import trackkit
from tests.servers import Serving

QUIET: dict[str, Any] = {
    "system": False, "console": "off", "git": False, "code": False, "packages": False, "quiet": True, "interval": 0.05,
}  # fmt: skip
Log = Callable[..., str]


@pytest.fixture
def log(server: Serving, folder: Path) -> Log:
    """Logs an artifact to the server; the version's id."""

    def logged(files: dict[str, bytes], project: str = "p", name: str = "data", run: str = "maker", **more: Any) -> str:
        artifact = trackkit.Artifact(name, more.pop("type", "dataset"))
        for path, content in files.items():
            with artifact.new_file(path, "wb") as file:
                file.write(content)
        place: dict[str, Any] = {"dir": folder / "here", "sink": server.address, "reinit": "create_new"}
        with trackkit.init(project=project, name=run, settings=QUIET, **place) as made:
            return made.log_artifact(artifact, **more).wait(20).id

    return logged


def test_a_folder_tells_what_lies_in_it(server: Serving, log: Log) -> None:
    id = log({"readme.md": b"12345", "a/b/one": b"1", "a/b/two": b"22", "a/three": b"333", "z/four": b"4444"})

    top = server.get(f"/artifacts/{id}/folder")
    below = server.get(f"/artifacts/{id}/folder?path=a")
    page = server.get(f"/artifacts/{id}/folder", limit=1, after="a")

    assert [(item["name"], item["count"], item["size"], item["entry"] is None) for item in top["items"]] == [
        ("a", 3, 6, True), ("z", 1, 4, True), ("readme.md", 1, 5, False),
    ]  # fmt: skip
    assert (top["count"], top["size"], top["done"]) == (5, 15, True)
    assert [item["name"] for item in below["items"]] == ["b", "three"]
    assert below["items"][1]["entry"]["path"] == "a/three"
    assert ([item["name"] for item in page["items"]], page["done"]) == (["z"], False)
    assert server.ask("GET", f"/artifacts/{id}/folder?path=a/b/one").status_code == 404
    assert server.ask("GET", f"/artifacts/{id}/folder?path=nowhere").status_code == 404


def test_an_archive_holds_all_files(server: Serving, log: Log) -> None:
    files = {"a/one": b"1" * 3_000_000, "a/ü.txt": "ä".encode(), "empty": b""}
    id = log(files)

    answer = server.ask("GET", f"/artifacts/{id}/archive")

    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''data-v0.zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == files


def test_a_parquet_file_is_read_a_page_at_a_time(server: Serving, log: Log) -> None:
    written = io.BytesIO()
    rows = {"n": list(range(250)), "word": [f"w{number % 7}" for number in range(250)]}
    parquet.write_table(pyarrow.table(rows), written)
    id = log({"t.parquet": written.getvalue(), "text.txt": b"no table"})

    page = server.get(f"/artifacts/{id}/rows/t.parquet", sort="-n", limit=3)
    found = server.get(f"/artifacts/{id}/rows/t.parquet", search="w3", offset=2, limit=1)

    assert [column["name"] for column in page["columns"]] == ["n", "word"]
    assert [row["cells"][0] for row in page["rows"]] == [249, 248, 247]
    assert (page["total"], page["matching"], found["matching"]) == (250, 250, 36)
    assert found["rows"][0]["cells"] == [17, "w3"]
    assert server.ask("GET", f"/artifacts/{id}/rows/text.txt").status_code == 409
    assert server.ask("GET", f"/artifacts/{id}/rows/t.parquet?sort=nowhere").status_code == 400
    assert server.ask("GET", f"/artifacts/{id}/rows/none").status_code == 404


def test_what_a_deletion_frees_is_what_nothing_else_refers_to(server: Serving, log: Log) -> None:
    old = log({"shared": b"s" * 1000, "own": b"o" * 500})
    new = log({"shared": b"s" * 1000, "other": b"x" * 300})
    digest = server.get(f"/artifacts/{old}")["version"]["digest"]
    manifest = len(server.ask("GET", f"/artifacts/{old}/blobs/{digest}").content)

    one = server.get(f"/artifacts/{old}/freed")
    both = server.get("/collections/freed", project="p", name="data")

    assert (one["blobs"], one["bytes"], one["exact"]) == (2, 500 + manifest, True)
    assert both["blobs"] == 5
    linked = server.ask("POST", f"/artifacts/{old}/link", json={"project": "registry", "name": "data"})
    assert linked.status_code == 200
    assert server.get(f"/artifacts/{old}/freed")["blobs"] == 0
    assert server.get(f"/artifacts/{new}/freed")["bytes"] > 300


def test_a_collection_tells_of_its_newest_version(server: Serving, log: Log) -> None:
    log({"f": b"1"}, aliases=["first"], run="one")
    id = log({"f": b"2"}, aliases=["best"], tags=["clean"], run="two")

    found = server.get("/collections", project="p", name="data")["collection"]
    listed = server.get("/artifacts", project="p")["collections"][0]
    version = server.get(f"/artifacts/{id}")["version"]

    assert listed == found
    assert (found["versions"], found["latest"], found["aliases"], found["tags"]) == (
        2,
        1,
        ["best", "latest"],
        ["clean"],
    )
    assert (found["run_name"], version["run_name"]) == ("two", "two")
    assert server.ask("GET", "/collections?project=p&name=none").status_code == 404


def test_versions_and_collections_are_searched(server: Serving, log: Log) -> None:
    for number in range(12):
        log({"f": str(number).encode()}, run=f"run-{number}", aliases=["golden"] if number == 4 else [])
    log({"f": b"1"}, "q", "Model_weights", type="model")

    def numbers(search: str) -> list[int]:
        asked = server.get("/artifacts/versions", project="p", name="data", search=search)
        return [version["number"] for version in asked["versions"]]

    assert numbers("v1") == [1]
    assert numbers("run-1") == [11, 10, 1]
    assert numbers("GOLD") == [4]
    assert numbers("%") == []
    found = server.get("/search", q="model_")
    assert [(one["project"], one["name"], one["type"]) for one in found["artifacts"]] == [
        ("q", "Model_weights", "model")
    ]
    assert server.get("/search", q="modelx")["artifacts"] == []


def test_lineage_stops_at_its_depth_and_its_limit(server: Serving, log: Log, folder: Path) -> None:
    id = log({"f": b"1"})
    place: dict[str, Any] = {"dir": folder / "here", "sink": server.address, "reinit": "create_new"}
    for number in range(3):
        with trackkit.init(project="p", name=f"user-{number}", settings=QUIET, **place) as run:
            run.use_artifact("data:v0")
            made = trackkit.Artifact(f"out-{number}", "model")
            with made.new_file("f") as file:
                file.write(str(number))
            run.log_artifact(made).wait(20)

    whole = server.get(f"/artifacts/{id}/lineage")
    near = server.get(f"/artifacts/{id}/lineage", depth=1)
    few = server.get(f"/artifacts/{id}/lineage", limit=3)

    assert (len(whole["runs"]), len(whole["artifacts"]), len(whole["edges"]), whole["complete"]) == (4, 4, 7, True)
    assert (len(near["runs"]), len(near["artifacts"]), near["complete"]) == (4, 1, False)
    assert (len(few["runs"]) + len(few["artifacts"]), few["complete"]) == (3, False)
    assert {edge["kind"] for edge in whole["edges"]} == {"logged", "used"}

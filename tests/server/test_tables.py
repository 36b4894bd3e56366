"""Tables over HTTP: pages, groups, distributions, comparison, export, and what nobody gets out of the sandbox."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import numpy as np
import pandas as pd
import pytest

import trackkit
from tests.objects import object_store
from tests.servers import Serving, serving
from trackkit.backend.store.blobstore import local_file
from trackkit.backend.tables.relation import Relation
from trackkit.backend.tables.sandbox import CannotAnswer, CannotRead, Sandbox, TooLarge, TooSlow
from trackkit.core.blobs import Blobs

SETTINGS = {"quiet": True, "system": False, "console": "off", "git": False, "packages": False, "code": False}


def frame(rows: int = 1000) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": np.arange(rows),
            "loss": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows)),
            "label": [f"class {number}" for number in rng.integers(0, 5, rows)],
            "right": rng.random(rows) < 0.5,
            "when": pd.date_range("2026-01-01", periods=rows, freq="h"),
            'odd "name`': rng.integers(0, 100, rows),
        }
    )


def started(server: Serving, id: str, project: str = "p") -> trackkit.Run:
    """A run that is sent to the server, whatever database it has."""
    folder = server.config.root.parent / "client"
    return trackkit.init(
        project=project, id=id, dir=folder, sink=server.address, settings=SETTINGS, reinit="create_new"
    )


def log(server: Serving, id: str, *tables: Any, project: str = "p") -> None:
    with started(server, id, project) as run:
        for table in tables:
            run.log({"table": table})


@pytest.fixture
def table(server: Serving, root: Path) -> pd.DataFrame:
    """A table that the run `a` logged, as pandas has it."""
    found = frame()
    log(server, "a", trackkit.Table(dataframe=found))
    return found


def ask(server: Serving, path: str, expected: int = 200, **spec: Any) -> Any:
    spec = {"run": "a", "key": "table", **spec} if "sides" not in spec else spec
    answer = server.ask("GET", f"/tables{path}", params={"spec": json.dumps(spec)})
    assert answer.status_code == expected, answer.text
    return answer.json()


def ids(answer: Any) -> list[int]:
    place = answer["columns"].index("id")
    return [row["cells"][place] for row in answer["rows"]]


def test_a_table_opens_with_its_columns_and_steps(server: Serving, table: pd.DataFrame) -> None:
    found = ask(server, "")

    assert found["rows"] == 1000
    assert {column["name"]: column["type"] for column in found["columns"]} == {
        "id": "number", "loss": "number", "label": "text", "right": "bool", "when": "time", 'odd "name`': "number"
    }  # fmt: skip
    assert (found["step"], found["steps"], found["log_mode"]) == (0, [0], "IMMUTABLE")


def test_pages_are_the_rows_in_order(server: Serving, table: pd.DataFrame) -> None:
    page = ask(server, "/rows", offset=500, limit=3)

    assert page["matching"] == 1000
    assert [row["number"] for row in page["rows"]] == [500, 501, 502]
    first = dict(zip(page["columns"], page["rows"][0]["cells"], strict=True))
    row = table.iloc[500]
    assert first["id"] == 500
    assert first["label"] == row.label
    assert first["right"] == row.right
    assert first["when"] == row.when.isoformat()
    assert first["loss"] == (None if np.isnan(row.loss) else pytest.approx(row.loss))


@pytest.mark.parametrize("sort", [["loss"], ["-loss"], ["label", "-id"], ["right", "label", 'odd "name`'], ["-when"]])
def test_rows_are_sorted_as_pandas_sorts_them(server: Serving, table: pd.DataFrame, sort: list[str]) -> None:
    found = ids(ask(server, "/rows", sort=sort, limit=1000))

    names = [name.lstrip("-") for name in sort]
    ordered = table.sort_values([*names, "id"], ascending=[*(not name.startswith("-") for name in sort), True])
    expected = (
        ordered.drop_duplicates("id").id.tolist()
        if "id" not in names
        else table.sort_values(names, ascending=[not name.startswith("-") for name in sort]).id.tolist()
    )
    assert found == expected


@pytest.mark.parametrize(
    ("expression", "query"),
    [
        ("loss > 1", "loss > 1"),
        ("loss <= 0.5 and label = 'class 1'", "loss <= 0.5 and label == 'class 1'"),
        ("not loss > 1", "not loss > 1"),
        ("right = true or id in (1, 2, 3)", "right or id in (1, 2, 3)"),
        ("right != true", "not right"),
        ("when >= '2026-01-20'", "when >= '2026-01-20'"),
        ("loss is null", "loss.isnull()"),
        ("loss is not null and id < 50", "loss.notnull() and id < 50"),
        ("label like '%S 1'", "label.str.lower().str.endswith('s 1')"),
        ("label matches '^class [12]$'", "label.str.match('class [12]$')"),
        ('`odd "name\\`` > 90', '`odd "name\\`` > 90'),
        ("label not in ('class 1', 'class 2')", "label not in ('class 1', 'class 2')"),
        ("id = 17.0", "id == 17"),
        ("id = 17.5", "id == 17.5"),
        ("id > 1e300", "id > 1e300"),
    ],
)
def test_filters_choose_what_pandas_chooses(server: Serving, table: pd.DataFrame, expression: str, query: str) -> None:
    found = ask(server, "/rows", filter=expression, limit=1000)

    if "odd" in query:
        expected = table[table['odd "name`'] > 90].id.tolist()
    else:
        expected = table.query(query, engine="python").id.tolist()
    assert ids(found) == expected
    assert found["matching"] == len(expected)


def test_a_search_finds_texts_and_numbers(server: Serving, table: pd.DataFrame) -> None:
    assert ask(server, "/rows", search="CLASS 3")["matching"] == (table.label == "class 3").sum()
    assert 777 in ids(ask(server, "/rows", search="777", limit=1000))
    assert ask(server, "/rows", search="nothing such")["matching"] == 0


def test_groups_are_pandas_groups(server: Serving, table: pd.DataFrame) -> None:
    aggregates = [{"column": "loss", "function": "mean"}, {"column": "id", "function": "max"}]

    found = ask(server, "/groups", by=["label", "right"], aggregates=aggregates, sort="label", filter="id < 900")

    expected = (
        table[table.id < 900]
        .groupby(["label", "right"])
        .agg(count=("id", "size"), loss=("loss", "mean"), id=("id", "max"))
    )
    assert found["total"] == len(expected)
    for group, (key, row) in zip(found["groups"], expected.iterrows(), strict=True):
        assert tuple(group["values"]) == key
        assert group["count"] == row["count"]
        assert group["aggregates"] == [pytest.approx(row.loss), row.id]
    largest = ask(server, "/groups", by=["label"], limit=1)["groups"][0]
    assert largest["count"] == table.label.value_counts().max()


def test_distributions_count_every_cell(server: Serving, table: pd.DataFrame) -> None:
    found = {each["name"]: each for each in ask(server, "/distributions", bins=10)["columns"]}

    assert sum(found["loss"]["counts"]) == table.loss.notna().sum()
    assert found["loss"]["missing"] == table.loss.isna().sum()
    counts, _ = np.histogram(table.loss.dropna(), found["loss"]["edges"])
    assert found["loss"]["counts"] == counts.tolist()
    assert {each["value"]: each["count"] for each in found["label"]["values"]} == table.label.value_counts().to_dict()
    assert {each["value"]: each["count"] for each in found["right"]["values"]} == table.right.value_counts().to_dict()
    assert sum(found["when"]["counts"]) == 1000


def test_a_row_is_shown_in_full(server: Serving) -> None:
    log(server, "a", trackkit.Table(columns=["text", "list"], data=[["x" * 5000, [1, 2]]]))

    page = ask(server, "/rows")["rows"][0]["cells"]
    row = ask(server, "/row", number=0)

    assert len(page[0]) == 501
    assert row["row"]["cells"] == ["x" * 5000, "[1,2]"]
    ask(server, "/row", expected=404, number=1)
    ask(server, "/row", expected=404, number=-5)


def test_media_in_cells_lead_to_their_content(server: Serving) -> None:
    image = trackkit.Image(np.zeros((80, 80, 3), np.uint8), caption="black")
    log(server, "a", trackkit.Table(columns=["n", "picture"], data=[[1, image], [2, None]]))

    cells = [row["cells"] for row in ask(server, "/rows")["rows"]]

    assert (cells[0][1]["kind"], cells[0][1]["metadata"]["caption"], cells[1][1]) == ("image", "black", None)
    content = server.ask("GET", f"/runs/a/content/{cells[0][1]['digest']}")
    assert content.content.startswith(b"\x89PNG")


def test_numbers_that_json_has_no_word_for_are_words(server: Serving) -> None:
    table = trackkit.Table(columns=["x"], data=[[float("nan")], [float("inf")], [-float("inf")], [1.0], [None]])
    log(server, "a", table)

    assert [row["cells"][0] for row in ask(server, "/rows")["rows"]] == ["NaN", "Infinity", "-Infinity", 1.0, None]
    assert [row["number"] for row in ask(server, "/rows", filter="x is nan")["rows"]] == [0]
    assert [row["number"] for row in ask(server, "/rows", filter="x > 0")["rows"]] == [1, 3]
    (found,) = ask(server, "/distributions")["columns"]
    assert (found["nan"], found["missing"], sum(found["counts"])) == (1, 1, 1)


def test_increments_are_one_table(server: Serving) -> None:
    table = trackkit.Table(columns=["id", "x"], log_mode="INCREMENTAL")
    with started(server, "a") as run:
        for step in range(4):
            table.add_data(step, None if not step else step / 2)
            table.add_data(step + 10, 0.0)
            run.log({"table": table}, step=step)

    found = ask(server, "")
    assert (found["rows"], found["increments"], found["steps"]) == (8, 4, [0, 1, 2, 3])
    page = ask(server, "/rows", limit=3, offset=3)
    assert ids(page) == [11, 2, 12]
    assert [row["number"] for row in page["rows"]] == [3, 4, 5]
    assert ids(ask(server, "/rows", step=1)) == [0, 10, 1, 11]
    assert ask(server, "/row", number=7)["row"]["cells"][0] == 13


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_what_is_taken_along_is_what_was_asked_for(server: Serving, table: pd.DataFrame, format: str) -> None:
    spec = {
        "run": "a",
        "key": "table",
        "filter": "loss > 0",
        "sort": ["-loss"],
        "columns": ["id", "loss"],
        "format": format,
    }

    answer = server.ask("GET", "/tables/export", params={"spec": json.dumps(spec)})

    read = pd.read_csv if format == "csv" else pd.read_parquet
    found = read(io.BytesIO(answer.content))
    expected = table[table.loss > 0].sort_values("loss", ascending=False)[["id", "loss"]]
    assert found.columns.tolist() == ["id", "loss"]
    assert found.id.tolist() == expected.id.tolist()
    np.testing.assert_allclose(found.loss, expected.loss)
    assert answer.headers["content-disposition"].startswith("attachment; filename*=UTF-8''table.")


# Comparison


def sides(*runs: str) -> list[dict[str, str]]:
    return [{"run": run, "key": "table"} for run in runs]


def test_tables_are_joined_on_a_key_and_changed_cells_are_marked(server: Serving) -> None:
    first = pd.DataFrame({"id": [1, 2, 3, 4], "guess": ["a", "b", "c", "d"], "score": [0.1, 0.2, np.nan, 0.4]})
    second = pd.DataFrame({"id": [4, 3, 2, 5], "guess": ["d", "x", "b", "e"], "score": [0.4, np.nan, 0.9, 0.5]})
    log(server, "a", first)
    log(server, "b", second)

    found = ask(server, "/comparison", sides=sides("a", "b"), on=["id"])

    assert (found["total"], found["same"], found["missing"]) == (5, 1, 2)
    rows = {row["key"][0]: row["sides"] for row in found["rows"]}
    assert [row["key"][0] for row in found["rows"]] == [1, 2, 3, 4, 5]
    assert found["columns"] == ["guess", "score"]
    assert rows[1] == [{"number": 0, "cells": ["a", 0.1], "changed": []}, None]
    assert rows[2][1] == {"number": 2, "cells": ["b", 0.9], "changed": [1]}
    assert rows[3][1] == {"number": 1, "cells": ["x", None], "changed": [0]}
    assert rows[4][1]["changed"] == []
    assert rows[5] == [None, {"number": 3, "cells": ["e", 0.5], "changed": []}]
    changed = ask(server, "/comparison", sides=sides("a", "b"), on=["id"], changed=True)
    assert [row["key"][0] for row in changed["rows"]] == [1, 2, 3, 5]
    filtered = ask(server, "/comparison", sides=sides("a", "b"), on=["id"], filter="guess in ('b', 'c')")
    assert [row["key"][0] for row in filtered["rows"]] == [2, 3]


def test_tables_without_a_key_are_compared_row_by_row(server: Serving) -> None:
    log(server, "a", pd.DataFrame({"x": [1, 2, 3]}), pd.DataFrame({"x": [1, 5]}))

    spec = [{"run": "a", "key": "table", "step": 0}, {"run": "a", "key": "table", "step": 1}]
    found = ask(server, "/comparison", sides=spec)

    assert (found["total"], found["same"], found["missing"]) == (3, 1, 1)
    assert found["rows"][1]["sides"][1] == {"number": 1, "cells": [5], "changed": [0]}


def test_rows_of_equal_keys_are_paired_in_their_order(server: Serving) -> None:
    log(server, "a", pd.DataFrame({"k": ["x", "x", "y"], "v": [1, 2, 3]}))
    log(server, "b", pd.DataFrame({"k": ["x", "y", "x", "x"], "v": [1, 3, 9, 4]}))

    found = ask(server, "/comparison", sides=sides("a", "b"), on=["k"])

    assert (found["total"], found["same"], found["missing"]) == (4, 2, 1)
    assert [[side and side["cells"][0] for side in row["sides"]] for row in found["rows"]] == [
        [1, 1],
        [2, 9],
        [3, 3],
        [None, 4],
    ]


def test_three_tables_are_compared_with_the_first(server: Serving) -> None:
    for id, values in (("a", [1, 2]), ("b", [1, 3]), ("c", [7, 2])):
        log(server, id, pd.DataFrame({"k": ["x", "y"], "v": values, "w": [float(id == "c")] * 2}))

    found = ask(server, "/comparison", sides=sides("a", "b", "c"), on=["k"], columns=["v"])

    assert [[side["changed"] for side in row["sides"]] for row in found["rows"]] == [[[], [], [0]], [[], [0], []]]


def test_the_same_picture_is_the_same_wherever_it_was_logged(server: Serving) -> None:
    for id in ("a", "b"):
        rows = [[1, trackkit.Image(np.zeros((9, 9)))], [2, trackkit.Image(np.full((9, 9), float(id == "b")))]]
        log(server, id, trackkit.Table(columns=["n", "picture"], data=rows))

    found = ask(server, "/comparison", sides=sides("a", "b"), on=["n"])

    assert [row["sides"][1]["changed"] for row in found["rows"]] == [[], [0]]


def test_the_groups_that_are_taken_along_are_those_shown(server: Serving, table: pd.DataFrame) -> None:
    spec = {
        "run": "a", "key": "table", "by": ["label"], "aggregates": [{"column": "loss", "function": "mean"}],
        "sort": ["label"], "filter": "id < 900", "format": "parquet",
    }  # fmt: skip

    answer = server.ask("GET", "/tables/export", params={"spec": json.dumps(spec)})

    found = pd.read_parquet(io.BytesIO(answer.content))
    expected = table[table.id < 900].groupby("label").agg(count=("id", "size"), loss=("loss", "mean"))
    assert found.columns.tolist() == ["label", "count", "mean(loss)"]
    assert found.label.tolist() == expected.index.tolist()
    assert found["count"].tolist() == expected["count"].tolist()
    np.testing.assert_allclose(found["mean(loss)"], expected.loss)


def test_groups_by_a_column_called_count_have_two_counts(server: Serving) -> None:
    log(server, "a", pd.DataFrame({"count": [3, 3, 4]}))

    spec = {"run": "a", "key": "table", "by": ["count"], "format": "csv"}
    answer = server.ask("GET", "/tables/export", params={"spec": json.dumps(spec)})

    assert answer.text.splitlines()[0] == '"count","count 2"'
    assert sorted(answer.text.splitlines()[1:]) == ["3,2", "4,1"]


def test_whole_numbers_that_a_browser_would_round_are_text(server: Serving) -> None:
    log(server, "a", pd.DataFrame({"id": [2**53, 2**53 + 1, -(2**62)]}))

    assert ids(ask(server, "/rows")) == [2**53, str(2**53 + 1), str(-(2**62))]
    assert ids(ask(server, "/rows", filter=f"id = {2**53 + 1}")) == [str(2**53 + 1)]


# Which tables there are


def test_the_runs_with_a_table_are_told_with_their_steps(server: Serving) -> None:
    for id in ("a", "b"):
        log(server, id, *[pd.DataFrame({"x": [1]})] * (2 if id == "a" else 1))
    with started(server, "c") as run:
        run.log({"loss": 1.0})

    found = server.get("/tables/runs", spec=json.dumps({"project": "p", "key": "table", "order": "+id"}))

    assert [(run["id"], run["last_step"], run["steps"]) for run in found["runs"]] == [("a", 1, 2), ("b", 0, 1)]
    named = server.get("/tables/runs", spec=json.dumps({"runs": ["c", "b"], "key": "table"}))
    assert [run["id"] for run in named["runs"]] == ["b"]


# In artifacts


def log_artifact(server: Serving, id: str, *tables: trackkit.Table) -> list[str]:
    """Versions of an artifact with a table each; their ids, the oldest first."""
    with started(server, id) as run:
        for table in tables:
            artifact = trackkit.Artifact("evaluation", "result")
            artifact.add(table, "predictions")
            run.log_artifact(artifact)
    versions = server.get("/artifacts/versions", project="p", name="evaluation")["versions"]
    return [version["id"] for version in reversed(versions)]


def prediction(guess: str, shade: int) -> trackkit.Table:
    picture = trackkit.Image(np.full((40, 40, 3), shade, np.uint8))
    return trackkit.Table(columns=["id", "guess", "picture"], data=[[1, "cat", picture], [2, guess, picture]])


def test_a_table_in_an_artifact_is_asked_for_like_a_run_s(server: Serving) -> None:
    (version,) = log_artifact(server, "a", prediction("dog", 9))
    (path,) = [entry["path"] for entry in server.get(f"/artifacts/{version}/entries", suffix=".parquet")["entries"]]

    def of_version(endpoint: str, expected: int = 200, **spec: Any) -> Any:
        spec = {"version": version, "path": path, **spec}
        answer = server.ask("GET", f"/tables{endpoint}", params={"spec": json.dumps(spec)})
        assert answer.status_code == expected, answer.text
        return answer.json() if expected == 200 else answer.json()["error"]["message"]

    found = of_version("")
    assert path == "predictions.parquet"
    assert (found["rows"], found["step"], found["steps"]) == (2, None, [])
    assert [column["type"] for column in found["columns"]] == ["number", "text", "image"]
    rows = of_version("/rows", filter="guess = 'dog'")["rows"]
    assert [row["number"] for row in rows] == [1]
    picture = rows[0]["cells"][2]
    content = server.ask("GET", f"/artifacts/{version}/content/{picture['path']}", params={"inline": True})
    assert content.content.startswith(b"\x89PNG")
    assert of_version("/groups", by=["guess"])["total"] == 2
    assert "entry 'other'" in of_version("/rows", expected=404, path="other")
    assert "version" in of_version("/rows", expected=404, version="17")
    assert "by run and key, or by version and path" in of_version("/rows", expected=400, run="a")
    assert "by run and key, or by version and path" in of_version("/rows", expected=400, step=3)


def test_versions_of_an_artifact_and_runs_are_compared(server: Serving) -> None:
    versions = log_artifact(server, "a", prediction("dog", 9), prediction("bird", 9), prediction("dog", 200))
    with started(server, "b") as run:
        run.log({"predictions": prediction("dog", 9)})
    sides = [{"version": version, "path": "predictions.parquet"} for version in versions]

    found = ask(server, "/comparison", sides=[*sides, {"run": "b", "key": "predictions"}], on=["id"])

    assert len(versions) == 3
    assert [[side["changed"] for side in row["sides"]] for row in found["rows"]] == [
        [[], [], [1], []],
        [[], [0], [1], []],
    ]


# With blobs in an object store


def test_tables_in_an_object_store_are_asked_like_others(tmp_path: Path) -> None:
    rows = frame()
    with object_store() as objects, serving(tmp_path / "store", blobs=objects.uri) as server:
        log(server, "a", trackkit.Table(dataframe=rows))
        log(server, "b", trackkit.Table(dataframe=rows.assign(label="class 1")))

        assert ask(server, "")["rows"] == 1000
        assert ids(ask(server, "/rows", filter="id < 3", sort=["-id"])) == [2, 1, 0]
        assert ask(server, "/groups", by=["label"])["total"] == rows.label.nunique()
        found = ask(server, "/comparison", sides=sides("a", "b"), on=["id"])
        assert (found["total"], found["same"]) == (1000, (rows.label == "class 1").sum())
        assert not list((tmp_path / "store" / "blobs").rglob("*")), "no blob lies on the server's own disk"


def test_a_table_is_brought_from_an_object_store_once(tmp_path: Path) -> None:
    with object_store() as objects, serving(tmp_path / "store", blobs=objects.uri) as server:
        log(server, "a", trackkit.Table(dataframe=frame()))
        blobs = server.services.storage.blobs
        (digest,) = [key.rpartition("/")[2] for key in objects.keys()]
        started_reading, read = [], blobs.read

        def counting(*arguments: Any) -> Any:
            started_reading.append(arguments)
            return read(*arguments)

        with mock.patch.object(blobs, "read", counting), ThreadPoolExecutor(8) as pool:
            files = list(pool.map(lambda _: local_file(blobs, digest), range(8)))

        assert len(set(files)) == 1
        assert len(started_reading) == 1


# What is wrong


@pytest.mark.parametrize(
    ("path", "spec", "status", "message"),
    [
        ("/rows", {"filter": "nothing = 1"}, 400, "there is no column 'nothing'"),
        ("/rows", {"filter": "loss = 'text'"}, 400, "a number"),
        ("/rows", {"filter": "right > true"}, 400, "true or false"),
        ("/rows", {"filter": "loss ="}, 400, "column 7"),
        ("/rows", {"filter": "label matches '(?=x)'"}, 400, "invalid perl operator"),
        ("/rows", {"filter": "(" * 50}, 400, "nested"),
        ("/rows", {"sort": ["nothing"]}, 400, "no column 'nothing'"),
        ("/rows", {"columns": ["nothing"]}, 400, "no column 'nothing'"),
        ("/rows", {"key": "other"}, 404, "no table 'other'"),
        ("/rows", {"step": -1}, 404, "up to step -1"),
        ("/rows", {"run": "nobody"}, 404, "no run 'nobody'"),
        ("/rows", {"limit": "many"}, 400, "the spec is wrong"),
        ("/groups", {"by": []}, 400, "no column"),
        ("/groups", {"by": ["label"], "aggregates": [{"column": "label", "function": "mean"}]}, 400, "means nothing"),
        ("/groups", {"by": ["label"], "sort": "loss"}, 400, "sorted by"),
        ("/comparison", {"sides": [{"run": "a", "key": "table"}]}, 400, "2 to 8"),
        ("/comparison", {"sides": [{"run": "a", "key": "table"}] * 2, "on": ["no"]}, 400, "no column 'no'"),
    ],
)
def test_what_can_not_be_asked_is_said(
    server: Serving, table: pd.DataFrame, path: str, spec: dict[str, Any], status: int, message: str
) -> None:
    assert message in ask(server, path, expected=status, **spec)["error"]["message"]


@pytest.mark.parametrize(
    "hostile",
    [
        "id\" from read_text('/etc/passwd') --",
        "'; drop view t0; --",
        "c0) from t0; install httpfs; --",
        "* exclude (c0)",
        "read_text('/etc/passwd')",
        "\0",
        "☃" * 300,
    ],
)
def test_names_and_texts_of_strangers_are_never_sql(server: Serving, table: pd.DataFrame, hostile: str) -> None:
    for spec in (
        {"columns": [hostile]},
        {"sort": [hostile]},
        {"filter": hostile},
        {"filter": f"`{hostile}` = 1"},
    ):
        ask(server, "/rows", expected=400, **spec)
    ask(server, "/groups", expected=400, by=[hostile])
    ask(server, "/distributions", expected=400, columns=[hostile])
    assert ask(server, "/rows", search=hostile)["matching"] == 0
    assert ask(server, "/rows", filter=f"label = {json.dumps(hostile)}")["matching"] == 0
    assert ask(server, "/rows")["matching"] == 1000


def test_columns_may_be_called_whatever_they_like(server: Serving) -> None:
    names = ['a"b', "a'b", "select", "n", "c0", "A", "a", "x; drop view t0", "ü", "and", "file_row_number", "filename"]
    log(server, "a", trackkit.Table(columns=names, data=[list(range(len(names)))]))

    assert ask(server, "/rows")["rows"][0]["cells"] == list(range(len(names)))
    for position, name in enumerate(names):
        assert ask(server, "/rows", filter=f"`{name}` = {position}", sort=[name])["matching"] == 1
        assert ask(server, "/rows", filter=f"`{name}` = {position + 1}")["matching"] == 0


# The sandbox


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    """A Parquet file beside another one."""
    for name in ("ours", "theirs"):
        pd.DataFrame({"x": np.arange(10)}).to_parquet(tmp_path / name)
    return tmp_path / "ours"


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_text('/etc/passwd')",
        "select * from read_csv('/etc/passwd')",
        "select * from read_blob('{theirs}')",
        "select * from read_parquet('{theirs}')",
        "select * from read_parquet('{ours}/../theirs')",
        "select * from glob('/*')",
        "copy (select 1) to '{folder}/out.csv'",
        "copy (select 1) to '{ours}'",
        "attach '{folder}/new.db'",
        "export database '{folder}/all'",
        "install httpfs",
        "load httpfs",
        "install httpfs from community",
        "select * from read_csv('http://127.0.0.1:1/x')",
        "select * from sqlite_scan('{folder}/x.db', 't')",
        "set enable_external_access = true",
        "set allowed_paths = ['/etc/passwd']",
        "set lock_configuration = false",
        "reset enable_external_access",
        "set memory_limit = '100GB'",
        "set temp_directory = '/tmp'",
        "pragma enable_logging",
    ],
)
def test_the_engine_reaches_nothing_but_its_files(parquet: Path, sql: str) -> None:
    sandbox = Sandbox([parquet])
    before = {path: path.read_bytes() for path in parquet.parent.iterdir()}

    with pytest.raises((duckdb.Error, CannotAnswer)):
        sandbox.query(sql.format(ours=parquet, theirs=parquet.with_name("theirs"), folder=parquet.parent))

    assert {path: path.read_bytes() for path in parquet.parent.iterdir()} == before
    assert sandbox.query(f"select count(*) from read_parquet('{parquet}')") == [(10,)]


def test_a_query_that_would_run_for_ever_is_cut_off(parquet: Path) -> None:
    sandbox = Sandbox([parquet], seconds=0.5)

    with pytest.raises(TooSlow, match=r"0\.5 seconds"):
        sandbox.query("select sum(a.range * b.range) from range(100000000) a, range(100000000) b")

    assert sandbox.query("select 1") == [(1,)]


def test_a_query_that_would_take_all_memory_is_refused(parquet: Path) -> None:
    sandbox = Sandbox([parquet], seconds=60)

    with pytest.raises(TooLarge, match="memory"):
        sandbox.query("select list(a.range) from range(2000000000) a")

    assert sandbox.query("select 1") == [(1,)]


def test_a_file_that_is_no_parquet_is_told(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"PAR1 nothing of the kind PAR1")

    with pytest.raises(CannotRead, match="damaged") as told:
        Relation(Sandbox([tmp_path / "blob"]), [tmp_path / "blob"])

    assert str(tmp_path) not in str(told.value)


def test_a_damaged_table_is_a_fault_of_the_table(server: Serving, root: Path) -> None:
    log(server, "a", frame())
    (item,) = server.get("/media/items", spec=json.dumps({"runs": ["a"], "key": "table"}))["items"]
    Blobs(root).path(item["digest"]).write_bytes(b"x" * 100)

    assert "damaged" in ask(server, "", expected=409)["error"]["message"]
    Blobs(root).path(item["digest"]).unlink()
    assert "missing" in ask(server, "", expected=404)["error"]["message"]

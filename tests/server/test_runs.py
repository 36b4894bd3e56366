"""Runs over HTTP: listed, grouped, shown, changed, deleted and brought back."""

from __future__ import annotations

import math
import threading

import pytest
import requests

from tests.servers import Serving
from tests.store.conftest import EPOCH, Filler


def test_projects_are_listed_with_their_activity(server: Serving, fill: Filler) -> None:
    fill.run(project="old")
    fill.run(project="new", state="running", created=EPOCH + 10**12)

    projects = server.get("/projects")["projects"]

    assert [(each["name"], each["runs"], each["running"]) for each in projects] == [("new", 1, 1), ("old", 1, 0)]
    assert len(projects[0]["sparkline"]) == 30


def test_runs_are_filtered_ordered_and_paged(server: Serving, fill: Filler) -> None:
    for number in range(10):
        fill.run(f"r{number}", config={"lr": number / 10}, summary={"loss": 10 - number})
    fill.run("elsewhere", project="q")

    page = server.get("/runs", project="p", filter="config.lr >= 0.5", order="summary.loss", limit=2, offset=1)

    assert page["total"] == 5
    assert [run["id"] for run in page["runs"]] == ["r8", "r7"]
    assert page["runs"][0]["values"] == {}


def test_a_listing_has_the_columns_asked_for(server: Serving, fill: Filler) -> None:
    fill.run("r", config={"lr": 0.1, "model": {"depth": 3}}, summary={"loss": math.nan}, tags=["a"], host="h")

    some = server.get("/runs", columns="config.lr,summary.loss")["runs"][0]
    every = server.get("/runs", columns="*")["runs"][0]

    assert some["values"] == {"config.lr": 0.1, "summary.loss": "NaN"}
    assert every["values"] == {"config.lr": 0.1, "config.model.depth": 3, "summary.loss": "NaN"}
    assert (some["tags"], some["host"]) == (["a"], "h")


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"filter": "config.lr <"}, "the filter can't be read"),
        ({"order": "-loss"}, "there is no field 'loss'"),
        ({"columns": "loss"}, "a column can't be read"),
        ({"limit": "many"}, "limit"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_listing_that_makes_no_sense_is_refused_with_the_reason(
    server: Serving, params: dict[str, str], said: str
) -> None:
    answer = server.ask("GET", "/runs", params=params)

    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]
    assert answer.json()["error"]["code"] == "bad_request"


def test_groups_have_counts_and_aggregates(server: Serving, fill: Filler) -> None:
    for optimizer, loss in [("adam", 1.0), ("adam", 3.0), ("sgd", 5.0)]:
        fill.run(config={"optimizer": optimizer}, summary={"loss": loss})
    fill.run(summary={"loss": math.nan})

    groups = server.get("/groups", project="p", by="config.optimizer", columns="summary.loss")["groups"]

    assert [(group["values"], group["count"]) for group in groups] == [
        ({"config.optimizer": "adam"}, 2),
        ({"config.optimizer": None}, 1),
        ({"config.optimizer": "sgd"}, 1),
    ]
    adam = groups[0]["aggregates"]["summary.loss"]
    assert (adam["count"], adam["mean"], adam["min"], adam["max"]) == (2, 2, 1, 3)
    assert adam["std"] == pytest.approx(math.sqrt(2))
    assert groups[1]["aggregates"]["summary.loss"]["mean"] is None


def test_columns_tell_what_a_project_has(server: Serving, fill: Filler) -> None:
    for lr in (0.1, 0.3, "auto"):
        number = fill.run(config={"lr": lr}, tags=["t"], run_group="g")
        fill.series(number, "loss", [1.0])
    fill.run(project="other", config={"x": 1})

    columns = server.get("/columns", project="p")

    assert columns["config"] == [{"key": "lr", "count": 3, "kinds": ["float", "str"], "min": 0.1, "max": 0.3}]
    assert columns["metrics"] == [{"key": "loss", "runs": 3}]
    assert columns["tags"] == [{"value": "t", "count": 3}]
    assert columns["groups"] == [{"value": "g", "count": 3}]
    assert server.get("/values", project="p", key="config.lr", prefix="au")["values"] == ["auto"]


def test_search_finds_projects_and_runs_by_any_name(server: Serving, fill: Filler) -> None:
    fill.run("abc", project="digits", name="wide 100%")
    fill.run("def", project="words", notes="the wide one")

    found = server.get("/search", q="WIDE")

    assert {run["id"] for run in found["runs"]} == {"abc", "def"}
    assert server.get("/search", q="0%")["runs"][0]["id"] == "abc"
    assert server.get("/search", q="igi")["projects"] == ["digits"]


def test_a_run_is_shown_whole(server: Serving, fill: Filler) -> None:
    number = fill.run(
        "r",
        config={"model": {"depth": 3}},
        summary={"loss": math.inf},
        metadata='{"git":{"commit":"abc"}}',
        error="a\nb",
    )
    fill.series(number, "loss", [3.0, 1.0])
    fill.series(number, "cpu", [0.5], kind="system")
    fill.texts(number, "note", ["hi"])

    run = server.get("/runs/r")["run"]

    assert run["config"] == {"model": {"depth": 3}}
    assert run["summary"] == {"loss": "Infinity"}
    assert run["metadata"] == {"git": {"commit": "abc"}}
    assert run["error"] == "a\nb"
    assert [(key["key"], key["count"], key["last_step"]) for key in run["keys"]["metric"]] == [("loss", 2, 1)]
    assert [key["key"] for key in run["keys"]["system"]] == ["cpu"]
    assert run["keys"]["text"] == ["note"]
    assert [writer["state"] for writer in run["writers"]] == ["finished"] or run["writers"]
    assert server.get("/runs/r/texts", key="note")["points"][0]["value"] == "hi"


def test_a_run_is_changed_and_its_version_moves(server: Serving, fill: Filler) -> None:
    fill.run("r", config={"lr": 0.1, "old": 1})
    before = server.get("/runs/r")["run"]["version"]
    changes = {"name": "better", "notes": "n", "tags": ["x", "x"], "config": {"lr": 0.2}, "summary": {"score": 9}}

    answer = server.ask("PATCH", "/runs/r", json=changes)

    run = answer.json()["run"]
    assert (run["name"], run["notes"], run["tags"]) == ("better", "n", ["x"])
    assert run["config"] == {"lr": 0.2, "old": 1}
    assert run["summary"] == {"score": 9}
    assert run["version"] > before


def test_deleted_runs_are_restored(server: Serving, fill: Filler) -> None:
    for id in "abc":
        fill.run(id)

    deleted = server.ask("POST", "/runs/actions", json={"action": "delete", "runs": ["a", "b", "nobody"]}).json()

    assert deleted["changed"] == ["a", "b"]
    assert [run["id"] for run in server.get("/runs")["runs"]] == ["c"]
    assert {run["id"] for run in server.get("/runs", deleted=True)["runs"]} == {"a", "b"}

    server.ask("POST", "/runs/actions", json={"action": "restore", "runs": ["a"]})

    assert {run["id"] for run in server.get("/runs")["runs"]} == {"a", "c"}


def test_runs_are_tagged_moved_and_stopped_together(server: Serving, fill: Filler) -> None:
    fill.run("a", tags=["old"], state="running")
    fill.run("b")

    for action in (
        {"action": "tag", "tags": ["new"]},
        {"action": "untag", "tags": ["old"]},
        {"action": "move", "project": "q"},
        {"action": "stop"},
    ):
        assert server.ask("POST", "/runs/actions", json={**action, "runs": ["a", "b"]}).status_code == 200

    a, b = (server.get(f"/runs/{id}")["run"] for id in "ab")
    assert (a["tags"], b["tags"]) == (["new"], ["new"])
    assert a["project"] == b["project"] == "q"
    assert (a["stop_requested"], b["stop_requested"]) == (True, False)


def test_a_run_deleted_for_good_is_gone(server: Serving, fill: Filler) -> None:
    fill.run("r")

    assert server.ask("DELETE", "/runs/r").status_code == 204

    answer = server.ask("GET", "/runs/r")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "there is no run 'r'"


def test_the_console_comes_in_pages(server: Serving, fill: Filler) -> None:
    number = fill.run("r")
    fill.lines(number, [("stdout", f"line {i}\n") for i in range(7)] + [("stderr", "oh\n")])

    first = server.get("/runs/r/console", limit=5)
    second = server.get("/runs/r/console", limit=5, after=first["cursor"])
    third = server.get("/runs/r/console", after=second["cursor"])

    texts = [line["text"] for line in first["lines"] + second["lines"]]
    assert texts == [f"line {i}\n" for i in range(7)] + ["oh\n"]
    assert (first["done"], second["done"]) == (False, True)
    assert third["lines"] == []
    assert third["cursor"] == second["cursor"]
    assert [line["text"] for line in server.get("/runs/r/console", stream="stderr")["lines"]] == ["oh\n"]
    for wrong in ("x", "1.2", f"{10**30}.1.w"):
        assert server.ask("GET", "/runs/r/console", params={"after": wrong}).status_code == 400


def test_views_are_saved_replaced_and_deleted(server: Serving) -> None:
    view = {"project": "p", "name": "mine", "content": {"panels": [1]}}

    server.ask("PUT", "/views/v1", json=view)
    server.ask("PUT", "/views/v1", json={**view, "name": "ours"})

    (saved,) = server.get("/views", project="p")["views"]
    assert (saved["name"], saved["content"]) == ("ours", {"panels": [1]})
    assert server.get("/views", project="q")["views"] == []
    assert server.ask("DELETE", "/views/v1").status_code == 204
    assert server.ask("DELETE", "/views/v1").status_code == 404


def test_a_search_that_would_never_end_is_given_up_and_holds_up_nobody(server: Serving, fill: Filler) -> None:
    fill.run("r", name="a" * 60)
    found: list[requests.Response] = []
    bomb = threading.Thread(target=lambda: found.append(ask_in_peace(server, "name matches '(a|aa)+$' and id = 'x'")))
    slow = threading.Thread(target=lambda: found.append(ask_in_peace(server, "name matches '^(a|aa)+b'")))

    for thread in (bomb, slow):
        thread.start()
    while slow.is_alive():
        assert server.get("/projects")["projects"]
    bomb.join()

    for answer in found:
        assert answer.status_code in (200, 400)
        if answer.status_code == 400:
            assert "was given up" in answer.json()["error"]["message"]


def ask_in_peace(server: Serving, filter: str) -> requests.Response:
    """With a connection of its own, beside what others ask."""
    return requests.get(f"{server.address}/api/v1/runs", params={"filter": filter}, timeout=30)


@pytest.mark.sqlite
def test_a_search_is_given_up_with_the_reason(server: Serving, fill: Filler) -> None:
    fill.run("r", name="a" * 60 + "b")

    answer = server.ask("GET", "/runs", params={"filter": "name matches '(a|aa)+$'"})

    assert answer.status_code == 400
    assert "took longer than 5 s and was given up" in answer.json()["error"]["message"]


def test_what_is_asked_beyond_reason_is_refused(server: Serving, fill: Filler) -> None:
    fill.run("r")
    for params in (
        {"order": ",".join(["config.a"] * 100)},
        {"filter": "(" * 5000},
        {"filter": "not " * 5000 + "id = 'x'"},
        {"filter": "name matches '" + "(" * 200 + "'"},
        {"columns": "config." + "x" * 10_000 + ",,("},
    ):
        answer = server.ask("GET", "/runs", params=params)
        assert answer.status_code == 400, params
    for params in (
        {"filter": " or ".join(["id = 'x'"] * 900)},
        {"columns": ",".join(f"config.k{number}" for number in range(1500))},
        {"offset": str(10**30)},
        {"limit": str(-(10**30))},
    ):
        assert server.ask("GET", "/runs", params=params).status_code in (200, 400), params


@pytest.mark.parametrize("depth", [70, 300, 100_000])
def test_what_is_nested_too_deeply_is_refused_and_not_kept(server: Serving, fill: Filler, depth: int) -> None:
    fill.run("r")
    nested = "[" * depth + "]" * depth
    headers = {"content-type": "application/json"}
    for method, path, body in (
        ("PATCH", "/runs/r", f'{{"config": {{"a": {nested}}}}}'),
        ("PATCH", "/runs/r", f'{{"summary": {{"a": {nested}}}}}'),
        ("PUT", "/views/v", f'{{"project": "p", "name": "v", "content": {{"a": {nested}}}}}'),
        ("POST", "/session", f'{{"token": {nested}}}'),
    ):
        assert server.ask(method, path, data=body, headers=headers).status_code == 400, path
    assert server.get("/runs/r")["run"]["config"] == {}
    assert server.get("/views", project="p")["views"] == []

"""Every point of a run over HTTP, on each database: whole, in order, by steps and by keys."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.servers import Serving
from tests.store.conftest import Filler
from trackkit.backend.store import passage, transfer
from trackkit.backend.store.series import Points


def points(server: Serving, what: str, **params: Any) -> tuple[dict[str, Points], int]:
    answer = server.ask("GET", f"/runs/r/{what}", params=params, headers={"accept-encoding": "identity"})
    assert answer.status_code == 200, answer.text
    return transfer.read(transfer.chunks_of([answer.content]))


def test_every_point_comes_from_chunks_and_rows(server: Serving, fill: Filler, monkeypatch: Any) -> None:
    monkeypatch.setattr(passage, "CHUNKS", 2)
    monkeypatch.setattr(passage, "ROWS", 7)
    run, many = fill.run("r"), 5 * 16 + 15
    fill.series(run, "loss", np.arange(float(many)).tolist(), per_chunk=16)
    fill.series(run, "acc", [1.0, 2.0])
    fill.series(run, "cpu", [50.0], kind="system")

    found, _ = points(server, "points", key=["loss"])
    every, _ = points(server, "points", all=True)
    some, last = points(server, "points", key=["loss", "nope"], first=30, last=80)
    system, _ = points(server, "points", all=True, kind="system")

    assert found["loss"].values.tolist() == list(range(many))
    assert {key: len(one.steps) for key, one in every.items()} == {"loss": many, "acc": 2}
    assert (some["loss"].steps.tolist(), last) == (list(range(30, 81)), 80)
    assert system["cpu"].values.tolist() == [50.0]


def test_texts_come_page_by_page(server: Serving, fill: Filler, monkeypatch: Any) -> None:
    monkeypatch.setattr(passage, "TEXTS", 3)
    run = fill.run("r")
    fill.texts(run, "a", [str(number) for number in range(8)])
    fill.texts(run, "b", ["x"])

    every, _ = points(server, "points", all=True, kind="text")
    some, _ = points(server, "points", key="a", kind="text", first=6)

    assert every["a"].values.tolist() == [str(number) for number in range(8)]
    assert every["b"].values.tolist() == ["x"]
    assert some["a"].values.tolist() == ["6", "7"]


def test_windows_follow_each_other_until_the_last_step(server: Serving, fill: Filler) -> None:
    run = fill.run("r")
    fill.series(run, "loss", np.arange(100.0).tolist(), per_chunk=16)
    fill.texts(run, "note", ["x"] * 100)
    steps: list[int] = []
    first, windows = -(2**63), 0
    while first < 2**63 - 1:
        found, last = points(server, "window", all=True, first=first, rows=10)
        steps += found["loss"].steps.tolist() if found else []
        assert not found or found["note"].steps.tolist() == found["loss"].steps.tolist()
        first, windows = last + 1, windows + 1

    assert steps == list(range(100))
    assert windows > 5


def test_runs_and_their_changes_are_exact(server: Serving, fill: Filler) -> None:
    fill.run("a", config={"x": float("inf"), "y": 2**100}, project="p")
    fill.run("b", project="q", tags=["t"])
    change = {"config": {"z": ["float", None, None]}, "config_removed": ["x"], "tags": ["u"], "name": "n"}

    answer = server.ask("PATCH", "/rows/a", json=change)
    rows = server.get("/rows", run=["b", "nope", "a"])["rows"]

    assert answer.status_code == 204
    assert [row["id"] for row in rows] == ["b", "a"]
    assert rows[1]["config"] == {"y": ["int", float(2**100), str(2**100)], "z": ["float", None, None]}
    assert (rows[1]["name"], rows[1]["tags"], rows[0]["tags"]) == ("n", ["u"], ["t"])
    assert server.get("/ids", project="p", order="name")["ids"] == ["a"]
    assert server.get("/ids", filter="name in ('a', 'b')", limit=1)["ids"] == ["b"]


@pytest.mark.parametrize("entry", [["int", None, "x"], ["float", "NaN", None], ["what", 1, None], ["json", None, "{"]])
def test_an_entry_that_is_none_is_refused(server: Serving, fill: Filler, entry: list[Any]) -> None:
    fill.run("a", config={"x": 1})

    answer = server.ask("PATCH", "/rows/a", json={"name": "n", "config": {"x": entry}})

    assert (answer.status_code, server.get("/rows", run="a")["rows"][0]["name"]) == (400, "a")
    assert "the entry 'x' is none of type" in answer.json()["error"]["message"]

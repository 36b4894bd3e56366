"""What a run watched of its model, over HTTP: names, heat maps and distributions, as matrices of doubles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.servers import Serving
from tests.store.conftest import Filler
from tests.store.test_gradients import Watching, frame


@pytest.fixture
def watching(fill: Filler, root: Path) -> Watching:
    made = Watching(fill, root)
    its = made.layers("0.weight", "0.bias")
    for step in range(0, 100, 10):
        made.step(step, its, frame([float(step), 0.0], [2.0**-step]))
    return made


def matrices(content: bytes) -> tuple[dict[str, Any], Any]:
    """The header, and the doubles behind it."""
    length = int.from_bytes(content[:4], "little")
    assert (4 + length) % 8 == 0
    return json.loads(content[4 : 4 + length]), np.frombuffer(content, "<f8", offset=4 + length)


def test_what_was_watched_is_listed(server: Serving, watching: Watching) -> None:
    (found,) = server.get("/runs/a/watched")["watched"]
    assert (found["key"], found["steps"], found["first_step"], found["last_step"]) == ("gradients", 10, 0, 90)
    assert found["layers"][0] == {"name": "0.weight", "kind": "Linear", "shape": [4], "elements": 4}
    assert "update_ratio" in found["statistics"]


def test_a_heat_map_comes_as_one_matrix(server: Serving, watching: Watching) -> None:
    answer = server.ask("GET", "/runs/a/watched/gradients/heatmap")
    header, doubles = matrices(answer.content)
    assert answer.headers["content-type"] == "application/x-trackkit-matrix"
    assert (header["rows"], header["columns"], header["layers"]) == (2, 10, ["0.weight", "0.bias"])
    steps, values = doubles[:10], doubles[10:30].reshape(2, 10)
    assert steps.tolist() == list(range(0, 100, 10))
    assert values[0].tolist() == list(range(0, 100, 10))
    assert not doubles[30:].any()


def test_a_heat_map_of_some_steps_in_few_buckets(server: Serving, watching: Watching) -> None:
    params = {"statistic": "max", "how": "mean", "buckets": 2, "first": 20, "last": 50}
    header, doubles = matrices(server.ask("GET", "/runs/a/watched/gradients/heatmap", params=params).content)
    assert (header["columns"], header["width"]) == (2, 15.5)
    assert doubles[2:4].tolist() == [25.0, 45.0]


def test_the_distribution_of_a_layer_comes_as_one_matrix(server: Serving, watching: Watching) -> None:
    params = {"layer": "0.bias"}
    header, doubles = matrices(server.ask("GET", "/runs/a/watched/gradients/distribution", params=params).content)
    shares = doubles[10:].reshape(header["rows"], header["columns"])
    assert header["rows"] == 2 * (header["high"] - header["low"] + 1) + 1
    np.testing.assert_allclose(shares.sum(0), 1)
    assert shares[header["rows"] // 2 + (0 - header["low"] + 1), 0] == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/runs/z/watched", 404),
        ("/runs/a/watched/weights/heatmap", 404),
        ("/runs/a/watched/gradients/distribution?layer=z", 404),
        ("/runs/a/watched/gradients/heatmap?statistic=median", 400),
        ("/runs/a/watched/gradients/heatmap?buckets=0", 400),
        ("/runs/a/watched/gradients/heatmap?buckets=100000", 400),
        ("/runs/a/watched/gradients/heatmap?first=99999999999999999999", 400),
    ],
)
def test_what_is_not_there_or_makes_no_sense_is_refused(
    server: Serving, watching: Watching, path: str, status: int
) -> None:
    answer = server.ask("GET", path)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_statistics_are_not_listed_as_files(server: Serving, watching: Watching) -> None:
    assert server.get("/runs/a/files")["files"] == []

"""Charts over HTTP: a header and arrays, asked for again only when something changed."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from tests.servers import Serving
from tests.store.conftest import Filler


class Chart:
    """An answer taken apart."""

    def __init__(self, body: bytes) -> None:
        length = int.from_bytes(body[:4], "little")
        assert (4 + length) % 8 == 0
        self.header = json.loads(body[4 : 4 + length])
        arrays = np.frombuffer(body[4 + length :], "<f8")
        self.arrays = arrays.reshape(self.header["arrays"], self.header["length"])
        self.x = self.arrays[self.header["x"]["array"]]
        self.series = self.header["series"]

    def of(self, series: dict[str, Any], stat: str) -> list[float]:
        return list(self.arrays[series["arrays"][stat]])


def ask(server: Serving, **spec: Any) -> Chart:
    answer = server.ask("GET", "/panel", params={"spec": json.dumps(spec)})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-trackkit-panel"
    return Chart(answer.content)


def test_a_chart_has_a_line_for_each_run_and_key_that_has_points(server: Serving, fill: Filler) -> None:
    a, b = fill.run("a"), fill.run("b", name="second")
    fill.series(a, "loss", [3.0, 2.0])
    fill.series(a, "acc", [0.1, 0.2])
    fill.series(b, "loss", [5.0, math.nan, 4.0])

    chart = ask(server, keys=["loss", "acc"], runs=["a", "b", "nobody"])

    assert [(one["key"], one["run"], one["name"]) for one in chart.series] == [
        ("loss", "a", "a"),
        ("loss", "b", "second"),
        ("acc", "a", "a"),
    ]
    assert chart.x.tolist() == [0, 1, 2]
    np.testing.assert_equal(chart.of(chart.series[1], "mean"), [5, math.nan, 4])


def test_the_runs_of_a_chart_can_be_a_filter_s(server: Serving, fill: Filler) -> None:
    for number in range(5):
        fill.series(fill.run(f"r{number}", config={"lr": number}), "loss", [1.0])

    chart = ask(server, keys=["loss"], project="p", filter="config.lr > 1", order="config.lr", limit=2)

    assert [one["run"] for one in chart.series] == ["r2", "r3"]


def test_a_chart_shows_groups_as_a_mean_with_a_band(server: Serving, fill: Filler) -> None:
    for number, optimizer in enumerate(["adam", "adam", "sgd"]):
        fill.series(fill.run(config={"optimizer": optimizer}), "loss", [float(number)])

    group = {"by": ["config.optimizer"], "band": "minmax"}
    chart = ask(server, keys=["loss"], project="p", order="created", group=group)

    adam, sgd = chart.series
    assert (adam["name"], adam["runs"], adam["group"]) == ("adam", 2, {"config.optimizer": "adam"})
    assert [chart.of(adam, stat) for stat in ("mean", "low", "high")] == [[0.5], [0], [1]]
    assert chart.of(sgd, "mean") == [2]


def test_a_chart_zooms_and_chooses_its_axis(server: Serving, fill: Filler) -> None:
    number = fill.run("r")
    fill.series(number, "loss", [float(i) for i in range(100)])
    fill.series(number, "epoch", [i / 10 for i in range(100)])

    assert ask(server, keys=["loss"], runs=["r"], range=[10, 12]).x.tolist() == [10, 11, 12]
    assert ask(server, keys=["loss"], runs=["r"], buckets=10).header["x"]["width"] == 10
    assert ask(server, keys=["loss"], runs=["r"], x="relative").x[1] == pytest.approx(ask_gap(server))
    assert ask(server, keys=["loss"], runs=["r"], x="metric:epoch").x[-1] == 9.9
    assert ask(server, keys=["loss"], runs=["r"], x="epoch").x[-1] == 9.9
    assert ask(server, keys=["loss"], runs=["r"], range=[None, 3]).x.tolist() == [0, 1, 2, 3]


def ask_gap(server: Serving) -> float:
    """Seconds between the first two points."""
    chart = ask(server, keys=["loss"], runs=["r"], x="time")
    return float(chart.x[1] - server.get("/runs/r")["run"]["created"])


def test_only_the_statistics_asked_for_are_sent(server: Serving, fill: Filler) -> None:
    fill.series(fill.run("r"), "loss", [1.0])

    chart = ask(server, keys=["loss"], runs=["r"], stats=["last"])

    assert chart.header["arrays"] == 2
    assert list(chart.series[0]["arrays"]) == ["last"]


def test_an_unchanged_chart_is_not_sent_again(server: Serving, fill: Filler) -> None:
    fill.series(fill.run("r"), "loss", [1.0])
    params = {"spec": json.dumps({"keys": ["loss"], "runs": ["r"]})}
    tag = server.ask("GET", "/panel", params=params).headers["etag"]

    again = server.ask("GET", "/panel", params=params, headers={"if-none-match": tag})
    server.ask("PATCH", "/runs/r", json={"notes": "changed"})
    changed = server.ask("GET", "/panel", params=params, headers={"if-none-match": tag})

    assert (again.status_code, again.content) == (304, b"")
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("{", "the spec is wrong"),
        ('{"keys": ["a"]}', "either runs or a project"),
        ('{"keys": ["a"], "runs": [], "x": "speed"}', "x must be"),
        ('{"keys": ["a"], "project": "p", "filter": "config.lr <"}', "the filter can't be read"),
        ('{"keys": ["a"], "project": "p", "group": {"by": ["lr"]}}', "a key to group by can't be read"),
        ('{"keys": ["a"], "runs": [], "colour": 1}', "colour"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused_with_the_reason(server: Serving, spec: str, said: str) -> None:
    answer = server.ask("GET", "/panel", params={"spec": spec})

    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


def test_a_chart_of_too_many_lines_is_refused(server: Serving, fill: Filler) -> None:
    for _ in range(26):
        fill.run()

    keys = [f"k{i}" for i in range(20)]
    answer = server.ask("GET", "/panel", params={"spec": json.dumps({"keys": keys, "project": "p", "limit": 100})})

    assert answer.status_code == 400
    assert "more than the 500 lines" in answer.json()["error"]["message"]

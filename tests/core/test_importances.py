"""Importances are charted, the greatest first, and all are in a table."""

from __future__ import annotations

from pathlib import Path

import trackkit
from trackkit.core.importances import MOST_BARS, importance_chart, log_importances


def test_the_first_ones_are_drawn_and_all_are_kept(folder: Path) -> None:
    gain = {f"f{index}": float(index) for index in range(MOST_BARS + 10)}
    with trackkit.init(project="p", settings={"system": False, "git": False, "packages": False, "quiet": True}) as run:
        log_importances(run, {"gain": gain, "split": {"f1": 3.0}}, 7)
    found = trackkit.Api().run(run.path)
    (chart,) = found.media("importance/gain")
    assert chart.step == 7
    assert chart.json()["data"]["feature"][0] == f"f{MOST_BARS + 9}"
    assert len(chart.json()["data"]["feature"]) == MOST_BARS
    table = found.table("importances").pandas().set_index("feature")
    assert len(table) == MOST_BARS + 10
    assert table.loc["f1"].tolist() == [1.0, 3.0]
    assert table.loc["f2"].tolist() == [2.0, 0.0]


def test_what_speaks_against_counts_as_what_speaks_for() -> None:
    assert importance_chart({"a": 0.1, "b": -2.0}, "coefficients").data["feature"] == ["b", "a"]


def test_a_model_without_importances_logs_nothing(folder: Path) -> None:
    with trackkit.init(project="p", settings={"system": False, "git": False, "packages": False, "quiet": True}) as run:
        log_importances(run, {"gain": {}}, 0)
    assert trackkit.Api().run(run.path).media_keys() == {}

"""Sparklines and line charts."""

from __future__ import annotations

import numpy as np
import pytest

from trackkit.cli.charts import line_chart, sparkline


def test_a_sparkline_goes_from_the_lowest_to_the_highest_bar():
    assert sparkline(np.arange(8.0)) == "▁▂▃▄▅▆▇█"


def test_a_sparkline_is_as_wide_as_asked_however_many_values_there_are():
    assert len(sparkline(np.arange(1000.0), width=10)) == 10


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([], ""),
        ([np.nan, np.inf], ""),
        ([5.0, 5.0], "▁▁"),
        ([0.0, np.nan, 1.0], "▁ █"),
        ([-1e308, 1e308], "▁▁"),
    ],
)
def test_a_sparkline_takes_any_values(values, drawn):
    assert sparkline(np.array(values, dtype=np.float64)) == drawn


def test_a_line_chart_has_its_ends_written_on_the_axes():
    lines = line_chart(np.arange(100.0), np.linspace(2.0, 3.0, 100), width=30, height=5)
    assert len(lines) == 7
    assert lines[0].startswith("3 ┤")
    assert lines[4].startswith("2 ┤")
    assert lines[6].split() == ["0", "99"]


def test_a_rising_line_is_drawn_from_bottom_left_to_top_right():
    lines = line_chart(np.arange(50.0), np.arange(50.0), width=20, height=5)
    plots = [line.partition("┤")[2] or line.partition("│")[2] for line in lines[:5]]
    blank = chr(0x2800)
    assert plots[0][0] == blank
    assert plots[0][-1] != blank
    assert plots[4][0] != blank
    assert plots[4][-1] == blank


@pytest.mark.parametrize("values", [[], [np.nan], [np.inf, -np.inf]])
def test_a_line_chart_of_nothing_finite_is_empty(values):
    assert line_chart(np.arange(float(len(values))), np.array(values, dtype=np.float64)) == []


def test_a_line_chart_draws_one_point_and_unordered_steps():
    assert len(line_chart(np.array([3.0]), np.array([1.0]), width=10, height=4)) == 6
    assert len(line_chart(np.array([3.0, -1.0, 2.0]), np.array([1.0, 2.0, 0.0]), width=10, height=4)) == 6

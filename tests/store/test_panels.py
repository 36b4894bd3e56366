"""Charts: every point counts once, no spike is lost, and all series share one grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.conftest import EPOCH
from trackkit.backend.store.blocks import BLOCK
from trackkit.backend.store.panels import Axis, Line, Wanted, grouped, panel

LONG = 40 * 4096
"""Points of a series that is read in blocks where a bucket holds several."""


def wanted(*runs: int, key: str = "loss", began: int = EPOCH) -> list[Wanted]:
    return [Wanted(run, began, key) for run in runs]


def filled(line: Line) -> list[float]:
    return line.mean[~np.isnan(line.mean)].tolist()


def test_a_short_series_is_its_points(db, fill):
    run = fill.run()
    fill.series(run, "loss", [3.0, 2.0, 1.0], steps=[0, 10, 11])

    shown = panel(db, wanted(run), Axis(), 500)

    assert shown.x.tolist() == [0, 10, 11]
    assert shown.width == 0
    line = shown.lines[0]
    assert line.points == 3
    assert line.mean.tolist() == line.min.tolist() == line.max.tolist() == line.last.tolist() == [3, 2, 1]


def test_series_of_other_steps_share_a_grid_with_gaps(db, fill):
    a, b = fill.run(), fill.run()
    fill.series(a, "loss", [1.0, 2.0], steps=[0, 2])
    fill.series(b, "loss", [5.0, 6.0], steps=[1, 2])

    shown = panel(db, wanted(a, b), Axis(), 500)

    assert shown.x.tolist() == [0, 1, 2]
    np.testing.assert_equal(shown.lines[0].mean, [1, math.nan, 2])
    np.testing.assert_equal(shown.lines[1].mean, [math.nan, 5, 6])


def test_a_bucket_has_the_mean_least_greatest_and_last_of_its_points(db, fill):
    run = fill.run()
    fill.series(run, "loss", [1.0, 5.0, math.nan, -2.0, 7.0, 8.0, 9.0, 10.0])

    shown = panel(db, wanted(run), Axis(), 2)

    line = shown.lines[0]
    assert shown.width == 4
    assert shown.x.tolist() == [1.5, 5.5]
    assert line.mean.tolist() == [4 / 3, 8.5]
    assert (line.min.tolist(), line.max.tolist(), line.last.tolist()) == ([-2, 7], [5, 10], [-2, 10])


def test_infinity_is_drawn_and_a_bucket_of_nans_is_a_gap(db, fill):
    run = fill.run()
    fill.series(run, "loss", [math.inf, 1.0, math.nan, math.nan])

    line = panel(db, wanted(run), Axis(), 2).lines[0]

    assert line.mean[0] == math.inf
    assert math.isnan(line.mean[1])
    assert line.points == 2


@pytest.mark.parametrize(
    "axis", [Axis(), Axis("relative"), Axis("time"), Axis(scale="log"), Axis("relative", scale="log")]
)
def test_a_spike_in_a_long_series_is_never_lost(db, fill, axis):
    values = np.sin(np.arange(LONG) / 1000)
    values[123_456] = 99.0
    run = fill.run()
    fill.series(run, "loss", values.tolist())

    shown = panel(db, wanted(run), axis, 200)

    line = shown.lines[0]
    spike = int(np.nanargmax(line.max))
    scale = 1.0 if axis.kind == "step" else 1e-3
    zero = EPOCH / 1e6 if axis.kind == "time" else 0.0
    width = np.diff(shown.x)[spike - 1]
    assert line.max[spike] == 99
    assert abs(shown.x[spike] - zero - 123_456 * scale) <= width
    assert 100 < len(shown.x) <= 200


def test_blocks_and_points_tell_the_same_but_for_the_edges_of_buckets(db, fill):
    rng = np.random.default_rng(0)
    values = rng.standard_normal(LONG)
    values[rng.integers(0, LONG, 100)] = math.nan
    run, other = fill.run(), fill.run()
    fill.series(run, "loss", values.tolist())
    fill.series(other, "loss", values.tolist())
    db.execute("delete from blocks where run = ?", [other])  # a store made before there were blocks

    coarse, fine = panel(db, wanted(run, other), Axis(), 100).lines

    per_bucket = LONG / 100
    assert coarse.points == fine.points == LONG - np.isnan(values).sum()
    np.testing.assert_allclose(coarse.mean, fine.mean, atol=6 * BLOCK / per_bucket / math.sqrt(BLOCK))
    assert np.nanmin(coarse.min) == np.nanmin(fine.min)
    assert np.nanmax(coarse.max) == np.nanmax(fine.max)


def test_zooming_in_comes_to_every_single_point(db, fill):
    values = np.random.default_rng(0).standard_normal(LONG)
    run = fill.run()
    fill.series(run, "loss", values.tolist())

    shown = panel(db, wanted(run), Axis(first=70_000, last=70_099.5), 500)

    assert shown.x.tolist() == list(range(70_000, 70_100))
    assert shown.lines[0].mean.tolist() == values[70_000:70_100].tolist()


def test_points_that_are_rows_follow_the_blocks(db, fill):
    run = fill.run()
    fill.series(run, "loss", [1.0] * LONG + [50.0] * 7)

    line = panel(db, wanted(run), Axis(), 50).lines[0]

    assert line.points == LONG + 7
    assert line.last[-1] == line.max[-1] == 50


def test_relative_time_is_seconds_since_each_run_began(db, fill):
    early, late = fill.run(created=EPOCH), fill.run(created=EPOCH + 10_000_000)
    fill.series(early, "loss", [1.0, 2.0], times=[EPOCH, EPOCH + 2_000_000])
    fill.series(late, "loss", [1.0, 2.0], times=[EPOCH + 10_000_000, EPOCH + 11_000_000])
    both = [*wanted(early), *wanted(late, began=EPOCH + 10_000_000)]

    assert panel(db, both, Axis("relative"), 500).x.tolist() == [0, 1, 2]
    assert panel(db, both, Axis("time", first=EPOCH / 1e6 + 9), 500).x.tolist() == [EPOCH / 1e6 + 10, EPOCH / 1e6 + 11]


def test_a_metric_can_be_the_axis(db, fill):
    run = fill.run()
    fill.series(run, "epoch", [1.0, 2.0], steps=[10, 20])
    fill.series(run, "loss", [9.0, 5.0, 7.0, 3.0], steps=[5, 10, 15, 20])

    shown = panel(db, wanted(run), Axis("metric", "epoch"), 500)

    assert shown.x.tolist() == [1, 2]
    assert shown.lines[0].mean.tolist() == [6, 3]  # of step 5 no epoch is known


def test_a_metric_that_goes_back_and_forth_is_put_in_order(db, fill):
    run = fill.run()
    fill.series(run, "loss", [1.0, 2.0, 3.0, 4.0], steps=[3, 1, 2, 1])

    shown = panel(db, wanted(run), Axis(), 500)

    assert shown.x.tolist() == [1, 2, 3]
    assert shown.lines[0].mean.tolist() == [3, 3, 1]
    assert shown.lines[0].last.tolist() == [4, 3, 1]


def test_what_is_not_there_is_an_empty_line(db, fill):
    run = fill.run()

    shown = panel(db, wanted(run), Axis(), 500)

    assert len(shown.x) == 0
    assert shown.lines[0].points == 0
    assert panel(db, wanted(run), Axis("metric", "epoch"), 500).lines[0].points == 0


@pytest.mark.parametrize(
    ("band", "low", "high"),
    [("std", 1.0, 3.0), ("sem", 2 - 1 / math.sqrt(3), 2 + 1 / math.sqrt(3)), ("minmax", 1.0, 3.0)],
)
def test_runs_of_a_group_become_their_mean_with_a_band(db, fill, band, low, high):
    runs = [fill.run() for _ in range(3)]
    for run, value in zip(runs, [1.0, 2.0, 3.0], strict=True):
        fill.series(run, "loss", [value, math.nan], steps=[0, 1])

    group = grouped(panel(db, wanted(*runs), Axis(), 500).lines, band)

    assert group.members == 3
    assert group.mean[0] == 2
    assert (group.low[0], group.high[0]) == pytest.approx((low, high))
    assert math.isnan(group.mean[1])


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200),
    gaps=st.lists(st.integers(-3, 50), min_size=200, max_size=200),
    buckets=st.integers(1, 60),
    sealed=st.sampled_from([16, 4096]),
    bounds=st.none() | st.tuples(st.integers(-100, 2000), st.integers(0, 3000)),
)
def test_every_point_is_in_exactly_one_bucket(db, fill, values, gaps, buckets, sealed, bounds):
    steps = np.cumsum(gaps)[: len(values)].tolist()
    run = fill.run()
    fill.series(run, "loss", values, steps=steps, per_chunk=sealed)
    first, last = (None, None) if bounds is None else (bounds[0], bounds[0] + bounds[1])
    inside = [v for v, s in zip(values, steps, strict=True) if bounds is None or first <= s <= last]

    shown = panel(db, wanted(run), Axis(first=first, last=last), buckets)

    line = shown.lines[0]
    assert len(shown.x) <= buckets
    assert np.all(np.diff(shown.x) > 0)
    assert line.points == len(inside)
    if inside:
        assert np.nanmin(line.min) == min(inside)
        assert np.nanmax(line.max) == max(inside)
        assert np.nanmin(line.mean) >= min(inside) - 1e-6

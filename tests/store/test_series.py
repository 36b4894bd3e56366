"""Every point comes back once, in time order, from rows and chunks and from all writers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.conftest import EPOCH
from trackkit.backend.store import history, lines, objects, series

ODD = [math.nan, math.inf, -math.inf, -0.0, 0.1, 1e-320, 2.0**60]


@pytest.mark.parametrize("per_chunk", [1, 3, 7, 4096])
def test_values_times_and_steps_come_back_exactly(db, fill, per_chunk):
    run = fill.run()
    steps = [-(2**63), 5, 5, 3, 0, -1, 2**63 - 1]
    fill.series(run, "loss", ODD, steps=steps, per_chunk=per_chunk)

    found = series.points(db, run, "loss")

    assert found.steps.tolist() == steps
    assert found.times.tolist() == [EPOCH + 1_000 * position for position in range(7)]
    np.testing.assert_array_equal(found.values, ODD)
    assert (found.steps.dtype, found.values.dtype) == (np.int64, np.float64)


def test_writers_are_merged_by_time_and_equal_times_keep_their_order(db, fill):
    run = fill.run()
    fill.series(run, "loss", [1, 3, 5, 5.5], times=[10, 30, 50, 50], writer="a", per_chunk=2)
    fill.series(run, "loss", [2, 4, 6], times=[20, 40, 60], writer="b", per_chunk=2)

    assert series.points(db, run, "loss").values.tolist() == [1, 2, 3, 4, 5, 5.5, 6]


def test_kinds_keys_and_runs_are_kept_apart(db, fill):
    run, other = fill.run(), fill.run()
    fill.series(run, "cpu", [1.0])
    fill.series(run, "cpu", [2.0], kind="system")
    fill.series(other, "cpu", [3.0])
    fill.texts(run, "note", ["hi"])

    assert series.points(db, run, "cpu").values.tolist() == [1.0]
    assert series.points(db, run, "cpu", "system").values.tolist() == [2.0]
    assert (series.keys(db, run), series.keys(db, run, "system"), series.keys(db, run, "text")) == (
        ["cpu"],
        ["cpu"],
        ["note"],
    )
    assert len(series.points(db, run, "none").steps) == 0


def test_a_history_has_one_row_per_step_in_which_the_latest_value_stands(db, fill):
    run = fill.run()
    fill.series(run, "a", [1, 2, 3, 4], steps=[0, 2, 0, 1], times=[10, 20, 30, 40])
    fill.series(run, "b", [7, 8], steps=[2, 5], times=[25, 50])

    found = history.read(db, run)

    assert found.steps.tolist() == [0, 1, 2, 5]
    assert found.times.tolist() == [30, 40, 25, 50]
    np.testing.assert_array_equal(found.columns["a"].values, [3, 4, 2, math.nan])
    assert found.columns["b"].present.tolist() == [False, False, True, True]


def test_a_sample_keeps_the_first_and_the_last_row(db, fill):
    run = fill.run()
    fill.series(run, "a", list(range(10_000)))

    sampled = history.sample(history.read(db, run), 500)

    assert len(sampled.steps) == 500
    assert (sampled.steps[0], sampled.steps[-1]) == (0, 9_999)
    assert set(np.diff(sampled.steps).tolist()) == {20, 21}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c"]),
        st.lists(st.integers(-50, 50) | st.sampled_from([-(2**63), 2**63 - 1]), min_size=1, max_size=60),
        min_size=1,
    ),
    st.integers(1, 20),
    st.integers(1, 30),
)
def test_a_scan_in_pieces_has_the_rows_of_the_whole(db, fill, steps_by_key, per_chunk, page):
    db.connection.execute("begin")
    try:
        run = fill.run()
        for key, steps in steps_by_key.items():
            fill.series(run, key, [float(i) for i in range(len(steps))], steps=steps, per_chunk=per_chunk)
        fill.texts(run, "note", [f"text {i}" for i in range(per_chunk)])

        pieces = list(history.scan(db, run, None, page=page))
        whole = history.read(db, run)
    finally:
        db.connection.execute("rollback")

    assert rows_of(*pieces) == rows_of(whole)


def rows_of(*pieces):
    return [
        (step, time, {key: values[row] for key, (values, present) in piece.columns.items() if present[row]})
        for piece in pieces
        for row, (step, time) in enumerate(zip(piece.steps.tolist(), piece.times.tolist(), strict=True))
    ]


def test_a_scan_reads_few_points_at_a_time(db, fill):
    run = fill.run()
    for key in "abc":
        fill.series(run, key, list(range(20_000)), per_chunk=1000)

    lengths = [len(piece.steps) for piece in history.scan(db, run, None, page=1000)]

    assert sum(lengths) == 20_000
    assert max(lengths) == 1000


def test_a_scan_loses_and_repeats_nothing_while_points_are_sealed(db, fill):
    run = fill.run()
    number = fill.series(run, "a", list(range(1500)), per_chunk=1000)
    seen = []

    for piece in history.scan(db, run, ["a"], page=100):
        seen += piece.steps.tolist()
        if len(seen) == 1000:
            with db.atomic():
                db.execute("delete from points where run = ?", [run])
                steps = list(range(1000, 2000))
                fill.chunk(run, number, 1000, steps, [EPOCH + step for step in steps], [float(step) for step in steps])
                fill.points(run, number, 2000, [2000], [EPOCH + 2000], [2000.0])

    assert seen == list(range(2001))


def test_a_point_is_never_missed_while_another_connection_seals(connect, db, fill):
    run = fill.run()
    number = fill.series(run, "a", list(range(10)))
    reader = connect()
    steps = list(range(10))

    for _ in range(50):
        with db.atomic():
            db.execute("delete from points where run = ?", [run])
            fill.chunk(run, number, 0, steps, steps, [float(step) for step in steps])
            assert len(series.points(reader, run, "a").steps) == 10
        assert len(series.points(reader, run, "a").steps) == 10
        with db.atomic():
            db.execute("delete from chunks where run = ?", [run])
            fill.points(run, number, 0, steps, steps, [float(step) for step in steps])


def test_the_console_is_read_as_written_or_as_a_terminal_shows_it(db, fill):
    run = fill.run()
    bar = [("stderr", "\r 10%"), ("stderr", "\r100%"), ("stderr", "\n"), ("stdout", "done\n")]
    fill.lines(run, [("stdout", "start\n"), *bar])

    assert lines.text(db, run) == "start\n\r 10%\r100%\ndone\n"
    assert lines.screen(db, run) == "start\n100%\ndone\n"
    assert lines.screen(db, run, "stdout") == "start\ndone\n"
    assert lines.text(db, run, "stderr") == "\r 10%\r100%\n"


def test_the_progress_bars_of_two_writers_do_not_overwrite_each_other(db, fill):
    run = fill.run()
    fill.lines(run, [("stderr", "\rb 1%"), ("stderr", "\rb 2%")], writer="a", after=500)
    fill.lines(run, [("stderr", "\ra 1%"), ("stderr", "\ra 2%")], writer="b")

    assert lines.screen(db, run) == "a 2%\nb 2%"


def test_of_each_path_the_newest_file_is_listed(db, fill):
    run = fill.run()
    fill.object(run, "train.py", seq=0, kind="code", size=3, inline=b"old")
    fill.object(run, "a.txt", seq=1, size=5, digest="ab" * 32)
    fill.object(run, "train.py", seq=2, kind="code", size=6, inline=b"newest")

    blob, code = objects.files(db, run)

    assert (blob.path, blob.digest) == ("a.txt", "ab" * 32)
    assert objects.inline(db, run, code.writer, code.seq) == b"newest"
    assert objects.inline(db, run, "w", 99) is None


@pytest.mark.sqlite
def test_reading_one_key_leaves_the_points_of_others_alone(db, fill):
    run = fill.run()
    fill.series(run, "loss", [1.0] * 5, per_chunk=4)
    statements: list[str] = []
    db.connection.set_trace_callback(statements.append)
    series.points(db, run, "loss")
    list(series.windows(db, run, ["loss"]))
    db.connection.set_trace_callback(None)

    plans = [row[3] for sql in statements for row in db.query(f"explain query plan {sql}")]
    reads = [step for step in plans if "SEARCH points" in step or "SEARCH chunks" in step]
    assert len(reads) >= 4
    assert not [step for step in reads if "series=?" not in step], reads

"""From journal to store: every value comes back as itself, and a batch sent twice changes nothing."""

from __future__ import annotations

import math
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.conftest import Connect
from tests.store.journals import BEGAN, Writer
from trackkit.backend.store import entries, runs, series
from trackkit.backend.store.database import Database
from trackkit.backend.store.ingest import Ingest
from trackkit.core import records
from trackkit.core.sink import Batch, SinkRefused

Deliver = Callable[..., int]
MICRO = 1_000_000


@pytest.fixture
def writer(root: Path) -> Iterator[Writer]:
    made = Writer(root).start()
    yield made
    made.die()


@pytest.fixture
def deliver(db: Database) -> Deliver:
    """Brings all of a writer's journal into the store, in batches of given sizes; the run's number."""

    def bring(writer: Writer, *sizes: int) -> int:
        ingest = Ingest(db, writer.run, writer.writer)
        for batch in writer.batches(*sizes):
            ingest.write(batch)
        return number_of(db, writer.run)

    return bring


def number_of(db: Database, id: str) -> int:
    found = runs.find(db, id)
    assert found is not None
    return found


def bits(values: Any) -> list[bytes]:
    """Doubles by their bits, in which NaN equals itself and 0.0 is not -0.0."""
    return [struct.pack(">d", value) for value in values]


def the_run(db: Database, id: str = "run") -> runs.RunRow:
    return runs.load(db, [number_of(db, id)])[0]


def table(db: Database, name: str) -> list[tuple[Any, ...]]:
    return sorted(db.query(f"select * from {name}"), key=repr)


def everything(db: Database) -> dict[str, Any]:
    """What a store holds, but for where in it points lie and for how sums were rounded."""
    found: dict[str, Any] = {}
    for (run,) in db.query("select run from runs"):
        for kind in ("metric", "system"):
            for key, points in series.between(db, run, kind=kind).items():
                found[f"{kind} {key}"] = points.steps.tolist(), points.times.tolist(), bits(points.values)
        found["statistics"] = db.query(
            """select kind, key, count, finite, total, min, max, first, last, first_step, last_step, min_step,
                      max_step, first_time, last_time from series where run = ? order by kind, key""",
            [run],
        )
    for name in ("config", "summary", "metrics", "tags", "texts", "lines", "alerts", "objects", "writers"):
        found[name] = [row[1:] for row in table(db, name)]  # a run's number differs from store to store
    found["runs"] = [msgspec.structs.replace(run, run=0, summary={}) for run in runs.load(db, runs.numbers(db))]
    return found


ODD = [math.nan, math.inf, -math.inf, -0.0, 0.0, 5e-324, -2.2e-308, 1.7976931348623157e308, 0.1, -1.0]


@pytest.mark.parametrize("repeats", [1, 60, 600])
def test_every_double_comes_back_as_itself(writer: Writer, deliver: Deliver, db: Database, repeats: int) -> None:
    for value in ODD * repeats:
        writer.log({"x": value})

    run = deliver(writer, 4, 20)

    assert bits(series.points(db, run, "x").values) == bits(ODD * repeats)


def test_steps_come_back_as_they_were_given(writer: Writer, deliver: Deliver, db: Database) -> None:
    steps = [0, 5, 3, 3, -7, 2**63 - 1, -(2**63), 4]
    for step in steps:
        writer.log({"x": step % 100}, step=step)

    run = deliver(writer)

    assert series.points(db, run, "x").steps.tolist() == steps
    found = db.query("select first_step, last_step, min_step, max_step from series where run = ?", [run])
    assert found == [(0, 4, -(2**63), 2**63 - 1)]


@pytest.mark.parametrize("count", [1, 127, 511, 512, 4095, 4096, 4097, 8192, 9000])
@pytest.mark.parametrize("sizes", [(), (100,), (4000,), (4096, 1, 1, 1), (3000, 3000, 90)])
def test_points_come_back_over_chunk_boundaries(
    writer: Writer, deliver: Deliver, db: Database, count: int, sizes: tuple[int, ...]
) -> None:
    for step in range(count):
        writer.log({"x": step / 3, "y": -step})

    run = deliver(writer, *sizes)

    for key, values in {"x": np.arange(count) / 3, "y": -np.arange(count)}.items():
        points = series.points(db, run, key)
        np.testing.assert_array_equal(points.steps, np.arange(count))
        np.testing.assert_array_equal(points.values, values)
    stored = db.query("select count, sealed from series where run = ?", [run])
    chunked = db.query("select coalesce(sum(count), 0), max(count) from chunks where run = ?", [run])[0]
    loose = db.query("select count(*) from points where run = ?", [run])[0][0]
    assert [count for count, _ in stored] == [count, count]
    assert sum(sealed for _, sealed in stored) == chunked[0] == 2 * count - loose
    assert (chunked[1] or 0) <= 4096
    assert loose < 2 * 4096


def test_all_chunks_but_the_last_are_full(writer: Writer, deliver: Deliver, db: Database) -> None:
    for step in range(10_000):
        writer.log({"x": step})

    run = deliver(writer, 700, 700, 700, 3000, 1, 2500)

    assert db.query("select seq, count from chunks where run = ? order by seq", [run])[:2] == [(0, 4096), (4096, 4096)]


def test_a_short_run_can_be_read_with_nothing_but_sql(writer: Writer, deliver: Deliver, db: Database) -> None:
    for step in range(200):
        writer.log({"loss": step / 2})
    writer.finish()

    run = deliver(writer)

    assert db.query("select step, value from points where run = ? order by seq", [run]) == [
        (step, step / 2) for step in range(200)
    ]


def test_a_long_run_that_finished_slowly_is_sealed(writer: Writer, deliver: Deliver, db: Database) -> None:
    for step in range(1000):
        writer.log({"loss": step})
    writer.finish()

    run = deliver(writer, *[50] * 19)

    assert db.query("select count(*) from points where run = ?", [run]) == [(0,)]
    assert series.points(db, run, "loss").values.tolist() == list(range(1000))


def test_records_of_many_shapes_keep_the_order_of_each_key(writer: Writer, deliver: Deliver, db: Database) -> None:
    expected: dict[str, list[float]] = {"a": [], "b": [], "µ/ключ": []}
    for step in range(900):
        values: dict[str, Any] = [{"a": step}, {"b": step, "a": -step}, {"µ/ключ": step / 7, "a": 1}][step % 3]
        writer.log(values if step % 10 else {**values, "note": f"at {step}"})
        for key, value in values.items():
            expected[key].append(value)

    run = deliver(writer, 31, 7, 400)

    for key, values_of_key in expected.items():
        assert series.points(db, run, key).values.tolist() == values_of_key
    assert db.query("select count(*) from texts where run = ? and key = 'note'", [run]) == [(90,)]
    assert db.query("select value from texts where run = ? order by seq desc limit 1", [run]) == [("at 890",)]


def test_ten_thousand_keys_are_series_of_their_own(writer: Writer, deliver: Deliver, db: Database) -> None:
    keys = [f"layer.{number}/weight" for number in range(10_000)]
    for step in range(3):
        writer.log({key: step * number for number, key in enumerate(keys)})

    run = deliver(writer, 2)

    assert len(series.keys(db, run)) == 10_000
    assert series.points(db, run, keys[9_999]).values.tolist() == [0, 9_999, 19_998]
    assert db.query("select count(*) from summary where run = ?", [run]) == [(10_000,)]


def test_system_samples_are_series_apart(writer: Writer, deliver: Deliver, db: Database) -> None:
    for number in range(5):
        values = {"cpu": float(number)} | ({"gpu.0.power": 99.5} if number > 2 else {})
        writer.say(records.System(BEGAN + number, values))

    run = deliver(writer, 3)

    points = series.points(db, run, "cpu", "system")
    assert points.steps.tolist() == points.values.tolist() == [0, 1, 2, 3, 4]
    assert points.times.tolist() == [int(BEGAN + number) * MICRO for number in range(5)]
    assert series.points(db, run, "gpu.0.power", "system").steps.tolist() == [0, 1]
    assert db.query("select count(*) from summary") == [(0,)]


def test_a_batch_sent_again_changes_nothing(writer: Writer, db: Database) -> None:
    for step in range(700):
        writer.log({"x": step, "y": 1})
    writer.say(records.Lines(BEGAN, "stdout", "hello\n"), records.Alert(BEGAN, "info", "t")).finish()
    ingest = Ingest(db, "run", "writer")
    whole = writer.batch()
    ingest.write(writer.batch(0, 300))
    ingest.write(whole)
    before = everything(db)

    assert ingest.write(whole) == whole.end
    assert Ingest(db, "run", "writer").write(whole) == whole.end

    assert everything(db) == before
    assert before["metric x"][0] == list(range(700))


def test_a_failed_batch_leaves_no_trace(writer: Writer, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in range(5000):
        writer.log({"x": step})
    ingest = Ingest(db, "run", "writer")
    reached = ingest.write(writer.batch(0, 100))
    before = everything(db)

    def refuse(*_: Any) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(db, "upsert_many", refuse)
        with pytest.raises(OSError, match="disk is full"):
            ingest.write(writer.batch(100))

    assert everything(db) == before
    assert Ingest(db, "run", "writer").position() == reached
    ingest.write(writer.batch(100))
    assert everything(db)["metric x"][0] == list(range(5000))


def test_two_processes_that_send_one_journal_do_not_double_it(writer: Writer, db: Database) -> None:
    for step in range(3000):
        writer.log({"x": step})
    one, other = Ingest(db, "run", "writer"), Ingest(db, "run", "writer")

    one.write(writer.batch(0, 500))
    other.write(writer.batch(0, 900))
    one.write(writer.batch(500, 2000))
    other.write(writer.batch())

    assert everything(db)["metric x"][0] == list(range(3000))


def test_a_run_deleted_while_it_is_written_stays_deleted(writer: Writer, db: Database) -> None:
    writer.log({"x": 1})
    ingest = Ingest(db, "run", "writer")
    ingest.write(writer.batch())
    runs.delete(db, number_of(db, "run"))
    writer.log({"x": 2})

    with pytest.raises(SinkRefused, match="deleted"):
        ingest.write(writer.batch(2))

    assert table(db, "runs") == []


def test_a_gap_between_segments_is_passed_over(writer: Writer, db: Database) -> None:
    writer.log({"x": 1})
    writer.log({"x": 2})
    before, after = writer.batches(2)
    ingest = Ingest(db, "run", "writer")
    ingest.write(before)

    end = ingest.write(Batch(after.start + 5000, after.end + 5000, after.payloads, [end + 5000 for end in after.ends]))

    assert end == after.end + 5000
    assert everything(db)["metric x"][0] == [0, 1]


def test_records_of_a_later_version_are_passed_over(writer: Writer, deliver: Deliver, db: Database) -> None:
    writer.journal.append(b"\x92\xa6wonder\x01")
    writer.journal.append(b"\xc1 no msgpack")
    writer.log({"x": 1})

    run = deliver(writer)

    assert series.points(db, run, "x").values.tolist() == [1]


# One NaN is like another: what bits a NaN has beside those that make it one is nothing that is kept.
VALUES = st.floats(width=64).map(lambda value: math.nan if math.isnan(value) else value)
STEPS = st.lists(st.tuples(st.sampled_from("abcdef"), VALUES), max_size=60)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given=STEPS, sizes=st.lists(st.integers(1, 20), max_size=12))
def test_how_a_journal_is_cut_into_batches_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, db: Database, given: list[tuple[str, float]], sizes: list[int]
) -> None:
    root = tmp_path_factory.mktemp("store")
    writer = Writer(root).start(tags=["t"])
    for number, (kind, value) in enumerate(given):
        match kind:
            case "a" | "b":
                writer.log({"loss": value, kind: 1.0}, step=number // 2)
            case "c":
                writer.log({"loss": value, "text": f"at {number}"})
            case "d":
                writer.say(records.Config(BEGAN + number, {"lr": value, "model": {kind: number}}))
            case "e":
                writer.say(records.Define(BEGAN + number, "l*", summary=["min", "mean"][number % 2 :]))
            case "f":
                writer.say(records.Summary(BEGAN + number, {"best": number}), records.Lines(BEGAN, "stdout", "x"))
    writer.finish(time=BEGAN + 100).die()
    found = []
    for cut in ([], sizes):
        ingest = Ingest(db, "run", "writer")
        for batch in writer.batches(*cut):
            ingest.write(batch)
        found.append(everything(db))
        runs.delete(db, number_of(db, "run"))

    whole, pieces = found

    for name, rows in whole.items():
        assert _rounded(pieces[name]) == _rounded(rows), name


def _rounded(value: Any) -> Any:
    """Sums and means depend in their last digits on the order of summation, and infinite ones in more."""
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e300 else "huge"
    if isinstance(value, (list, tuple)):
        return ["huge" if _is_huge(item) else _rounded(item) for item in value]
    return value


def _is_huge(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not abs(value) < 1e300)


def test_sixteen_writers_at_once_lose_nothing(root: Path, connect: Connect, db: Database) -> None:
    writers = [Writer(root, f"run{number // 2}", f"w{number}").start() for number in range(16)]
    failures = []

    def work(writer: Writer) -> None:
        try:
            ingest = Ingest(connect(), writer.run, writer.writer)
            for batch in writer.batches(*[40] * 10):
                ingest.write(batch)
        except Exception as error:
            failures.append(error)

    for writer in writers:
        for step in range(500):
            writer.log({"x": step, writer.writer: 1})
        writer.finish().die()
    threads = [threading.Thread(target=work, args=[writer]) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    for number in range(8):
        points = series.points(db, number_of(db, f"run{number}"), "x")
        assert sorted(points.steps.tolist()) == sorted([*range(500)] * 2)
        assert the_run(db, f"run{number}").state == "finished"


# What is not points


def test_a_run_is_as_it_was_started_and_described(writer: Writer, deliver: Deliver, db: Database) -> None:
    writer.say(
        records.Describe(BEGAN, name="renamed", tags=["b", "a"]),
        records.Provenance(BEGAN, {"host": "h", "git": {"commit": "c1"}}),
        records.Provenance(BEGAN + 5, {"gpu": "none"}),
    )

    deliver(writer)

    run = the_run(db)
    assert (run.id, run.project, run.name, run.state) == ("run", "p", "renamed", "running")
    assert (run.created, run.updated) == (int(BEGAN) * MICRO, int(BEGAN + 5) * MICRO)
    assert run.tags == ["a", "b"]
    assert run.metadata == '{"host":"h","git":{"commit":"c1"},"gpu":"none"}'


def test_config_entries_replace_what_their_key_held(writer: Writer, deliver: Deliver, db: Database) -> None:
    writer.say(
        records.Config(BEGAN, {"model": {"depth": 2, "act": "relu"}, "lr": 0.1, "seed": 1, "big": 2**60 + 1}),
        records.Config(BEGAN, {"model": {"depth": 3}, "lr": {"start": 0.1, "end": math.nan}, "models": [1, None]}),
        records.Config(BEGAN, {}, removed=["seed"]),
    )

    deliver(writer)

    config = entries.unflatten(the_run(db).config)
    assert math.isnan(config["lr"].pop("end"))
    assert config == {"model": {"depth": 3}, "lr": {"start": 0.1}, "models": [1, None], "big": 2**60 + 1}


def test_the_summary_follows_the_definitions(writer: Writer, deliver: Deliver, db: Database) -> None:
    writer.say(
        records.Define(BEGAN, "val/*", summary=["min", "last"]),
        records.Define(BEGAN, "val/acc", summary=["best"], goal="maximize"),
        records.Define(BEGAN, "lr", summary=["none"]),
    )
    for loss in (3.0, math.nan, 1.0, 2.0):
        writer.log({"val/loss": loss, "val/acc": 1 / loss, "lr": 0.1, "train": loss})

    deliver(writer, 5)

    summary = the_run(db).summary
    assert summary == {"val/loss": 2.0, "val/loss.min": 1.0, "val/acc.best": 1.0, "train": 2.0}


def test_a_late_definition_counts_for_all_points(writer: Writer, deliver: Deliver, db: Database) -> None:
    for loss in (3.0, 1.0, 2.0):
        writer.log({"loss": loss})
    writer.say(records.Define(BEGAN, "loss", summary=["min", "mean", "first"]))

    deliver(writer, 4)

    assert the_run(db).summary == {"loss.min": 1.0, "loss.mean": 2.0, "loss.first": 3.0}
    writer.say(records.Define(BEGAN, "loss", summary=["max"]))
    deliver(writer)
    assert the_run(db).summary == {"loss.min": 1.0, "loss.mean": 2.0, "loss.first": 3.0, "loss.max": 3.0}


def test_what_is_set_by_hand_stays(writer: Writer, deliver: Deliver, db: Database) -> None:
    writer.log({"loss": 1.0, "acc": 0.5})
    writer.say(records.Summary(BEGAN, {"loss": 9, "best": {"epoch": 3}, "note": "good"}))
    writer.log({"loss": 2.0, "acc": 0.75})
    writer.say(records.Summary(BEGAN, {}, removed=["note"]))

    deliver(writer, 3)

    assert the_run(db).summary == {"loss": 9, "acc": 0.75, "best.epoch": 3}


def test_texts_are_in_the_summary_cut_to_what_can_be_indexed(writer: Writer, deliver: Deliver, db: Database) -> None:
    writer.log({"sample": "first"})
    writer.log({"sample": "x" * 5000})

    run = deliver(writer)

    assert the_run(db).summary["sample"] == "x" * 1023 + "…"
    assert [len(text) for (text,) in db.query("select value from texts where run = ? order by seq", [run])] == [5, 5000]


@pytest.mark.parametrize("sizes", [(), (1, 1, 1, 1)])
def test_the_summary_has_what_was_logged_last_number_or_text(
    writer: Writer, deliver: Deliver, db: Database, sizes: tuple[int, ...]
) -> None:
    for x, y in [("none", 1), (2, "none")]:
        writer.log({"x": x, "y": y})

    deliver(writer, *sizes)

    assert the_run(db).summary == {"x": 2.0, "y": "none"}


def test_the_summary_is_over_all_writers(root: Path, deliver: Deliver, db: Database) -> None:
    for number, values in enumerate([(5.0, 1.0), (0.5, 7.0)]):
        rank = Writer(root, writer=f"rank{number}").start()
        rank.say(records.Define(BEGAN, "loss", summary=["min", "max", "first", "last"]))
        for value in values:
            rank.log({"loss": value})
        deliver(rank)
        rank.die()

    assert the_run(db).summary == {"loss.min": 0.5, "loss.max": 7.0, "loss.first": 5.0, "loss": 7.0}


def test_console_objects_and_alerts_are_kept(writer: Writer, deliver: Deliver, db: Database) -> None:
    writer.say(
        records.Lines(BEGAN, "stdout", "a\n"),
        records.Lines(BEGAN + 1, "stderr", "b"),
        records.Object(BEGAN, "code", "code", "train.py", 3, inline=b"x=1", metadata={"main": True}),
        records.Object(BEGAN, "", "file", "model.bin", 10, digest="ab" * 32, step=4),
        records.Alert(BEGAN, "warning", "loss is rising", "twice"),
    )

    deliver(writer, 3)

    assert db.query("select stream, text from lines order by seq") == [("stdout", "a\n"), ("stderr", "b")]
    assert db.query("select path, size, digest, inline, step, metadata from objects order by seq") == [
        ("train.py", 3, "", b"x=1", None, '{"main":true}'),
        ("model.bin", 10, "ab" * 32, None, 4, "{}"),
    ]
    assert [(alert.title, alert.level) for alert in runs.alerts(db, number_of(db, "run"))] == [
        ("loss is rising", "warning")
    ]


# States


def test_a_finished_writer_finishes_the_run(writer: Writer, deliver: Deliver, db: Database) -> None:
    writer.finish("failed", time=BEGAN + 9, exit_code=1, error="Traceback…", accounting={"calls": 3.0})

    run = deliver(writer)

    row = the_run(db)
    assert (row.state, row.exit_code, row.error, row.ended) == ("failed", 1, "Traceback…", int(BEGAN + 9) * MICRO)
    assert runs.accounting(db, run) == {"writer": {"calls": 3.0}}


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["finished", None], "running"),
        (["finished", "finished"], "finished"),
        (["killed", "finished"], "killed"),
        (["killed", "crashed"], "crashed"),
        (["failed", "crashed", "finished"], "failed"),
    ],
)
def test_a_run_is_as_badly_off_as_its_worst_writer(
    root: Path, db: Database, states: list[str | None], expected: str
) -> None:
    for number, state in enumerate(states):
        writer = Writer(root, writer=f"w{number}").start()
        if state not in (None, "crashed"):
            writer.finish(str(state))
        writer.die()
        ingest = Ingest(db, "run", f"w{number}")
        ingest.write(writer.batch())
        if state == "crashed":
            ingest.abandon(BEGAN + 3)

    assert the_run(db).state == expected


def test_forked_children_do_not_keep_a_run_running(root: Path, deliver: Deliver, db: Database) -> None:
    for name, role in (("main", "main"), ("child", "child")):
        writer = Writer(root, writer=name).start(role=role)
        if role == "main":
            writer.finish()
        deliver(writer.die())

    assert the_run(db).state == "finished"


def test_a_resumed_run_forgets_how_it_ended_before(root: Path, deliver: Deliver, db: Database) -> None:
    first = Writer(root, writer="first").start(tags=["a"])
    first.finish("failed", time=BEGAN + 1, exit_code=1, error="boom").die()
    deliver(first)
    second = Writer(root, writer="second").start(time=BEGAN + 60, tags=["b"], project="other", name="other")
    deliver(second)
    resumed = the_run(db)
    second.finish(time=BEGAN + 90).die()
    deliver(second)
    ended = the_run(db)

    assert (resumed.state, resumed.ended, resumed.exit_code, resumed.error) == ("running", None, None, "")
    assert (resumed.project, resumed.name, resumed.tags) == ("p", "run", ["a", "b"])
    assert resumed.created == int(BEGAN) * MICRO
    assert (ended.state, ended.exit_code, ended.error) == ("finished", 0, "")


def test_a_writer_thought_dead_may_write_on(writer: Writer, db: Database) -> None:
    ingest = Ingest(db, "run", "writer")
    ingest.write(writer.batch())

    assert ingest.abandon()
    assert the_run(db).state == "crashed"
    writer.log({"x": 1})
    ingest.write(writer.batch(1))

    assert the_run(db).state == "running"


def test_a_journal_that_lost_its_beginning_is_kept(writer: Writer, db: Database) -> None:
    writer.log({"x": 1})

    Ingest(db, "run", "writer").write(writer.batch(1))

    run = the_run(db)
    assert (run.project, run.name, run.state) == ("uncategorized", "run", "running")
    assert everything(db)["metric x"][0] == [0]

"""A run takes whatever a training script says to it, refuses what is wrong at the call, and keeps the rest."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trackkit
from trackkit.core.run import Run
from trackkit.query.run import Run as KeptRun
from trackkit.query.source import RunNotFound

QUIET: dict[str, Any] = {"system": False, "git": False, "packages": False, "console": "off", "quiet": True}


@pytest.fixture
def run(folder: Path) -> Iterator[Run]:
    with trackkit.init(project="digits", id="abc", settings=QUIET) as started:
        yield started


def kept(run: Run) -> KeptRun:
    """The run as the store has it once it is finished."""
    run.finish()
    return trackkit.Api(run.dir).run(run.path)


# What is logged.


def test_every_point_is_kept_with_its_step_and_time(run: Run) -> None:
    before = time.time()
    for step in range(1000):
        run.log({"loss": 1 / (step + 1), "val": {"acc": step, "top": {"5": True}}})

    series = kept(run).series("loss")
    assert series.step.tolist() == list(range(1000))
    assert series.value.tolist() == [1 / (step + 1) for step in range(1000)]
    assert np.all(np.diff(series.time) >= 0)
    assert before - 1 <= series.time[0] <= series.time[-1] <= time.time() + 1
    assert kept(run).keys() == ["loss", "val.acc", "val.top.5"]


def test_steps_may_come_in_any_order_repeated_negative_and_as_large_as_int64(run: Run) -> None:
    steps = [5, 5, -1, 2**63 - 1, -(2**63), 0]
    for value, step in enumerate(steps):
        run.log({"loss": value}, step=step)

    series = kept(run).series("loss")
    assert dict(zip(series.value.tolist(), series.step.tolist(), strict=True)) == dict(enumerate(steps))


def test_not_a_number_and_infinity_are_values(run: Run) -> None:
    for value in (math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308):
        run.log({"loss": value})

    values = kept(run).series("loss").value.tolist()
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf, 0.0, 5e-324, 1.7976931348623157e308]
    assert math.copysign(1, values[3]) == -1


def test_commit_false_gathers_one_step(run: Run) -> None:
    run.log({"loss": 1.0}, commit=False)
    run.log({"acc": 0.5}, commit=False)
    run.log({"lr": 0.1})
    run.log({"left": 1.0}, commit=False)

    history = kept(run).history(format="numpy")
    assert history["_step"].tolist() == [0, 1]
    assert (history["loss"][0], history["acc"][0], history["lr"][0]) == (1.0, 0.5, 0.1)
    assert history["left"][1] == 1.0


def test_ten_thousand_keys_in_one_call_are_kept(run: Run) -> None:
    values = {f"layer.{number}/gradient": number / 7 for number in range(10_000)}
    run.log(values)

    summary = dict(kept(run).summary)
    assert summary == values


def test_any_text_is_kept_as_key_value_tag_name_and_notes(run: Run) -> None:
    odd = "naïve 模型 🤖 \n\t\"'<script>\\ \u202e end"
    run.log({odd: 1.0, "text": odd})
    run.config[odd] = odd
    run.summary[f"{odd} by hand"] = odd
    run.tags = [odd]
    run.name = run.notes = odd
    run.alert(odd, odd)

    found = kept(run)
    assert found.series(odd).value.tolist() == [1.0]
    assert found.texts("text").value.tolist() == [odd]
    assert found.config[odd] == odd
    assert found.summary[f"{odd} by hand"] == odd
    assert (found.tags, found.name, found.notes) == ([odd], odd, odd)
    assert [(alert.title, alert.text) for alert in found.alerts()] == [(odd, odd)]


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ([("loss", 1.0)], TypeError, "list"),
        (None, TypeError, "None"),
        ({"model": object()}, TypeError, "'model'"),
        ({"val": {"images": np.zeros((2, 2), complex)}}, TypeError, r"'val\.images'"),
        ({3: 1.0}, TypeError, "3"),
        ({"": 1.0}, ValueError, "empty"),
        ({"k" * 1025: 1.0}, ValueError, "1,024"),
        ({"huge": 10**400}, ValueError, "'huge'"),
        ({"text": "x" * 100_000_000}, ValueError, "'text'"),
    ],
    ids=["list", "None", "object", "array", "number as key", "empty key", "long key", "huge number", "100 MB of text"],
)
def test_wrong_use_is_refused_by_name_and_takes_no_step(
    run: Run, values: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as refused:
        run.log(values)
    run.log({"loss": 1.0, "k" * 1024: 2.0})

    assert len(str(refused.value)) < 2000
    found = kept(run)
    assert found.series("loss").step.tolist() == [0]
    assert found.keys() == ["k" * 1024, "loss"]
    assert found.state == "finished"


@pytest.mark.parametrize("step", [1.5, "3", 2**63, -(2**63) - 1])
def test_what_is_no_step_is_refused(run: Run, step: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="step"):
        run.log({"loss": 1.0}, step=step)


def test_eight_threads_log_without_losing_or_doubling_a_point(run: Run) -> None:
    def work(number: int) -> None:
        for step in range(2000):
            run.log({f"thread {number}": step, "shared": 1.0})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = kept(run)
    assert sorted(found.series("shared").step.tolist()) == list(range(16_000))
    for number in range(8):
        assert found.series(f"thread {number}").value.tolist() == list(range(2000))


def test_a_clock_set_back_turns_no_series_round(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.log({"loss": 1.0})
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    run.log({"loss": 2.0})
    monkeypatch.undo()

    series = kept(run).series("loss")
    assert series.value.tolist() == [1.0, 2.0]
    assert series.time[0] <= series.time[1]


# What describes it.


def test_name_notes_and_tags_change_while_it_goes_on(run: Run) -> None:
    run.name = "second try"
    run.notes = "with **more** data"
    run.tags += ("baseline", "baseline")
    run.tags += ("large",)

    found = kept(run)
    assert (found.name, found.notes, found.tags) == ("second try", "with **more** data", ["baseline", "large"])
    assert run.path == "digits/abc"


def test_tags_must_be_text(run: Run) -> None:
    with pytest.raises(TypeError, match="a tag must be a string, not int: 3"):
        run.tags = ["a", 3]  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("level", "name"), [("info", "info"), ("warning", "warning"), ("WARN", "warning"), ("error", "error")]
)
def test_an_alert_is_kept_with_its_level(run: Run, level: Any, name: str) -> None:
    run.alert("loss is NaN", "at step 3", level)

    assert [(a.level, a.title, a.text) for a in kept(run).alerts()] == [(name, "loss is NaN", "at step 3")]


def test_an_unknown_level_is_refused(run: Run) -> None:
    with pytest.raises(ValueError, match="an alert's level is 'info', 'warning' or 'error', not 'loud'"):
        run.alert("x", level="loud")  # type: ignore[arg-type]


def test_code_is_kept_where_asked(run: Run, folder: Path) -> None:
    source = folder / "project"
    (source / "package").mkdir(parents=True)
    (source / "train.py").write_text("print('train')\n")
    (source / "package" / "model.py").write_text("depth = 3\n")
    (source / "weights.bin").write_bytes(b"\0" * 100)

    names = run.log_code(source)

    assert sorted(names) == ["package/model.py", "train.py"]
    assert {"package/model.py", "train.py"} <= {file.path for file in kept(run).files()}


def test_a_folder_of_code_that_is_not_there_is_refused(run: Run, folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder"):
        run.log_code(folder / "missing")


# How it ends.


@pytest.mark.parametrize(("exit_code", "state"), [(None, "finished"), (0, "finished"), (1, "failed"), (137, "failed")])
def test_the_exit_code_says_how_it_ended(run: Run, exit_code: int | None, state: str) -> None:
    run.finish(exit_code)

    found = kept(run)
    assert (found.state, found.exit_code) == (state, exit_code or 0)
    assert found.ended is not None


def test_an_exception_in_the_block_fails_the_run_and_goes_on_up(folder: Path) -> None:
    def train() -> None:
        with trackkit.init(project="digits", id="abc", settings=QUIET) as run:
            run.log({"loss": 1.0})
            raise ZeroDivisionError("lr is zero")

    with pytest.raises(ZeroDivisionError):
        train()

    found = trackkit.Api(folder / ".trackkit").run("digits/abc")
    assert (found.state, found.exit_code) == ("failed", 1)
    assert "ZeroDivisionError: lr is zero" in found.error
    assert "in train" in found.error
    assert found.series("loss").value.tolist() == [1.0]


def test_an_interrupt_in_the_block_kills_the_run(folder: Path) -> None:
    def train() -> None:
        with trackkit.init(project="digits", id="abc", settings=QUIET):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()

    assert trackkit.Api(folder / ".trackkit").run("digits/abc").state == "killed"


def test_finish_may_be_called_again_and_log_may_not(run: Run) -> None:
    run.log({"loss": 1.0})
    run.finish()
    run.finish(exit_code=3)

    with pytest.raises(RuntimeError, match=r"this run is finished; call trackkit\.init\(\) to start another"):
        run.log({"loss": 2.0})
    assert kept(run).state == run.state == "finished"
    assert kept(run).series("loss").value.tolist() == [1.0]


def test_the_cost_of_tracking_is_accounted_for(run: Run) -> None:
    for step in range(500):
        run.log({"loss": step})
    live = run.accounting()

    found = kept(run).accounting
    assert live["calls"] >= 500
    assert 0 < live["call_microseconds"] < 10_000
    assert live["journal_bytes"] > 500 * 8
    assert found["calls"] >= live["calls"]
    assert found["dropped"] == 0


# Going back.


def test_a_run_that_goes_back_shows_one_line_and_counts_on_from_there(run: Run) -> None:
    run.define_metric("loss", summary="min,last")
    for step in range(5):
        run.log({"loss": 5.0 - step})
    run.rewind(2)
    assert run.step == 2
    run.log({"loss": 30.0})

    again = kept(run)
    assert again.series("loss").value.tolist() == [5, 4, 30]
    assert again.series("loss", superseded=True).value.tolist() == [5, 4, 3, 2, 1, 30]
    assert again.history(format="numpy")["loss"].tolist() == [5, 4, 30]
    assert dict(again.summary) == {"loss": 30.0, "loss.min": 4.0}


def test_values_gathered_before_going_back_are_recorded_before(run: Run) -> None:
    run.log({"loss": 1.0}, step=7, commit=False)
    run.rewind(3)
    run.log({"loss": 2.0})

    assert kept(run).series("loss").value.tolist() == [2]
    assert kept(run).series("loss", superseded=True).value.tolist() == [1, 2]


BAD_STEPS: list[tuple[Any, type[Exception]]] = [
    ("3", TypeError),
    (1.5, TypeError),
    (True, TypeError),
    (2**63, ValueError),
]


@pytest.mark.parametrize(("step", "error"), BAD_STEPS)
def test_a_step_to_go_back_to_must_be_a_whole_number_of_64_bits(run: Run, step: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="step"):
        run.rewind(step)


def test_a_finished_run_takes_nothing_more_and_says_what_edits_it(run: Run) -> None:
    run.finish()

    def name() -> None:
        run.name = "late"

    for say in (
        lambda: run.log({"loss": 1.0}),
        lambda: run.config.update({"lr": 0.1}),
        lambda: run.summary.update({"loss": 0.1}),
        lambda: run.define_metric("loss", summary="min"),
        lambda: run.alert("late"),
        lambda: run.log_code(run.dir),
        name,
    ):
        with pytest.raises(RuntimeError, match="finished"):
            say()
    assert "lr" not in run.config
    assert run.name != "late"
    assert kept(run).alerts() == []


def test_secrets_in_tracebacks_and_alerts_are_removed(folder: Path) -> None:
    secret = "sk-" + "a" * 40

    def train() -> None:
        with trackkit.init(id="abc", settings=QUIET) as run:
            run.alert("no access", f"the key {secret} was refused")
            raise ValueError(f"the key {secret} was refused")

    with pytest.raises(ValueError, match=secret):
        train()

    kept_run = trackkit.Api(folder / ".trackkit").run("abc")
    assert "ValueError: the key [redacted] was refused" in kept_run.error
    assert kept_run.alerts()[0].text == "the key [redacted] was refused"
    assert secret.encode() not in (folder / ".trackkit/trackkit.db").read_bytes()


def test_a_run_goes_on_counting_at_the_step_that_is_set(run: Run) -> None:
    run.log({"a": 1})
    run.log({"b": 1}, commit=False)
    run.step = 7
    run.log({"a": 2})
    run.log({"a": 3})
    assert run.step == 9
    with pytest.raises(TypeError, match="step must be a whole number"):
        run.step = "8"  # type: ignore[assignment]
    series = kept(run).series
    assert (series("a").step.tolist(), series("b").step.tolist()) == ([0, 7, 8], [1])


def test_what_tracking_costs_is_told_before_the_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trackkit.core.run.ACCOUNTING_SECONDS", 0.05)
    with trackkit.init(settings={"system": False, "console": "off", "quiet": True, "interval": 0.05}) as run:
        run.log({"loss": 1.0})
        found: dict[str, float] = {}
        end = time.monotonic() + 20
        while not found and time.monotonic() < end:
            with contextlib.suppress(FileNotFoundError, RunNotFound):
                found = trackkit.Api().run(run.path).accounting
            time.sleep(0.05)
        assert found["calls"] >= 1
        assert trackkit.Api().run(run.path).state == "running"

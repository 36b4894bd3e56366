"""Adapters log into the run that is going on, finish what they started, and never stop a training."""

from __future__ import annotations

import copy
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

import trackkit
from tests.conftest import RunScript
from trackkit.core import session
from trackkit.core.adapter import Attachment, guarded, rank
from trackkit.core.disabled import DisabledRun

QUIET: dict[str, Any] = {"system": False, "git": False, "packages": False, "console": "off", "quiet": True}


def attach(**init: Any) -> Attachment:
    return Attachment(settings=QUIET, **init)


def test_the_run_going_on_is_used_and_left_open(folder: Path) -> None:
    with trackkit.init(project="digits", settings=QUIET) as run:
        attachment = attach(project="other")
        assert attachment.run is run
        attachment.finish()
        assert run.state == "running"


def test_without_one_a_run_is_started_and_finished(folder: Path) -> None:
    attachment = attach(project="digits", name="mine")
    assert not attachment.started
    assert (attachment.run.project, attachment.run.name) == ("digits", "mine")
    attachment.finish(1)
    assert attachment.run.state == "failed"


def test_a_run_that_is_given_is_used(folder: Path) -> None:
    given = trackkit.init(project="digits", settings=QUIET)
    other = trackkit.init(project="other", settings=QUIET, reinit="create_new")
    attachment = Attachment(given)
    assert attachment.run is given
    attachment.finish()
    assert given.state == other.state == "running"


def test_a_borrowed_run_that_has_ended_gives_way_to_the_next(folder: Path) -> None:
    attachment = attach()
    with trackkit.init(project="a", settings=QUIET) as first:
        assert attachment.run is first
    with trackkit.init(project="b", settings=QUIET) as second:
        assert attachment.run is second


@pytest.mark.parametrize("variable", ["RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"])
def test_only_the_first_rank_writes(folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "3")
    attachment = attach(project="digits", id="abc")
    attachment.run.log({"loss": 1.0})
    attachment.finish()

    assert rank() == 3
    assert isinstance(attachment.run, DisabledRun)
    assert (attachment.run.id, attachment.run.project) == ("abc", "digits")
    assert trackkit.run is None
    assert not (folder / ".trackkit").exists()


def test_all_ranks_can_write(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    attachment = attach(all_ranks=True)
    assert not isinstance(attachment.run, DisabledRun)
    attachment.finish()


def test_a_pickled_copy_joins_the_run_in_another_process(folder: Path, run_script: RunScript) -> None:
    attachment = attach(project="digits")
    attachment.run.log({"loss": 1.0}, step=1)
    (folder / "copy").write_bytes(pickle.dumps(attachment))
    done = run_script("""
        import pickle
        with open("copy", "rb") as file:
            attachment = pickle.load(file)
        attachment.run.log({"loss": 2.0}, step=2)
        attachment.finish()
    """)
    assert done.returncode == 0, done.stderr
    attachment.run.log({"loss": 3.0}, step=3)
    attachment.finish()

    run = trackkit.Api().run(attachment.run.path)
    assert run.series("loss").value.tolist() == [1, 2, 3]


def test_a_checkpoint_s_run_goes_on_from_its_step(folder: Path) -> None:
    first = attach(project="digits")
    for step in range(5):
        first.run.log({"loss": float(step)})
    first.finish()

    second = attach(project="digits")
    assert second.resume(first.run.id, 2)
    assert second.run.step == 3
    second.run.log({"loss": 30.0})
    second.finish()

    run = trackkit.Api().run(first.run.path)
    assert run.series("loss").value.tolist() == [0, 1, 2, 30]
    assert len(run.series("loss", superseded=True).value) == 6


def test_a_checkpoint_loaded_within_the_same_run_rewinds_it(folder: Path) -> None:
    attachment = attach()
    attachment.run.log({"loss": 1.0})
    assert attachment.resume(attachment.run.id, -1)
    assert attachment.run.step == 0
    attachment.finish()


def test_another_run_going_on_is_left_alone_by_a_checkpoint(folder: Path) -> None:
    with trackkit.init(settings=QUIET) as run:
        run.log({"loss": 1.0})
        assert not attach().resume("gone", 0)
        assert run.step == 1


def test_a_checkpoint_of_a_run_this_store_does_not_have_starts_one_of_that_id(folder: Path) -> None:
    attachment = attach()
    assert not attachment.resume("elsewhere", 10)
    assert (attachment.run.id, attachment.run.resumed) == ("elsewhere", False)
    attachment.finish()


class Callback:
    @guarded(returns=lambda self, control: control)
    def on_log(self, control: str) -> str:
        raise OSError("the disk is full")

    @guarded()
    def on_stop(self) -> None:
        raise trackkit.RunStopped


def test_a_fault_becomes_one_warning_and_an_alert(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trackkit.core.adapter._reported", set())
    with trackkit.init(settings=QUIET) as run, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert [Callback().on_log("control") for _ in range(3)] == ["control"] * 3

    assert [str(one.message) for one in caught] == [
        "trackkit: tracking failed in Callback.on_log: OSError: the disk is full; training goes on"
    ]
    assert [alert.title for alert in trackkit.Api().run(run.path).alerts()] == ["tracking failed"]


def test_a_fault_stays_away_from_training_where_warnings_are_errors(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("trackkit.core.adapter._reported", set())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Callback().on_log("control") == "control"
    assert "tracking failed in Callback.on_log" in capsys.readouterr().err


def test_a_request_to_stop_passes() -> None:
    with pytest.raises(trackkit.RunStopped):
        Callback().on_stop()


def test_an_option_that_init_does_not_have_is_told_at_once() -> None:
    with pytest.raises(TypeError, match="'projekt' is neither an option here"):
        Attachment(projekt="digits")


def test_an_exception_fails_the_run_that_was_started(folder: Path) -> None:
    attachment = attach()
    path = attachment.run.path
    try:
        raise ZeroDivisionError("in training")
    except ZeroDivisionError as error:
        attachment.fail(error)
    run = trackkit.Api().run(path)
    assert run.state == "failed"
    assert "in training" in run.error


def test_a_training_that_is_over_too_early_has_failed(folder: Path) -> None:
    attachment = attach()
    path = attachment.run.path

    def train() -> None:
        attachment.expect(sys._getframe(), "Keras' training")

    train()
    run = trackkit.Api().run(path)
    assert run.state == "failed"
    assert "Keras' training was ended by an exception" in run.error


def test_a_training_that_ended_as_it_should_has_not_failed(folder: Path) -> None:
    attachment = attach()
    path = attachment.run.path

    def train() -> None:
        attachment.expect(sys._getframe(), "Keras' training")()
        attachment.finish()

    train()
    assert trackkit.Api().run(path).state == "finished"


def test_an_exception_leaves_a_borrowed_run_alone(folder: Path) -> None:
    with trackkit.init(settings=QUIET) as run:
        attachment = attach()
        assert attachment.run is run
        attachment.fail(ZeroDivisionError())
        assert run.state == "running"


def test_a_copy_made_within_the_process_has_the_same_run(folder: Path) -> None:
    attachment = attach()
    assert copy.deepcopy([attachment])[0].run is attachment.run
    attachment.finish()


def test_another_training_has_a_run_of_its_own(folder: Path) -> None:
    first = attach(project="digits")
    first.run.log({"loss": 1.0})
    first.finish()
    second = first.another()
    assert (second.run.project, second.owned) == ("digits", True)
    assert second.run.id != first.run.id
    second.finish()


def test_another_training_borrows_the_same_run(folder: Path) -> None:
    with trackkit.init(settings=QUIET) as run:
        assert Attachment(run).another().run is run


def test_a_framework_can_tell_the_rank_its_own_way(folder: Path) -> None:
    assert not attach(rank=lambda: 1).writes


def test_a_run_beside_another_leaves_it_the_current_one(folder: Path) -> None:
    with trackkit.init(project="digits", settings=QUIET) as parent:
        child = session.beside(parent, name="candidate", config={"depth": 3}, job_type="trial")
        child.log({"score": 0.9})
        child.finish()
        assert trackkit.run is parent
    run = trackkit.Api().run(child.path)
    assert (run.project, run.group, run.name, run.job_type) == ("digits", parent.id, "candidate", "trial")
    assert run.config == {"depth": 3}


def test_a_run_beside_one_that_records_nothing_records_nothing(folder: Path) -> None:
    with trackkit.init(mode="disabled") as parent:
        assert isinstance(session.beside(parent, config={"depth": 3}), DisabledRun)
    assert not (folder / ".trackkit").exists()


@pytest.mark.parametrize(("code", "state"), [(0, "finished"), (1, "failed")])
def test_a_run_that_has_ended_goes_on_for_what_is_found_out_later(folder: Path, code: int, state: str) -> None:
    run = trackkit.init(project="digits", group="trees", settings=QUIET)
    run.log({"loss": 1.0})
    with session.reopened(run) as same:
        assert same is run
    run.finish(code)
    with session.reopened(run) as again:
        again.log({"accuracy": 0.9})
    found = trackkit.Api().run(run.path)
    assert (found.state, found.group) == (state, "trees")
    assert set(found.keys()) == {"loss", "accuracy"}


@pytest.mark.parametrize(
    ("variables", "first"),
    [
        ({"LOCAL_RANK": "0"}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"RANK": "0", "LOCAL_RANK": "1"}, True),
    ],
)
def test_a_launcher_that_names_node_and_place_tells_who_is_first(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], first: bool
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (rank() == 0) is first


def test_the_run_of_a_training_stays_open_until_the_next_training_begins(folder: Path) -> None:
    first, second = attach(project="digits"), attach(project="digits")
    run = first.begin(name="first")
    first.rest()
    assert (run.state, run.name) == ("running", "first")
    assert trackkit.run is run
    other = second.begin()
    assert (run.state, other.state) == ("finished", "running")
    second.finish()


def test_a_borrowed_run_is_not_ended_by_the_next_training(folder: Path) -> None:
    with trackkit.init(settings=QUIET) as run:
        first, second = attach(), attach()
        assert first.begin() is run
        first.rest()
        assert second.begin() is run


def test_a_run_that_has_ended_goes_on_with_a_further_training(folder: Path) -> None:
    attachment = attach(project="digits")
    attachment.begin().log({"loss": 1.0}, step=0)
    attachment.finish()
    again = attachment.begin()
    again.log({"loss": 2.0}, step=1)
    attachment.finish()
    assert trackkit.Api().run(again.path).series("loss").value.tolist() == [1, 2]


def test_a_renewed_attachment_starts_another_run(folder: Path) -> None:
    attachment = attach(project="digits", id="first", resume="allow")
    first = attachment.begin()
    attachment.renew()
    second = attachment.begin()
    assert (first.state, first.id) == ("finished", "first")
    assert second.id != "first"
    attachment.finish()


def test_the_id_is_known_before_the_run_where_it_is_given(folder: Path) -> None:
    assert attach().id is None
    assert attach(id="mine").id == "mine"
    assert not attach(id="mine").started


def test_not_the_first_rank_rewinds_nothing(folder: Path) -> None:
    attachment = attach(project="digits", all_ranks=True, rank=lambda: 1)
    attachment.run.log({"loss": 1.0}, step=5)
    attachment.rewind(0)
    attachment.finish()
    run = trackkit.Api().run(attachment.run.path)
    assert run.series("loss").step.tolist() == [5]


def test_what_can_t_be_started_records_nothing_and_wrong_use_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="mode must be"):
        _ = attach(mode="ofline").run

    def fail(*arguments: Any, **named: Any) -> None:
        raise OSError("no such device")

    monkeypatch.setattr("trackkit.core.adapter._reported", set())
    monkeypatch.setattr("trackkit.core.session.init", fail)
    with pytest.warns(RuntimeWarning, match="no such device; training goes on"):
        assert isinstance(attach().run, DisabledRun)


def test_what_a_signal_ends_is_killed(folder: Path) -> None:
    attachment = attach(project="digits")
    path = attachment.run.path
    attachment.fail(SystemExit(143))
    assert trackkit.Api().run(path).state == "killed"

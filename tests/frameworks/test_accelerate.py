"""accelerate's tracker, in a loop that trains a real model: what is logged, and what can go wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from accelerate import Accelerator
from torch.nn.functional import cross_entropy

import trackkit
from tests.conftest import RunScript
from tests.frameworks.digits import loader, network
from tests.frameworks.tracking import BROKEN_INIT, FAULTS, INIT, QUIET, break_tracking, only, recorded, values
from trackkit.integrations.accelerate import TrackkitTracker, register

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _a_state_for_each_test() -> None:
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)


def train(log_with: Any, last: int = 8, *, path: str | None = None, save_at: int = 4, **init: Any) -> Accelerator:
    """Train for some steps, from the checkpoint if there is one, and leave a checkpoint on the way."""
    accelerator = Accelerator(cpu=True, log_with=log_with)
    accelerator.init_trackers("tests", config={"lr": 0.1}, init_kwargs={"trackkit": init} if init else None)
    torch.manual_seed(0)
    model = network()
    model, optimizer, batches = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1), loader())
    first = 0
    if path is not None:
        accelerator.load_state(path)
        first = save_at + 1
    for step, (images, digits) in enumerate(list(batches) * 3):
        if first <= step < last:
            loss = cross_entropy(model(images), digits)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            accelerator.log({"loss": loss, "train": {"step": step}}, step=step)
            if step == save_at:
                accelerator.save_state("state")
    return accelerator


def test_what_accelerate_logs_is_logged_at_its_steps(folder: Path) -> None:
    accelerator = train(TrackkitTracker(**INIT, name="first"))
    assert accelerator.get_tracker("trackkit", unwrap=True) is trackkit.run
    accelerator.end_training()

    run = only()
    assert (run.name, run.state) == ("first", "finished")
    assert list(values(run, "loss")) == list(values(run, "train.step")) == list(range(8))
    assert run.config["lr"] == 0.1
    assert (run.config["accelerate"]["processes"], run.config["accelerate"]["mixed_precision"]) == (1, "no")


def test_trackkit_can_be_named_once_it_is_registered(folder: Path) -> None:
    if not hasattr(accelerate.tracking, "register_tracker_class"):  # new in accelerate 1.15
        with pytest.raises(RuntimeError, match="log_with=TrackkitTracker"):
            register()
        return
    register()
    register()
    train("trackkit", settings=QUIET, tags=["named"]).end_training()
    run = only()
    assert list(values(run, "loss")) == list(range(8))
    assert list(run.tags) == ["named"]


def test_the_run_going_on_is_used_and_left_open(folder: Path) -> None:
    with trackkit.init(**INIT) as run:
        train(TrackkitTracker("other")).end_training()
        assert run.state == "running"
    assert list(values(only(), "loss")) == list(range(8))


def test_training_goes_on_from_a_checkpoint_in_the_same_run(folder: Path) -> None:
    train(TrackkitTracker(**INIT)).end_training()
    before = only()
    assert json.loads((folder / "state/trackkit.json").read_text()) == {
        "run": before.id, "project": "tests", "step": 4
    }  # fmt: skip

    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    train(TrackkitTracker(**INIT), 12, path="state").end_training()
    run = only()
    assert run.id == before.id
    assert list(values(run, "loss")) == list(range(12))
    assert sorted(run.series("loss", superseded=True).step.tolist()) == sorted([*range(12), 5, 6, 7])
    assert run.state == "finished"


def test_another_run_going_on_is_left_alone_by_a_checkpoint(folder: Path) -> None:
    train(TrackkitTracker(**INIT)).end_training()
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    with trackkit.init(project="other", settings=QUIET) as run:
        train(TrackkitTracker(**INIT), 12, path="state").end_training()
    assert list(values(only(), "loss")) == list(range(8))
    assert list(values(trackkit.Api().run(run.path), "loss")) == list(range(5, 12))


def test_a_configuration_without_metrics_is_a_run(folder: Path) -> None:
    accelerator = Accelerator(cpu=True, log_with=TrackkitTracker(**INIT))
    accelerator.init_trackers("tests", config={"lr": 0.1})
    accelerator.end_training()
    assert only().config["lr"] == 0.1


def test_trainings_one_after_the_other_are_runs_of_their_own(folder: Path) -> None:
    for _ in range(2):
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
        train(TrackkitTracker(**INIT)).end_training()
    assert [list(values(run, "loss")) for run in recorded()] == [list(range(8))] * 2


@pytest.mark.parametrize("how", FAULTS)
def test_a_tracker_that_fails_does_not_stop_training(folder: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    break_tracking(monkeypatch, how)
    accelerator = train(TrackkitTracker(**BROKEN_INIT))
    accelerator.load_state("state")
    accelerator.end_training()


def test_a_parameter_that_does_not_exist_is_an_error_at_the_call() -> None:
    with pytest.raises(TypeError, match="projekt"):
        TrackkitTracker(projekt="digits")


def test_an_exception_that_ends_the_script_fails_the_run(folder: Path, run_script: RunScript) -> None:
    failed = run_script("""
        from accelerate import Accelerator
        from tests.frameworks.tracking import INIT
        from trackkit.integrations.accelerate import TrackkitTracker

        accelerator = Accelerator(cpu=True, log_with=TrackkitTracker(**INIT))
        accelerator.init_trackers("tests")
        accelerator.log({"loss": 1.0}, step=0)
        raise ZeroDivisionError("the data is bad")
    """)
    assert failed.returncode == 1
    assert only().state == "failed"
    assert "the data is bad" in only().error


def test_one_of_two_processes_writes(folder: Path, run_script: RunScript) -> None:
    (folder / "training.py").write_text("""
from tests.frameworks.test_accelerate import train
from tests.frameworks.tracking import INIT
from trackkit.integrations.accelerate import TrackkitTracker

accelerator = train(TrackkitTracker(**INIT))
assert accelerator.num_processes == 2
accelerator.end_training()
""")
    launched = run_script(
        """
        import sys
        from torch.distributed.run import main

        sys.argv = ["torchrun", "--nproc-per-node=2", "--standalone", "training.py"]
        main()
        """,
        timeout=250,
    )
    assert launched.returncode == 0, launched.stderr
    run = only()
    assert list(values(run, "loss")) == list(range(8))
    assert run.config["accelerate"]["processes"] == 2
    assert run.state == "finished"


def test_without_accelerate_the_error_names_the_extra(run_script: RunScript) -> None:
    done = run_script("""
        import sys
        sys.modules["accelerate"] = None
        import trackkit.integrations.accelerate
    """)
    assert "pip install 'trackkit[accelerate]'" in done.stderr.splitlines()[-1]

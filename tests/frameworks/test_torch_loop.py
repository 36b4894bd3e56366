"""A loop of plain PyTorch with a tracker: what is logged, checkpoints, and several processes."""

from __future__ import annotations

import pickle
import socket
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

import trackkit
from tests.conftest import RunScript
from tests.frameworks.digits import loader, network
from tests.frameworks.tracking import (
    BROKEN_INIT,
    FAULTS,
    INIT,
    QUIET,
    break_tracking,
    only,
    values,
    versions,
)
from trackkit.integrations.torch import TrackkitTracker

pytestmark = pytest.mark.filterwarnings("ignore")


class Loop:
    """Model, optimizer, schedule and the loop."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = network()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, 6, gamma=0.5)
        self.losses: list[float] = []

    def tracker(self, **options: Any) -> TrackkitTracker:
        return TrackkitTracker(self.model, self.optimizer, self.schedule, **{**INIT, **options})

    def train(self, tracker: TrackkitTracker, epochs: int = 2) -> None:
        for epoch in range(epochs):
            for images, digits in tracker.batches(loader()):
                loss = cross_entropy(self.model(images), digits)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                tracker.log({"loss": loss.detach(), "epoch": epoch})
                self.losses.append(loss.item())
                self.schedule.step()


def test_steps_learning_rates_and_the_pace_are_logged(folder: Path) -> None:
    loop = Loop()
    with loop.tracker(name="first", tags=["baseline"]) as tracker:
        loop.train(tracker)
    run = only()
    assert (run.name, run.state, list(run.tags)) == ("first", "finished", ["baseline"])
    assert values(run, "loss") == pytest.approx(dict(enumerate(loop.losses)))
    assert values(run, "lr/SGD") == {step: 0.1 if step < 6 else 0.05 for step in range(12)}
    batches, samples = (run.series(f"throughput/{what}_per_second").value for what in ("batches", "samples"))
    assert len(batches) >= 11
    assert samples == pytest.approx(100 * batches)
    assert all(0 <= share <= 1 for share in run.series("throughput/waiting_for_data").value)


def test_settings_of_what_takes_part_are_in_the_config(folder: Path) -> None:
    loop = Loop()
    with loop.tracker(config={"note": "mine"}, loaders={"train": loader()}) as tracker:
        loop.train(tracker, 1)
    config = only().config
    assert config["note"] == "mine"
    assert config["model"]["parameters"] == 64 * 16 + 16 + 16 * 10 + 10
    assert (config["optimizer"]["class"], config["optimizer"]["momentum"]) == ("SGD", 0.9)
    assert (config["scheduler"]["class"], config["scheduler"]["gamma"]) == ("StepLR", 0.5)
    assert config["data"]["train"]["samples"] == 600
    assert config["torch"]["processes"] == 1


def test_watch_is_one_argument(folder: Path) -> None:
    loop = Loop()
    with loop.tracker(watch="all", watch_freq=4) as tracker:
        loop.train(tracker)
    run = only()
    assert run.watched("gradients").layers == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert len(run.watched("gradients").step) == len(run.watched("parameters").step) == 3
    with pytest.raises(ValueError, match="watch needs the model"):
        TrackkitTracker(watch=True)
    with pytest.raises(ValueError, match="watch is 'gradients'"):
        TrackkitTracker(loop.model, watch="weights")  # type: ignore[arg-type]


def test_the_run_going_on_is_used_and_left_open(folder: Path) -> None:
    loop = Loop()
    with trackkit.init(**INIT) as run:
        with loop.tracker(project="other") as tracker:
            loop.train(tracker, 1)
        assert run.state == "running"
    assert len(values(only(), "loss")) == 6


def test_an_exception_fails_the_run(folder: Path) -> None:
    loop = Loop()

    def train() -> None:
        with loop.tracker() as tracker:
            loop.train(tracker, 1)
            raise ZeroDivisionError("after an epoch")

    with pytest.raises(ZeroDivisionError):
        train()
    run = only()
    assert run.state == "failed"
    assert "after an epoch" in run.error


def test_checkpoints_are_versions_of_an_artifact_as_they_are_made(folder: Path) -> None:
    loop = Loop()
    with loop.tracker() as tracker:
        for epoch, score in enumerate([0.5, 0.9, 0.7]):
            loop.train(tracker, 1)
            tracker.save("last.pt", {"model": loop.model, "epoch": epoch}, score=score, monitor="accuracy", epoch=epoch)
    run = only()
    found = versions(run)
    assert [(one.metadata["score"], one.metadata["step"]) for one in found.values()] == [(0.5, 5), (0.9, 11), (0.7, 17)]
    assert [sorted(one.aliases) for one in found.values()] == [["step_5"], ["best", "step_11"], ["latest", "step_17"]]
    assert (found["v1"].metadata["monitor"], found["v1"].metadata["mode"]) == ("accuracy", "max")
    content = torch.load(Path(found["v1"].download(), "model.pt"), weights_only=True)
    assert content["trackkit"] == {"run": run.id, "project": "tests", "step": 11}
    assert content["epoch"] == 1
    assert not list(Path().glob("*.part"))


def test_what_a_checkpoint_lacks_is_told(folder: Path) -> None:
    loop = Loop()
    with loop.tracker() as tracker:
        tracker.save("last.pt", {"model": loop.model})
        with pytest.raises(KeyError, match="has no 'optimizer', only model"):
            tracker.load("last.pt", {"model": loop.model, "optimizer": loop.optimizer})


TRAIN = f"""
import os, sys
import torch
from tests.frameworks.digits import loader, network
from trackkit.integrations.torch import TrackkitTracker
model = network()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
tracker = TrackkitTracker(model, optimizer, project="tests", settings={QUIET})
parts = {{"model": model, "optimizer": optimizer}}
if sys.argv[1] == "on":
    tracker.load("last.pt", parts)
    assert tracker.step == 8
while tracker.step < 18:
    for images, digits in loader():
        loss = torch.nn.functional.cross_entropy(model(images), digits)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        tracker.log({{"loss": loss.detach()}})
        if tracker.step == 8:
            tracker.save("last.pt", parts)
        if tracker.step == 12 and sys.argv[1] == "crash":
            os._exit(1)
        if tracker.step == 18:
            break
tracker.finish()
"""


def test_a_training_goes_on_from_a_checkpoint_in_its_run(folder: Path, run_script: RunScript) -> None:
    run_script(TRAIN, "crash", timeout=250)
    assert list(values(only(), "loss")) == list(range(12))
    done = run_script(TRAIN, "on", timeout=250)
    assert done.returncode == 0, done.stderr
    run = only()
    assert run.state == "finished"
    assert list(values(run, "loss")) == list(range(18))
    assert run.series("loss", superseded=True).step.tolist().count(8) == 2


def test_a_tracker_can_be_pickled(folder: Path) -> None:
    loop = Loop()
    tracker = loop.tracker()
    tracker.log({"before": 1.0})
    pickle.loads(pickle.dumps(tracker)).log({"after": 1.0})
    tracker.finish()
    assert {"before", "after"} <= set(only().keys())


PARALLEL = f"""
import sys
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing
from tests.frameworks.digits import loader, network
from trackkit.integrations.torch import TrackkitTracker

def train(rank, all_ranks):
    dist.init_process_group("gloo", init_method="tcp://127.0.0.1:" + sys.argv[2], rank=rank, world_size=2)
    torch.manual_seed(0)
    model = torch.nn.parallel.DistributedDataParallel(network())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = TrackkitTracker(
        model, optimizer, watch="gradients", watch_freq=1, all_ranks=all_ranks, project="tests", settings={QUIET}
    )
    with tracker:
        tracker.begin()
        for images, digits in tracker.batches(loader()):
            loss = torch.nn.functional.cross_entropy(model(images), digits)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            tracker.log({{"loss": loss.detach(), f"rank {{rank}}": 1.0}})
        tracker.save("last.pt", {{"model": model}})
        dcp.save({{"model": model.state_dict(), "tracker": tracker.state_dict()}}, checkpoint_id="sharded")
    dist.barrier()
    dist.destroy_process_group()

if __name__ == "__main__":
    torch.multiprocessing.spawn(train, (sys.argv[1] == "all",), 2)
"""


@pytest.mark.parametrize("who", ["first", "all"])
def test_of_two_data_parallel_processes_the_first_writes_or_both(folder: Path, run_script: RunScript, who: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    done = run_script(PARALLEL, who, port, env={"OMP_NUM_THREADS": "1"}, timeout=250)
    assert done.returncode == 0, done.stderr
    run = only()
    expected = {"rank 0", "rank 1"} if who == "all" else {"rank 0"}
    assert {key for key in run.keys() if key.startswith("rank")} == expected
    assert set(values(run, "loss")) == set(range(6))
    assert run.watched("gradients").layers == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert run.config["torch"]["processes"] == 2
    assert run.state == "finished"
    assert torch.load("last.pt", weights_only=True)["trackkit"]["run"] == run.id
    network().load_state_dict(torch.load("last.pt", weights_only=True)["model"])
    assert len(versions(run)) == 1
    assert Path("sharded/.metadata").is_file()


@pytest.mark.parametrize("how", FAULTS)
def test_a_fault_of_tracking_never_stops_a_training(folder: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    break_tracking(monkeypatch, how)
    loop = Loop()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with TrackkitTracker(loop.model, loop.optimizer, watch=True, **BROKEN_INIT) as tracker:
            loop.train(tracker)
            tracker.save("last.pt", {"model": loop.model})
    assert len(loop.losses) == 12
    assert Path("last.pt").is_file()
    assert caught


def test_wrong_options_are_told_at_the_call() -> None:
    with pytest.raises(TypeError, match="'projekt'"):
        TrackkitTracker(projekt="x")


def test_without_torch_the_error_names_the_extra(run_script: RunScript) -> None:
    done = run_script(
        """
        import sys
        sys.modules["torch"] = None
        import trackkit.integrations.torch
    """,
        timeout=250,
    )
    assert "pip install 'trackkit[torch]'" in done.stderr.splitlines()[-1]

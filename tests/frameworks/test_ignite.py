"""Ignite's engines, training real models: what is logged, and what can go wrong."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import Checkpoint, global_step_from_engine
from ignite.metrics import Accuracy, Loss
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
from trackkit.integrations.ignite import (
    GradsHistHandler,
    GradsScalarHandler,
    OptimizerParamsHandler,
    OutputHandler,
    TrackkitLogger,
    TrackkitSaver,
    WeightsHistHandler,
    WeightsScalarHandler,
    setup_trackkit_logging,
)

pytestmark = pytest.mark.filterwarnings("ignore")


class Parts:
    """Model, optimizer, trainer and evaluator; the trainer's output is the loss."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = network()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.trainer = create_supervised_trainer(self.model, self.optimizer, cross_entropy)
        self.evaluator = create_supervised_evaluator(
            self.model, metrics={"accuracy": Accuracy(), "loss": Loss(cross_entropy)}
        )

    def train(self, epochs: int = 2) -> None:
        self.trainer.run(loader(), max_epochs=epochs)

    def evaluate_every_epoch(self) -> None:
        @self.trainer.on(Events.EPOCH_COMPLETED)
        def evaluate() -> None:
            self.evaluator.run(loader(200))


def test_a_whole_training_is_logged_at_the_trainer_s_iterations(folder: Path) -> None:
    parts = Parts()
    losses: list[float] = []
    parts.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output))
    with TrackkitLogger(name="first", tags=["baseline"], **INIT) as logger:
        logger.attach_trainer(parts.trainer, parts.model, parts.optimizer, {"val": parts.evaluator})
        parts.evaluate_every_epoch()
        parts.train()
        accuracy = parts.evaluator.state.metrics["accuracy"]
    run = only()
    assert (run.name, run.state, list(run.tags)) == ("first", "finished", ["baseline"])
    assert values(run, "train/loss") == pytest.approx(dict(enumerate(losses, 1)))
    assert list(values(run, "val/accuracy")) == list(values(run, "val/loss")) == [6, 12]
    assert values(run, "val/accuracy")[12] == accuracy
    assert values(run, "lr/SGD") == dict.fromkeys(range(1, 13), 0.1)
    assert values(run, "epoch")[9] == 1.5
    batches, samples = (run.series(f"throughput/{what}_per_second").value for what in ("batches", "samples"))
    assert samples == pytest.approx(100 * batches)
    assert (run.summary["epochs"], run.summary["iterations"]) == (2, 12)


def test_settings_of_engine_model_optimizer_and_data_are_in_the_config(folder: Path) -> None:
    parts = Parts()
    with TrackkitLogger(config={"note": "mine"}, **INIT) as logger:
        logger.attach_trainer(parts.trainer, parts.model, parts.optimizer)
        parts.train(1)
    config = only().config
    assert config["note"] == "mine"
    assert (config["trainer"]["max_epochs"], config["trainer"]["epoch_length"]) == (1, 6)
    assert config["model"]["parameters"] == 64 * 16 + 16 + 16 * 10 + 10
    assert (config["optimizer"]["class"], config["optimizer"]["momentum"]) == ("SGD", 0.9)
    assert (config["data"]["train"]["samples"], config["data"]["train"]["batch_size"]) == (600, 100)


def test_models_and_optimizers_can_be_several(folder: Path) -> None:
    parts, other = Parts(), network(4)
    second = torch.optim.Adam(other.parameters(), lr=0.01)
    with TrackkitLogger(**INIT) as logger:
        logger.attach_trainer(
            parts.trainer, {"net": parts.model, "other": other}, {"net": parts.optimizer, "other": second}
        )
        parts.train(1)
    run = only()
    assert set(run.config["model"]) == set(run.config["optimizer"]) == {"net", "other"}
    assert {"lr/SGD", "lr/Adam"} <= set(run.keys())


def test_metrics_and_rates_follow_log_every_iters(folder: Path) -> None:
    parts = Parts()
    logger = setup_trackkit_logging(parts.trainer, parts.optimizer, parts.evaluator, log_every_iters=4, **INIT)
    parts.evaluate_every_epoch()
    parts.train()
    logger.close()
    run = only()
    assert list(values(run, "training/loss")) == list(values(run, "lr/SGD")) == [4, 8, 12]
    assert list(values(run, "validation/accuracy")) == [6, 12]


def test_ignite_s_own_way_of_attaching_handlers_works_as_with_its_loggers(folder: Path) -> None:
    parts = Parts()
    parts.trainer.state_dict_user_keys.append("alpha")
    with TrackkitLogger(**INIT) as logger:
        logger.attach_output_handler(
            parts.trainer,
            Events.ITERATION_COMPLETED(every=2),
            tag="training",
            output_transform=lambda loss: {"loss": loss, "twice": [loss, 2 * loss]},
        )
        logger.attach_opt_params_handler(
            parts.trainer, Events.ITERATION_STARTED, parts.optimizer, param_name="momentum"
        )
        logger.attach(
            parts.evaluator,
            OutputHandler("validation", ["accuracy"], global_step_transform=global_step_from_engine(parts.trainer)),
            Events.EPOCH_COMPLETED,
        )
        parts.evaluate_every_epoch()
        parts.train()
    run = only()
    assert list(values(run, "training/loss")) == [2, 4, 6, 8, 10, 12]
    twice = values(run, "training/twice/1")
    assert twice == pytest.approx({step: 2 * loss for step, loss in values(run, "training/loss").items()})
    assert set(values(run, "momentum/group_0").values()) == {0.9}
    assert list(values(run, "validation/accuracy")) == [1, 2]
    assert "validation/loss" not in run.keys()


def test_attributes_of_the_state_and_tensors_are_logged(folder: Path) -> None:
    engine = Engine(lambda engine, batch: torch.tensor([1.0, 2.0]) * batch)

    @engine.on(Events.STARTED)
    def begin() -> None:
        engine.state.alpha = 0.5

    with TrackkitLogger(**INIT) as logger:
        logger.attach_output_handler(
            engine, Events.ITERATION_COMPLETED, tag="out", output_transform=lambda out: out, state_attributes=["alpha"]
        )
        engine.run([1, 2, 3])
    run = only()
    assert values(run, "out/output/1") == {1: 2.0, 2: 4.0, 3: 6.0}
    assert values(run, "out/alpha") == {1: 0.5, 2: 0.5, 3: 0.5}


def test_weights_and_gradients_are_logged_by_ignite_s_kinds_of_handlers(folder: Path) -> None:
    parts, norms = Parts(), []
    with TrackkitLogger(**INIT) as logger:
        for handler in (
            WeightsScalarHandler(parts.model),
            GradsScalarHandler(parts.model, tag="model", whitelist=["0.weight"]),
            WeightsHistHandler(parts.model),
            GradsHistHandler(parts.model),
            OptimizerParamsHandler(parts.optimizer, tag="sgd"),
        ):
            logger.attach(parts.trainer, handler, Events.ITERATION_COMPLETED(every=6))

        @parts.trainer.on(Events.ITERATION_COMPLETED(every=6))
        def keep() -> None:
            norms.append(parts.model[0].weight.grad.norm().item())

        parts.train()
    run = only()
    assert {key for key in run.keys() if key.startswith("model/grads")} == {"model/grads_norm/0/weight"}
    assert list(values(run, "model/grads_norm/0/weight").values()) == pytest.approx(norms)
    assert len([key for key in run.keys() if key.startswith("weights_norm/")]) == 4
    assert run.media_keys()["weights/0/weight"] == run.media_keys()["grads/2/bias"] == "histogram"
    assert set(values(run, "sgd/lr/group_0").values()) == {0.1}


def test_handlers_are_for_our_logger() -> None:
    with pytest.raises(RuntimeError, match="works with a TrackkitLogger"):
        OutputHandler("train", "all")(Parts().trainer, object(), Events.COMPLETED)  # type: ignore[arg-type]


def test_watch_is_one_argument(folder: Path) -> None:
    parts = Parts()
    with TrackkitLogger(**INIT) as logger:
        logger.attach_trainer(parts.trainer, parts.model, parts.optimizer, watch="gradients", watch_freq=2)
        parts.train()
    watched = only().watched("gradients")
    assert watched.layers == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert watched.step.tolist() == [1, 3, 5, 7, 9, 11]
    with pytest.raises(ValueError, match="watch needs the model"):
        logger.attach_trainer(parts.trainer, watch=True)


def test_the_run_s_own_functions_are_the_logger_s(folder: Path) -> None:
    with TrackkitLogger(**INIT) as logger:
        logger.log({"note": 1.0}, step=3)
        logger.config["lr"] = 0.5
        logger.define_metric("note", summary="max")
    run = only()
    assert (values(run, "note"), run.config["lr"]) == ({3: 1.0}, 0.5)


def test_the_run_going_on_is_used_and_left_open(folder: Path) -> None:
    parts = Parts()
    with trackkit.init(**INIT) as run:
        with TrackkitLogger(project="other") as logger:
            logger.attach_trainer(parts.trainer)
            parts.train(1)
        assert run.state == "running"
    assert len(values(only(), "train/loss")) == 6


def test_checkpoints_are_versions_of_an_artifact_when_they_are_made(folder: Path) -> None:
    parts = Parts()
    scores = iter([0.5, 0.9, 0.7])

    @parts.trainer.on(Events.EPOCH_STARTED(once=4))
    def fail() -> None:
        raise ZeroDivisionError("in the fourth epoch")

    logger = TrackkitLogger(**INIT)
    logger.attach_trainer(parts.trainer, parts.model, parts.optimizer)
    saving = Checkpoint(
        {"model": parts.model, "trainer": parts.trainer},
        TrackkitSaver(logger, "saved"),
        n_saved=None,
        score_function=lambda engine: next(scores),
        score_name="accuracy",
        global_step_transform=global_step_from_engine(parts.trainer),
    )
    parts.trainer.add_event_handler(Events.EPOCH_COMPLETED, saving)
    with pytest.raises(ZeroDivisionError):
        parts.train(5)
    run = only()
    assert run.state == "failed"
    assert "in the fourth epoch" in run.error
    found = versions(run)
    assert [(one.metadata["score"], one.metadata["step"]) for one in found.values()] == [(0.5, 6), (0.9, 12), (0.7, 18)]
    assert [sorted(one.aliases) for one in found.values()] == [["step_6"], ["best", "step_12"], ["latest", "step_18"]]
    assert found["v0"].metadata["monitor"] == "accuracy"
    content = torch.load(Path(found["v1"].download(), "model.pt"), weights_only=True)
    assert content["trackkit"] == {"run": run.id, "project": "tests", "step": 12}


def test_a_checkpoint_of_a_model_alone_is_left_as_it_is(folder: Path) -> None:
    parts = Parts()
    with TrackkitLogger(**INIT) as logger:
        parts.trainer.add_event_handler(
            Events.EPOCH_COMPLETED, Checkpoint({"model": parts.model}, TrackkitSaver(logger, "saved"))
        )
        parts.train(1)
    network().load_state_dict(torch.load(next(Path("saved").iterdir()), weights_only=True))


TRAIN = f"""
import os, sys
import torch
from ignite.engine import Events, create_supervised_trainer
from ignite.handlers import Checkpoint
from tests.frameworks.digits import loader, network
from trackkit.integrations.ignite import TrackkitLogger, TrackkitSaver
model = network()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
trainer = create_supervised_trainer(model, optimizer, torch.nn.functional.cross_entropy)
logger = TrackkitLogger(project="tests", settings={QUIET})
logger.attach_trainer(trainer, model, optimizer)
parts = {{"model": model, "optimizer": optimizer, "trainer": trainer, "trackkit": logger}}
if sys.argv[1] == "crash":
    saving = Checkpoint(parts, TrackkitSaver(logger, "saved"), filename_pattern="last.pt")
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=8), saving)
    trainer.add_event_handler(Events.COMPLETED, lambda engine: os._exit(1))
    trainer.run(loader(), max_epochs=2)
Checkpoint.load_objects(parts, torch.load("saved/last.pt"))
trainer.run(loader(), max_epochs=3)
logger.close()
"""


def test_a_training_goes_on_from_a_checkpoint_in_its_run(folder: Path, run_script: RunScript) -> None:
    run_script(TRAIN, "crash", timeout=250)
    assert list(values(only(), "train/loss")) == list(range(1, 13))
    done = run_script(TRAIN, "on", timeout=250)
    assert done.returncode == 0, done.stderr
    run = only()
    assert list(values(run, "train/loss")) == list(range(1, 19))
    assert run.series("train/loss", superseded=True).step.tolist() != run.series("train/loss").step.tolist()
    assert run.state == "finished"


def test_an_exception_fails_the_run_without_a_with_block(folder: Path) -> None:
    parts = Parts()
    logger = TrackkitLogger(**INIT)
    logger.attach_trainer(parts.trainer)

    @parts.trainer.on(Events.ITERATION_STARTED(once=3))
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        parts.train()
    assert only().state == "failed"
    assert "ZeroDivisionError" in only().error


def test_an_exception_that_another_handler_takes_stays_taken(folder: Path) -> None:
    parts, taken = Parts(), []
    logger = TrackkitLogger(**INIT)
    logger.attach_trainer(parts.trainer)
    parts.trainer.add_event_handler(Events.EXCEPTION_RAISED, lambda engine, error: taken.append(error))

    @parts.trainer.on(Events.ITERATION_STARTED(once=3))
    def fail() -> None:
        raise ZeroDivisionError

    parts.train(1)
    assert [type(error) for error in taken] == [ZeroDivisionError]
    assert only().state == "failed"


def test_an_evaluation_after_the_training_goes_into_its_run(folder: Path) -> None:
    parts = Parts()
    logger = TrackkitLogger(**INIT)
    logger.attach_trainer(parts.trainer, evaluators={"test": parts.evaluator})
    parts.train(1)
    parts.evaluator.run(loader(200))
    logger.close()
    assert list(values(only(), "test/accuracy")) == [6]


def test_a_logger_can_be_pickled(folder: Path) -> None:
    logger = TrackkitLogger(**INIT)
    logger.log({"before": 1.0})
    pickle.loads(pickle.dumps(logger)).log({"after": 1.0})
    logger.close()
    assert {"before", "after"} <= set(only().keys())


PARALLEL = f"""
import ignite.distributed as idist
import torch
from ignite.engine import create_supervised_trainer
from tests.frameworks.digits import loader, network
from trackkit.integrations.ignite import TrackkitLogger

def train(local_rank, logger):
    model = idist.auto_model(network())
    optimizer = idist.auto_optim(torch.optim.SGD(model.parameters(), lr=0.1))
    trainer = create_supervised_trainer(model, optimizer, torch.nn.functional.cross_entropy)
    with logger:
        logger.attach_trainer(trainer, model, optimizer)
        trainer.run(loader(), max_epochs=1)
        logger.log({{f"rank {{idist.get_rank()}}": 1.0}})

if __name__ == "__main__":
    every = {{}}
    logger = TrackkitLogger(project="tests", settings={QUIET}, ALL)
    with idist.Parallel(backend="gloo", nproc_per_node=2) as parallel:
        parallel.run(train, logger)
"""


@pytest.mark.parametrize("all_ranks", [False, True])
def test_one_process_writes_or_all(folder: Path, run_script: RunScript, all_ranks: bool) -> None:
    every = "all_ranks=True, id='shared'" if all_ranks else "name='one'"
    done = run_script(PARALLEL.replace("ALL", every), env={"OMP_NUM_THREADS": "1"}, timeout=250)
    assert done.returncode == 0, done.stderr
    run = only()
    assert run.config["trainer"]["processes"] == 2
    assert {key for key in run.keys() if key.startswith("rank")} == ({"rank 0", "rank 1"} if all_ranks else {"rank 0"})
    assert set(values(run, "train/loss")) == set(range(1, 7))


@pytest.mark.parametrize("how", FAULTS)
def test_a_fault_of_tracking_never_stops_a_training(folder: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    break_tracking(monkeypatch, how)
    parts = Parts()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with TrackkitLogger(**BROKEN_INIT) as logger:
            logger.attach_trainer(parts.trainer, parts.model, parts.optimizer, {"val": parts.evaluator}, watch=True)
            saving = Checkpoint({"model": parts.model, "trainer": parts.trainer}, TrackkitSaver(logger, "saved"))
            parts.trainer.add_event_handler(Events.EPOCH_COMPLETED, saving)
            parts.evaluate_every_epoch()
            parts.train()
    assert parts.trainer.state.iteration == 12
    assert list(Path("saved").iterdir())
    assert caught


def test_wrong_options_are_told_at_the_call() -> None:
    parts = Parts()
    with pytest.raises(TypeError, match="'projekt'"):
        TrackkitLogger(projekt="x")
    with pytest.raises(ValueError, match="watch is 'gradients'"):
        TrackkitLogger().attach_trainer(parts.trainer, parts.model, watch="weights")  # type: ignore[arg-type]


def test_without_ignite_the_error_names_the_extra(run_script: RunScript) -> None:
    done = run_script(
        """
        import sys
        sys.modules["ignite"] = None
        import trackkit.integrations.ignite
    """,
        timeout=250,
    )
    assert "pip install 'trackkit[ignite]'" in done.stderr.splitlines()[-1]

"""Lightning's Trainer and Fabric, training real models: what is logged, and what can go wrong."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import lightning
import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from torch.nn.functional import cross_entropy

import trackkit
from tests.conftest import RunScript
from tests.frameworks.digits import loader, network
from tests.frameworks.lightning_digits import Digits, trainer
from tests.frameworks.tracking import QUIET, logged_versions
from trackkit.integrations.lightning import TrackkitLogger
from trackkit.query.run import Run

pytestmark = pytest.mark.filterwarnings("ignore")


def logger(**options: Any) -> TrackkitLogger:
    return TrackkitLogger(**{"project": "digits", "settings": QUIET, **options})


def only_run(project: str = "digits") -> Run:
    runs = list(trackkit.Api().runs(project))
    assert len(runs) == 1
    return runs[0]


def points(run: Run, key: str, *, superseded: bool = False) -> list[tuple[int, float]]:
    series = run.series(key, superseded=superseded)
    return list(zip(series.step.tolist(), series.value.tolist(), strict=True))


def steps(run: Run, key: str) -> list[int]:
    return [step for step, _ in points(run, key)]


def test_metrics_are_logged_at_lightning_s_steps_and_a_test_after_the_training_too(folder: Path) -> None:
    used = logger(name="first", tags=["baseline"])
    training = trainer(used)
    model = Digits()
    training.fit(model)
    validated = training.callback_metrics["val/loss"].item()
    tested = training.test(model, verbose=False)[0]["test/loss"]
    assert used.experiment.state == "running"
    used.experiment.finish()

    run = only_run()
    assert (run.name, run.state, list(run.tags)) == ("first", "finished", ["baseline"])
    assert steps(run, "train/loss") == list(range(12))
    assert steps(run, "train/loss_epoch") == steps(run, "val/loss") == [5, 11]
    assert points(run, "test/loss") == [(12, pytest.approx(tested))]
    assert points(run, "val/loss")[-1][1] == pytest.approx(validated)
    epochs = points(run, "epoch")
    assert len(epochs) == len(dict(epochs)) == 13
    assert dict(epochs)[0] == 0
    assert dict(epochs)[11] == 1


def test_the_config_has_hyperparameters_and_the_settings_of_what_takes_part(folder: Path) -> None:
    class Data(pl.LightningDataModule):
        def __init__(self, batch_size: int = 50) -> None:
            super().__init__()
            self.save_hyperparameters()

        def train_dataloader(self) -> Any:
            return loader(600, self.hparams["batch_size"])

    used = logger(config={"note": "mine"})
    stopping = EarlyStopping("train/loss_epoch", patience=2)
    options: dict[str, Any] = {"gradient_clip_val": 0.5, "accumulate_grad_batches": 2}
    trainer(used, epochs=1, callbacks=[stopping], **options).fit(Digits(), Data())
    used.experiment.finish()

    config = only_run().config
    assert (config["width"], config["lr"], config["batch_size"], config["note"]) == (16, 0.1, 50, "mine")
    assert config["trainer"]["gradient_clip_val"] == 0.5
    assert config["trainer"]["accumulate_grad_batches"] == 2
    assert config["trainer"]["strategy"] == "SingleDeviceStrategy"
    assert config["trainer"]["precision"] == "32-true"
    assert config["optimizer"]["class"] == "SGD"
    assert config["optimizer"]["momentum"] == 0.9
    assert config["scheduler"]["class"] == "StepLR"
    assert (config["scheduler"]["gamma"], config["scheduler"]["interval"]) == (0.5, "epoch")
    assert config["model"]["parameters"] == 64 * 16 + 16 + 16 * 10 + 10
    assert config["data"]["train"]["samples"] == 600
    assert config["data"]["train"]["batch_size"] == 50
    assert config["data"]["datamodule"].endswith("Data")
    assert config["callbacks"]["EarlyStopping"]["patience"] == 2


def test_learning_rates_throughput_and_the_gradient_s_norm_are_logged(folder: Path) -> None:
    class Norms(Callback):
        def __init__(self) -> None:
            self.found: list[float] = []

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            gradients = [one.grad.flatten() for one in pl_module.parameters()]
            self.found.append(torch.cat(gradients).norm().item())

    used, norms = logger(), Norms()
    trainer(used, callbacks=[norms]).fit(Digits())
    used.experiment.finish()

    run = only_run()
    assert points(run, "lr/SGD") == [(step, 0.1 if step < 6 else 0.05) for step in range(12)]
    assert run.series("grad_norm").value == pytest.approx(np.array(norms.found), rel=1e-5)
    assert steps(run, "grad_norm") == steps(run, "throughput/samples_per_second") == list(range(12))
    batches, samples = (run.series(f"throughput/{what}_per_second").value for what in ("batches", "samples"))
    assert samples == pytest.approx(100 * batches)
    assert all(0 <= share <= 1 for share in run.series("throughput/waiting_for_data").value)


def test_rates_follow_log_every_n_steps(folder: Path) -> None:
    used = logger(log_grad_norm=False)
    trainer(used, log_every_n_steps=4).fit(Digits())
    used.experiment.finish()
    run = only_run()
    assert steps(run, "throughput/batches_per_second") == steps(run, "train/loss") == [3, 7, 11]
    assert "grad_norm" not in run.keys()


def test_accumulated_batches_are_one_step(folder: Path) -> None:
    used = logger()
    trainer(used, epochs=1, accumulate_grad_batches=3).fit(Digits())
    used.experiment.finish()
    run = only_run()
    for key in ("grad_norm", "throughput/batches_per_second", "train/loss"):
        assert steps(run, key) == [0, 1], key


def test_optimizers_of_a_manual_loop_are_told_apart(folder: Path) -> None:
    class Two(Digits):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            for optimizer in self.optimizers():
                optimizer.zero_grad()
                self.manual_backward(cross_entropy(self.network(batch[0]), batch[1]))
                optimizer.step()

        def configure_optimizers(self) -> Any:
            first, _, last = self.network
            groups = [{"params": [last.weight]}, {"params": [last.bias], "lr": 0.3}]
            return torch.optim.SGD(first.parameters(), lr=0.1), torch.optim.SGD(groups, lr=0.2)

    used = logger()
    trainer(used, epochs=1).fit(Two())
    used.experiment.finish()
    run = only_run()
    rates = {key: set(run.series(key).value) for key in run.keys() if key.startswith("lr/")}
    assert rates == {"lr/SGD": {0.1}, "lr/SGD-1/0": {0.2}, "lr/SGD-1/1": {0.3}}
    assert steps(run, "grad_norm/0") == steps(run, "grad_norm/1") == list(range(6))
    assert run.config["optimizer"][1]["groups"] == [{"lr": 0.3}]


def test_what_early_stopping_and_checkpoints_came_to_is_in_the_summary(folder: Path) -> None:
    used = logger()
    saving = ModelCheckpoint(monitor="val/loss")
    stopping = EarlyStopping("val/loss", min_delta=100.0, patience=2)
    trainer(used, epochs=9, callbacks=[saving, stopping]).fit(Digits())
    used.experiment.finish()
    summary = only_run().summary
    assert summary["early_stopping/stopped_epoch"] == 2
    assert summary["checkpoint/best_score"] == pytest.approx(saving.best_model_score.item())
    assert summary["checkpoint/best_path"] == saving.best_model_path


def test_the_run_going_on_is_used_and_left_open(folder: Path) -> None:
    with trackkit.init(project="mine", settings=QUIET) as run:
        used = logger()
        trainer(used, epochs=1).fit(Digits())
        assert used.experiment is run
        assert (used.name, used.version, run.state) == ("mine", run.id, "running")
    assert steps(only_run("mine"), "train/loss") == list(range(6))


def test_a_run_that_is_given_is_used(folder: Path) -> None:
    given = trackkit.init(project="mine", settings=QUIET)
    trackkit.init(project="other", settings=QUIET, reinit="create_new")
    trainer(logger(experiment=given), epochs=1).fit(Digits())
    assert given.state == "running"
    given.finish()
    assert "train/loss" in only_run("mine").keys()
    assert "train/loss" not in only_run("other").keys()


def test_every_training_with_a_logger_of_its_own_is_a_run(folder: Path) -> None:
    for width in (4, 8):
        used = logger()
        training, model = trainer(used, epochs=1), Digits(width)
        training.fit(model)
        training.test(model, verbose=False)
    used.experiment.finish()
    runs = sorted(trackkit.Api().runs("digits"), key=lambda run: run.config["width"])
    assert [(run.state, run.config["width"], steps(run, "test/loss")) for run in runs] == [
        ("finished", 4, [6]),
        ("finished", 8, [6]),
    ]


def test_a_logger_s_further_trainings_go_on_in_its_run_even_if_that_had_ended(folder: Path) -> None:
    used, model = logger(), Digits()
    trainer(used, epochs=1).fit(model)
    used.experiment.finish()
    trainer(used, epochs=1).test(model, verbose=False)
    used.experiment.finish()
    assert steps(only_run(), "test/loss") == [0]


def test_a_prefix_goes_before_every_key(folder: Path) -> None:
    used = logger(prefix="fold1")
    trainer(used, epochs=1).fit(Digits())
    used.experiment.finish()
    assert all(key.startswith("fold1-") for key in only_run().keys())


def test_the_best_and_the_last_checkpoints_are_versions_of_an_artifact_when_they_are_made(folder: Path) -> None:
    class Growing(Digits):
        """Its loss is least after the second epoch, and training fails in the fourth."""

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val/loss", torch.tensor([3.0, 1.0, 2.0][self.current_epoch]))

        def on_train_epoch_start(self) -> None:
            if self.current_epoch == 3:
                raise ZeroDivisionError("in the fourth epoch")

    used = logger(log_model=True)
    saving = ModelCheckpoint(dirpath="saved", filename="{epoch}", monitor="val/loss", save_top_k=2)
    with pytest.raises(ZeroDivisionError):
        trainer(used, 4, callbacks=[saving], num_sanity_val_steps=0).fit(Growing())

    run = only_run()
    assert run.state == "failed"
    found = logged_versions(run)
    assert [(one.name, one.type, one.metadata["score"], one.metadata["epoch"]) for one in found] == [
        (f"model-{run.id}:v0", "model", 3.0, 0),
        (f"model-{run.id}:v1", "model", 1.0, 1),
    ]
    assert sorted(found[1].aliases) == ["best", "epoch_1", "latest"]
    assert sorted(found[0].aliases) == ["epoch_0"]
    facts = found[1].metadata
    assert (facts["monitor"], facts["mode"], facts["step"], facts["original_filename"]) == (
        "val/loss",
        "min",
        12,
        "epoch=1.ckpt",
    )
    assert facts["ModelCheckpoint"]["save_top_k"] == 2
    path = Path(TrackkitLogger.download_artifact(f"digits/model-{run.id}:best", folder / "best"), "model.ckpt")
    assert torch.load(path, weights_only=True)["trackkit"]["run"] == run.id
    assert path.read_bytes() == (folder / "saved/epoch=1.ckpt").read_bytes()


def test_every_checkpoint_is_a_version_where_all_are_asked_for(folder: Path) -> None:
    used = logger(log_model="all", checkpoint_name="digits", add_file_policy="immutable")
    saving = ModelCheckpoint(dirpath="saved", filename="{step}", every_n_train_steps=4, save_top_k=-1)
    trainer(used, callbacks=[saving]).fit(Digits())
    used.experiment.finish()
    found = logged_versions(only_run())
    assert [(one.name, one.metadata["step"]) for one in found] == [
        ("digits:v0", 4),
        ("digits:v1", 8),
        ("digits:v2", 12),
    ]
    assert "latest" in found[2].aliases


def test_no_checkpoint_is_logged_unless_it_is_asked_for(folder: Path) -> None:
    used = logger()
    trainer(used, callbacks=[ModelCheckpoint(dirpath="saved")]).fit(Digits())
    used.experiment.finish()
    assert logged_versions(only_run()) == []


def test_a_run_uses_the_artifact_it_goes_on_from(folder: Path) -> None:
    first = logger(log_model=True)
    trainer(first, 1, callbacks=[ModelCheckpoint(dirpath="saved", filename="{step}")]).fit(Digits())
    first.experiment.finish()
    second = logger(version="second")
    path = Path(second.use_artifact(f"model-{first.version}:latest").download(), "model.ckpt")
    trainer(second, 2).fit(Digits(), ckpt_path=path)
    second.experiment.finish()
    run = trackkit.Api().run("digits/second")
    assert [one.name for one in run.used_artifacts()] == [f"model-{first.version}:v0"]


def test_media_and_tables_are_logged_by_the_methods_lightning_s_users_know(folder: Path) -> None:
    used = logger(prefix="fold1")
    image = loader().dataset[0][0].reshape(8, 8).numpy()
    used.log_image("digit", [image, image], step=3, caption=["first", "second"])
    used.log_table("wrong", columns=["digit", "score"], data=[["five", 0.5]], step=4)
    used.log_text("said", columns=["text"], data=[["hello"]])
    used.log_html("page", ["<p>hello</p>"])
    with pytest.raises(ValueError, match="caption has 1 entries, but 'digit' has 2 items"):
        used.log_image("digit", [image, image], caption=["first"])
    with pytest.raises(TypeError, match="expected a list of Image data for 'digit'"):
        used.log_image("digit", image)
    used.experiment.finish()

    run = only_run()
    digits = run.media("fold1-digit")
    assert [(one.step, one.kind, one.metadata["caption"]) for one in digits] == [
        (3, "image", "first"),
        (3, "image", "second"),
    ]
    assert run.table("fold1-wrong").pandas().to_dict("list") == {"digit": ["five"], "score": [0.5]}
    assert run.media_keys()["fold1-page"] == "html"


@pytest.mark.parametrize("what", ["gradients", "parameters", "all"])
def test_gradients_and_parameters_are_watched_at_the_trainer_s_steps(folder: Path, what: Any) -> None:
    class Norms(Callback):
        def __init__(self) -> None:
            self.found: dict[int, float] = {}

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            gradients = [one.grad.flatten() for one in pl_module.parameters()]
            self.found[trainer.global_step] = torch.cat(gradients).norm().item()

    used, norms = logger(watch=what, watch_freq=5), Norms()
    trainer(used, log_every_n_steps=50, callbacks=[norms]).fit(Digits())
    used.experiment.finish()
    run = only_run()
    if what != "parameters":
        watched = run.watched("gradients")
        assert watched.step.tolist() == [0, 5, 10]
        expected = [norms.found[step] for step in (0, 5, 10)]
        assert run.series("gradients/norm").value.tolist() == pytest.approx(expected, rel=1e-4)
        assert watched.layers == [name for name, _ in Digits().named_parameters()]
    if what != "gradients":
        assert run.watched("parameters").step.tolist() == [0, 5, 10]


def test_a_second_training_of_a_watched_model_is_watched_as_well(folder: Path) -> None:
    used, model = logger(watch=True, watch_freq=3), Digits()
    trainer(used, 1).fit(model)
    trainer(used, 2).fit(model)
    used.experiment.finish()
    assert sorted(set(only_run().watched("gradients").step.tolist())) == [0, 3, 6, 9]


def test_what_a_module_logs_itself_is_of_the_trainer_s_step(folder: Path) -> None:
    class Own(Digits):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            self.logger.experiment.log({"mine": self.global_step})
            return super().training_step(batch, batch_idx)

    used = logger()
    trainer(used, log_every_n_steps=4).fit(Own())
    used.experiment.finish()
    assert points(only_run(), "mine") == [(step, step) for step in range(12)]


CRASH = """
    from lightning.pytorch.callbacks import ModelCheckpoint
    from tests.frameworks.lightning_digits import Digits, trainer
    from tests.frameworks.tracking import QUIET
    from trackkit.integrations.lightning import TrackkitLogger

    saving = ModelCheckpoint(dirpath="saved", filename="{step}", save_top_k=-1, SAVING)
    trainer(TrackkitLogger(project="digits", settings=QUIET), 3, callbacks=[saving]).fit(Digits(crash_at=10))
"""


@pytest.mark.parametrize(
    ("saving", "path", "resumed_at"),
    [
        ("every_n_train_steps=4", "step=8.ckpt", 8),
        ("every_n_epochs=1", "step=6.ckpt", 6),
        ("monitor='val/loss'", "step=6.ckpt", 6),
    ],
)
def test_training_goes_on_from_a_checkpoint_in_the_same_run(
    folder: Path, run_script: RunScript, saving: str, path: str, resumed_at: int
) -> None:
    crashed = run_script(CRASH.replace("SAVING", saving))
    assert crashed.returncode == 7, crashed.stderr
    before = only_run()
    assert before.state == "crashed"
    assert steps(before, "train/loss") == list(range(10))

    used = logger()
    resumed = trainer(used, 3, callbacks=[ModelCheckpoint()])
    resumed.fit(Digits(), ckpt_path=folder / "saved" / path)
    assert f"{before.id}/checkpoints" in resumed.checkpoint_callback.dirpath
    used.experiment.finish()

    run = only_run()
    assert (run.id, run.state) == (before.id, "finished")
    assert steps(run, "train/loss") == list(range(18))
    assert steps(run, "val/loss") == steps(run, "train/loss_epoch") == [5, 11, 17]
    everything = points(run, "train/loss", superseded=True)
    assert [step for step, _ in everything].count(resumed_at - 1) == 1
    assert [step for step, _ in everything].count(resumed_at) == 2
    assert set(points(before, "train/loss")) <= set(everything)


def test_a_checkpoint_says_which_run_and_step_it_is_of(folder: Path) -> None:
    used = logger()
    saving = ModelCheckpoint(dirpath="saved", filename="{step}", every_n_train_steps=4, save_top_k=-1)
    trainer(used, 1, callbacks=[saving]).fit(Digits())
    saved = torch.load("saved/step=4.ckpt", weights_only=True)["trackkit"]
    assert saved == {"run": used.version, "project": "digits", "step": 3}


def test_a_checkpoint_loaded_to_test_rewinds_nothing(folder: Path) -> None:
    used = logger()
    saving = ModelCheckpoint(dirpath="saved", filename="{step}")
    training, model = trainer(used, 2, callbacks=[saving]), Digits()
    training.fit(model)
    training.test(model, ckpt_path="best", verbose=False)
    used.experiment.finish()
    assert steps(only_run(), "train/loss") == list(range(12))


def test_a_run_with_an_id_of_its_own_is_not_left_for_a_checkpoint_s(folder: Path) -> None:
    saving = ModelCheckpoint(dirpath="saved", filename="{step}")
    first = logger()
    trainer(first, 1, callbacks=[saving]).fit(Digits())
    second = logger(version="second")
    trainer(second, 2).fit(Digits(), ckpt_path="saved/step=6.ckpt")
    second.experiment.finish()
    ids = {run.id: steps(run, "train/loss") for run in trackkit.Api().runs("digits")}
    assert ids == {first.version: list(range(6)), "second": list(range(6, 12))}


def test_a_checkpoint_of_another_origin_starts_a_run(folder: Path) -> None:
    trainer(False, 1, callbacks=[ModelCheckpoint(dirpath="saved", filename="{step}")]).fit(Digits())
    used = logger()
    trainer(used, 2).fit(Digits(), ckpt_path="saved/step=6.ckpt")
    used.experiment.finish()
    assert steps(only_run(), "train/loss") == list(range(6, 12))


class Failing(Digits):
    error: BaseException = ZeroDivisionError("the data is bad")

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        if batch_idx == 3:
            raise self.error
        return super().training_step(batch, batch_idx)


def test_an_exception_in_training_fails_the_run_with_its_traceback(folder: Path) -> None:
    used = logger()
    with pytest.raises(ZeroDivisionError):
        trainer(used).fit(Failing())
    run = only_run()
    assert run.state == "failed"
    assert "the data is bad" in run.error
    assert steps(run, "train/loss") == [0, 1, 2]


def test_an_interrupt_kills_the_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Failing, "error", KeyboardInterrupt())
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        trainer(logger()).fit(Failing())
    assert only_run().state == "killed"


def test_a_training_tried_again_after_an_exception_goes_on_in_its_run(folder: Path) -> None:
    used = logger()
    with pytest.raises(ZeroDivisionError):
        trainer(used).fit(Failing())
    trainer(used, epochs=1).fit(Digits())
    used.experiment.finish()
    assert only_run().state == "finished"


def test_a_borrowed_run_is_not_ended_by_an_exception(folder: Path) -> None:
    with trackkit.init(project="mine", settings=QUIET) as run:
        with pytest.raises(ZeroDivisionError):
            trainer(logger()).fit(Failing())
        assert run.state == "running"


def test_a_tracker_that_fails_at_everything_does_not_stop_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **named: Any) -> None:
        raise OSError("the disk is gone")

    used = logger(watch="gradients", log_model="all")
    run = used.experiment
    for name in ("log", "rewind", "watch", "log_artifact", "end"):
        monkeypatch.setattr(run, name, fail, raising=False)
    monkeypatch.setattr("trackkit.core.config.Config.update", fail)
    training = trainer(used, callbacks=[ModelCheckpoint(monitor="val/loss")])
    with warnings.catch_warnings(record=True):
        training.fit(Digits())
    assert training.global_step == 12


def test_a_run_that_can_t_be_started_does_not_stop_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **named: Any) -> None:
        raise OSError("no such device")

    monkeypatch.setattr("trackkit.core.session.Run", fail)
    training = trainer(logger(), epochs=1)
    training.fit(Digits())
    assert training.global_step == 6


@pytest.mark.parametrize(
    ("options", "words"),
    [({"log_model": "best"}, "log_model"), ({"watch": "weights"}, "watch"), ({"add_file_policy": "x"}, "policy")],
)
def test_wrong_use_is_an_error_at_the_call(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TrackkitLogger(**options)


def test_a_setting_that_can_t_be_is_an_error_before_the_training(folder: Path) -> None:
    with pytest.raises(ValueError, match="mode"):
        trainer(logger(mode="ofline")).fit(Digits())


def test_a_logger_is_pickled_with_its_run(folder: Path) -> None:
    used = logger()
    trainer(used, 1).fit(Digits())
    copy = pickle.loads(pickle.dumps(used))
    assert copy.version == used.version


SPAWN = """
    from tests.frameworks.lightning_digits import Digits, trainer
    from tests.frameworks.tracking import QUIET
    from trackkit.integrations.lightning import TrackkitLogger

    if __name__ == "__main__":
        logger = TrackkitLogger(project="digits", settings=QUIET, OPTIONS)
        training = trainer(logger, 2, strategy="STRATEGY", devices=2)
        training.fit(Digits())
        if training.is_global_zero:
            logger.experiment.summary["done"] = True
            logger.experiment.finish()
"""


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_one_of_two_processes_writes(folder: Path, run_script: RunScript, strategy: str) -> None:
    done = run_script(SPAWN.replace("STRATEGY", strategy).replace("OPTIONS", ""), timeout=200)
    assert done.returncode == 0, done.stderr
    run = only_run()
    assert steps(run, "train/loss") == list(range(6))
    assert run.summary["done"]
    assert run.config["trainer"]["world_size"] == 2
    assert run.state == "finished"


def test_both_of_two_processes_write_where_they_are_asked_to(folder: Path, run_script: RunScript) -> None:
    done = run_script(SPAWN.replace("STRATEGY", "ddp").replace("OPTIONS", "all_ranks=True"), timeout=200)
    assert done.returncode == 0, done.stderr
    run = only_run()
    assert sorted(steps(run, "train/loss")) == sorted([*range(6), *range(6)])


def test_fabric_logs_and_goes_on_from_its_checkpoint(folder: Path, run_script: RunScript) -> None:
    def train(first: int, last: int, path: str | None = None) -> TrackkitLogger:
        used = logger()
        fabric = lightning.Fabric(accelerator="cpu", devices=1, loggers=[used])
        fabric.launch()
        model = network()
        model, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), lr=0.1))
        state = {"model": model, "optimizer": optimizer, "logger": used}
        if path is not None:
            fabric.load(path, state)
        fabric.logger.log_hyperparams({"lr": 0.1})
        batches = fabric.setup_dataloaders(loader())
        for step, (images, digits) in enumerate(list(batches) * 2):
            if first <= step < last:
                loss = cross_entropy(model(images), digits)
                fabric.backward(loss)
                optimizer.step()
                fabric.log_dict({"loss": loss, "step": step}, step=step)
                if step == 4:
                    fabric.save("state.ckpt", state)
        return used

    first = train(0, 8)
    first.experiment.finish(1)
    second = train(5, 12, "state.ckpt")
    second.experiment.finish()
    run = only_run()
    assert second.version == first.version == run.id
    assert run.config["lr"] == 0.1
    assert steps(run, "loss") == list(range(12))
    assert len(points(run, "loss", superseded=True)) == 15


def test_the_older_package_s_trainer_works_as_well(folder: Path, run_script: RunScript) -> None:
    pytest.importorskip("pytorch_lightning")
    done = run_script("""
        import sys
        import pytorch_lightning as pl
        import torch
        from tests.frameworks.digits import loader, network
        from tests.frameworks.tracking import QUIET
        from trackkit.integrations.lightning import TrackkitLogger

        class Model(pl.LightningModule):
            def __init__(self):
                super().__init__()
                self.network = network()
            def training_step(self, batch, batch_idx):
                loss = torch.nn.functional.cross_entropy(self.network(batch[0]), batch[1])
                self.log("loss", loss)
                return loss
            def configure_optimizers(self):
                return torch.optim.Adam(self.parameters())

        logger = TrackkitLogger(project="digits", settings=QUIET)
        assert isinstance(logger, pl.loggers.logger.Logger)
        assert "lightning.pytorch" not in sys.modules
        saving = pl.callbacks.ModelCheckpoint(dirpath="saved")
        for epochs, path in ((1, None), (2, "last")):
            trainer = pl.Trainer(
                max_epochs=epochs, logger=logger, log_every_n_steps=1, accelerator="cpu", callbacks=[saving]
            )
            trainer.fit(Model(), loader(), ckpt_path=path and saving.best_model_path)
    """)
    assert done.returncode == 0, done.stderr
    run = only_run()
    assert steps(run, "loss") == list(range(12))
    assert "lr/Adam" in run.keys()


def test_without_lightning_the_error_names_the_extra(run_script: RunScript) -> None:
    done = run_script("""
        import sys
        for name in ("lightning", "pytorch_lightning", "lightning_fabric"):
            sys.modules[name] = None
        import trackkit.integrations.lightning
    """)
    assert "pip install 'trackkit[lightning]'" in done.stderr.splitlines()[-1]

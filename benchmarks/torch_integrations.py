"""What an integration of a framework built on torch adds to a step, beside those of other trackers.

`python -m benchmarks.torch_integrations accelerate|fastai|ignite|lightning|optuna|sb3|torch|transformers`: as
`benchmarks.integrations` does, but that the time in the tracker's hook is what all of an integration's methods took
in a step, as these frameworks call several.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks import integrations
from benchmarks.integrations import BARE, QUIET, SETTLED, Turn, compare, installed, quiet_wandb, somewhere_else


class Clock(integrations.Clock):
    """The time a step took, and what of it was spent in the methods of an integration."""

    def begin(self) -> None:
        time.sleep(SETTLED)  # what trackers do when they begin, such as looking at the machine, is over by then
        _spent.clear()
        super().begin()

    def end(self, steps: int) -> None:
        super().end(steps)
        if _spent:
            self.hooks.append(sum(_spent) // steps)


_spent: list[int] = []
_timed: set[type[Any]] = set()
_HOOKS = ("log", "log_metrics", "save", "_step_of_optimizer", "_on_step", "write", "__call__")


def timed(integration: type[Any]) -> None:
    """Measure the time spent in what a framework calls of an integration while it trains."""
    if integration in _timed:
        return
    _timed.add(integration)
    for name in dir(integration):
        method = getattr(integration, name)
        if name in _HOOKS or (name.startswith(("on_", "before_", "after_")) and callable(method)):

            def call(*arguments: Any, method: Any = method, **named: Any) -> Any:
                began = time.perf_counter_ns()
                try:
                    return method(*arguments, **named)
                finally:
                    _spent.append(time.perf_counter_ns() - began)

            setattr(integration, name, call)


def lightning() -> None:
    """Trainer: no logger, one that does nothing, ours, W&B's and MLflow's."""
    import lightning.pytorch as pl
    import torch
    from lightning.pytorch.loggers.logger import DummyLogger

    from trackkit.integrations.lightning import TrackkitLogger
    from trackkit.integrations.lightning.events import TrainerEvents

    for integration in (TrackkitLogger, TrainerEvents, DummyLogger):
        timed(integration)
    torch.set_num_threads(1)
    images, digits = torch.rand(32, 64), torch.randint(0, 10, (32,))

    class Model(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = torch.nn.functional.cross_entropy(self.network(images), digits)
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters())

    class Watch(pl.Callback):
        def __init__(self, clock: Clock) -> None:
            self.clock = clock

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.clock.begin()

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            self.clock.end(trainer.global_step)

    def turn(logger: Callable[[], Any], every: int, finish: Callable[[Any], None] = lambda used: None) -> Turn:
        def train() -> Clock:
            used, clock = logger(), Clock()
            trainer = pl.Trainer(
                max_epochs=1, logger=used, callbacks=[Watch(clock)], accelerator="cpu", log_every_n_steps=every,
                enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
            )  # fmt: skip
            trainer.fit(Model(), range(400))
            finish(used)
            return clock

        return train

    for every in (50, 1):
        turns = {
            BARE: turn(lambda: False, every),
            "Lightning's DummyLogger": turn(DummyLogger, every),
            "trackkit": turn(lambda: TrackkitLogger(settings=QUIET), every, lambda used: used.experiment.finish()),
        }
        if installed("wandb"):
            from lightning.pytorch.loggers import WandbLogger

            timed(WandbLogger)
            turns["WandbLogger, offline"] = turn(
                lambda: WandbLogger(offline=True, settings=quiet_wandb()), every, lambda used: used.experiment.finish()
            )
        if installed("mlflow"):
            from lightning.pytorch.loggers import MLFlowLogger

            timed(MLFlowLogger)
            turns["MLFlowLogger, SQLite"] = turn(lambda: MLFlowLogger(tracking_uri="sqlite:///mlflow.db"), every)
        compare(f"Lightning, log_every_n_steps={every}", turns, rounds=9 if every > 1 else 5)


def transformers() -> None:
    """Trainer: no callback, ours, W&B's and MLflow's."""
    import torch
    import transformers
    from transformers.integrations import MLflowCallback, WandbCallback

    import trackkit
    from trackkit.integrations.transformers import TrackkitCallback

    for integration in (TrackkitCallback, WandbCallback, MLflowCallback):
        timed(integration)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    data = [{"input_ids": row, "labels": row} for row in torch.randint(0, 17, (320, 16))]
    size = {"n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 2}

    class Watch(transformers.TrainerCallback):
        def __init__(self, clock: Clock) -> None:
            self.clock = clock

        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 0:
                self.clock.begin()

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.clock.end(state.global_step)

    def turn(every: int, callback: Callable[[], list[Any]] = list, finish: Callable[[], None] = lambda: None) -> Turn:
        def train() -> Clock:
            clock = Clock()
            arguments = transformers.TrainingArguments(
                output_dir="out", max_steps=160, per_device_train_batch_size=2, logging_steps=every, report_to="none",
                use_cpu=True, disable_tqdm=True, save_strategy="no", dataloader_pin_memory=False,
            )  # fmt: skip
            model = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=17, **size))
            trainer = transformers.Trainer(model, arguments, train_dataset=data, callbacks=[Watch(clock), *callback()])
            trainer.remove_callback(transformers.PrinterCallback)
            trainer.train()
            finish()
            return clock

        return train

    for every in (50, 1):
        turns = {
            BARE: turn(every),
            "trackkit": turn(every, lambda: [TrackkitCallback(settings=QUIET)], trackkit.finish),
        }
        if installed("wandb"):
            import wandb

            turns["WandbCallback, offline"] = turn(every, lambda: [WandbCallback()], wandb.finish)
        if installed("mlflow"):
            import mlflow

            mlflow.set_tracking_uri("sqlite:///mlflow.db")
            turns["MLflowCallback, SQLite"] = turn(every, lambda: [MLflowCallback()], mlflow.end_run)
        compare(f"Transformers, logging_steps={every}", turns, rounds=7)


def accelerate() -> None:
    """A loop that logs each step: no tracker, ours, W&B's and MLflow's."""
    import torch
    from accelerate import Accelerator, tracking

    from trackkit.integrations.accelerate import TrackkitTracker

    for integration in (TrackkitTracker, tracking.WandBTracker, tracking.MLflowTracker):
        timed(integration)
    torch.set_num_threads(1)
    images, digits = torch.rand(32, 64), torch.randint(0, 10, (32,))
    steps = 400

    def turn(log_with: Callable[[], Any], options: dict[str, Any] | None = None) -> Turn:
        def train() -> Clock:
            clock = Clock()
            accelerator = Accelerator(cpu=True, log_with=log_with())
            accelerator.init_trackers("bench", init_kwargs=options or {})
            model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
            model, optimizer = accelerator.prepare(model, torch.optim.Adam(model.parameters()))
            _ = [tracker.tracker for tracker in accelerator.trackers]  # ours begins when it is needed
            clock.begin()
            for step in range(steps):
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(model(images), digits)
                accelerator.backward(loss)
                optimizer.step()
                accelerator.log({"loss": loss.item()}, step=step)
            clock.end(steps)
            accelerator.end_training()
            return clock

        return train

    turns = {BARE: turn(lambda: None), "trackkit": turn(lambda: TrackkitTracker(settings=QUIET))}
    if installed("wandb"):
        turns["W&B's tracker, offline"] = turn(
            lambda: "wandb", {"wandb": {"mode": "offline", "settings": quiet_wandb()}}
        )
    if installed("mlflow"):
        os.environ["MLFLOW_TRACKING_URI"] = "sqlite:///mlflow.db"
        turns["MLflow's tracker, SQLite"] = turn(lambda: "mlflow")
    compare("accelerate, every step logged", turns, rounds=7)


def _perceptron() -> Any:
    import torch

    return torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))


def torch() -> None:
    """A loop of one's own that logs each step: nothing, the tracker, `run.log` alone, and W&B's `log`."""
    import torch

    import trackkit
    from trackkit.integrations.torch import TrackkitTracker

    torch.set_num_threads(1)
    images, digits = torch.rand(32, 64), torch.randint(0, 10, (32,))
    steps = 400

    def turn(start: Callable[[Any, Any], Callable[[Any], None]], finish: Callable[[], None] = lambda: None) -> Turn:
        def train() -> Clock:
            clock, model = Clock(), _perceptron()
            optimizer = torch.optim.Adam(model.parameters())
            log = start(model, optimizer)
            log(torch.tensor(0.0))  # ours begins when it is needed
            clock.begin()
            hook = clock.timed(log)
            for _ in range(steps):
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(model(images), digits)
                loss.backward()
                optimizer.step()
                hook(loss.detach())
            clock.end(steps)
            finish()
            return clock

        return train

    def tracker(model: Any, optimizer: Any) -> Callable[[Any], None]:
        made = TrackkitTracker(model, optimizer, settings=QUIET)
        return lambda loss: made.log({"loss": loss})

    def by_hand(model: Any, optimizer: Any) -> Callable[[Any], None]:
        run = trackkit.init(settings=QUIET)
        return lambda loss: run.log({"loss": loss})

    turns = {
        BARE: turn(lambda model, optimizer: lambda loss: None),
        "trackkit's tracker": turn(tracker, trackkit.finish),
        "run.log by hand": turn(by_hand, trackkit.finish),
    }
    if installed("wandb"):
        import wandb

        def theirs(model: Any, optimizer: Any) -> Callable[[Any], None]:
            run = wandb.init(mode="offline", settings=quiet_wandb())
            return lambda loss: run.log({"loss": loss})

        turns["wandb.log, offline"] = turn(theirs, wandb.finish)
    compare("plain torch, every step logged", turns, rounds=7)


def ignite() -> None:
    """An engine with its loss logged each iteration: no logger, ours, W&B's and MLflow's."""
    import torch
    from ignite.engine import Events, create_supervised_trainer
    from ignite.handlers import mlflow_logger, wandb_logger

    from trackkit.integrations.ignite import OutputHandler, TrackkitLogger

    for handler in (OutputHandler, wandb_logger.OutputHandler, mlflow_logger.OutputHandler):
        timed(handler)
    torch.set_num_threads(1)
    data = [(torch.rand(32, 64), torch.randint(0, 10, (32,)))] * 400

    def turn(logger: Callable[[], Any] = lambda: None) -> Turn:
        def train() -> Clock:
            clock, model, used = Clock(), _perceptron(), logger()
            optimizer = torch.optim.Adam(model.parameters())
            trainer = create_supervised_trainer(model, optimizer, torch.nn.functional.cross_entropy)
            if used is not None:
                used.attach_output_handler(
                    trainer, Events.ITERATION_COMPLETED, tag="train", output_transform=lambda loss: {"loss": loss}
                )
            trainer.add_event_handler(Events.STARTED, lambda engine: clock.begin())
            trainer.run(data, max_epochs=1)
            clock.end(len(data))
            if used is not None:
                used.close()
            return clock

        return train

    turns = {BARE: turn(), "trackkit": turn(lambda: TrackkitLogger(settings=QUIET))}
    if installed("wandb"):
        turns["WandBLogger, offline"] = turn(lambda: wandb_logger.WandBLogger(mode="offline", settings=quiet_wandb()))
    if installed("mlflow"):
        turns["MLflowLogger, SQLite"] = turn(lambda: mlflow_logger.MLflowLogger("sqlite:///mlflow.db"))
    compare("Ignite, every iteration logged", turns, rounds=7)


def fastai() -> None:
    """A Learner's batches: no callback, ours, and W&B's."""
    import torch
    from fastai.callback.core import Callback
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from torch.utils.data import TensorDataset

    import trackkit
    from trackkit.integrations.fastai import TrackkitCallback

    timed(TrackkitCallback)
    torch.set_num_threads(1)
    data = TensorDataset(torch.rand(6400, 64), torch.randint(0, 10, (6400,)))
    loaders = DataLoaders.from_dsets(data, data, bs=32, device="cpu", num_workers=0)

    class Watch(Callback):  # type: ignore[misc]
        order = 100

        def __init__(self, clock: Clock) -> None:
            super().__init__()
            self.clock = clock

        def before_train(self) -> None:
            self.clock.begin()

        def after_train(self) -> None:
            self.clock.end(self.learn.train_iter)

    def turn(callbacks: Callable[[], list[Any]] = list, finish: Callable[[], None] = lambda: None) -> Turn:
        def train() -> Clock:
            clock = Clock()
            learn = Learner(
                loaders, _perceptron(), loss_func=torch.nn.functional.cross_entropy, cbs=[*callbacks(), Watch(clock)]
            )
            with learn.no_bar(), learn.no_logging():
                learn.fit(1)
            finish()
            return clock

        return train

    turns = {
        BARE: turn(),
        "trackkit": turn(lambda: [TrackkitCallback(log_preds=False, settings=QUIET)], trackkit.finish),
    }
    if installed("wandb"):
        import wandb
        from fastai.callback.wandb import WandbCallback

        timed(WandbCallback)

        def theirs() -> list[Any]:
            wandb.init(mode="offline", settings=quiet_wandb())
            return [WandbCallback(log_preds=False)]

        try:
            turn(theirs, wandb.finish)()
        except TypeError as error:  # as with fastai 2.8.12 and fastcore 2.2.39
            wandb.finish()
            print(f"WandbCallback is left out, as it fails before the first batch: {error}")
        else:
            turns["WandbCallback, offline"] = turn(theirs, wandb.finish)
    compare("fastai, every batch logged", turns, rounds=7)


def sb3() -> None:
    """PPO's timesteps on a pole: no callback, ours, and W&B's, which only stores the model's settings."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback

    from trackkit.integrations.sb3 import TrackkitCallback

    timed(TrackkitCallback)
    torch.set_num_threads(1)

    class Watch(BaseCallback):  # type: ignore[misc]
        def __init__(self, clock: Clock) -> None:
            super().__init__()
            self.clock = clock

        def _on_training_start(self) -> None:
            self.clock.begin()

        def _on_step(self) -> bool:
            return True

        def _on_training_end(self) -> None:
            self.clock.end(self.num_timesteps)

    def turn(callbacks: Callable[[], list[Any]] = list, finish: Callable[[], None] = lambda: None) -> Turn:
        def train() -> Clock:
            clock = Clock()
            model = PPO("MlpPolicy", "CartPole-v1", n_steps=256, n_epochs=2, device="cpu", seed=0)
            model.learn(1024, callback=[*callbacks(), Watch(clock)], log_interval=1)
            finish()
            return clock

        return train

    turns = {BARE: turn(), "trackkit": turn(lambda: [TrackkitCallback(settings=QUIET)])}
    if installed("wandb"):
        import wandb
        from wandb.integration.sb3 import WandbCallback

        timed(WandbCallback)

        def theirs() -> list[Any]:
            wandb.init(mode="offline", settings=quiet_wandb())
            return [WandbCallback()]

        turns["WandbCallback, offline"] = turn(theirs, wandb.finish)
    compare("Stable-Baselines3, a timestep", turns, rounds=5)


def optuna() -> None:
    """Trials of an objective that does nothing: no callback, ours, and W&B's and MLflow's of optuna-integration."""
    import optuna

    from trackkit.integrations.optuna import TrackkitCallback

    timed(TrackkitCallback)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    trials = 100

    def turn(callbacks: Callable[[], list[Any]] = list, finish: Callable[[], None] = lambda: None) -> Turn:
        def search() -> Clock:
            clock = Clock()
            study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
            used = callbacks()
            clock.begin()
            study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=trials, callbacks=used)
            clock.end(trials)
            finish()
            return clock

        return search

    options: dict[str, Any] = {"plots": False, "importances": False, "trials": False, "settings": QUIET}
    turns = {BARE: turn(), "trackkit": turn(lambda: [TrackkitCallback(**options)])}
    if installed("wandb") and installed("optuna_integration"):
        import wandb
        from optuna_integration.wandb import WeightsAndBiasesCallback

        timed(WeightsAndBiasesCallback)
        theirs: dict[str, Any] = {"mode": "offline", "settings": quiet_wandb()}
        turns["WeightsAndBiasesCallback, offline"] = turn(
            lambda: [WeightsAndBiasesCallback(wandb_kwargs=theirs)], wandb.finish
        )
    if installed("mlflow") and installed("optuna_integration"):
        from optuna_integration.mlflow import MLflowCallback

        timed(MLflowCallback)
        turns["MLflowCallback, SQLite"] = turn(lambda: [MLflowCallback("sqlite:///mlflow.db")])
    compare("Optuna, a trial", turns, rounds=5)


FRAMEWORKS: dict[str, Callable[[], None]] = {
    "accelerate": accelerate,
    "fastai": fastai,
    "ignite": ignite,
    "lightning": lightning,
    "optuna": optuna,
    "sb3": sb3,
    "torch": torch,
    "transformers": transformers,
}

if __name__ == "__main__":
    with somewhere_else():
        os.environ["WANDB_MODE"] = "offline"
        for chosen in sys.argv[1:] or FRAMEWORKS:
            FRAMEWORKS[chosen]()

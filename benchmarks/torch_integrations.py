"""What an integration of a framework built on torch adds to a step, beside those of other trackers.

`python -m benchmarks.torch_integrations lightning|transformers|accelerate`: as `benchmarks.integrations` does, but that
the time in the tracker's hook is what all of an integration's methods took in a step, as these frameworks call several.
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


def timed(integration: type[Any]) -> None:
    """Measure the time spent in what a framework calls of an integration while it trains."""
    if integration in _timed:
        return
    _timed.add(integration)
    for name in dir(integration):
        method = getattr(integration, name)
        if name in ("log", "log_metrics", "save", "_step_of_optimizer") or (
            name.startswith("on_") and callable(method)
        ):

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


FRAMEWORKS: dict[str, Callable[[], None]] = {
    "accelerate": accelerate,
    "lightning": lightning,
    "transformers": transformers,
}

if __name__ == "__main__":
    with somewhere_else():
        os.environ["WANDB_MODE"] = "offline"
        for chosen in sys.argv[1:] or FRAMEWORKS:
            FRAMEWORKS[chosen]()

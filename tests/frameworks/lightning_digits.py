"""A LightningModule that learns the digits, importable by the processes that a strategy spawns."""

from __future__ import annotations

import os
from typing import Any

import lightning.pytorch as pl
import torch
from torch.nn.functional import cross_entropy

from tests.frameworks.digits import loader, network


class Digits(pl.LightningModule):
    def __init__(self, width: int = 16, lr: float = 0.1, crash_at: int | None = None) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = network(width)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = cross_entropy(self.network(batch[0]), batch[1])
        self.log("train/loss", loss)
        self.log("train/loss_epoch", loss, on_step=False, on_epoch=True)
        if self.hparams["crash_at"] is not None and self.trainer.global_step >= self.hparams["crash_at"]:
            os._exit(7)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", cross_entropy(self.network(batch[0]), batch[1]))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test/loss", cross_entropy(self.network(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams["lr"], momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)]

    def train_dataloader(self) -> Any:
        return loader()

    def val_dataloader(self) -> Any:
        return loader(200)

    def test_dataloader(self) -> Any:
        return loader(300)


def trainer(logger: Any, epochs: int = 2, **options: Any) -> pl.Trainer:
    """A Trainer on the CPU that logs every step: six an epoch."""
    given: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "log_every_n_steps": 1,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": "callbacks" in options,
    }
    return pl.Trainer(max_epochs=epochs, logger=logger, **{**given, **options})

"""A network learns scikit-learn's digits with Lightning, goes on from a checkpoint in the same run, and is tested."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset, random_split

from trackkit.integrations.lightning import TrackkitLogger


class Digits(pl.LightningModule):
    def __init__(self, width: int = 64, lr: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = torch.nn.Sequential(torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, 10))

    def _loss(self, batch: Any, stage: str) -> torch.Tensor:
        scores = self.network(batch[0])
        loss = cross_entropy(scores, batch[1])
        accuracy = (scores.argmax(1) == batch[1]).float().mean()
        self.log_dict({f"{stage}/loss": loss, f"{stage}/accuracy": accuracy})
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self._loss(batch, "train")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._loss(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._loss(batch, "test")

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams["lr"])
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]


def trainer(logger: TrackkitLogger, epochs: int) -> pl.Trainer:
    callbacks = [ModelCheckpoint(monitor="val/loss", save_last=True), EarlyStopping("val/loss", patience=3)]
    return pl.Trainer(
        max_epochs=epochs, logger=logger, callbacks=callbacks, log_every_n_steps=5, enable_progress_bar=False
    )


def main() -> None:
    images, digits = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(digits))
    train, val, test = random_split(data, [0.7, 0.15, 0.15], torch.Generator().manual_seed(0))
    loaders = DataLoader(train, 64, shuffle=True), DataLoader(val, 256)

    logger = TrackkitLogger(project="digits", name="lightning", tags=["example"], log_model=True)
    first = trainer(logger, epochs=5)
    first.fit(Digits(), *loaders)
    last = first.checkpoint_callback.last_model_path
    logger.experiment.finish()

    # The checkpoint knows the run: these are its epochs 5 to 14.
    again = TrackkitLogger(project="digits", log_model=True)
    second, model = trainer(again, epochs=15), Digits()
    second.fit(model, *loaders, ckpt_path=last)
    second.test(model, DataLoader(test, 256))
    print(f"see it with: trackkit show {again.experiment.path}")


if __name__ == "__main__":
    main()

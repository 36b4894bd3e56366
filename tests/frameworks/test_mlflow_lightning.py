"""MLflow's autologging of Lightning, which its real client sends to our server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from mlflow import MlflowClient
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

from tests.servers import Serving, serving


class Classifier(LightningModule):
    """Digits by one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(64, 10)

    def training_step(self, batch: list[torch.Tensor], number: int) -> torch.Tensor:
        loss = torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.chdir(tmp_path)
    with serving(tmp_path / "store") as found:
        mlflow.set_tracking_uri(found.address)
        yield found
    mlflow.set_tracking_uri(None)


def test_autolog_of_lightning(server: Serving, tmp_path: Path) -> None:
    images, labels = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels))
    seed_everything(1)
    mlflow.set_experiment("digits")
    mlflow.pytorch.autolog(log_models=False, checkpoint=False)
    try:
        with mlflow.start_run() as run:
            trainer = Trainer(max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False,
                              enable_progress_bar=False, default_root_dir=tmp_path)  # fmt: skip
            trainer.fit(Classifier(), DataLoader(data, batch_size=64))
    finally:
        mlflow.pytorch.autolog(disable=True)
    client = MlflowClient()
    found = client.get_run(run.info.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.params["optimizer_name"] == "SGD"
    assert found.data.params["lr"] == "0.05"
    history = [one.value for one in client.get_metric_history(run.info.run_id, "loss")]
    assert len(history) == 3
    assert history[-1] < history[0]
    shown = server.get(f"/runs/{run.info.run_id}")["run"]
    assert shown["config"]["lr"] == 0.05
    assert shown["summary"]["loss"] == history[-1]

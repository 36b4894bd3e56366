"""Ignite's engines learn scikit-learn's digits, with checkpoints: `python examples/ignite_digits.py`.

Needs `pip install 'trackkit[ignite,sklearn]'`.
"""

from __future__ import annotations

import tempfile

import torch
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import Checkpoint
from ignite.metrics import Accuracy, Loss
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset, random_split

from trackkit.integrations.ignite import TrackkitLogger, TrackkitSaver


def main() -> None:
    images, digits = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(digits))
    train, val = random_split(data, [0.8, 0.2], torch.Generator().manual_seed(0))

    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    trainer = create_supervised_trainer(model, optimizer, cross_entropy)
    evaluator = create_supervised_evaluator(model, {"accuracy": Accuracy(), "loss": Loss(cross_entropy)})

    @trainer.on(Events.EPOCH_COMPLETED)
    def evaluate() -> None:
        evaluator.run(DataLoader(val, 256))

    logger = TrackkitLogger(project="digits", name="ignite")
    logger.attach_trainer(trainer, model, optimizer, {"val": evaluator}, watch="gradients", watch_freq=20)
    with tempfile.TemporaryDirectory() as folder, logger:
        to_save = {"model": model, "optimizer": optimizer, "trainer": trainer, "trackkit": logger}
        checkpoint = Checkpoint(
            to_save,
            TrackkitSaver(logger, folder),
            n_saved=2,
            score_function=Checkpoint.get_default_score_fn("accuracy"),
            score_name="accuracy",
        )
        evaluator.add_event_handler(Events.COMPLETED, checkpoint)
        trainer.run(DataLoader(train, 64, shuffle=True), max_epochs=15)
    print(f"accuracy {evaluator.state.metrics['accuracy']:.3f}; see it with: trackkit show {logger.run.path}")


if __name__ == "__main__":
    main()

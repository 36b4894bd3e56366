"""A loop with accelerate learns scikit-learn's digits, and goes on from its checkpoint in the same run."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from trackkit.integrations.accelerate import TrackkitTracker


def train(first_epoch: int, epochs: int, checkpoint: str | None = None) -> str:
    tracker = TrackkitTracker(project="digits", name="accelerate", tags=["example"])
    accelerator = Accelerator(log_with=tracker)
    accelerator.init_trackers("digits", config={"lr": 0.05, "batch_size": 64})
    images, digits = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(digits))
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    model, optimizer, batches = accelerator.prepare(model, optimizer, DataLoader(data, 64, shuffle=True))
    if checkpoint is not None:
        accelerator.load_state(checkpoint)
    for epoch in range(first_epoch, epochs):
        for number, (pixels, labels) in enumerate(batches):
            scores = model(pixels)
            loss = cross_entropy(scores, labels)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            accuracy = (scores.argmax(1) == labels).float().mean()
            step = epoch * len(batches) + number
            accelerator.log({"loss": loss.detach(), "accuracy": accuracy, "epoch": epoch}, step=step)
        accelerator.save_state(f"digits-accelerate/{epoch}")
    path = tracker.tracker.path
    accelerator.end_training()
    return path


def main() -> None:
    train(0, 4)
    path = train(3, 6, "digits-accelerate/2")  # epoch 3 once more, and then 4 and 5
    print(f"see it with: trackkit show {path}")


if __name__ == "__main__":
    main()

"""A loop of torch that stops, and goes on from its checkpoint in the same run: `python examples/torch_checkpoints.py`.

Needs `pip install 'trackkit[torch,sklearn]'`. `torch_loop.py` is a simpler one, which watches its model.
"""

from __future__ import annotations

import os
import tempfile

import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset, random_split

from trackkit.integrations.torch import TrackkitTracker


def train(path: str, epochs: int) -> str:
    """Train up to so many epochs, from the checkpoint if there is one."""
    images, digits = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(digits))
    rest, val = random_split(data, [0.8, 0.2], torch.Generator().manual_seed(0))
    loader, (tests, answers) = DataLoader(rest, 64, shuffle=True), val[:]

    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}

    tracker = TrackkitTracker(model, optimizer, schedule, {"train": loader}, project="digits", name="torch")
    first = tracker.load(path, parts)["epoch"] + 1 if os.path.exists(path) else 0
    with tracker:
        for epoch in range(first, epochs):
            for inputs, targets in tracker.batches(loader):
                loss = cross_entropy(model(inputs), targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                tracker.log({"train/loss": loss.detach(), "epoch": epoch})
            schedule.step()
            with torch.no_grad():
                accuracy = float((model(tests).argmax(1) == answers).float().mean())
            tracker.run.log({"val/accuracy": accuracy}, step=tracker.step - 1)
            tracker.save(path, {**parts, "epoch": epoch}, score=accuracy, monitor="accuracy", epoch=epoch)
    return tracker.run.path


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "last.pt")
        train(path, epochs=5)
        run = train(path, epochs=15)
    print(f"one run, stopped once: trackkit show {run}")


if __name__ == "__main__":
    main()

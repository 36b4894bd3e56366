"""A plain loop of torch on scikit-learn's digits, with its model watched: `python examples/torch_loop.py`.

Needs `pip install 'trackkit[torch,sklearn]'`. Afterwards, `trackkit ui` shows how gradients flow, layer by layer.
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import trackkit

CONFIG = {"epochs": 20, "batch": 64, "lr": 3e-3, "width": 64, "depth": 4, "seed": 0}


def split() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pixels and digits to train on, and to test with."""
    digits = load_digits()
    parts = train_test_split(digits.data / 16, digits.target, random_state=0, stratify=digits.target)
    inputs, tests, targets, answers = (torch.as_tensor(part) for part in parts)
    return inputs.float(), targets, tests.float(), answers


def make_model(width: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(64, width), nn.ReLU()]
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def main() -> None:
    with trackkit.init(project="digits", name="torch loop", config=CONFIG) as run:
        config = run.config
        torch.manual_seed(config.seed)
        inputs, targets, tests, answers = split()
        model = make_model(config.width, config.depth)
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr)
        run.watch(model, log="all", every=5, activations=True, graph=True)
        run.define_metric("test.accuracy", summary="max")
        for epoch in range(config.epochs):
            model.train()
            for batch in torch.randperm(len(inputs)).split(config.batch):
                loss = nn.functional.cross_entropy(model(inputs[batch]), targets[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.log({"loss": loss, "epoch": epoch})
            model.eval()
            with torch.no_grad():
                accuracy = (model(tests).argmax(1) == answers).float().mean()
            run.log({"test": {"accuracy": accuracy}, "epoch": epoch + 1})
        print(f"accuracy {float(accuracy):.3f}; see it with: trackkit ui")


if __name__ == "__main__":
    main()

"""What watching a model adds to a step of training: trackkit and W&B beside the bare loop, in the same rounds.

`python -m benchmarks.watch` measures on the CPU; `--device cuda` on a GPU, at sizes that fill it, where it also logs a
loss per step, with and without `.item()`, and counts the device synchronisations the torch profiler sees.

Every loop is a model, an optimizer and a run of its own, and the loops take turns of a few steps, so that whatever
else the machine does falls on all of them. The figure is a loop's time a step by that of the bare loop, of each the
lower quartile over its turns, which a busy machine disturbs least; for `every=100` it is the mean, which has its share
of watched steps. `cpu` is the same of the CPU time of the training's thread: where others use the machine, measure with
`--threads 1` and look there, as that thread then does all that training waits for.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

import trackkit

SIZES = {
    "cpu": {"width": 512, "batch": 256, "model": 128, "layers": 4, "sequences": 16, "length": 64},
    "cuda": {"width": 8192, "batch": 8192, "model": 1024, "layers": 12, "sequences": 32, "length": 1024},
}
VOCABULARY = 256


class Transformer(nn.Module):
    """A small language model: embedding, encoder layers with a causal mask, head."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1], device=tokens.device)
        logits: torch.Tensor = self.head(self.layers(self.embedding(tokens), mask=mask, is_causal=True))
        return logits


def mlp(device: str) -> tuple[nn.Module, Callable[[nn.Module], torch.Tensor]]:
    size = SIZES[device]
    model = nn.Sequential(*[each for _ in range(6) for each in (nn.Linear(size["width"], size["width"]), nn.ReLU())])
    given = torch.randn(size["batch"], size["width"], device=device)
    wanted = torch.randn(size["batch"], size["width"], device=device)
    return model.to(device), lambda model: nn.functional.mse_loss(model(given), wanted)


def transformer(device: str) -> tuple[nn.Module, Callable[[nn.Module], torch.Tensor]]:
    size = SIZES[device]
    model = Transformer(size["model"], size["layers"])
    tokens = torch.randint(0, VOCABULARY, (size["sequences"], size["length"] + 1), device=device)

    def loss(model: nn.Module) -> torch.Tensor:
        logits = model(tokens[:, :-1])
        return nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    return model.to(device), loss


class Loop:
    """A model that trains, bare."""

    def __init__(self, make: Any, device: str, folder: Path) -> None:
        torch.manual_seed(0)
        self.model, self.loss = make(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        self.device = device
        self.start(folder)

    def start(self, folder: Path) -> None: ...

    def step(self) -> torch.Tensor:
        self.optimizer.zero_grad()
        loss = self.loss(self.model)
        loss.backward()
        self.optimizer.step()
        return loss

    def finish(self) -> None: ...

    def turn(self, steps: int) -> tuple[float, float]:
        """Seconds of some steps, until the device has done them, and of the thread's CPU."""
        began, spent = time.perf_counter(), time.thread_time()
        for _ in range(steps):
            self.step()
        if self.device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - began, time.thread_time() - spent


class Logged(Loop):
    """With a run, and nothing watched: what the others are measured against where they log a loss."""

    every = 0
    log: str | None = "gradients"

    def start(self, folder: Path) -> None:
        settings = {"quiet": True, "system": False, "console": "off", "git": False, "packages": False}
        self.run = trackkit.init(project="bench", dir=folder, settings=settings, reinit="create_new")
        if self.every:
            self.run.watch(self.model, log=self.log, every=self.every)  # type: ignore[arg-type]

    def finish(self) -> None:
        self.run.finish()


class EveryStep(Logged):
    every = 1


class EveryStepAll(Logged):
    every = 1
    log = "all"


class EveryHundredth(Logged):
    every = 100


class LoggedTensor(Logged):
    def step(self) -> torch.Tensor:
        loss = super().step()
        self.run.log({"loss": loss})
        return loss


class LoggedItem(Logged):
    def step(self) -> torch.Tensor:
        loss = super().step()
        self.run.log({"loss": loss.item()})
        return loss


class Wandb(Loop):
    """W&B's watch needs a log of the run in each step it is to keep."""

    def start(self, folder: Path) -> None:
        import wandb

        os.environ["WANDB_SILENT"] = "true"
        self.run = wandb.init(project="bench", dir=str(folder), mode="offline")
        self.run.watch(self.model, log="gradients", log_freq=1)

    def step(self) -> torch.Tensor:
        loss = super().step()
        self.run.log({"step": 1.0})
        return loss

    def finish(self) -> None:
        self.run.finish()


LOOPS: dict[str, type[Loop]] = {
    "bare": Loop,
    "watch(every=1)": EveryStep,
    "watch(every=1, log='all')": EveryStepAll,
}
RARE: dict[str, type[Loop]] = {"bare": Loop, "watch(every=100)": EveryHundredth}
PEERS: dict[str, tuple[type[Loop], str]] = {"wandb.watch(log_freq=1)": (Wandb, "wandb")}
SCALARS: dict[str, type[Loop]] = {"log(tensor)": LoggedTensor, "log(tensor.item())": LoggedItem}


def measure(make: Any, device: str, turns: int, steps: int) -> dict[str, float]:
    """Milliseconds a step of the bare loop, and of each other one the ratio to it."""
    loops = dict(LOOPS)
    loops.update({name: loop for name, (loop, module) in PEERS.items() if find_spec(module)})
    loops.update(SCALARS if device != "cpu" else {})
    found = compare(loops, make, device, turns, steps, quartile)
    rare = compare(RARE, make, device, 60, 10, statistics.fmean)
    return found | {name: value for name, value in rare.items() if name not in found}


def quartile(times: list[float]) -> float:
    return statistics.quantiles(times, n=4)[0]


def compare(
    loops: dict[str, type[Loop]],
    make: Any,
    device: str,
    turns: int,
    steps: int,
    summary: Callable[[list[float]], float],
) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        made = {name: loop(make, device, Path(folder)) for name, loop in loops.items()}
        for loop in made.values():
            loop.turn(3)
        time.sleep(1)
        walls: dict[str, list[float]] = {name: [] for name in made}
        spent: dict[str, list[float]] = {name: [] for name in made}
        for turn in range(turns):
            names = list(made)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                wall, cpu = made[name].turn(steps)
                walls[name].append(wall / steps)
                spent[name].append(cpu / steps)
        found = {"bare_ms": summary(walls["bare"]) * 1000}
        for name in made:
            if name != "bare":
                found[name] = summary(walls[name]) / summary(walls["bare"])
                found[f"{name}, cpu"] = summary(spent[name]) / summary(spent["bare"])
        if device != "cpu":
            found.update({f"synchronisations of {name}": synchronisations(loop) for name, loop in made.items()})
        for loop in made.values():
            loop.finish()
    return found


def synchronisations(loop: Loop, steps: int = 20) -> float:
    """How often a step waits for the device, by the names of the CUDA runtime's calls that do."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(steps):
            loop.step()
    torch.cuda.synchronize()
    waiting = {"cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"}
    return sum(event.count for event in profile.key_averages() if event.key in waiting) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=list(SIZES))
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("models", nargs="*", default=["mlp", "transformer"])
    parser.add_argument("--threads", type=int, help="torch's threads on the CPU; fewer disturb each other less")
    chosen = parser.parse_args()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    makers = {"mlp": mlp, "transformer": transformer}
    for name in chosen.models:
        found = measure(makers[name], chosen.device, chosen.turns, chosen.steps)
        print(json.dumps({"model": name, **{key: round(value, 4) for key, value in found.items()}}))
        sys.stdout.flush()


if __name__ == "__main__":
    main()

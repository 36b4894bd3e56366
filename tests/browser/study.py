"""A store as a group of people has it after two weeks: what the pictures show and the pages are judged on.

`fill` writes a study of 60 runs in the project `vision`, with everything a run can hold, and two smaller projects.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from tests.browser.recording import Recording

PROJECT = "vision"
RUNS = 60
BEST = "vision-047"
"""A run with everything: metrics, readings, console, code, files, alerts, notes."""
FAILED = "vision-013"
DIVERGED = "vision-024"

STEPS = 400
STEP_SECONDS = 14.0
DAY = 86_400.0
OPTIMIZERS = ("adamw", "sgd", "lion")
DEPTHS = (18, 34, 50)
RATES = (3e-4, 1e-3, 3e-3, 0.01, 0.03)

PATCH = '''diff --git a/train.py b/train.py
index 3f1c2aa..9b7d0e1 100644
--- a/train.py
+++ b/train.py
@@ -12,6 +12,8 @@ def make_optimizer(model, config):
     """The optimizer that the config asks for."""
     if config.optimizer == "sgd":
-        return SGD(model.parameters(), lr=config.lr)
+        return SGD(model.parameters(), lr=config.lr, momentum=0.9, nesterov=True)
     if config.optimizer == "lion":
         return Lion(model.parameters(), lr=config.lr)
-    return AdamW(model.parameters(), lr=config.lr)
+    decay, plain = split_by_dimension(model.parameters())
+    groups = [{"params": decay, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
+    return AdamW(groups, lr=config.lr)
diff --git a/configs/resnet.yaml b/configs/resnet.yaml
index 1a2b3c4..5d6e7f8 100644
--- a/configs/resnet.yaml
+++ b/configs/resnet.yaml
@@ -1,5 +1,5 @@
 model:
-  depth: 34
+  depth: 50
   width: 64
 data:
   augment: randaugment
'''
CODE = '''"""Train a residual network on CIFAR-10."""

import trackkit


def main() -> None:
    run = trackkit.init(project="vision", config="configs/resnet.yaml")
    for epoch in range(run.config.epochs):
        run.log({"train/loss": train(epoch), "val/accuracy": validate(epoch)})


if __name__ == "__main__":
    main()
'''
TRACEBACK = """Traceback (most recent call last):
  File "/home/ada/vision/train.py", line 88, in <module>
    main()
  File "/home/ada/vision/train.py", line 61, in main
    loss = criterion(model(images), labels)
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.95 GiB. GPU 0 has a total capacity of 23.69 GiB.
"""


def fill(root: Path, now: float) -> None:
    """Write the study to the store in `root`, its last run ending some minutes before `now` (seconds)."""
    for number in range(RUNS):
        vision_run(number, now).keep(root)
    for number in range(14):
        language_run(number, now).keep(root)
    for number in range(5):
        tabular_run(number, now).keep(root)


def vision_run(number: int, now: float) -> Recording:
    rng = np.random.default_rng(number)
    lr, depth, optimizer = RATES[number % 5], DEPTHS[number // 5 % 3], OPTIMIZERS[number // 15 % 3]
    seed = number % 4
    began = now - 600 - STEPS * STEP_SECONDS - (RUNS - 1 - number) * 0.22 * DAY
    identity = {
        "project": PROJECT,
        "name": f"resnet{depth}-{optimizer}-{number:03d}",
        "group": f"sweep-{number // 15 + 1}",
        "host": f"node-{number % 3 + 1}",
        "tags": [
            tag
            for tag, given in (
                ("baseline", number % 15 == 0),
                ("cosine", number % 2 == 1),
                ("paper", number in (31, 47)),
            )
            if given
        ],
        "notes": NOTES if f"vision-{number:03d}" == BEST else "warm restarts, see the wiki" if number % 9 == 4 else "",
    }
    run = Recording(f"vision-{number:03d}", began, **identity)
    run.config({
        "lr": lr, "optimizer": optimizer, "batch_size": 128 * 2 ** (number % 3), "epochs": 40, "seed": seed,
        "weight_decay": 0.05 if optimizer == "adamw" else 5e-4, "compile": number % 2 == 0,
        "model": {"name": f"resnet{depth}", "depth": depth, "width": 64, "dropout": round(0.05 * (number % 4), 2)},
        "data": {"name": "cifar10", "augment": "randaugment" if number % 2 else "flip", "workers": 8},
    })  # fmt: skip
    run.say(provenance(number, began))
    if number % 3 == 2 or run.id in (BEST, FAILED):
        run.keep_file("diff.patch", PATCH, "diff")
    run.keep_file(
        "code/train.py", CODE if number < 30 else CODE.replace("train(epoch)", "train(epoch, ema=0.999)"), "code"
    )
    run.keep_file(
        "code/configs/resnet.yaml", "model:\n  depth: 50\n  width: 64\ndata:\n  augment: randaugment\n", "code"
    )
    run.keep_file("reports/classes.csv", "class,accuracy\nplane,0.951\ncar,0.972\nbird,0.913\n", "file", 900)
    learn(run, rng, lr, depth, optimizer)
    return run


def learn(run: Recording, rng: np.random.Generator, lr: float, depth: int, optimizer: str) -> None:
    """The run's metrics, readings, console, alerts and end."""
    floor = 0.14 + 0.04 * abs(math.log10(lr) + 2.6) + (0.05 if optimizer == "sgd" else 0.0) - 0.0008 * depth
    pace = 45 + 30 * abs(math.log10(lr) + 2.4)
    last = STEPS * 2 // 3 if run.id == FAILED else STEPS
    noise = rng.standard_normal((STEPS, 4))
    print_header(run)
    for step in range(last):
        after = 20 + step * STEP_SECONDS
        loss = (floor + 2.1 * math.exp(-step / pace)) * math.exp(0.09 * noise[step, 0])
        values: dict[str, Any] = {
            "train/loss": loss,
            "train/accuracy": min(0.999, max(0.08, 1 - loss / 2.4 + 0.01 * noise[step, 1])),
            "optim/lr": lr * 0.5 * (1 + math.cos(math.pi * step / STEPS)) if step > 20 else lr * step / 20,
            "optim/grad_norm": (0.6 + 3 * math.exp(-step / 60)) * math.exp(0.35 * noise[step, 2]),
            "epoch": step / 10,
        }
        if run.id == DIVERGED and step > 220:
            values |= {
                "train/loss": math.nan if step > 300 else loss * math.exp((step - 220) / 12),
                "train/accuracy": 0.1,
            }
        if step % 10 == 9:
            val = floor * 1.25 + 2.0 * math.exp(-step / (pace * 1.1)) + 0.025 * noise[step, 3]
            values |= {
                "val/loss": val,
                "val/accuracy": max(0.1, 0.985 - val / 2.6),
                "val/f1": max(0.08, 0.98 - val / 2.5),
            }
            print_epoch(run, after, step // 10, values)
        run.log(step, after, values)
        if step % 4 == 0:
            run.read_system(after, readings(rng, step, depth))
    end(run, 20 + last * STEP_SECONDS)


def end(run: Recording, after: float) -> None:
    if run.id == DIVERGED:
        run.say(alert(run, after - 900, "error", "the loss is not finite", "`train/loss` became **NaN** at step 301."))
    if run.id == BEST:
        run.say(alert(run, after / 3, "info", "learning rate lowered", "The plateau lasted 5 epochs."))
        run.say(alert(run, after / 2, "warning", "GPU 0 is hot", "87 °C for two minutes; the clock was lowered."))
    if run.id == FAILED:
        run.print(after, TRACEBACK, "stderr")
        run.finish(after, "failed", 1, TRACEBACK)
    elif run.id.endswith("8"):
        run.finish(after, "killed", 130)
    else:
        run.print(after, "\x1b[32m✓\x1b[0m best checkpoint kept: val/accuracy 0.9412 at epoch 38\n")
        run.finish(after)


def print_header(run: Recording) -> None:
    run.print(2, "\x1b[1mresnet\x1b[0m on \x1b[36mcifar10\x1b[0m, 50,000 images, 391 batches an epoch\n")
    run.print(3, "\x1b[33mwarning:\x1b[0m channels_last is off: training may be slower\n", "stderr")


def print_epoch(run: Recording, after: float, epoch: int, values: dict[str, float]) -> None:
    """A progress bar drawn over itself, as tqdm does, and a line that stays."""
    for part in (25, 50, 75, 100):
        bar = "█" * (part // 5) + " " * (20 - part // 5)
        run.print(after - 14 + part / 10, f"\repoch {epoch:2d}: {part:3d}%|{bar}| {part * 391 // 100}/391", "stderr")
    run.print(after, "\n", "stderr")
    run.print(
        after,
        f"epoch {epoch:2d}  \x1b[2mtrain\x1b[0m {values['train/loss']:.4f}  \x1b[2mval\x1b[0m {values['val/loss']:.4f}"
        f"  accuracy \x1b[1;32m{values['val/accuracy']:.4f}\x1b[0m\n",
    )


def readings(rng: np.random.Generator, step: int, depth: int) -> dict[str, float]:
    busy = 1 - math.exp(-(step + 4) / 6)
    return {
        "cpu.percent": 38 * busy + 6 * rng.random(),
        "memory.percent": 41 + 9 * busy + rng.random(),
        "memory.used_bytes": (26 + 6 * busy) * 2**30,
        "gpu.0.percent": min(100.0, 96 * busy + 3 * rng.random()),
        "gpu.0.memory.used_bytes": (4 + depth / 5 * busy) * 2**30,
        "gpu.0.temperature_celsius": 41 + 37 * busy + rng.random(),
        "gpu.0.power_watts": 90 + 230 * busy + 12 * rng.random(),
        "disk.read_bytes_per_second": float(rng.integers(20, 60)) * 2**20 * (1 if step % 40 == 0 else 0.05),
        "network.received_bytes_per_second": float(rng.integers(100, 900)) * 2**10,
    }


def provenance(number: int, began: float) -> Any:
    from trackkit.core import records

    return records.Provenance(began, {
        "command": ["python", "train.py", "--config", "configs/resnet.yaml"],
        "program": "train.py",
        "python": {"version": "3.11.9", "executable": "/home/ada/vision/.venv/bin/python"},
        "os": "Linux 6.8.0-45-generic x86_64",
        "cpu": {"model": "AMD EPYC 7543 32-Core Processor", "physical": 32, "logical": 64},
        "memory_bytes": 256 * 2**30,
        "gpus": [{"name": "NVIDIA RTX 6000 Ada Generation", "memory_bytes": 48 * 2**30}],
        "git": {
            "commit": f"{4_711_000_003 * (number // 15 + 1):x}".ljust(40, "a"), "branch": "main",
            "dirty": number % 3 == 2,
            "remote": "git@example.org:lab/vision.git",
        },
        "packages": {"numpy": "2.1.3", "torch": "2.5.1", "torchvision": "0.20.1", "trackkit": "0.1.0"},
    })  # fmt: skip


def alert(run: Recording, after: float, level: str, title: str, text: str) -> Any:
    from trackkit.core import records

    return records.Alert(run.began + after, level, title, text)


NOTES = """The best so far. **Nesterov** momentum and no decay on biases made the difference:

- decay on weights alone: +0.4 points
- RandAugment instead of flips: +0.7 points

Next: the same with a *longer* warm-up.
"""


def language_run(number: int, now: float) -> Recording:
    rng = np.random.default_rng(1000 + number)
    began = now - (14 - number) * 1.6 * DAY
    identity = {"project": "language", "name": f"gpt-small-{number:02d}", "tags": ["pretrain"], "host": "node-7"}
    run = Recording(f"language-{number:02d}", began, **identity)
    run.config({"lr": 6e-4 / (1 + number % 3), "layers": 12, "context": 1024, "tokens": 1e9})
    for step in range(200):
        loss = 3.1 + 7.5 * math.exp(-step / 18) + 0.04 * rng.standard_normal()
        run.log(step * 50, step * 30.0, {"loss": loss, "perplexity": math.exp(loss), "tokens": step * 5.2e6})
    return run.finish(6200, "failed" if number == 5 else "finished", int(number == 5))


def tabular_run(number: int, now: float) -> Recording:
    run = Recording(f"tabular-{number}", now - 20 * DAY - number * 3600, project="tabular", name=f"boost-{number}")
    run.config({"max_depth": 3 + number, "eta": 0.1})
    for step in range(60):
        run.log(step, step * 2.0, {"auc": 0.5 + 0.4 * (1 - math.exp(-step / (8 + number)))})
    return run.finish(130)

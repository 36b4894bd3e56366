"""An ordinary script written for W&B runs with `import trackkit as wandb`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trackkit import Api

SCRIPT = """
import argparse, random
import trackkit as wandb

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--epochs", type=int, default=5)
arguments = parser.parse_args()

wandb.init(project="digits", entity="team", config=arguments, tags=["baseline"], notes="first", group="g", job_type="t")
wandb.config.update({"batch_size": 32, "model": {"depth": 3}}, allow_val_change=True)
wandb.config.dropout = 0.5
wandb.run.name = "my run"
wandb.define_metric("epoch")
wandb.define_metric("val/*", step_metric="epoch", summary="min")
for epoch in range(wandb.config.epochs):
    wandb.log({"train": {"loss": 1.0 / (epoch + 1)}}, commit=False)
    wandb.log({"val/loss": 2.0 / (epoch + 1) + (epoch == 4), "epoch": epoch})
wandb.log({"late": 1}, step=100)
wandb.summary["best"] = 0.4
wandb.run.summary.update({"note": "good"})
wandb.alert(title="done", text="all of it", level="WARN")
print("trained")
wandb.finish()
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wandb")
    (folder / "train.py").write_text(SCRIPT)
    command = [sys.executable, "train.py", "--lr", "0.01"]
    done = subprocess.run(command, cwd=folder, env={**os.environ}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return folder / ".trackkit"


def test_its_config_is_kept(root: Path) -> None:
    (run,) = Api(root).runs("digits")

    assert run.config == {"lr": 0.01, "epochs": 5, "batch_size": 32, "model": {"depth": 3}, "dropout": 0.5}


def test_its_name_tags_and_notes_are_kept(root: Path) -> None:
    (run,) = Api(root).runs("digits")

    assert (run.name, list(run.tags), run.notes, run.group, run.job_type) == ("my run", ["baseline"], "first", "g", "t")
    assert run.state == "finished"


def test_its_metrics_are_kept_under_the_steps_wandb_gives_them(root: Path) -> None:
    (run,) = Api(root).runs("digits")

    assert run.series("train.loss").step.tolist() == [0, 1, 2, 3, 4]
    assert run.series("val/loss").value.tolist() == [2.0, 1.0, 2.0 / 3, 0.5, 1.4]
    assert run.series("late").step.tolist() == [100]


def test_its_summary_follows_the_definitions(root: Path) -> None:
    (run,) = Api(root).runs("digits")

    assert run.summary["val/loss.min"] == 0.5
    assert run.summary["train.loss"] == 0.2
    assert (run.summary["best"], run.summary["note"]) == (0.4, "good")


def test_its_console_and_alert_are_kept(root: Path) -> None:
    (run,) = Api(root).runs("digits")

    assert "trained" in run.console()
    assert [(alert.title, alert.level) for alert in run.alerts()] == [("done", "warning")]

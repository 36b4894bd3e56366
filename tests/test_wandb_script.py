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
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import trackkit as wandb

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--epochs", type=int, default=5)
arguments = parser.parse_args()

wandb.login()
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
wandb.alert(title="done", text="all of it", level=wandb.AlertLevel.WARN)
frame = pd.DataFrame({"digit": [7], "guess": [1]})
image = wandb.Image(
    np.zeros((8, 8, 3)), caption="black", boxes={"p": {"box_data": [{"position": {"minX": 0, "maxX": 1, "minY": 0,
    "maxY": 1}, "class_id": 1, "box_caption": "it", "scores": {"acc": 0.5}}], "class_labels": {1: "it"}}},
    masks={"m": {"mask_data": np.ones((8, 8), int), "class_labels": {1: "it"}}},
)
wandb.log({"image": image, "images": [image, image], "audio": wandb.Audio(np.zeros(800), sample_rate=8000)})
wandb.log({"video": wandb.Video(np.zeros((4, 3, 16, 16), np.uint8), fps=4, format="gif"), "html": wandb.Html("<p>")})
wandb.log({"histogram": wandb.Histogram(np_histogram=np.histogram([1, 2, 3]))})
wandb.log({"points": wandb.Object3D(np.zeros((2, 3)))})
table = wandb.Table(columns=["image", "label"], data=[[image, "a"]])
table.add_data(image, "b")
wandb.log({"table": table, "frame": wandb.Table(dataframe=frame), "bare": frame, "figure": plt.figure()})
wandb.log({"curve": wandb.plot.line(wandb.Table(data=[[0, 1], [1, 2]], columns=["x", "y"]), "x", "y", title="t")})
scores = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]]
wandb.log({"roc": wandb.plot.roc_curve([0, 1, 1, 0], scores, labels=["n", "y"])})
wandb.log({"matrix": wandb.plot.confusion_matrix(probs=None, y_true=[0, 1], preds=[0, 0], class_names=["n", "y"])})
artifact = wandb.Artifact(name="digits-model", type="model", description="small", metadata=dict(wandb.config))
with open("model.txt", "w") as file:
    file.write("weights")
artifact.add_file(local_path="model.txt", name="weights/model.txt")
with artifact.new_file("labels.json", mode="w") as file:
    file.write("[0, 1]")
wandb.log_artifact(artifact, aliases=["best", "latest"])
artifact.wait()
wandb.run.log_artifact("model.txt", name="loose", type="file")
folder = wandb.use_artifact("digits-model:best", type="model").download()
with open(folder + "/weights/model.txt") as file:
    print(file.read())
wandb.save("model.txt")
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


def test_its_artifacts_are_kept_and_used(root: Path) -> None:
    (run,) = Api(root).runs("digits")

    assert [one.qualified_name for one in run.logged_artifacts()] == ["digits/digits-model:v0", "digits/loose:v0"]
    assert [one.qualified_name for one in run.used_artifacts()] == ["digits/digits-model:v0"]
    artifact = Api(root).artifact("digits/digits-model:best", type="model")
    assert artifact.metadata["model"] == {"depth": 3}
    assert [entry.path for entry in artifact.files()] == ["labels.json", "weights/model.txt"]
    assert "weights\n" in run.console()
    assert run.file("model.txt").read() == b"weights"


def test_its_console_and_alert_are_kept(root: Path) -> None:
    (run,) = Api(root).runs("digits")

    assert "trained" in run.console()
    assert [(alert.title, alert.level) for alert in run.alerts()] == [("done", "warning")]


def test_its_media_and_tables_are_kept(root: Path) -> None:
    (run,) = Api(root).runs("digits")

    assert run.media_keys() == {
        "image": "image", "images": "image", "audio": "audio", "video": "video", "html": "html",
        "histogram": "histogram", "points": "object3d", "table": "table", "frame": "table", "bare": "table",
        "figure": "figure", "curve": "chart", "roc": "chart", "matrix": "chart",
    }  # fmt: skip
    assert run.table("table").arrow().column("label").to_pylist() == ["a", "b"]
    assert run.table("bare").pandas().guess.tolist() == [1]
    assert [alert.title for alert in run.alerts()] == ["done"]

"""Media as trainings log them: real values of every kind, logged through trackkit into a store.

`fill` writes a project of three runs: a detector that learns to find cars, with examples, attention, sound, pages,
figures, models and histograms over its steps.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import plotly.graph_objects
from matplotlib.figure import Figure
from numpy.typing import NDArray

import trackkit

SETTINGS = {"quiet": True, "system": False, "console": "off", "git": False, "packages": False, "code": False}
RUNS = ("baseline", "augmented", "wide")
STEPS = (0, 20, 40, 60, 80)
EXAMPLES = 4
WIDTH, HEIGHT = 240, 160
SKY, ROAD, CAR = 0, 1, 2
LABELS = {SKY: "sky", ROAD: "road", CAR: "car"}
BUS = 3
CAFFEINE = """caffeine
  example

 14 15  0  0  0  0            999 V2000
    0.4700    2.5688    0.0006 O   0  0
   -3.1271   -0.4436   -0.0003 O   0  0
   -0.9686   -1.3125    0.0000 N   0  0
    2.2182    0.1412   -0.0003 N   0  0
   -1.3477    1.0797   -0.0001 N   0  0
    1.4119   -1.9372    0.0002 N   0  0
    0.8579    0.2592   -0.0008 C   0  0
    0.3897   -1.0264   -0.0004 C   0  0
    0.0307    1.4220   -0.0006 C   0  0
   -1.9061   -0.2495   -0.0004 C   0  0
    2.5032   -1.1998    0.0003 C   0  0
   -1.4276   -2.6960    0.0008 C   0  0
    3.1926    1.2061    0.0003 C   0  0
   -2.2969    2.1881    0.0007 C   0  0
  1  9  2  0
  2 10  2  0
  3  8  1  0
  3 10  1  0
  3 12  1  0
  4  7  1  0
  4 11  1  0
  4 13  1  0
  5  9  1  0
  5 10  1  0
  5 14  1  0
  6  8  1  0
  6 11  2  0
  7  8  2  0
  7  9  1  0
M  END
"""
PAGE = """<!doctype html><title>A report</title><body style="font: 14px sans-serif"><h1>Report of step {step}</h1>
<p id="out">waiting</p><script>
const tried = {{}};
const attempt = (name, what) => {{
  try {{ tried[name] = String(what()); }} catch (error) {{ tried[name] = error.name; }}
}};
attempt('parent', () => parent.document.title);
attempt('cookie', () => document.cookie);
attempt('storage', () => localStorage.length);
attempt('origin', () => origin);
fetch('/api/v1/projects').then(() => 'answered', (error) => error.name).then((found) => {{
  tried.fetch = found;
  document.getElementById('out').textContent = JSON.stringify(tried);
}});
</script>"""


def street(run: int, step: int, example: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[tuple[int, ...]]]:
    """A picture of a street, the class of every pixel, and the corners of its cars in pixels."""
    random = np.random.default_rng(1000 + example)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    horizon = 70 + 8 * np.sin(columns / 40 + example)
    classes = np.where(rows < horizon, SKY, ROAD).astype(np.uint8)
    sky = np.stack([140 + rows // 2, 180 + rows // 3, 235 - rows // 6], -1)
    road = np.stack([92 + rows // 8, 92 + rows // 8, 98 + rows // 8], -1)
    picture = np.where((classes == SKY)[..., None], sky, road).astype(np.float64)
    cars = []
    for _ in range(2):
        left, top = int(random.integers(10, 160)), int(random.integers(78, 110))
        width, height = int(random.integers(44, 66)), int(random.integers(24, 34))
        cars.append((left, top, left + width, top + height))
        picture[top : top + height, left : left + width] = random.integers(40, 220, 3)
        classes[top : top + height, left : left + width] = CAR
    # Another run and step look a little different, so that pictures can be told apart.
    picture += 6 * run + step / 8
    return np.clip(picture, 0, 255).astype(np.uint8), classes, cars


def example_of(run: int, step: int, number: int) -> trackkit.Image:
    """A street with what a detector says of it, the surer the later."""
    picture, classes, cars = street(run, step, number)
    sure = 0.35 + 0.6 * step / STEPS[-1]
    off = 14 * (1 - step / STEPS[-1])
    found = [
        {
            "position": {"minX": left + off, "maxX": right + off, "minY": top - off / 2, "maxY": bottom},
            "domain": "pixel",
            "class_id": CAR if index == 0 else BUS,
            "scores": {"confidence": round(sure - 0.3 * index, 3)},
        }
        for index, (left, top, right, bottom) in enumerate(cars)
    ]
    truth = [
        {
            "position": {
                "minX": left / WIDTH,
                "maxX": right / WIDTH,
                "minY": top / HEIGHT,
                "maxY": bottom / HEIGHT,
            },
            "class_id": CAR,
        }
        for left, top, right, bottom in cars
    ]
    names = {CAR: "car", BUS: "bus"}
    return trackkit.Image(
        picture,
        caption=f"street {number}",
        boxes={
            "predictions": {"box_data": found, "class_labels": names},
            "truth": {"box_data": truth, "class_labels": names},
        },
        masks={"segments": {"mask_data": classes, "class_labels": LABELS}},
    )


def media(run: int, step: int) -> dict[str, Any]:
    """Everything that can be logged at a step."""
    random = np.random.default_rng(step + run)
    scale = 1 - step / 160
    weights = random.normal(0.2 * math.sin(step / 30), scale, 4000)
    seconds = np.arange(4000) / 8000
    turn = step / 40
    height, angle = np.mgrid[0:40, 0:60]
    cloud = np.stack([np.cos(angle / 9.5), height / 20 - 1, np.sin(angle / 9.5)], -1).reshape(-1, 3)
    cloud *= 1 + 0.25 * np.sin(3 * cloud[:, 1:2] + turn)
    colors = np.stack([120 + 100 * cloud[:, 1], 90 + 60 * cloud[:, 0], 180 - 60 * cloud[:, 2]], -1)
    x = np.linspace(0, 4 * math.pi, 200)
    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    axes.plot(x, np.sin(x + turn))
    axes.set_title(f"Step {step}")
    truth = random.integers(0, 3, 120)
    probabilities = np.eye(3)[truth] * (0.4 + step / 120) + random.random((120, 3))
    probabilities /= probabilities.sum(1, keepdims=True)
    frames = [np.roll(street(run, step, 0)[0], 6 * frame, 1).transpose(2, 0, 1) for frame in range(12)]
    return {
        "val/examples": [example_of(run, step, number) for number in range(EXAMPLES)],
        "val/roc": trackkit.plot.roc_curve(truth, probabilities, labels=["cat", "dog", "bird"]),
        "val/confusion": trackkit.plot.confusion_matrix(
            y_true=truth, preds=probabilities.argmax(1), class_names=["cat", "dog", "bird"]
        ),
        "train/weights": trackkit.Histogram(weights, num_bins=48),
        "speech": trackkit.Audio(np.sin(2 * np.pi * (300 + 100 * run) * seconds), sample_rate=8000, caption="a tone"),
        "drive": trackkit.Video(np.stack(frames), fps=6, format="mp4"),
        "report": trackkit.Html(PAGE.format(step=step)),
        "notes": trackkit.Markdown(
            f"## Notes of step {step}\n\n- **loss** falls\n- <script>alert(1)</script> is no list"
        ),
        "curve": figure,
        "surface": trackkit.Plotly(
            plotly.graph_objects.Figure(
                plotly.graph_objects.Heatmap(z=np.outer(np.sin(x[::10] + turn), np.cos(x[::10])).round(3)),
                layout={"title": {"text": "A surface"}},
            )
        ),
        "cloud": trackkit.Object3D(np.concatenate([cloud, np.clip(colors, 0, 255)], 1)),
        "drug": trackkit.Molecule(CAFFEINE, file_type="sdf", caption="caffeine"),
        "model": trackkit.Graph(
            [
                {"id": "x", "operation": "placeholder"},
                {"id": "conv1", "label": "Conv2d", "module": "stem.conv1", "parameters": 1728},
                {"id": "relu", "label": "ReLU", "module": "stem.relu"},
                {"id": "block", "label": "Residual", "module": "body.block", "parameters": 73_984},
                {"id": "add", "label": "add"},
                {"id": "head", "label": "Linear", "module": "head", "parameters": 5130},
            ],
            [("x", "conv1"), ("conv1", "relu"), ("relu", "block"), ("block", "add"), ("relu", "add"), ("add", "head")],
        ),
    }


def log(root: Path, project: str, name: str, number: int, steps: tuple[int, ...] = STEPS) -> str:
    """One run with all of it; its id."""
    matplotlib.use("agg")
    id = f"{project}-{name}"
    with trackkit.init(
        project=project, name=name, id=id, dir=root, settings=SETTINGS, config={"lr": 0.1 / (number + 1)},
        reinit="create_new",
    ) as run:  # fmt: skip
        for step in steps:
            run.log({"train/loss": math.exp(-step / 40) + 0.05 * number, **media(number, step)}, step=step)
    return id


def fill(root: Path, project: str) -> list[str]:
    """All runs of the album; their ids."""
    return [log(root, project, name, number) for number, name in enumerate(RUNS)]

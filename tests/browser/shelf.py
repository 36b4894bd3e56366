"""Artifacts as a group of people has them after a while, logged by trackkit: what the pages of artifacts are judged on.

`fill` logs, in the project `digits`, a dataset of some versions with files of many kinds, a sweep of runs that used it
and made a model each, an evaluation, and links to the registry.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow
from PIL import Image, ImageDraw
from pyarrow import parquet

import trackkit

PROJECT = "digits"
SWEEP = 150
"""Runs of the sweep: with what they made, the lineage has more than 300 nodes."""
QUIET: dict[str, Any] = {
    "system": False, "console": "off", "git": False, "code": False, "packages": False, "quiet": True, "interval": 0.05,
}  # fmt: skip

README = """# Digits

Handwritten digits, **8 by 8** pixels, from {count} writers.

| split | images |
| --- | --- |
| train | {count} |
"""


def start(root: Path, project: str, name: str, **more: Any) -> Any:
    """A run in the store of a folder."""
    return trackkit.init(project=project, name=name, dir=root, settings=QUIET, reinit="create_new", **more)


def fill(root: Path, sweep: int = SWEEP) -> None:
    """Log everything to the store in `root`."""
    with start(root, PROJECT, "prepare", job_type="prepare") as run:
        run.log_artifact(dataset(1), aliases=["first"], tags=["raw"]).wait(60)
        run.log_artifact(dataset(2), aliases=["clean"], tags=["deduplicated"]).wait(60)
    for number in range(sweep):
        with start(root, PROJECT, f"sweep-{number}", job_type="train", group="sweep") as run:
            run.use_artifact("digits-data:v1")
            run.log_artifact(model(f"model-{run.id}", number / sweep))
    with start(root, PROJECT, "final", job_type="train") as run:
        run.use_artifact("digits-data:clean")
        best = run.log_artifact(model("digits-model", 0.98), aliases=["best"])
        best.wait(60)
        run.link_artifact(best, "registry/digits", aliases=["production"])
    with start(root, PROJECT, "judge", job_type="evaluate") as run:
        run.use_artifact("digits-model:best")
        made = trackkit.Artifact("report", "evaluation", metadata={"accuracy": 0.97})
        write(made, "report.json", json.dumps({"accuracy": 0.97, "classes": {"0": 0.99, "1": 0.95}}))
        run.log_artifact(made).wait(60)


def dataset(edition: int) -> trackkit.Artifact:
    """The dataset: its second edition has a file more, one less, and others changed."""
    made = trackkit.Artifact(
        "digits-data",
        "dataset",
        description=f"Edition {edition} of the **digits**.",
        metadata={"edition": edition, "split": {"train": 900 + edition, "test": 100}, "source": "scanner"},
    )
    write(made, "README.md", README.format(count=edition * 100))
    write(made, "config/load.py", f"def load(path):\n    # edition {edition}\n    return open(path).read()\n")
    write(made, "config/settings.json", json.dumps({"edition": edition, "size": [8, 8], "mean": 0.3}))
    rows = "".join(f"{number},{number % 10},writer-{number % 7}\n" for number in range(400))
    write(made, "labels/train.csv", "index,digit,writer\n" + rows)
    table = pyarrow.table({"index": list(range(250)), "score": [number / 250 * edition for number in range(250)]})
    content = io.BytesIO()
    parquet.write_table(table, content)
    write(made, "labels/scores.parquet", content.getvalue())
    for number in range(12):
        write(
            made,
            f"images/{'old' if edition == 1 and number > 10 else 'train'}/{number:03}.png",
            picture(number, edition),
        )
    return made


def model(name: str, accuracy: float) -> trackkit.Artifact:
    made = trackkit.Artifact(name, "model", metadata={"accuracy": accuracy, "layers": 3})
    write(made, "model.pt", f"weights of {name}, {accuracy}")
    return made


def picture(number: int, edition: int) -> bytes:
    image = Image.new("L", (96, 96), 240 - 10 * edition)
    ImageDraw.Draw(image).text((38, 36), str(number % 10), fill=0)
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()


def write(artifact: trackkit.Artifact, path: str, content: str | bytes) -> None:
    """A file of an artifact, of that content."""
    with artifact.new_file(path, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())

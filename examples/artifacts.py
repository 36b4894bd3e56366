"""A dataset, a model trained on it, and where both came from: `python examples/artifacts.py`."""

from __future__ import annotations

import json
import random
from pathlib import Path
from tempfile import TemporaryDirectory

import trackkit


def make_data(folder: Path) -> None:
    """Points of a noisy line, a file each hundred."""
    for part in range(3):
        xs = [random.uniform(-1, 1) for _ in range(100)]
        rows = [{"x": x, "y": 2 * x + 1 + random.gauss(0, 0.1)} for x in xs]
        (folder / f"part{part}.json").write_text(json.dumps(rows))


def fit(rows: list[dict[str, float]]) -> dict[str, float]:
    """The line through the points, by least squares."""
    mean_x, mean_y = (sum(row[key] for row in rows) / len(rows) for key in ("x", "y"))
    slope = sum((row["x"] - mean_x) * (row["y"] - mean_y) for row in rows) / sum(
        (row["x"] - mean_x) ** 2 for row in rows
    )
    return {"slope": slope, "intercept": mean_y - slope * mean_x}


def main() -> None:
    with TemporaryDirectory() as place:
        make_data(Path(place))
        with trackkit.init(project="line", job_type="data") as run:
            run.log_artifact(place, name="points", type="dataset").wait()

    with trackkit.init(project="line", job_type="train") as run:
        folder = Path(run.use_artifact("points:latest").download())
        rows = [row for part in sorted(folder.glob("*.json")) for row in json.loads(part.read_text())]
        model = fit(rows)
        run.log(model)
        artifact = trackkit.Artifact("fit", type="model", metadata=model)
        with artifact.new_file("model.json") as file:
            json.dump(model, file)
        run.log_artifact(artifact, aliases=["best"]).wait()
        run.link_artifact(artifact, "registry/line", aliases=["production"])

    found = trackkit.Api().artifact("registry/line:production")
    print(f"{found.qualified_name} comes from {found.source_name}, which {found.logged_by().path} logged")
    print("that run used", ", ".join(one.qualified_name for one in found.logged_by().used_artifacts()))


if __name__ == "__main__":
    main()

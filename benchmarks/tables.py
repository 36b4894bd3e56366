"""A million rows, asked as the dashboard asks, beside pandas doing the same from the same Parquet file."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

import trackkit
from benchmarks.media import ROUNDS, frame, median, timed
from tests.servers import Serving, serving
from trackkit.core.blobs import Blobs
from trackkit.query import Api


def ask(server: Serving, path: str, **spec: Any) -> Any:
    return server.get(f"/tables{path}", spec=json.dumps({"run": "r", "key": "table", **spec}))


def main() -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        root = Path(folder)
        with trackkit.init(project="p", id="r", dir=root, settings={"quiet": True, "finish_timeout": 300}) as run:
            run.log({"table": frame()})
        (item,) = Api(root).run("r").media("table")
        file = Blobs(root).path(item.digest)
        found = {"parquet_mb": file.stat().st_size / 1e6}
        with serving(root) as server:

            def first_page() -> None:
                ask(server, "")
                ask(server, "/rows")

            found["open_ms"] = timed(first_page)  # the only one that nothing is ready for
            found["pandas_open_ms"] = timed(lambda: pd.read_parquet(file).head(100))
            data = pd.read_parquet(file)
            pairs = {
                "sort": (
                    lambda: ask(server, "/rows", sort=["-loss"]),
                    lambda: data.sort_values("loss", ascending=False).head(100),
                ),
                "sort_text": (lambda: ask(server, "/rows", sort=["name"]), lambda: data.sort_values("name").head(100)),
                "filter": (
                    lambda: ask(server, "/rows", filter="loss > 2 and label in (1, 2)"),
                    lambda: data[(data.loss > 2) & data.label.isin([1, 2])].head(100),
                ),
                "search": (
                    lambda: ask(server, "/rows", search="sample 99999"),
                    lambda: data[data.name.str.lower().str.contains("sample 99999", regex=False)].head(100),
                ),
                "groups": (
                    lambda: ask(server, "/groups", by=["label"], aggregates=[{"column": "loss", "function": "mean"}]),
                    lambda: data.groupby("label").agg(count=("id", "size"), loss=("loss", "mean")),
                ),
                "deep_page": (
                    lambda: ask(server, "/rows", sort=["loss"], offset=900_000),
                    lambda: data.sort_values("loss").iloc[900_000:900_100],
                ),
                "distribution": (
                    lambda: ask(server, "/distributions", columns=["loss"]),
                    lambda: pd.cut(data.loss, 30).value_counts(),
                ),
            }
            for name, (ours, theirs) in pairs.items():
                found[f"{name}_ms"] = median([timed(ours) for _ in range(ROUNDS)])
                found[f"pandas_{name}_ms"] = median([timed(theirs) for _ in range(ROUNDS)])
    return found


if __name__ == "__main__":
    print(json.dumps(main()))

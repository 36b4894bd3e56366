"""`trackkit export`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from pyarrow import parquet


def test_parquet_has_every_step_with_its_types(ask, tmp_path: Path):
    ask("export", "fast", "--output", str(tmp_path))
    table = parquet.read_table(tmp_path / "fast.history.parquet")
    assert table.num_rows == 20
    assert str(table.schema.field("_step").type) == "int64"
    assert str(table.schema.field("loss").type) == "double"
    assert table["loss"][1].as_py() == 0.5


def test_runs_have_a_row_each_with_config_and_summary(ask, tmp_path: Path):
    ask("export", "fast", "slow", "--output", str(tmp_path))
    rows = parquet.read_table(tmp_path / "runs.parquet").to_pylist()
    assert [(row["id"], row["config.lr"], row["config.model.depth"]) for row in rows] == [
        ("fast", 1.0, 3),
        ("slow", 0.01, 3),
    ]
    assert rows[1]["tags"] == "baseline"


def test_csv_holds_only_the_keys_asked_for(ask, tmp_path: Path):
    ask("export", "fast", "--format", "csv", "--keys", "loss", "--output", str(tmp_path))
    with (tmp_path / "fast.history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["_step", "_timestamp", "_runtime", "loss"]
    assert float(rows[-1]["loss"]) == 1 / 20


def test_jsonl_is_json_even_where_a_value_is_none_that_json_knows(ask, tmp_path: Path):
    ask("export", "--where", 'state = "failed"', "--format", "jsonl", "--output", str(tmp_path))
    (line,) = (tmp_path / "broken.history.jsonl").read_text().splitlines()
    assert json.loads(line)["loss"] == "NaN"


def test_nothing_to_export_is_told(call, tmp_path: Path):
    assert call("export").exit_code == 2
    result = call("export", "--where", "config.lr > 100", "--output", str(tmp_path))
    assert result.exit_code == 1
    assert "no run fits" in result.stderr

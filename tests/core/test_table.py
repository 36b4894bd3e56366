"""Tables: what they take, what they refuse and how they name it, and what Parquet has of them."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import trackkit
from trackkit.query import Api

SETTINGS = {"quiet": True, "system": False, "console": "off", "git": False, "packages": False, "code": False}


def logged(root: Path, table: Any) -> Any:
    """A table logged and read back."""
    with trackkit.init(project="p", id="r", dir=root, settings=SETTINGS) as run:
        run.log({"table": table})
    return Api(root).run("r").table("table")


def test_rows_come_back(tmp_path: Path) -> None:
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5)
    rows = [
        [1, 1.5, "a", True, moment, [1, 2], {"x": None}],
        [None] * 7,
        [3, float("nan"), "ü\n", False, moment, [], {}],
    ]
    table = trackkit.Table(columns=["i", "f", "s", "b", "t", "l", "d"], data=rows)

    found = logged(tmp_path, table)

    assert found.types == {
        "i": "number", "f": "number", "s": "text", "b": "bool", "t": "time", "l": "json", "d": "json"
    }  # fmt: skip
    columns = found.arrow().to_pydict()
    assert columns["i"] == [1, None, 3]
    assert columns["f"][:2] == [1.5, None]
    assert np.isnan(columns["f"][2])
    assert columns["s"] == ["a", None, "ü\n"]
    assert columns["b"] == [True, None, False]
    assert columns["t"] == [moment, None, moment]
    assert columns["l"] == ["[1,2]", None, "[]"]
    assert columns["d"] == ['{"x":null}', None, "{}"]


def test_a_table_is_used_as_wandbs_is() -> None:
    table = trackkit.Table(columns=["a", "b"])
    table.add_data(1, "x")
    table.add_data(2, "y")
    table.add_column("c", [True, False])
    table.add_computed_columns(lambda number, row: {"d": row["a"] * 10 + number})

    assert table.columns == ["a", "b", "c", "d"]
    assert table.data == [[1, "x", True, 10], [2, "y", False, 21]]
    assert table.get_column("d") == [10, 21]
    assert table.get_column("a", convert_to="numpy").tolist() == [1, 2]
    assert list(table.iterrows())[1] == (1, [2, "y", False, 21])
    assert table.get_dataframe().b.tolist() == ["x", "y"]
    assert len(table) == 2


def test_an_array_of_two_axes_is_rows() -> None:
    assert trackkit.Table(data=np.arange(6).reshape(3, 2)).data == [[0, 1], [2, 3], [4, 5]]
    assert trackkit.Table(columns=["x"], rows=[[1], [2]]).get_column("x") == [1, 2]


class Interchange:
    """A data frame that speaks the interchange protocol alone."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def __dataframe__(self, nan_as_null: bool = False, allow_copy: bool = True) -> Any:
        return pa.Table.from_pandas(self._frame).__dataframe__(nan_as_null, allow_copy)


class Capsule:
    """A data frame that speaks Arrow's PyCapsule protocol alone."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._table = pa.Table.from_pandas(frame)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize(
    "make",
    [
        lambda frame: frame,
        pl.from_pandas,
        pa.Table.from_pandas,
        lambda frame: pa.Table.from_pandas(frame).to_batches()[0],
        Interchange,
        Capsule,
    ],
    ids=["pandas", "polars", "arrow", "batch", "interchange", "capsule"],
)
def test_data_frames_of_any_library_come_back(tmp_path: Path, make: Any) -> None:
    frame = pd.DataFrame({"i": [1, 2, 3], "f": [0.5, 1.5, None], "s": ["a", None, "c"], "b": [True, False, True]})

    found = logged(tmp_path, trackkit.Table(dataframe=make(frame)))

    assert found.types == {"i": "number", "f": "number", "s": "text", "b": "bool"}
    back = found.pandas()
    assert back.i.tolist() == [1, 2, 3]
    assert back.f[:2].tolist() == [0.5, 1.5]
    assert pd.isna(back.f[2])
    assert back.b.tolist() == [True, False, True]
    assert [None if pd.isna(each) else each for each in back.s] == ["a", None, "c"]
    assert found.polars().shape == (3, 4)


def test_types_of_frames_that_parquet_has_not_are_brought_to_those_it_has(tmp_path: Path) -> None:
    table = pa.table(
        {
            "half": pa.array([1.5, None], pa.float16()),
            "view": pa.array(["a", "b"], pa.string_view()),
            "names": pa.array(["x", "y"]).dictionary_encode(),
            "lists": pa.array([[1, 2], None]),
            "empty": pa.nulls(2),
            "bytes": pa.array([b"a", None]),
            "span": pa.array([1, 2], pa.duration("s")),
        }
    )

    found = logged(tmp_path, trackkit.Table(dataframe=table))

    assert found.arrow().column("half").to_pylist() == [1.5, None]
    assert found.arrow().column("names").to_pylist() == ["x", "y"]
    assert found.types["lists"] == "json"
    assert found.types["bytes"] == "binary"


def test_media_in_cells_are_kept_once_each(tmp_path: Path) -> None:
    image = trackkit.Image(np.zeros((80, 80, 3), np.uint8), caption="black")
    table = trackkit.Table(columns=["n", "picture"], data=[[1, image], [2, image], [3, None]])

    found = logged(tmp_path, table)

    cells = found.arrow().column("picture").to_pylist()
    assert cells[0] == cells[1]
    assert cells[2] is None
    cell = json.loads(cells[0])
    assert (cell["kind"], cell["metadata"]["caption"], cell["metadata"]["width"]) == ("image", "black", 80)
    assert found.content(cells[0]).startswith(b"\x89PNG")
    assert found.types == {"n": "number", "picture": "image"}


def test_data_frames_may_hold_media(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": [1, 2], "picture": [trackkit.Image(np.zeros((4, 4))), trackkit.Image(np.ones((4, 4)))]})

    assert logged(tmp_path, frame).types == {"n": "number", "picture": "image"}


def test_cells_of_mixed_types_are_json_where_that_is_allowed(tmp_path: Path) -> None:
    image = trackkit.Image(np.zeros((4, 4)))
    table = trackkit.Table(columns=["any"], data=[[1], ["a"], [image], [[1, "b"]], [None]], allow_mixed_types=True)

    found = logged(tmp_path, table)

    cells = [None if cell is None else json.loads(cell) for cell in found.arrow().column("any").to_pylist()]
    assert cells[:2] == [1, "a"]
    assert cells[2]["kind"] == "image"
    assert cells[3:] == [[1, "b"], None]


def test_increments_are_joined_in_order(tmp_path: Path) -> None:
    table = trackkit.Table(columns=["n", "x"], log_mode="INCREMENTAL")
    with trackkit.init(project="p", id="r", dir=tmp_path, settings=SETTINGS) as run:
        for step in range(4):
            table.add_data(step, None if step == 0 else step / 2)
            run.log({"table": table}, step=step)

    read = Api(tmp_path).run("r")
    assert read.table("table").arrow().column("n").to_pylist() == [0, 1, 2, 3]
    assert read.table("table", step=2).arrow().column("n").to_pylist() == [0, 1, 2]
    assert [item.metadata["rows"] for item in read.media("table")] == [1, 1, 1, 1]


@pytest.mark.parametrize("mode", ["IMMUTABLE", "MUTABLE"])
def test_each_log_keeps_what_the_table_holds(tmp_path: Path, mode: Any) -> None:
    table = trackkit.Table(columns=["n"], log_mode=mode)
    with trackkit.init(project="p", id="r", dir=tmp_path, settings=SETTINGS) as run:
        for step in range(3):
            table.add_data(step)
            run.log({"table": table})

    read = Api(tmp_path).run("r")
    assert [len(read.table("table", step=step)) for step in range(3)] == [1, 2, 3]


def test_rows_may_be_added_to_a_data_frame(tmp_path: Path) -> None:
    table = trackkit.Table(dataframe=pd.DataFrame({"n": [1, 2], "s": ["a", "b"]}))
    table.add_data(3, "c")
    table.add_column("d", [1.0, 2.0, 3.0])

    assert logged(tmp_path, table).arrow().to_pydict() == {"n": [1, 2, 3], "s": ["a", "b", "c"], "d": [1.0, 2.0, 3.0]}


def test_numbers_beyond_sixty_four_bits_are_doubles(tmp_path: Path) -> None:
    table = trackkit.Table(columns=["n"], data=[[2**70], [1]])

    assert logged(tmp_path, table).arrow().column("n").to_pylist() == [float(2**70), 1.0]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"columns": ["a"], "data": [[1], ["x"]]},
            TypeError,
            "the column 'a' holds number, and row 1 has 'x' of type str",
        ),
        ({"columns": ["a"], "data": [[1, 2]]}, ValueError, r"1 cells \(a\), not 2"),
        ({"columns": ["a"], "data": [[1], 2]}, TypeError, "row 1"),
        ({"columns": ["a"], "data": [[None]], "optional": False}, TypeError, "row 0 of the column 'a' has no value"),
        ({"columns": ["a", "a"]}, ValueError, "two 'a'"),
        ({"columns": ["a"], "data": [[object()]]}, TypeError, "row 0 of the column 'a'"),
        ({"columns": ["a"], "dtype": int, "data": [["x"]]}, TypeError, "the column 'a' holds number"),
        ({"columns": ["a"], "dtype": {"b": int}}, ValueError, "'b'"),
        ({"columns": ["a"], "log_mode": "SOMETIMES"}, ValueError, "SOMETIMES"),
        ({"columns": "ab"}, TypeError, "list of names"),
        ({"data": np.zeros(3)}, ValueError, "rows and columns"),
        ({"dataframe": 3}, TypeError, "int"),
        (
            {"dataframe": pd.DataFrame({"a": pd.Series([1, "x", 2], dtype=object)})},
            TypeError,
            "the column 'a' holds int, and row 1 has 'x' of type str",
        ),
        ({"dataframe": pd.DataFrame({"a": [1]}), "dtype": {"a": str}}, TypeError, "'a' should hold text"),
        ({"dataframe": pd.DataFrame({"a": [1]}), "columns": ["b"]}, ValueError, "no column 'b'"),
    ],
)
def test_what_does_not_fit_is_named_by_column_and_row(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        trackkit.Table(**arguments)


def test_a_million_rows_of_a_data_frame_are_kept(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": np.arange(1_000_000), "x": np.random.default_rng(0).normal(size=1_000_000)})

    found = logged(tmp_path, frame)

    assert len(found) == 1_000_000
    assert found.pandas().equals(frame)

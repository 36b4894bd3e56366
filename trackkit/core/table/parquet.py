"""Tables as Parquet: written on the media thread, media cells as JSON that says where their blobs are."""

from __future__ import annotations

import json
from typing import Any, Final

from trackkit.core.media.encoding import Content, Keep, encode
from trackkit.core.media.libraries import load
from trackkit.core.media.snapshot import Snapshot
from trackkit.core.records import Json
from trackkit.core.table.columns import MEDIA_KEY
from trackkit.core.table.types import PLAIN

METADATA_KEY: Final = "trackkit"
"""The key in a Parquet file's metadata under which the columns' types are, a JSON object."""
ROW_GROUP: Final = 122_880
"""Rows of a group: what DuckDB reads at a time."""


def encode_table(snapshot: Snapshot, keep: Keep) -> Content:
    """A table's Parquet file; the media in its cells are kept beside it."""
    arrow, parquet = load("pyarrow", "trackkit.Table"), load("pyarrow.parquet", "trackkit.Table")
    table = arrow.ipc.open_stream(arrow.py_buffer(snapshot.data())).read_all()
    kinds: dict[str, str] = snapshot.parameters["types"]
    references = [_reference(child, keep) for child in snapshot.children]
    for position, name in enumerate(table.column_names):
        if kinds[name] not in PLAIN and kinds[name] != "binary":
            column = _with_references(arrow, table.column(position), references)
            table = table.set_column(position, name, column)
        elif kinds[name] == "json" and references:
            table = table.set_column(position, name, _replaced(arrow, table.column(position), references))
    described = {"columns": {name: {"type": kind} for name, kind in kinds.items()}}
    table = table.replace_schema_metadata({METADATA_KEY: json.dumps(described)})
    target = arrow.BufferOutputStream()
    parquet.write_table(table, target, compression="zstd", row_group_size=ROW_GROUP)
    return Content(target.getvalue().to_pybytes(), "parquet", {"types": kinds} if len(kinds) <= 100 else {})


def _reference(child: Snapshot, keep: Keep) -> dict[str, Json]:
    content = encode(child, keep)
    kept = keep("cell", child, content)
    return {"kind": child.kind, **kept, "metadata": {**child.metadata, **content.metadata}}


def _with_references(arrow: Any, column: Any, references: list[dict[str, Json]]) -> Any:
    """A column of numbers of media, or of lists of them, as JSON."""

    def text(cell: Any) -> str | None:
        if cell is None:
            return None
        found = [references[each] for each in cell] if isinstance(cell, list) else references[cell]
        return json.dumps(found, ensure_ascii=False)

    return arrow.chunked_array([arrow.array([text(cell) for cell in column.to_pylist()], arrow.string())])


def _replaced(arrow: Any, column: Any, references: list[dict[str, Json]]) -> Any:
    """A column of JSON in which media are numbers, with what they stand for."""

    def replaced(value: Any) -> Any:
        if isinstance(value, dict) and list(value) == [MEDIA_KEY]:
            return references[value[MEDIA_KEY]]
        return [replaced(each) for each in value] if isinstance(value, list) else value

    cells = [None if cell is None else json.dumps(replaced(json.loads(cell))) for cell in column.to_pylist()]
    return arrow.chunked_array([arrow.array(cells, arrow.string())])

"""Data frames of any library as Arrow tables, without a copy where their memory can be shared."""

from __future__ import annotations

from typing import Any

from trackkit.core.media.libraries import is_a, load
from trackkit.core.media.snapshot import Media

_TYPES = {
    "timestamp": "time", "date32": "time", "date64": "time", "time32": "time", "time64": "time", "bool": "bool",
    "string": "text", "large_string": "text", "string_view": "text", "null": "text", "binary": "binary",
    "large_binary": "binary", "fixed_size_binary": "binary", "duration": "number",
}  # fmt: skip


def is_frame(value: Any) -> bool:
    """Whether a value is a data frame, of a library that is loaded."""
    if is_pandas(value) or is_a(value, "polars", "DataFrame"):
        return True
    arrow = is_a(value, "pyarrow", "Table") or is_a(value, "pyarrow", "RecordBatch")
    return arrow or hasattr(value, "__dataframe__")


def is_pandas(value: Any) -> bool:
    """Whether a value is a DataFrame of pandas."""
    return is_a(value, "pandas", "DataFrame")


def holds_media(frame: Any) -> bool:
    """Whether a pandas frame has columns of Python objects some of which are media."""
    for position, dtype in enumerate(frame.dtypes):
        if dtype.kind == "O":
            first = next((value for value in frame.iloc[:, position] if value is not None), None)
            if isinstance(first, Media) or type(first).__module__.startswith(("PIL.", "matplotlib.", "plotly.")):
                return True
    return False


def as_arrow(frame: Any) -> Any:
    """A data frame as an Arrow table with names that are text.

    Parameters
    ----------
    frame
        Of pandas, polars, Arrow, or anything with Arrow's PyCapsule or the dataframe interchange protocol.

    Raises
    ------
    TypeError, ValueError
        If it is none, or a column is of a type that no table can hold; the message names column and row.
    """
    arrow = load("pyarrow", "trackkit.Table")
    if isinstance(frame, arrow.RecordBatch):
        table = arrow.Table.from_batches([frame])
    elif isinstance(frame, arrow.Table):
        table = frame
    elif is_pandas(frame):
        table = _of_pandas(arrow, frame)
    elif hasattr(frame, "__arrow_c_stream__"):
        table = arrow.table(frame)
    elif hasattr(frame, "__dataframe__"):
        table = load("pyarrow.interchange", "trackkit.Table").from_dataframe(frame)
    else:
        raise TypeError(
            f"a trackkit.Table can't be made of {type(frame).__name__}: expected a data frame of pandas, polars or "
            "Arrow, or one that speaks Arrow's PyCapsule or the dataframe interchange protocol"
        )
    return _storable(arrow, table)


def _of_pandas(arrow: Any, frame: Any) -> Any:
    names = [str(name) for name in frame.columns]
    if len(set(names)) == len(names) and names != list(frame.columns):
        frame = frame.set_axis(names, axis=1)
    try:
        return arrow.Table.from_pandas(frame, preserve_index=False)
    except (arrow.ArrowInvalid, arrow.ArrowTypeError, arrow.ArrowNotImplementedError, ValueError) as error:
        for position, name in enumerate(names):
            _explain(arrow, name, frame.iloc[:, position])
        raise TypeError(f"the data frame can't be kept: {error}") from None


def _explain(arrow: Any, name: str, column: Any) -> None:
    """Say which cell keeps a column from being of one type, if one does.

    Raises
    ------
    TypeError
        Naming column and row.
    """
    try:
        arrow.array(column, from_pandas=True)
    except (arrow.ArrowInvalid, arrow.ArrowTypeError, arrow.ArrowNotImplementedError, ValueError) as error:
        first: Any = None
        for row, value in enumerate(column):
            if value is None or value != value:
                continue
            first = type(value) if first is None else first
            if type(value) is not first:
                raise TypeError(
                    f"the column {name!r} holds {first.__name__}, and row {row} has {value!r:.40} of type "
                    f"{type(value).__name__}; pass allow_mixed_types=True to keep such a column as JSON"
                ) from None
        raise TypeError(f"the column {name!r} can't be kept: {error}") from None


def _storable(arrow: Any, table: Any) -> Any:
    """The table with types that Parquet and the engines that read it have."""
    types = arrow.types
    changed = {}
    for position, field in enumerate(table.schema):
        kind = field.type
        if types.is_float16(kind):
            changed[position] = arrow.float32()
        elif str(kind) == "string_view":
            changed[position] = arrow.large_string()
        elif str(kind) == "binary_view":
            changed[position] = arrow.large_binary()
        elif types.is_dictionary(kind):
            changed[position] = kind.value_type
        elif types.is_union(kind) or types.is_interval(kind):
            raise TypeError(f"the column {field.name!r} is of the type {kind}, which a table can't hold")
    for position, kind in changed.items():
        column = table.column(position).cast(kind)
        table = table.set_column(position, table.schema.field(position).name, column)
    return table.replace_schema_metadata(None)


def column_type(kind: Any) -> str:
    """The type of a table's column that an Arrow type means."""
    name = str(kind)
    base = name.partition("[")[0].partition("(")[0].partition("<")[0]
    if base in _TYPES:
        return _TYPES[base]
    if base.startswith(("int", "uint", "float", "double", "half", "decimal")):
        return "number"
    return "json"

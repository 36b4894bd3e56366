"""`Table`: the rows a script gathers, or a data frame it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from trackkit.core.media.libraries import load, require
from trackkit.core.media.snapshot import Media, Piece, Snapshot
from trackkit.core.table import types
from trackkit.core.table.columns import Column
from trackkit.core.table.frames import as_arrow, column_type, holds_media, is_frame, is_pandas

LogMode = Literal["IMMUTABLE", "MUTABLE", "INCREMENTAL"]
_LOG_MODES = ("IMMUTABLE", "MUTABLE", "INCREMENTAL")


class Table(Media):
    """Rows and columns of numbers, texts, bools, times, lists, dicts and media.

    Parameters
    ----------
    columns
        The columns' names.
    data, rows
        Rows, each a sequence with a cell per column, or an array of two axes; `data` may also be a data frame.
    dataframe
        A data frame of pandas, polars or Arrow, or anything with Arrow's PyCapsule or the dataframe interchange
        protocol. Its memory is shared where it can be: change it after the table was logged, not before.
    dtype
        The columns' types: one for all, a list of one each, or a dict by name, of Python's types, NumPy's, classes of
        media, or the words number, text, bool, time, json. A column's first cell decides where none is given.
    optional
        Whether cells may be None: one for all columns, or a list of one each.
    allow_mixed_types
        Keep columns with cells of several types as JSON, instead of raising.
    log_mode
        Each `log` keeps the rows there are: `IMMUTABLE` as one of several tables under the key, `MUTABLE` as a newer
        state of the same one. `INCREMENTAL` keeps only rows added since the last `log`, which readers join.

    Raises
    ------
    TypeError, ValueError
        Naming the column and the row of a cell that does not fit.
    ImportError
        If pyarrow is not installed.

    Examples
    --------
    >>> table = Table(columns=["image", "digit", "guess"])
    >>> table.add_data("7.png", 7, 1)
    >>> table.get_column("guess")
    [1]
    >>> run.log({"mistakes": table})  # doctest: +SKIP
    """

    kind: ClassVar[str] = "table"

    def __init__(
        self,
        columns: Sequence[str] | None = None,
        data: Any = None,
        rows: Any = None,
        dataframe: Any = None,
        dtype: Any = None,
        optional: bool | Sequence[bool] = True,
        allow_mixed_types: bool = False,
        log_mode: LogMode = "IMMUTABLE",
    ) -> None:
        require("pyarrow", "trackkit.Table")
        if log_mode not in _LOG_MODES:
            raise ValueError(f"log_mode must be one of {', '.join(_LOG_MODES)}, not {log_mode!r}")
        self.log_mode = log_mode
        self._mixed = bool(allow_mixed_types)
        self._frames: list[Any] = []
        """Arrow tables, whose rows come before the cells of the columns."""
        self._columns: dict[str, Column] = {}
        self._logged = 0
        self._increments = 0
        data = rows if data is None else data
        if data is not None and is_frame(data):
            data, dataframe = None, data
        if dataframe is not None:
            self._take_frame(dataframe, columns, dtype, optional)
        else:
            self._take_rows(columns, [] if data is None else data, dtype, optional)

    # What it holds.

    @property
    def columns(self) -> list[str]:
        """The columns' names."""
        return list(self._columns)

    @property
    def types(self) -> dict[str, str]:
        """The columns' types; a column without a cell yet is `text`."""
        return {name: column.type or "text" for name, column in self._columns.items()}

    @property
    def data(self) -> list[list[Any]]:
        """The rows, as new lists."""
        return [row for _, row in self.iterrows()]

    def __len__(self) -> int:
        return sum(int(frame.num_rows) for frame in self._frames) + self._added

    @property
    def _added(self) -> int:
        return len(next(iter(self._columns.values())).cells) if self._columns else 0

    def add_data(self, *data: Any) -> None:
        """Add a row.

        Raises
        ------
        TypeError
            If a cell is of another type than its column.
        ValueError
            If there are more or fewer cells than columns.
        """
        if len(data) != len(self._columns):
            raise ValueError(
                f"a row of this table has {len(self._columns)} cells ({', '.join(self.columns)}), not {len(data)}"
            )
        number = len(self)
        cells = [column.checked(cell, number) for column, cell in zip(self._columns.values(), data, strict=True)]
        for column, cell in zip(self._columns.values(), cells, strict=True):
            column.append(cell)

    add_row = add_data

    def add_column(self, name: str, data: Any, optional: bool = False) -> None:
        """Add a column with a cell for every row.

        Raises
        ------
        TypeError
            If a cell is of another type than those before it.
        ValueError
            If the name is taken, or there are more or fewer cells than rows.
        """
        cells = list(data)
        if self._columns and len(cells) != len(self):
            raise ValueError(f"the column {name!r} needs a cell for each of the {len(self)} rows, and has {len(cells)}")
        column = self._new_column(name, None, optional)
        checked = []
        for number, cell in enumerate(cells):
            checked.append(column.checked(cell, number))
            column.note(checked[-1])
        self._columns[column.name] = column
        start = 0
        for position, frame in enumerate(self._frames):
            part = column.arrow(checked[start : start + frame.num_rows])
            self._frames[position] = frame.append_column(column.name, part)
            start += frame.num_rows
        for cell in checked[start:]:
            column.append(cell)

    def add_computed_columns(self, function: Callable[[int, dict[str, Any]], Mapping[str, Any]]) -> None:
        """Add columns computed row by row.

        Parameters
        ----------
        function
            Takes a row's number and the row as a dict, and gives a dict of new cells by column.
        """
        names = self.columns
        found: dict[str, list[Any]] = {}
        for number, row in self.iterrows():
            for name, cell in function(number, dict(zip(names, row, strict=True))).items():
                found.setdefault(name, []).append(cell)
        for name, cells in found.items():
            self.add_column(name, cells, optional=True)

    def get_column(self, name: str, convert_to: Literal["numpy"] | None = None) -> Any:
        """The cells of a column, as a list or a NumPy array.

        Raises
        ------
        KeyError
            If there is no such column.
        """
        if name not in self._columns:
            raise KeyError(f"the table has no column {name!r}; it has {', '.join(self.columns) or 'none'}")
        if convert_to not in (None, "numpy"):
            raise ValueError(f"convert_to must be 'numpy' or None, not {convert_to!r}")
        cells = [cell for frame in self._frames for cell in frame.column(name).to_pylist()]
        cells += self._columns[name].cells
        if convert_to is None:
            return cells
        import numpy as np

        return np.array(cells)

    def get_dataframe(self) -> Any:
        """The table as a DataFrame of pandas; media are objects.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        pandas = load("pandas", "Table.get_dataframe")
        if self._frames and not self._added:
            return self._joined(0).to_pandas()
        return pandas.DataFrame({name: self.get_column(name) for name in self.columns})

    def iterrows(self) -> Iterator[tuple[int, list[Any]]]:
        """The rows with their numbers."""
        columns = [self.get_column(name) for name in self.columns]
        for number, row in enumerate(zip(*columns, strict=True)):
            yield number, list(row)

    def __repr__(self) -> str:
        return f"<trackkit.Table of {len(self)} rows: {', '.join(self.columns)}>"

    # How it is kept.

    def snapshot(self) -> Snapshot:
        first = self._logged if self.log_mode == "INCREMENTAL" else 0
        children: list[Snapshot] = []
        places: dict[int, int] = {}
        table = self._joined(first, lambda media: _placed(media, children, places))
        stream = _Pieces()
        arrow = load("pyarrow", "trackkit.Table")
        with arrow.ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table)
        noted: dict[str, Any] = {"rows": table.num_rows, "columns": table.num_columns, "log_mode": self.log_mode}
        if self.log_mode == "INCREMENTAL":
            noted["increment"] = self._increments
            self._increments += 1
            self._logged = len(self)
        return Snapshot("table", "table", {"types": self.types}, noted, [stream.pieces], children=children)

    def _joined(self, first: int, place: Callable[[Media], Any] = lambda media: media) -> Any:
        """The rows from a number on, as one Arrow table."""
        arrow = load("pyarrow", "trackkit.Table")
        parts = []
        for frame in self._frames:
            if first < frame.num_rows:
                parts.append(frame.slice(first))
            first = max(0, first - frame.num_rows)
        if not parts or first < self._added:
            names = self.columns
            cells = [column.arrow(column.cells[first:], place) for column in self._columns.values()]
            parts.append(arrow.Table.from_arrays(cells, names=names))
        return parts[0] if len(parts) == 1 else arrow.concat_tables(parts, promote_options="permissive")

    # How it begins.

    def _new_column(self, name: Any, type: str | None, optional: bool) -> Column:
        column = Column(str(name), type, optional=bool(optional), mixed=self._mixed)
        if not column.name:
            raise ValueError("a table's column must have a name")
        if column.name in self._columns:
            raise ValueError(f"a table's columns have different names, and there are two {column.name!r}")
        return column

    def _take_rows(self, columns: Sequence[str] | None, data: Any, dtype: Any, optional: Any) -> None:
        if hasattr(data, "tolist") and hasattr(data, "shape"):
            if len(data.shape) != 2:
                raise ValueError(f"the data of a table must have rows and columns, not the shape {tuple(data.shape)}")
            columns = [str(number) for number in range(data.shape[1])] if columns is None else columns
            data = data.tolist()
        if not isinstance(data, Sequence) or isinstance(data, str):
            raise TypeError(f"the data of a table must be a list of rows, not {type(data).__name__}")
        if columns is None:
            width = len(data[0]) if len(data) and isinstance(data[0], Sequence) else 0
            columns = ["Input", "Output", "Expected"] if not width else [str(number) for number in range(width)]
        if isinstance(columns, str) or not isinstance(columns, Sequence):
            raise TypeError(f"the columns of a table must be a list of names, not {columns!r:.60}")
        for name, kind, may_lack in zip(columns, _each(dtype, columns), _flags(optional, columns), strict=True):
            column = self._new_column(name, types.type_named(kind, str(name)), may_lack)
            self._columns[column.name] = column
        for number, row in enumerate(data):
            if not isinstance(row, Sequence) or isinstance(row, str):
                raise TypeError(f"row {number} of a table must be a list of cells, not {type(row).__name__}")
            self.add_data(*row)

    def _take_frame(self, frame: Any, columns: Sequence[str] | None, dtype: Any, optional: Any) -> None:
        if is_pandas(frame) and (holds_media(frame) or self._mixed):
            names = [str(name) for name in frame.columns]
            self._take_rows(names, frame.astype(object).values.tolist(), dtype, optional)
            return
        table = as_arrow(frame)
        if columns is not None:
            missing = [name for name in columns if name not in table.column_names]
            if missing:
                raise ValueError(f"the data frame has no column {missing[0]!r}; it has {', '.join(table.column_names)}")
            table = table.select(list(columns))
        wanted = _each(dtype, table.column_names)
        for field, kind, may_lack in zip(table.schema, wanted, _flags(optional, table.column_names), strict=True):
            found, named = column_type(field.type), types.type_named(kind, field.name)
            if named not in (None, found):
                raise TypeError(f"the column {field.name!r} should hold {named}, and the data frame's is {field.type}")
            column = self._new_column(field.name, found, may_lack)
            if not may_lack and table.column(column.name).null_count:
                raise TypeError(f"the column {column.name!r} has cells without a value, and is not optional")
            self._columns[column.name] = column
        self._frames.append(table)


class _Pieces:
    """A file that keeps what is written to it, without a copy."""

    closed = False

    def __init__(self) -> None:
        self.pieces: list[Piece] = []

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self.pieces.append(view)
        return view.nbytes

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def flush(self) -> None: ...

    def close(self) -> None: ...


def _placed(media: Media, children: list[Snapshot], places: dict[int, int]) -> int:
    """The number of a cell's media among the children, each once."""
    if id(media) not in places:
        places[id(media)] = len(children)
        children.append(media.snapshot())
    return places[id(media)]


def _each(given: Any, columns: Sequence[str]) -> list[Any]:
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in columns]
        if unknown:
            raise ValueError(f"dtype names the column {unknown[0]!r}, which is none of {', '.join(map(str, columns))}")
        return [given.get(name) for name in columns]
    if isinstance(given, list | tuple):
        if len(given) != len(columns):
            raise ValueError(f"dtype has {len(given)} types for {len(columns)} columns")
        return list(given)
    return [given] * len(columns)


def _flags(given: Any, columns: Sequence[str]) -> list[bool]:
    if isinstance(given, list | tuple):
        if len(given) != len(columns):
            raise ValueError(f"optional has {len(given)} entries for {len(columns)} columns")
        return [bool(each) for each in given]
    return [bool(given)] * len(columns)

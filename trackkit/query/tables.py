"""Tables of a run, read back from their Parquet files."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

from trackkit.backend.store.runs import RunRow
from trackkit.core.media.libraries import load
from trackkit.core.table.parquet import METADATA_KEY
from trackkit.query.media import MediaItem
from trackkit.query.source import Source


class LoggedTable:
    """A table as it was logged, of one Parquet file or of the increments of several.

    Attributes
    ----------
    key, step
        What it was logged under, and the step of its last part.
    items
        Its parts.

    Examples
    --------
    >>> table = run.table("predictions")
    >>> table.pandas().groupby("label").guess.mean()
    """

    def __init__(self, source: Source, run: RunRow, items: list[MediaItem]) -> None:
        self._source = source
        self._run = run
        self.items = items
        self.key: str = items[-1].key
        self.step: int | None = items[-1].step

    @property
    def columns(self) -> list[str]:
        """The columns' names."""
        return list(self.types)

    @cached_property
    def types(self) -> dict[str, str]:
        """The columns' types; a kind of media where cells hold it."""
        parquet = load("pyarrow.parquet", "LoggedTable")
        with self.items[-1].open() as content:  # a column may have had no cell before
            schema = parquet.read_schema(content)
        described = json.loads((schema.metadata or {}).get(METADATA_KEY.encode(), b"{}"))
        types = {name: str(column["type"]) for name, column in described.get("columns", {}).items()}
        return {name: types.get(name, "json") for name in schema.names}

    def __len__(self) -> int:
        return sum(int(item.metadata["rows"]) for item in self.items)

    def arrow(self) -> Any:
        """The table as Arrow's; a cell with media is JSON with its `kind`, `digest`, `path` and `metadata`.

        Raises
        ------
        FileNotFoundError
            If a part's content is no longer in the store.
        """
        arrow, parquet = load("pyarrow", "LoggedTable"), load("pyarrow.parquet", "LoggedTable")
        parts = []
        for item in self.items:
            with item.open() as content:
                parts.append(parquet.read_table(content))
        whole = parts[0] if len(parts) == 1 else arrow.concat_tables(parts, promote_options="permissive")
        return whole.replace_schema_metadata(None)

    def pandas(self) -> Any:
        """The table as a DataFrame of pandas."""
        load("pandas", "LoggedTable.pandas")
        return self.arrow().to_pandas()

    get_dataframe = pandas

    def polars(self) -> Any:
        """The table as a DataFrame of polars."""
        return load("polars", "LoggedTable.polars").from_arrow(self.arrow())

    def content(self, cell: str) -> bytes:
        """The content of the media in a cell.

        Parameters
        ----------
        cell
            The cell as `arrow` gives it.

        Raises
        ------
        FileNotFoundError
            If it is no longer in the store.
        """
        described = json.loads(cell)
        name = str(described.get("path") or f"a cell of {self.key}")
        with self._source.open_blob(self._run, str(described["digest"]), name) as content:
            return content.read()

    def __repr__(self) -> str:
        return f"LoggedTable({self.key!r}, step {self.step}, {len(self)} rows: {', '.join(self.columns)})"

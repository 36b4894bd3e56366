"""Tables of a run, read back from their Parquet files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trackkit.core.media.libraries import load
from trackkit.core.table.parquet import METADATA_KEY
from trackkit.query.media import MediaItem
from trackkit.query.store import Store


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

    def __init__(self, store: Store, items: list[MediaItem]) -> None:
        self._store = store
        self.items = items
        self.key: str = items[-1].key
        self.step: int | None = items[-1].step

    @property
    def columns(self) -> list[str]:
        """The columns' names."""
        return list(self.types)

    @property
    def types(self) -> dict[str, str]:
        """The columns' types; a kind of media where cells hold it."""
        parquet = load("pyarrow.parquet", "LoggedTable")
        schema = parquet.read_schema(self._paths()[-1])  # a column may have had no cell before
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
        parts = [parquet.read_table(path) for path in self._paths()]
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
        return self._store.blob(str(json.loads(cell)["digest"])).read_bytes()

    def _paths(self) -> list[Path]:
        paths = [self._store.blob(item.digest) for item in self.items]
        for path, item in zip(paths, self.items, strict=True):
            if not path.is_file():
                raise FileNotFoundError(f"the content of {item.path} is not in the store: {path} is missing")
        return paths

    def __repr__(self) -> str:
        return f"LoggedTable({self.key!r}, step {self.step}, {len(self)} rows: {', '.join(self.columns)})"

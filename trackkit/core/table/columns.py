"""A column of a table: its name, its type, and the cells that were added to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from trackkit.core.media.libraries import load
from trackkit.core.media.snapshot import Media
from trackkit.core.table import types

MEDIA_KEY: Final = "trackkit:media"
"""Stands for media in a cell of the type `json`, until they are encoded."""


class Column:
    """A column.

    Parameters
    ----------
    name
        Its name.
    type
        Its type; None until its first cell.
    optional
        Whether cells may be None.
    mixed
        Whether it becomes `json` when a cell is of another type.

    Attributes
    ----------
    cells
        What was added.
    """

    __slots__ = ("cells", "mixed", "name", "optional", "type")

    def __init__(self, name: str, type: str | None, *, optional: bool, mixed: bool) -> None:
        self.name = name
        self.type = type
        self.optional = optional
        self.mixed = mixed
        self.cells: list[Any] = []

    def checked(self, value: Any, row: int) -> Any:
        """A cell that may be appended.

        Raises
        ------
        TypeError
            If it is of another type, naming column and row.
        """
        try:
            cell = types.normal(value)
        except TypeError as error:
            raise TypeError(f"row {row} of the column {self.name!r}: {error}") from None
        found = types.type_of(cell)
        if found is None:
            if not self.optional:
                raise TypeError(f"row {row} of the column {self.name!r} has no value, and the column is not optional")
        elif self.type is not None and found != self.type and not self.mixed and not self._takes(found, cell):
            raise TypeError(
                f"the column {self.name!r} holds {self.type}, and row {row} has {value!r:.40} of type "
                f"{type(value).__name__}; "
                "pass allow_mixed_types=True to keep such a column as JSON"
            )
        return cell

    def _takes(self, found: str, cell: Any) -> bool:
        return self.type == "json" and not isinstance(cell, Media)

    def note(self, cell: Any) -> None:
        """Take a cell's type for the column's, if it has none; a column of several types is JSON."""
        found = types.type_of(cell)
        if self.type is None:
            self.type = found
        elif found not in (None, self.type):
            self.type = "json"

    def append(self, cell: Any) -> None:
        """Add a cell that was checked."""
        self.note(cell)
        self.cells.append(cell)

    def arrow(self, cells: Sequence[Any], place: Callable[[Media], Any] = lambda media: media) -> Any:
        """Cells as an Arrow array; media as what `place` makes of them.

        Raises
        ------
        TypeError
            If cells can't be kept together, naming the column.
        """
        arrow = load("pyarrow", "trackkit.Table")
        try:
            match self.type:
                case "number":
                    if all(cell is None or types.fits_integer(cell) for cell in cells):
                        return arrow.array(cells, arrow.int64())
                    return arrow.array([types.as_double(cell) for cell in cells], arrow.float64())
                case None:
                    return arrow.nulls(len(cells))
                case "text":
                    return arrow.array([None if cell is None else _text(cell) for cell in cells], arrow.string())
                case "bool":
                    return arrow.array(cells, arrow.bool_())
                case "time":
                    return arrow.array(cells, _time_type(arrow, cells))
                case "json":
                    return arrow.array([types.as_json(_without_media(cell, place)) for cell in cells], arrow.string())
            if any(isinstance(cell, list) for cell in cells):
                lists = [None if cell is None else [place(each) for each in _as_list(cell)] for cell in cells]
                return arrow.array(lists, arrow.list_(arrow.int64()))
            return arrow.array([None if cell is None else place(cell) for cell in cells], arrow.int64())
        except (arrow.ArrowInvalid, arrow.ArrowTypeError, TypeError, ValueError) as error:
            raise TypeError(f"the column {self.name!r} can't be kept: {error}") from None


def _text(text: str) -> str:
    """Text that UTF-8 can hold."""
    return (
        text.encode("utf-8", "backslashreplace").decode()
        if any("\ud800" <= each <= "\udfff" for each in text)
        else text
    )


def _time_type(arrow: Any, cells: Sequence[Any]) -> Any:
    aware = {getattr(cell, "tzinfo", None) is not None for cell in cells if cell is not None}
    if aware == {True, False}:
        raise TypeError("some times have a time zone and some have none")
    return arrow.timestamp("us", "UTC") if aware == {True} else arrow.timestamp("us")


def _as_list(cell: Any) -> list[Any]:
    return cell if isinstance(cell, list) else [cell]


def _without_media(cell: Any, place: Callable[[Media], Any]) -> Any:
    """A cell of several types, with media as numbers under a key of their own."""
    if isinstance(cell, Media):
        return {MEDIA_KEY: place(cell)}
    if isinstance(cell, list):
        return [_without_media(each, place) for each in cell]
    return cell

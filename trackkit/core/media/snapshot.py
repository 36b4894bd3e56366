"""A media value, and the snapshot of its data that `log` takes: raw bytes now, to be encoded later."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from trackkit.core.records import Json

Piece = bytes | bytearray | memoryview
"""Contiguous bytes, which the snapshot borrows until it is staged."""
Buffer = Piece | list[Piece]
"""Bytes that are one after another once they are staged."""


@dataclass(slots=True)
class Snapshot:
    """The data of a media value as it was when it was logged, ready to be written down without further work.

    Attributes
    ----------
    kind
        Of the object it becomes: `image`, `audio`, …
    encoder
        Who makes its content of it; see `encoding`.
    parameters
        What the encoder must know: shapes, types of the elements, formats.
    metadata
        What is noted on the object.
    buffers
        The raw data.
    file
        A file whose content is part of the data.
    children
        Snapshots it is made of: an image's masks, the media in a table's cells.
    """

    kind: str
    encoder: str
    parameters: dict[str, Json] = field(default_factory=dict)
    metadata: dict[str, Json] = field(default_factory=dict)
    buffers: Sequence[Buffer] = ()
    file: Path | None = None
    children: Sequence[Snapshot] = ()

    def data(self, number: int = 0) -> memoryview:
        """The bytes of a buffer."""
        buffer = self.buffers[number]
        return memoryview(b"".join(buffer) if isinstance(buffer, list) else buffer)


class Media(ABC):
    """A value of `log` that is neither number nor text; use a subclass.

    Wrong arguments are errors where the value is made. Nothing is encoded before the value is logged, nor then:
    `log` takes a snapshot, and a background thread encodes it.
    """

    kind: ClassVar[str]

    @abstractmethod
    def snapshot(self) -> Snapshot:
        """The data as it is now.

        Raises
        ------
        TypeError, ValueError
            If it can't be kept.
        """

    @property
    def logged_together(self) -> str:
        """Values of one list must agree in this."""
        return self.kind


def check_caption(caption: object) -> str | None:
    """A caption, as text.

    Raises
    ------
    TypeError
        If it is none.
    """
    if caption is None or isinstance(caption, str):
        return caption
    if isinstance(caption, Mapping | Sequence):
        raise TypeError(f"a caption must be text, not {type(caption).__name__}: {caption!r:.60}")
    return str(caption)


def check_file(path: str | os.PathLike[str], what: str) -> Path:
    """The path of a file that exists.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    found = Path(path)
    if not found.is_file():
        raise FileNotFoundError(f"{what} found no file {str(found)!r}")
    return found.absolute()


def named(**metadata: Json) -> dict[str, Json]:
    """Metadata without what is not given."""
    return {key: value for key, value in metadata.items() if value is not None}

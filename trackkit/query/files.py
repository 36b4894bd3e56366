"""The files of a run."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from trackkit.backend.store.objects import ObjectRow
from trackkit.backend.store.runs import RunRow
from trackkit.query.moments import moment
from trackkit.query.source import Source


class File:
    """A file a run kept: code, a patch, or whatever it was told to save.

    Attributes
    ----------
    path
        The name it is listed under, relative, with `/`.
    kind
        `code`, `diff`, `file`, …
    size
        Bytes.
    digest
        SHA-256 of the content in hex; empty for a small file that lies in the database.
    """

    def __init__(self, source: Source, run: RunRow, row: ObjectRow) -> None:
        self._source = source
        self._run = run
        self._row = row
        self.path: str = row.path
        self.kind: str = row.kind
        self.size: int = row.size
        self.digest: str = row.digest
        self.key: str = row.key
        self.step: int | None = row.step
        self.created: datetime = moment(row.time)

    @property
    def metadata(self) -> dict[str, Any]:
        """What was noted with the file."""
        noted: dict[str, Any] = msgspec.json.decode(self._row.metadata)
        return noted

    def open(self) -> BinaryIO:
        """The content as a binary file to read.

        Raises
        ------
        FileNotFoundError
            If the content is no longer in the store.
        """
        return self._source.open(self._run, self._row)

    def read(self) -> bytes:
        """The whole content; raises as `open`."""
        with self.open() as file:
            return file.read()

    def download(self, folder: str | Path = ".") -> Path:
        """Copy the file below a folder, under its own path, and say where it is.

        Raises
        ------
        ValueError
            If the file's path would lead out of the folder.
        """
        below = Path(folder).resolve()
        target = (below / self.path).resolve()
        if not target.is_relative_to(below):
            raise ValueError(f"the path {self.path!r} leads out of {folder}; read the file with read() instead")
        target.parent.mkdir(parents=True, exist_ok=True)
        with self.open() as content, open(target, "wb") as copy:
            shutil.copyfileobj(content, copy)
        return target

    def __repr__(self) -> str:
        return f"File({self.path!r}, {self.kind}, {self.size} bytes)"

"""The files of a run."""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from trackkit.backend.store import objects
from trackkit.query.moments import moment
from trackkit.query.store import Store


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

    def __init__(self, store: Store, run: int, row: objects.ObjectRow) -> None:
        self._store = store
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
        if self.digest:
            blob = self._store.blob(self.digest)
            if not blob.is_file():
                raise FileNotFoundError(f"the content of {self.path} is not in the store: {blob} is missing")
            return blob.open("rb")
        content = objects.inline(self._store.db, self._run, self._row.writer, self._row.seq)
        if content is None:
            raise FileNotFoundError(f"{self.path} is no longer in the store")
        return io.BytesIO(content)

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
        target.write_bytes(self.read())
        return target

    def __repr__(self) -> str:
        return f"File({self.path!r}, {self.kind}, {self.size} bytes)"

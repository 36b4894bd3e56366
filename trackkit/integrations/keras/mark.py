"""The mark in a checkpoint: which run it belongs to, and where in it it was made."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import msgspec

_ENTRY = "trackkit.json"
_ATTRIBUTE = "trackkit"


class Mark(msgspec.Struct, frozen=True):
    """Which run a checkpoint belongs to, and the last step and epoch before it.

    Keras reads over it: it is a further entry of a `.keras` archive, an attribute of an `.h5` file, and in a folder a
    file of its own.

    Examples
    --------
    >>> mark = Mark.read("model.keras")  # doctest: +SKIP
    >>> model.fit(x, y, initial_epoch=mark.epoch + 1, callbacks=[...])  # doctest: +SKIP
    """

    run: str
    step: int
    epoch: int

    def write(self, path: str | os.PathLike[str]) -> None:
        """Put the mark into a checkpoint that was just written."""
        target, text = Path(path), json.dumps(msgspec.to_builtins(self))
        if target.is_dir():
            (target / _ENTRY).write_text(text)
        elif zipfile.is_zipfile(target):
            with zipfile.ZipFile(target, "a") as archive:
                archive.writestr(_ENTRY, text)
        else:
            import h5py  # Keras brings it

            with h5py.File(target, "a") as file:
                file.attrs[_ATTRIBUTE] = text

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Mark | None:
        """The mark of a checkpoint; None if it has none.

        Raises
        ------
        FileNotFoundError
            If there is no such file or folder.
        """
        target = Path(path)
        if not target.exists():
            raise FileNotFoundError(f"there is no checkpoint {str(target)!r}")
        text: str | bytes | None = None
        if target.is_dir():
            text = (target / _ENTRY).read_text() if (target / _ENTRY).exists() else None
        elif zipfile.is_zipfile(target):
            with zipfile.ZipFile(target) as archive:
                text = archive.read(_ENTRY) if _ENTRY in archive.namelist() else None
        else:
            import h5py

            with h5py.File(target) as file:
                text = file.attrs.get(_ATTRIBUTE)
        return None if text is None else msgspec.json.decode(text, type=cls)

"""Which run a checkpoint belongs to: put into it when it is saved, read from it before anything is loaded."""

from __future__ import annotations

import collections
import os
import pickle
import zipfile
from typing import Any

KEY = "trackkit"
"""The checkpoint's entry that says which run it belongs to, and its last step."""


def run_of(path: str | os.PathLike[str]) -> str | None:
    """The id of the run that wrote a checkpoint; None if it names none or can't be read.

    Nothing of it is loaded: of the file's pickle only strings, numbers and containers are looked at, no code in it
    runs, and tensors are not touched.

    Parameters
    ----------
    path
        A checkpoint's file, or the folder of a sharded one.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        path = os.path.join(path, "meta.pt")
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(name) as file:
                content = _Glimpse(file).load()
        found = content[KEY]["run"]
    except Exception:  # no checkpoint of ours, a remote one, an old format: it is no fault not to know it
        return None
    return found if isinstance(found, str) else None


class _Inert:
    """Stands for whatever is neither a string, a number nor a container."""

    def __init__(self, *arguments: Any, **named: Any) -> None: ...

    def __call__(self, *arguments: Any, **named: Any) -> _Inert:
        return self

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, item: Any) -> None: ...

    def extend(self, items: Any) -> None: ...


class _Glimpse(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return collections.OrderedDict if (module, name) == ("collections", "OrderedDict") else _Inert

    def persistent_load(self, identifier: Any) -> Any:
        return None

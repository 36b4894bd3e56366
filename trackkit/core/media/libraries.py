"""The libraries that media need, asked for where a value is made and imported where one is encoded."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from typing import Any


@functools.cache
def require(module: str, what: str) -> None:
    """Check, without importing it, that a library is there.

    Parameters
    ----------
    module
        The name it is imported by.
    what
        What needs it, as the message should put it.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise ImportError(
            f"{what} needs {_NAMES.get(module, module)}, which is in an extra: pip install trackkit[media]"
        )


def is_a(value: object, module: str, name: str) -> bool:
    """Whether a value is an instance of a class of a library, which is not imported for that.

    Another thread may be in the middle of importing it: then there are no instances yet.
    """
    kind: Any = sys.modules.get(module)
    for part in name.split("."):
        kind = getattr(kind, part, None)
    return isinstance(kind, type) and isinstance(value, kind)


def load(module: str, what: str) -> Any:
    """The module, imported; raises as `require`."""
    require(module.partition(".")[0], what)
    return importlib.import_module(module)


_NAMES = {"PIL": "Pillow", "av": "PyAV", "soundfile": "soundfile", "pyarrow": "pyarrow"}

"""What `autolog` replaces in a framework, and how it is put back."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

Around = Callable[..., Any]
"""Called in a function's place: the function that was replaced, then what it was called with."""
_MISSING = object()


class Patches:
    """Functions and methods of a framework that were replaced.

    Examples
    --------
    >>> import json
    >>> patches = Patches()
    >>> patches.put(json, "dumps", lambda original, value: original(value).upper())
    >>> json.dumps("loss")
    '"LOSS"'
    >>> patches.remove()
    >>> json.dumps("loss")
    '"loss"'
    """

    def __init__(self) -> None:
        self._replaced: list[tuple[Any, str, Any]] = []
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._replaced)

    def put(self, owner: Any, name: str, around: Around) -> None:
        """Replace what `owner.name` is, in a module or a class.

        Parameters
        ----------
        owner
            The module or class.
        name
            The function's name there.
        around
            Called instead, with the function as first argument.
        """
        original = getattr(owner, name)
        before = vars(owner).get(name, _MISSING)

        @functools.wraps(original)
        def replacement(*arguments: Any, **named: Any) -> Any:
            return around(original, *arguments, **named)

        with self._lock:
            setattr(owner, name, replacement)
            self._replaced.append((owner, name, before))

    def remove(self) -> None:
        """Put everything back, last one first."""
        with self._lock:
            while self._replaced:
                owner, name, before = self._replaced.pop()
                if before is _MISSING:
                    delattr(owner, name)
                else:
                    setattr(owner, name, before)

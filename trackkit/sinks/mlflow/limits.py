"""What an MLflow server takes, and how keys and values are made to fit."""

from __future__ import annotations

import hashlib
import math
import posixpath
import re
from typing import Any, Final

import msgspec

METRICS: Final = 1000
"""Metrics in one request; also metrics, params and tags together."""
PAIRS: Final = 100
"""Params, and tags, in one request."""
RESERVED: Final = ("mlflow.", "trackkit.")
"""How keys of tags begin that mean something to MLflow or to us."""
_ROOM: Final = 20
"""Characters of a key left free for what comes before it in the tag that tells what it stands for."""
_VERSION = re.compile(r"(\d+)\.(\d+)")


class Limits(msgspec.Struct, frozen=True):
    """How long things may be at a server, in characters, and whether keys may hold a colon.

    See `mlflow/utils/validation.py` of the versions named in `of`.
    """

    key: int = 250
    param: int = 500
    tag: int = 5000
    colon: bool = False

    @classmethod
    def of(cls, version: str) -> Limits:
        """Those of a version of MLflow; those of the oldest if it is none.

        Examples
        --------
        >>> Limits.of("2.0.1").param, Limits.of("3.17.2").param
        (500, 6000)
        """
        found = _VERSION.match(version)
        number = (int(found[1]), int(found[2])) if found else (0, 0)
        return cls(
            param=6000 if number >= (2, 8) else 500, tag=8000 if number >= (3, 0) else 5000, colon=number >= (3, 0)
        )


def fitting_key(key: str, limits: Limits) -> str:
    """The key a server takes for a key: the same wherever it can be.

    Examples
    --------
    >>> fitting_key("val/acc@1", Limits())
    'val/acc_1'
    """
    allowed = r"[^/\w.\- :]" if limits.colon else r"[^/\w.\- ]"
    fitting = re.sub(allowed, "_", key)
    if posixpath.normpath(fitting) != fitting or fitting == "." or fitting.startswith(("..", "/")):
        fitting = "/".join("_" if part and not part.strip(".") else part for part in fitting.split("/"))
        fitting = posixpath.normpath(fitting).lstrip("/").removeprefix(".") or "_"
    return fitting if len(fitting) <= limits.key else marked(fitting, key, limits)


def marked(fitting: str, key: str, limits: Limits) -> str:
    """A key that fits, with a mark that no other key has."""
    mark = hashlib.sha256(key.encode()).hexdigest()[:8]
    return f"{fitting[: limits.key - _ROOM - 9]}-{mark}"


def shortened(text: str, most: int) -> str:
    """A text of at most so many characters; one that was cut ends in "…"."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def as_text(value: Any) -> str:
    """A value of a config as a param's text, as MLflow's client writes it: `str` of it, JSON of what has structure."""
    if isinstance(value, str):
        return value
    if isinstance(value, (dict, list)):
        return msgspec.json.encode(value).decode()
    return str(value)


def as_number(value: float) -> float | str:
    """A metric's value as MLflow's JSON has it: NaN and the infinities are texts.

    Examples
    --------
    >>> as_number(float("nan")), as_number(float("-inf")), as_number(0.5)
    ('NaN', '-Infinity', 0.5)
    """
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


class Names:
    """Which key at the server stands for which of the run's, where it can't be the same.

    What is not the same is noted in a tag `trackkit.key.NAME`, so that nobody takes one metric for another, whoever
    sends next.

    Parameters
    ----------
    limits
        The server's.
    noted
        The keys by name, as tags told them.
    taken
        Names that are there.
    """

    def __init__(self, limits: Limits, noted: dict[str, str], taken: set[str]) -> None:
        self._limits = limits
        self._names = {key: name for name, key in noted.items()}
        self._owners = {**{name: name for name in taken}, **noted}
        self.fresh: dict[str, str] = {}
        """Names that are not noted yet, and their keys."""

    def name(self, key: str) -> str:
        """The server's key for a key."""
        found = self._names.get(key)
        if found is None:
            found = fitting_key(key, self._limits)
            if self._owners.get(found, key) != key or (found != key and len(found) > self._limits.key - _ROOM):
                found = marked(found, key, self._limits)
            self._names[key] = found
            self._owners[found] = key
            if found != key:
                self.fresh[found] = key
        return found

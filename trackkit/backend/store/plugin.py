"""What SQLite needs to know to read a store: the functions the `history` view and the filters call.

Registered as a plugin of sqlite-utils and of Datasette (entry points of the same names), so that
`sqlite-utils query` and Datasette see every point; trackkit's own readers call it directly.
"""

from __future__ import annotations

import functools
import math
import re
import sqlite3

import numpy as np
import pluggy

from trackkit.backend.store import codec


@pluggy.HookimplMarker("datasette")
@pluggy.HookimplMarker("sqlite_utils")
def prepare_connection(conn: sqlite3.Connection) -> None:
    """Register `trackkit_chunk` and `regexp` on a connection.

    Examples
    --------
    >>> connection = sqlite3.connect(":memory:")
    >>> prepare_connection(connection)
    >>> connection.execute("select 'resnet50' regexp '^res'").fetchone()
    (1,)
    """
    conn.create_function("trackkit_chunk", 3, chunk_points, deterministic=True)
    conn.create_function("regexp", 2, matches, deterministic=True)


def chunk_points(steps: bytes, times: bytes, vals: bytes) -> str:
    """A chunk as a JSON array of [step, time in µs, value].

    NaN, which JSON does not have, is null; ±Infinity is ±9e999, which SQLite reads as infinity.
    """
    values = codec.decompress_floats(vals)
    texts = [repr(value) for value in values.tolist()]
    for index in np.flatnonzero(~np.isfinite(values)).tolist():
        value = float(values[index])
        texts[index] = "null" if math.isnan(value) else "9e999" if value > 0 else "-9e999"
    rows = zip(codec.decompress_ints(steps).tolist(), codec.decompress_ints(times).tolist(), texts, strict=True)
    return "[" + ",".join([f"[{step},{time},{text}]" for step, time, text in rows]) + "]"


def matches(pattern: str | None, value: str | float | None) -> bool | None:
    """SQL's `value regexp pattern`: whether the pattern is found anywhere in the text; NULL if either is."""
    if pattern is None or value is None:
        return None
    return _compiled(pattern).search(str(value)) is not None


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)

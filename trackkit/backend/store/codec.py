"""Chunks: columns of a series' points compressed with pcodec, lossless for every float, NaN and infinity."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pcodec import ChunkConfig, standalone

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_CONFIG = ChunkConfig()


def compress(column: Ints | Floats) -> bytes:
    """A column of int64 or float64 values as bytes."""
    return bytes(standalone.simple_compress(np.ascontiguousarray(column), _CONFIG))


def decompress_ints(data: bytes) -> Ints:
    """The int64 column that `compress` made `data` from."""
    column: Ints = standalone.simple_decompress(data)
    return column


def decompress_floats(data: bytes) -> Floats:
    """The float64 column that `compress` made `data` from."""
    column: Floats = standalone.simple_decompress(data)
    return column


def decompress_into(column: Ints | Floats, data: bytes) -> None:
    """Fill a contiguous column with what `compress` made `data` from."""
    standalone.simple_decompress_into(data, column)

"""What a watched step leaves: a matrix of statistics, one of histograms, and how both are written down.

The content of an object of kind `watch`, described in `docs/gradients.md` for outsiders, is a msgpack array: version,
names of the statistics, the statistics, the histograms' highest exponents, the histograms. Each of the last three is
zstd-compressed little-endian: float32 statistics × tensors, int16 per tensor, uint32 tensors × 64; the last two are
empty if there are no histograms. Which tensor a column is about says another object, of kind `layers`: their names
change rarely and are written once.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from trackkit.core.gradients.layout import Tally

STATISTICS: Final = ("norm", "mean", "std", "min", "max", "zeros", "nan", "inf", "update_ratio")
"""`zeros` is a share of the elements, `nan` and `inf` are counts, `update_ratio` is the norm of
the change by the optimizer's step over that of the parameter."""
BINS: Final = 64
_SIDE: Final = BINS // 2
_BIAS: Final = 127
VERSION: Final = 1


class Layers(msgspec.Struct):
    """Which tensors a watched step is about, in the model's order."""

    names: list[str]
    shapes: list[list[int]]
    sizes: list[int]
    """Elements this process holds."""
    kinds: list[str]
    """The type of the module each belongs to, such as `Linear`."""
    sharded: bool = False
    """Whether other processes hold other parts of the tensors."""

    def encode(self) -> bytes:
        """As JSON."""
        return msgspec.json.encode(self)

    @property
    def digest(self) -> str:
        """By which steps refer to it."""
        return hashlib.sha256(self.encode()).hexdigest()[:16]


@dataclass
class Frame:
    """The statistics of one watched step: of everything that was watched under one key.

    Attributes
    ----------
    statistics
        Statistics × tensors, in the order of `columns`; NaN where a tensor took no part.
    tops, histograms
        The exponent of the outermost bins of each tensor's histogram, and tensors × 64 counts of a sample, or None.
        Bins 32 to 63 hold the positive numbers: bin 63 those from 2**top to 2**(top+1), each bin before it those half
        as large, bin 32 all smaller ones, and zeros. Bins 31 to 0 are the same of negative numbers, from small to
        large.
    """

    statistics: NDArray[np.float32]
    tops: NDArray[np.int16] | None = None
    histograms: NDArray[np.uint32] | None = None
    columns: tuple[str, ...] = STATISTICS

    def of(self, statistic: str) -> NDArray[np.float32]:
        """One statistic of all tensors; NaN if it was not measured."""
        if statistic not in self.columns:
            return np.full(self.statistics.shape[1], np.nan, np.float32)
        row: NDArray[np.float32] = self.statistics[self.columns.index(statistic)]
        return row


class _Written(msgspec.Struct, array_like=True):
    version: int
    columns: list[str]
    tensors: int
    statistics: bytes
    tops: bytes
    histograms: bytes


def encode(frame: Frame) -> bytes:
    """A frame as the content of its object."""
    import zstandard

    pack = zstandard.ZstdCompressor(level=3).compress
    tops = histograms = b""
    if frame.histograms is not None and frame.tops is not None:
        tops = pack(np.ascontiguousarray(frame.tops, "<i2").tobytes())
        histograms = pack(np.ascontiguousarray(frame.histograms, "<u4").tobytes())
    statistics = pack(np.ascontiguousarray(frame.statistics, "<f4").tobytes())
    written = _Written(VERSION, list(frame.columns), frame.statistics.shape[1], statistics, tops, histograms)
    return msgspec.msgpack.encode(written)


_decoder = msgspec.msgpack.Decoder(_Written)


def decode(content: bytes, *, histograms: bool = True) -> Frame:
    """The frame an object holds, with or without its histograms.

    Raises
    ------
    ValueError
        If the content is none, or of a later version.
    """
    import zstandard

    try:
        written = _decoder.decode(content)
        if written.version != VERSION:
            raise ValueError(f"the content is of version {written.version}; this trackkit reads version {VERSION}")
        columns, tensors = tuple(written.columns), written.tensors

        def unpack(part: bytes, size: int) -> bytes:
            # The size is known, so content made to unpack into gigabytes doesn't.
            return zstandard.ZstdDecompressor().decompress(part, max_output_size=max(1, size))

        statistics = _array(unpack(written.statistics, 4 * len(columns) * tensors), "<f4", (len(columns), tensors))
        frame = Frame(statistics, columns=columns)
        if histograms and written.histograms:
            frame.tops = _array(unpack(written.tops, 2 * tensors), "<i2", (tensors,))
            frame.histograms = _array(unpack(written.histograms, 4 * BINS * tensors), "<u4", (tensors, BINS))
        return frame
    except (msgspec.MsgspecError, zstandard.ZstdError) as error:
        raise ValueError(f"this is no content of a watched step: {error}") from None


def _array(content: bytes, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    return np.frombuffer(content, dtype).reshape(shape)


def summarise(tally: Tally, scale: float = 1.0) -> Frame:
    """The statistics of what was measured.

    Parameters
    ----------
    scale
        What the values were multiplied by before they were measured: a loss scale.
    """
    with np.errstate(all="ignore"):
        statistics = np.empty((len(STATISTICS), len(tally.count)), np.float32)
        statistics[0] = np.sqrt(tally.squares) / scale
        statistics[1] = tally.total / tally.count / scale
        statistics[2] = np.sqrt(tally.spread / tally.count) / scale
        statistics[3] = tally.least / scale
        statistics[4] = tally.most / scale
        statistics[5] = tally.zeros / tally.count
        statistics[6] = tally.nan
        statistics[7] = tally.inf
        statistics[8] = np.nan
        statistics[:6, tally.count == 0] = np.nan
    frame = Frame(statistics)
    if tally.exponents is not None:
        frame.tops, frame.histograms = binned(tally.exponents, scale)
    return frame


def overall(tally: Tally, scale: float = 1.0) -> dict[str, float]:
    """The statistics of all tensors together, without `update_ratio`."""
    some = tally.count > 0
    count = int(tally.count.sum())
    if not count:
        return {}
    with np.errstate(all="ignore"):
        mean = tally.total.sum() / count
        means = tally.total[some] / tally.count[some]
        spread = tally.spread.sum() + float((tally.count[some] * (means - mean) ** 2).sum())
        return {
            "norm": float(np.sqrt(tally.squares.sum())) / scale,
            "mean": float(mean) / scale,
            "std": float(np.sqrt(spread / count)) / scale,
            "min": float(tally.least[some].min()) / scale,
            "max": float(tally.most[some].max()) / scale,
            "zeros": float(tally.zeros.sum()) / count,
            "nan": float(tally.nan.sum()),
            "inf": float(tally.inf.sum()),
        }


def binned(exponents: NDArray[np.int64], scale: float = 1.0) -> tuple[NDArray[np.int16], NDArray[np.uint32]]:
    """Counts by sign and exponent, tensors × 512, as highest exponents and histograms of 64 bins."""
    half = exponents.shape[1] // 2
    negative, positive = exponents[:, :half].copy(), exponents[:, half:].copy()
    negative[:, -1] = positive[:, -1] = 0  # NaN and Inf, which are counted elsewhere
    there = (negative + positive) > 0
    tops = np.where(there.any(1), half - 1 - there[:, ::-1].argmax(1), 0)
    places = (tops - (_SIDE - 1)).reshape(-1, 1) + np.arange(_SIDE)
    sides = []
    for side in (negative, positive):
        bins = np.where(places > 0, np.take_along_axis(side, np.maximum(places, 0), 1), 0)
        bins[:, 0] = side.sum(1) - bins[:, 1:].sum(1)
        sides.append(bins)
    counts = np.hstack([sides[0][:, ::-1], sides[1]]).astype(np.uint32)
    shift = round(math.log2(scale)) if scale > 0 and math.isfinite(scale) else 0
    return (tops - _BIAS - shift).astype(np.int16), counts

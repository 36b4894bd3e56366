"""`Histogram`: how often values fall into bins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np

from trackkit.core.media.arrays import Array, as_array, raw
from trackkit.core.media.snapshot import Media, Snapshot

MOST_BINS: Final = 512
DEFAULT_BINS: Final = 64


class Histogram(Media):
    """A histogram, of data or made already.

    NaN and infinities are left out and counted. Arrays of more than one element that are logged as they are become
    histograms of 64 bins.

    Parameters
    ----------
    sequence
        Numbers: an array of any shape, or a sequence.
    np_histogram
        What `numpy.histogram` returns: counts, and edges of which there is one more.
    num_bins
        Bins of equal width between the smallest and the largest value, at most 512.

    Raises
    ------
    TypeError, ValueError
        If the data is none, if neither or both are given, or if there are too many bins.

    Examples
    --------
    >>> counts, edges = Histogram([0.0, 1.0, 1.0], num_bins=2).computed()
    >>> counts.tolist(), edges.tolist()
    ([1, 2], [0.0, 0.5, 1.0])
    """

    kind = "histogram"

    def __init__(
        self, sequence: Any = None, np_histogram: tuple[Any, Any] | None = None, num_bins: int = DEFAULT_BINS
    ) -> None:
        if (sequence is None) == (np_histogram is None):
            raise ValueError("trackkit.Histogram takes either a sequence or np_histogram")
        self._data: Array | None = None
        self._counts: Array
        self._edges: Array
        if np_histogram is not None:
            self._counts, self._edges = _made(np_histogram)
            return
        if isinstance(num_bins, bool) or not 1 <= int(num_bins) <= MOST_BINS:
            raise ValueError(f"num_bins must be from 1 to {MOST_BINS}, not {num_bins!r}")
        self._bins = int(num_bins)
        self._data = as_array(sequence, "trackkit.Histogram")

    def computed(self) -> tuple[Array, Array]:
        """Counts and edges, as `numpy.histogram` returns them."""
        if self._data is not None:
            counts, edges, _ = compute(self._data, self._bins)
            return counts, edges
        return self._counts, self._edges

    @property
    def histogram(self) -> list[float]:
        """The counts."""
        return [float(count) for count in self.computed()[0]]

    @property
    def bins(self) -> list[float]:
        """The edges of the bins."""
        return [float(edge) for edge in self.computed()[1]]

    def snapshot(self) -> Snapshot:
        if self._data is None:
            counts, edges = self._counts, self._edges
            noted = {"bins": len(counts), "count": float(counts.sum()), "min": float(edges[0]), "max": float(edges[-1])}
            return Snapshot("histogram", "bytes", {"extension": "json"}, noted, [content_of(counts, edges)])
        data, parameters = raw(self._data)
        return Snapshot("histogram", "histogram", {**parameters, "bins": self._bins}, {}, [data])


def content_of(counts: Array, edges: Array) -> bytes:
    """What is kept of a histogram: a JSON object of `edges` and `counts`."""
    return msgspec.json.encode({"edges": edges.tolist(), "counts": counts.tolist()})


def compute(data: Array, bins: int) -> tuple[Array, Array, dict[str, Any]]:
    """Counts, edges, and what else is worth noting, of all values that are finite."""
    flat = data.reshape(-1)
    if flat.dtype.kind == "b":
        flat = flat.view(np.uint8)
    elif flat.dtype.kind == "f" and flat.dtype.itemsize < 4:
        flat = flat.astype(np.float32)  # half precision has no room for the arithmetic of bins
    noted: dict[str, Any] = {"bins": bins}
    if flat.dtype.kind == "f":
        finite = np.isfinite(flat)
        if not finite.all():
            noted.update(nan=int(np.isnan(flat).sum()))
            noted.update(infinite=int(len(flat) - finite.sum()) - noted["nan"])
            flat = flat[finite]
    if not len(flat):
        return np.zeros(bins, np.int64), np.linspace(0.0, 1.0, bins + 1), {**noted, "count": 0}
    low, high = float(flat.min()), float(flat.max())
    noted.update(count=len(flat), min=low, max=high, mean=float(flat.mean(dtype=np.float64)))
    if high - low > 1e300:  # more than a double can hold
        counts, edges = np.histogram(flat.astype(np.float64) / 4, bins)
        return counts, edges * 4, noted
    try:
        counts, edges = np.histogram(flat, bins)
    except ValueError:  # the range is too narrow for so many bins
        margin = max(abs(low), abs(high), 1.0) * 1e-6
        counts, edges = np.histogram(flat, bins, range=(low - margin, high + margin))
    return counts, edges, noted


def _made(given: Any) -> tuple[Array, Array]:
    if not isinstance(given, Sequence) or len(given) != 2:
        raise TypeError("np_histogram must be what numpy.histogram returns: counts and edges")
    counts, edges = (as_array(each, "np_histogram") for each in given)
    if counts.ndim != 1 or edges.ndim != 1 or len(edges) != len(counts) + 1 or not len(counts):
        raise ValueError(
            "np_histogram must be counts and edges, one more of these; "
            f"it has {counts.size} counts and {edges.size} edges"
        )
    if len(counts) > MOST_BINS:
        raise ValueError(f"np_histogram has {len(counts):,} bins; the limit is {MOST_BINS}")
    if not np.isfinite(counts).all() or not np.isfinite(edges).all() or not (np.diff(edges) >= 0).all():
        raise ValueError("np_histogram must have finite counts and ascending edges")
    return counts, edges

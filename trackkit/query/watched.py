"""What a run watched of a model, as arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackkit.backend.store import gradients
from trackkit.core.gradients import frames


class Histogram(NamedTuple):
    """The histogram of a layer over steps."""

    edges: NDArray[np.float64]
    """Bounds of the bins: one more than there are bins, from negative to positive numbers."""
    shares: NDArray[np.float64]
    """Steps × bins: shares of the finite elements of a sample."""


class Watched:
    """Statistics of layers over steps.

    Attributes
    ----------
    layers
        The layers by name, in the model's order.
    kinds, shapes, sizes
        Of each layer the type of its module, its shape, and its elements.
    step
        The watched steps, in order.
    time
        Seconds since the Unix epoch, UTC.

    Examples
    --------
    >>> gradients = run.watched("gradients")
    >>> gradients["norm"][-1]  # of each layer, in the last watched step
    array([0.52, 0.11, 0.98], dtype=float32)
    >>> gradients.histogram("0.weight").shares.shape
    (120, 67)
    """

    def __init__(self, found: gradients.Watched) -> None:
        self._found = found
        self.layers: list[str] = found.layers.names
        self.kinds: list[str] = found.layers.kinds
        self.shapes: list[tuple[int, ...]] = [tuple(shape) for shape in found.layers.shapes]
        self.sizes: list[int] = found.layers.sizes
        self.step: NDArray[np.int64] = found.steps
        self.time: NDArray[np.float64] = found.times / 1e6

    def keys(self) -> tuple[str, ...]:
        """The statistics there are."""
        return frames.STATISTICS

    def __getitem__(self, statistic: str) -> NDArray[np.float32]:
        """A statistic, steps × layers; NaN where a layer took no part in a step.

        Raises
        ------
        KeyError
            If there is no such statistic.
        """
        if statistic not in frames.STATISTICS:
            raise KeyError(f"there is no statistic {statistic!r}; there is {', '.join(frames.STATISTICS)}")
        rows = [frame.of(statistic) for frame in self._found.frames]
        return np.array(rows, np.float32).reshape(len(rows), len(self.layers))

    def histogram(self, layer: str) -> Histogram:
        """How the elements of a layer were distributed in each step; NaN in a step without a histogram.

        Raises
        ------
        KeyError
            If there is no such layer.
        """
        if layer not in self.layers:
            raise KeyError(f"there is no layer {layer!r}; there is {', '.join(self.layers)}")
        found = gradients.distribution(self._found, layer, max(1, len(self.step)))
        magnitudes = 2.0 ** np.arange(found.low, found.high + 2)
        return Histogram(np.concatenate([-magnitudes[::-1], magnitudes]), found.shares.T)

    def __repr__(self) -> str:
        return f"Watched({len(self.step)} steps × {len(self.layers)} layers)"

"""Measuring some of a model's tensors at a time, on whatever devices they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trackkit.core.device import Copier, Copy
from trackkit.core.gradients.layout import Layout, Sampler, Tally

_MOST_LAYOUTS: Final = 64

Figures = NDArray[np.float32]


@dataclass
class Measured:
    """Tensors of one device that were measured together, on their way to the host."""

    numbers: list[int]
    """Which of the watched tensors."""
    layout: Layout
    copy: Copy

    def read(self) -> Tally:
        return self.layout.read(self.copy.array())


@dataclass
class Sampled:
    """Samples of parameters of one device, taken before a step."""

    numbers: list[int]
    sampler: Sampler
    values: Any


@dataclass
class Moved:
    """How far a step moved parameters of one device: norms of sampled changes, then of the sampled parameters."""

    numbers: list[int]
    shares: NDArray[np.float64]
    copy: Copy

    def read(self) -> tuple[Figures, Figures]:
        """The norms of the changes and of the parameters."""
        norms: Figures = self.copy.array()
        return norms[: len(self.numbers)], norms[len(self.numbers) :]


class Meter:
    """Measures flat tensors, group by group of those that lie on one device and have one precision.

    Parameters
    ----------
    torch
        The module.
    copier
        Copies what was measured to the host.
    histograms
        Whether to make histograms.
    """

    def __init__(self, torch: Any, copier: Copier, *, histograms: bool) -> None:
        self._torch = torch
        self._copier = copier
        self._histograms = histograms
        self._layouts: dict[Any, Layout] = {}
        self._samplers: dict[Any, Sampler] = {}

    def measure(self, numbers: Sequence[int], tensors: Sequence[Any]) -> list[Measured]:
        """Begin to measure tensors, as they are now."""
        found = []
        for device, double, some, group in self._groups(numbers, tensors):
            key = (device, double, tuple(some), tuple(tensor.numel() for tensor in group))
            layout = self._layouts.get(key)
            if layout is None:
                if len(self._layouts) >= _MOST_LAYOUTS:
                    self._layouts.clear()
                layout = self._layouts[key] = Layout(self._torch, group, histograms=self._histograms)
            found.append(Measured(some, layout, self._copier.block(layout.measure(group))))
        return found

    def sample(self, numbers: Sequence[int], tensors: Sequence[Any]) -> list[Sampled]:
        """Take samples of parameters, to see later how far they moved."""
        found = []
        for device, _, some, group in self._groups(numbers, tensors):
            key = (device, tuple(some), tuple(tensor.numel() for tensor in group))
            sampler = self._samplers.get(key)
            if sampler is None:
                if len(self._samplers) >= _MOST_LAYOUTS:
                    self._samplers.clear()
                sampler = self._samplers[key] = Sampler(self._torch, [tensor.numel() for tensor in group], device)
            found.append(Sampled(some, sampler, sampler.take(group)))
        return found

    def moved(self, before: Sampled, tensors: Sequence[Any]) -> Moved:
        """Begin to tell how far parameters moved since they were sampled."""
        after = before.sampler.take(tensors)
        norms = self._torch.cat([before.sampler.norms(after.sub_(before.values)), before.sampler.norms(before.values)])
        return Moved(before.numbers, before.sampler.shares, self._copier.block(norms))

    def _groups(self, numbers: Sequence[int], tensors: Sequence[Any]) -> list[tuple[Any, bool, list[int], list[Any]]]:
        groups: dict[tuple[Any, bool], tuple[list[int], list[Any]]] = {}
        for number, tensor in zip(numbers, tensors, strict=True):
            some, group = groups.setdefault((tensor.device, tensor.dtype == self._torch.float64), ([], []))
            some.append(number)
            group.append(tensor)
        return [(device, double, some, group) for (device, double), (some, group) in groups.items()]

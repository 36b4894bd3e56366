"""The first NaN or infinity: where it is, and what to say of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from trackkit.core.device import Copy

MOST_ELEMENTS: Final = 1 << 20
"""Looked at in steps that are not watched otherwise."""


class Probe:
    """Looks at a few small gradients in every step.

    A NaN or an infinity spreads: backwards to all modules before, and by the weights to the next step's loss. The
    smallest parameter of each module, most often its bias or scale, tells nearly all of what all parameters would.

    Parameters
    ----------
    torch
        The module.
    names, sizes
        Of the watched parameters, in the model's order.
    """

    def __init__(self, torch: Any, names: Sequence[str], sizes: Sequence[int]) -> None:
        self._torch = torch
        smallest: dict[str, int] = {}
        for number, name in enumerate(names):
            module = name.rpartition(".")[0]
            if module not in smallest or sizes[number] < sizes[smallest[module]]:
                smallest[module] = number
        self.numbers: set[int] = set()
        elements = 0
        for number in sorted(smallest.values(), key=lambda each: sizes[each]):
            elements += sizes[number]
            if elements > MOST_ELEMENTS and self.numbers:
                break
            self.numbers.add(number)

    def norms(self, gradients: Sequence[Any]) -> Any:
        """The norms of flat gradients, as one tensor on their device; NaN or infinite if any element is."""
        norms = self._torch._foreach_norm(list(gradients))
        return self._torch.stack([norm.float() for norm in norms])


class Probed:
    """What a probe found, on its way from the device."""

    def __init__(self, numbers: Sequence[int], step: int, copy: Copy, report: Callable[[int, list[int]], None]) -> None:
        self._numbers = numbers
        self._step = step
        self._copy = copy
        self._report = report

    def ready(self) -> bool:
        return self._copy.ready()

    def land(self) -> None:
        norms = self._copy.array()
        bad = [number for number, norm in zip(self._numbers, norms, strict=True) if not np.isfinite(norm)]
        if bad:
            self._report(self._step, bad)

    def lose(self) -> None: ...


def describe(key: str, step: int, bad: Sequence[int], present: Sequence[int], names: Sequence[str]) -> tuple[str, str]:
    """Title and text of the alert: which parameters, and where it began."""
    title = f"NaN or Inf in {key} at step {step}"
    culprit = names[max(bad)]
    module = culprit.rpartition(".")[0] or culprit
    if len(bad) == 1:
        return title, f"The only one affected is {culprit}, of the module {module}."
    counted = f"{len(bad)} of {len(present)} are affected"
    if key != "gradients":
        return title, f"{counted}; the first is {names[min(bad)]}."
    if max(bad) == max(present):
        text = f"{counted}, down to the last, {culprit}: the loss itself was not finite, or its gradient"
        return title, f"{text}. Look at the values that come out of the module {module}."
    return title, f"{counted}. It began in the module {module}: gradients behind {culprit} are finite."

"""Activations: what modules put out, measured by forward hooks in the steps that are watched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from trackkit.core.gradients.measuring import Measured, Meter
from trackkit.core.gradients.tensors import flat


class Activations:
    """Measures the first output of each module in a watched step of training.

    A module inside a compiled graph is left alone: its hook is compiled away.

    Parameters
    ----------
    leaves
        The modules by name.
    wanted
        Whether the step under way is watched.
    failed
        Told of an exception instead of the training.
    """

    def __init__(
        self,
        torch: Any,
        meter: Meter,
        leaves: Iterable[tuple[str, Any]],
        wanted: Callable[[], bool],
        failed: Callable[[Exception], None],
    ) -> None:
        self._torch = torch
        self._meter = meter
        self._wanted = wanted
        self._failed = failed
        self._measured: dict[int, list[Measured]] = {}
        self.names: list[str] = []
        self.kinds: list[str] = []
        self.shapes: list[list[int]] = []
        self._handles = []
        for number, (name, module) in enumerate(leaves):
            self.names.append(name)
            self.kinds.append(type(module).__name__)
            self.shapes.append([])
            self._handles.append(module.register_forward_hook(_Hook(torch, self, number)))

    def called(self, number: int, module: Any, output: Any) -> None:
        """A module has put something out."""
        if number in self._measured or not module.training or not self._wanted():
            return
        try:
            self._measure(number, output)
        except Exception as error:
            self._failed(error)

    def _measure(self, number: int, output: Any) -> None:
        tensor = _first_tensor(self._torch, output)
        if tensor is not None and (tensor.is_floating_point() or tensor.is_complex()):
            self.shapes[number] = list(tensor.shape)
            with self._torch.no_grad():
                self._measured[number] = self._meter.measure([number], [flat(self._torch, tensor)])

    def take(self) -> list[Measured]:
        """What was measured since the last time."""
        found = [one for measured in self._measured.values() for one in measured]
        self._measured = {}
        return found

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()


class _Hook:
    """The hook of one module. A copy of the module, pickled or not, has one that does nothing."""

    def __init__(self, torch: Any, activations: Activations, number: int) -> None:
        self._torch = torch
        self._activations = activations
        self._number = number

    def __call__(self, module: Any, given: Any, output: Any) -> None:
        if not self._torch.compiler.is_compiling():
            self._activations.called(self._number, module, output)

    def __reduce__(self) -> tuple[Callable[[], Callable[..., None]], tuple[()]]:
        return _no_hook, ()


def _no_hook() -> Callable[..., None]:
    return _ignore


def _ignore(module: Any, given: Any, output: Any) -> None: ...


def _first_tensor(torch: Any, output: Any) -> Any:
    """The output, or the first tensor in what it holds; None if there is none."""
    if isinstance(output, torch.Tensor):
        return output
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else ()
    return next((each for each in parts if isinstance(each, torch.Tensor)), None)

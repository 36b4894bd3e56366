"""When to measure: hooks on the steps of torch's optimizers, or on the end of backward passes where there are none.

At a step of an optimizer the gradients are complete: accumulated, reduced over processes, unscaled, clipped. One pair
of hooks for all optimizers of the process is enough, and neither the modules nor the tensors of a model carry any, so
that compiled and sharded models are as they were.
"""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

PATIENCE: Final = 8
"""Backward passes without a step of an optimizer after which it is asked whether there is any."""


class Watcher(Protocol):
    """Who wants to know."""

    def before_step(self, optimizer: int, numbers: Sequence[int], closure: bool, source: Any) -> None:
        """An optimizer is about to move parameters; with a closure, the gradients come during the step."""
        ...

    def after_step(self, optimizer: int) -> None:
        """The optimizer has."""
        ...

    def after_backward(self) -> None:
        """A backward pass of a model that no optimizer of torch moves has ended."""
        ...

    def failed(self, error: Exception) -> None:
        """Something went wrong in a hook. Must not raise."""
        ...


class Triggers:
    """Tells a watcher when gradients are complete and when parameters have moved.

    Parameters
    ----------
    parameters
        The tensors watched.
    """

    def __init__(self, torch: Any, parameters: Sequence[Any], watcher: Watcher) -> None:
        self._torch = torch
        self._watcher = watcher
        self._numbers = {id(parameter): number for number, parameter in enumerate(parameters)}
        self._held: weakref.WeakKeyDictionary[Any, tuple[int, list[int]]] = weakref.WeakKeyDictionary()
        self._passes = 0
        self._queued = False
        self._sentinel: Any = None
        hooks: Any = sys.modules["torch.optim.optimizer"]  # which torch.optim hides
        self._handles = [
            hooks.register_optimizer_step_pre_hook(self._before),
            hooks.register_optimizer_step_post_hook(self._after),
        ]
        first = next((parameter for parameter in parameters if parameter.requires_grad and parameter.is_leaf), None)
        if first is not None:
            self._sentinel = first.register_post_accumulate_grad_hook(self._accumulated)

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._let_sentinel_go()

    def _let_sentinel_go(self) -> None:
        if self._sentinel is not None:
            self._sentinel.remove()
            self._sentinel = None

    def _before(self, optimizer: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        if self._torch.compiler.is_compiling():
            return
        try:
            numbers = self._numbers_of(optimizer)
            if numbers:
                self._let_sentinel_go()
                closure = named.get("closure") is not None or (len(arguments) > 1 and arguments[1] is not None)
                self._watcher.before_step(id(optimizer), numbers, closure, optimizer)
        except Exception as error:
            self._watcher.failed(error)

    def _after(self, optimizer: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        if self._torch.compiler.is_compiling():
            return
        try:
            if optimizer in self._held and self._held[optimizer][1]:
                self._watcher.after_step(id(optimizer))
        except Exception as error:
            self._watcher.failed(error)

    def _numbers_of(self, optimizer: Any) -> list[int]:
        """Which of the watched parameters an optimizer moves."""
        groups = optimizer.param_groups
        size = sum(len(group["params"]) for group in groups)
        known = self._held.get(optimizer)
        if known is None or known[0] != size:
            numbers = {self._numbers.get(id(parameter), -1) for group in groups for parameter in group["params"]}
            known = self._held[optimizer] = (size, sorted(numbers - {-1}))
        return known[1]

    # Models that no optimizer of torch moves.

    def _accumulated(self, parameter: Any) -> None:
        """One parameter has its gradient of this backward pass; have a call made when all have."""
        if self._torch.compiler.is_compiling() or self._queued:
            return
        try:
            self._queued = True
            self._queue(self._pass_ended)
        except Exception as error:
            self._queued = False
            self._watcher.failed(error)

    def _queue(self, call: Callable[[], None]) -> None:
        self._torch.autograd.Variable._execution_engine.queue_callback(call)

    def _pass_ended(self) -> None:
        # DistributedDataParallel finishes its gradients in such a call, too, queued after ours: go behind it.
        try:
            self._queue(self._gradients_ready)
        except Exception as error:
            self._queued = False
            self._watcher.failed(error)

    def _gradients_ready(self) -> None:
        self._queued = False
        if self._sentinel is None:
            return
        try:
            self._passes += 1
            if self._passes == PATIENCE and self._has_optimizer():
                self._let_sentinel_go()
            elif self._passes >= PATIENCE:
                self._watcher.after_backward()
        except Exception as error:
            self._watcher.failed(error)

    def _has_optimizer(self) -> bool:
        """Whether any optimizer of the process holds watched parameters; it takes its time, and is asked once."""
        kind = self._torch.optim.Optimizer
        found = [each for each in gc.get_objects() if issubclass(type(each), kind)]
        return any(self._numbers_of(optimizer) for optimizer in found)

"""The handlers by which a logger is attached to an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ignite.handlers.base_logger import (
    BaseOptimizerParamsHandler,
    BaseOutputHandler,
    BaseWeightsHandler,
    BaseWeightsScalarHandler,
)

from trackkit.core.adapter import guarded

if TYPE_CHECKING:
    from trackkit.integrations.ignite.logger import TrackkitLogger

GlobalStep = Callable[[Any, Any], int]


class OutputHandler(BaseOutputHandler):  # type: ignore[misc]
    """Logs an engine's metrics, output and attributes of its state, as `<tag>/<name>`.

    Mappings and sequences in it become further parts of the key. Tensors of one number are handed over as they are,
    without waiting for a GPU.

    Parameters
    ----------
    tag
        Put before every key.
    metric_names
        Names, or `all`.
    output_transform
        Makes a number, or numbers by name, of the engine's output.
    global_step_transform
        Called with engine and event, tells the step; by default the iteration of the trainer the logger is attached to,
        or else how often the event has happened.
    state_attributes
        Names of attributes of the engine's state.
    """

    def __init__(
        self,
        tag: str,
        metric_names: str | list[str] | None = None,
        output_transform: Callable[[Any], Any] | None = None,
        global_step_transform: GlobalStep | None = None,
        state_attributes: list[str] | None = None,
    ) -> None:
        super().__init__(tag, metric_names, output_transform, global_step_transform, state_attributes)
        self._step_given = global_step_transform is not None

    def __call__(self, engine: Any, logger: TrackkitLogger, event_name: Any) -> None:
        """Called by the engine."""
        _check(self, logger)
        step = (
            self.global_step_transform(engine, event_name) if self._step_given else logger.step_of(engine, event_name)
        )
        if not isinstance(step, int):
            raise TypeError(f"global_step_transform must give an int, not {type(step).__name__}")
        self._log(engine, logger, step)

    @guarded()
    def _log(self, engine: Any, logger: TrackkitLogger, step: int) -> None:
        found: dict[str, Any] = {}
        metrics = engine.state.metrics
        if self.metric_names is not None:
            names = metrics if self.metric_names == "all" else [name for name in self.metric_names if name in metrics]
            found |= {name: metrics[name] for name in names}
        if self.output_transform is not None:
            output = self.output_transform(engine.state.output)
            found |= output if isinstance(output, Mapping) else {"output": output}
        for name in self.state_attributes or ():
            found[name] = getattr(engine.state, name, None)
        values = dict(_flat(self.tag, found))
        if values:
            logger.log(values, step)


class OptimizerParamsHandler(BaseOptimizerParamsHandler):  # type: ignore[misc]
    """Logs a parameter of an optimizer's groups, as `<tag>/<name>/group_<i>`.

    Parameters
    ----------
    optimizer
        Any with `param_groups`.
    param_name
        `lr`, or another.
    tag
        Put before every key.
    """

    def __init__(self, optimizer: Any, param_name: str = "lr", tag: str | None = None) -> None:
        super().__init__(optimizer, param_name, tag)

    @guarded()
    def __call__(self, engine: Any, logger: TrackkitLogger, event_name: Any) -> None:
        """Called by the engine."""
        _check(self, logger)
        prefix = f"{self.tag}/" if self.tag else ""
        values = {
            f"{prefix}{self.param_name}/group_{index}": group[self.param_name]
            for index, group in enumerate(self.optimizer.param_groups)
        }
        logger.log(values, logger.step_of(engine, event_name))


class _OfWeights:
    """What handlers of weights and of gradients share."""

    weights: Sequence[tuple[str, Any]]
    tag: str | None
    what = "weights"

    @guarded()
    def __call__(self, engine: Any, logger: TrackkitLogger, event_name: Any) -> None:
        """Called by the engine."""
        _check(self, logger)
        prefix = f"{self.tag}/" if self.tag else ""
        values = {}
        for name, weight in self.weights:
            tensor = weight.grad if self.what == "grads" else weight.data
            if tensor is not None:
                key, value = self.measured(tensor)
                values[f"{prefix}{key}/{name.replace('.', '/')}"] = value
        logger.log(values, logger.step_of(engine, event_name))

    def measured(self, tensor: Any) -> tuple[str, Any]:
        raise NotImplementedError


class _Scalars(_OfWeights):
    reduction: Callable[[Any], Any]

    def measured(self, tensor: Any) -> tuple[str, Any]:
        return f"{self.what}_{self.reduction.__name__}", self.reduction(tensor)


class _Histograms(_OfWeights):
    def measured(self, tensor: Any) -> tuple[str, Any]:
        import trackkit

        return self.what, trackkit.Histogram(tensor.detach().cpu().numpy())


class WeightsScalarHandler(_Scalars, BaseWeightsScalarHandler):  # type: ignore[misc]
    """Logs a number of every weight, its norm by default; `run.watch` does it for all at once, at less cost."""


class GradsScalarHandler(_Scalars, BaseWeightsScalarHandler):  # type: ignore[misc]
    """Logs a number of every gradient, its norm by default."""

    what = "grads"


class WeightsHistHandler(_Histograms, BaseWeightsHandler):  # type: ignore[misc]
    """Logs a histogram of every weight."""


class GradsHistHandler(_Histograms, BaseWeightsHandler):  # type: ignore[misc]
    """Logs a histogram of every gradient."""

    what = "grads"


def _check(handler: Any, logger: Any) -> None:
    if not hasattr(logger, "step_of"):
        raise RuntimeError(f"{type(handler).__name__} works with a TrackkitLogger, not with {type(logger).__name__}")


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _flat(f"{prefix}/{name}", item)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for index, item in enumerate(value):
            yield from _flat(f"{prefix}/{index}", item)
    elif getattr(value, "ndim", 0) == 1 and hasattr(value, "unbind"):
        yield from ((f"{prefix}/{index}", item) for index, item in enumerate(value.unbind()))
    elif value is not None:
        yield prefix, value

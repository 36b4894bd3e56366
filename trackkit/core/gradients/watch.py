"""Watching a model: which steps, what of them, and the records that come of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from trackkit.core import records
from trackkit.core.arrivals import Arrivals
from trackkit.core.device import Copier
from trackkit.core.gradients import frames, nonfinite
from trackkit.core.gradients.activations import Activations
from trackkit.core.gradients.frames import Layers
from trackkit.core.gradients.layout import Tally
from trackkit.core.gradients.measuring import Measured, Meter, Moved, Sampled
from trackkit.core.gradients.model import Model
from trackkit.core.gradients.nonfinite import Probe, Probed
from trackkit.core.gradients.tensors import flat, local
from trackkit.core.gradients.triggers import Triggers

logger = logging.getLogger("trackkit")

INLINE_BYTES: Final = 256 * 1024
"""Larger content becomes a blob. It is more than for files, as a step's statistics are read by the thousand."""
MOST_FAILURES: Final = 3
_SHOWN: Final = ("norm", "update_ratio")
_COUNTS: Final = ("/zeros", "/nan", "/inf")
"""Overall statistics that get a chart of their own."""

OnNonfinite = Literal["alert", "stop", "ignore"]


@dataclass
class Outlet:
    """What a watch needs of its run."""

    record: Callable[[records.AnyRecord], None]
    now: Callable[[], float]
    step: Callable[[], int]
    alert: Callable[[str, str, Literal["info", "warning", "error"]], None]
    hide: Callable[[str], None]
    """Keep a metric out of automatic charts."""
    stop: Callable[[], None]
    root: Path
    arrivals: Arrivals
    copier: Copier


@dataclass
class Options:
    """What to watch; see `Run.watch`."""

    gradients: bool = True
    parameters: bool = False
    activations: bool = False
    histograms: bool = True
    every: int = 100
    on_nonfinite: OnNonfinite = "alert"
    suffix: str = ""


@dataclass
class _Part:
    """What one optimizer's step left."""

    gradients: list[Measured] = field(default_factory=list)
    parameters: list[Measured] = field(default_factory=list)
    before: list[Sampled] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)
    scaling: Any = None


@dataclass
class _Step:
    """A step of an optimizer that is under way; the gradients come during it if it has a closure."""

    round: _Round
    numbers: Sequence[int]
    closure: bool
    optimizer: Any
    part: _Part | None


@dataclass
class _Round:
    """One step of the training: a step of each optimizer that holds parameters of the model, at most."""

    number: int
    step: int
    time: float
    optimizers: set[int] = field(default_factory=set)
    covered: set[int] = field(default_factory=set)
    parts: list[_Part] = field(default_factory=list)
    activations: list[Measured] = field(default_factory=list)


class Watch:
    """Measures a model's gradients, parameters and activations while it trains.

    Nothing of it reaches the training as an exception. After `MOST_FAILURES` of them it stops watching.

    Parameters
    ----------
    torch
        The module.
    model
        What to watch.
    options
        How.
    outlet
        Where the records go.
    """

    def __init__(self, torch: Any, model: Model, options: Options, outlet: Outlet) -> None:
        self.model = model
        self.suffix = options.suffix
        self._torch = torch
        self._options = options
        self._outlet = outlet
        self._parameters = [parameter.tensor for parameter in model.parameters]
        self._names = [parameter.name for parameter in model.parameters]
        self._layers = Layers(
            self._names,
            [list(tensor.shape) for tensor in self._parameters],
            [int(local(tensor).numel()) for tensor in self._parameters],
            [parameter.kind for parameter in model.parameters],
            model.sharded,
        )
        self._digest = self._layers.digest
        self._recorded_layers: dict[str, str] = {}
        self._count = 0
        self._round: _Round | None = None
        self._open: dict[int, _Step] = {}
        self._failures = 0
        self._closed = False
        self._alerted = options.on_nonfinite == "ignore"
        self._meter = Meter(torch, outlet.copier, histograms=options.histograms)
        self._probe = Probe(torch, self._names, self._layers.sizes)
        self._trainable = {number for number, tensor in enumerate(self._parameters) if tensor.requires_grad}
        self._activations: Activations | None = None
        if options.activations:
            self._activations = Activations(torch, self._meter, model.leaves(), self._next_is_watched, self.failed)
        for kind in ("gradients", "parameters", "activations"):
            if getattr(options, kind):
                for name in frames.STATISTICS:
                    if name not in _SHOWN:
                        outlet.hide(f"{kind}{options.suffix}/{name}")
        self._triggers: Triggers | None = None
        if options.gradients or options.parameters or options.activations:
            self._triggers = Triggers(torch, self._parameters, self)

    def close(self) -> None:
        """Stop watching; what was measured is still recorded."""
        if self._closed:
            return
        self._closed = True
        self.abandon()
        try:
            self._end_round()
        except Exception as error:
            self.failed(error)

    def abandon(self) -> None:
        """Remove all hooks."""
        self._closed = True
        if self._triggers is not None:
            self._triggers.close()
        if self._activations is not None:
            self._activations.close()

    # On the training's thread.

    def before_step(self, optimizer: int, numbers: Sequence[int], closure: bool, source: Any) -> None:
        if self._closed or self._is_capturing():
            return
        current = self._round
        if current is None or optimizer in current.optimizers:
            self._end_round()
            current = self._begin_round()
        current.optimizers.add(optimizer)
        current.covered.update(numbers)
        step = _Step(current, numbers, closure, source, _Part() if self._is_watched(current.number) else None)
        if not closure:
            self._measure_gradients(step)
        if step.part is not None:
            with self._torch.no_grad():
                tensors = [flat(self._torch, self._parameters[number]) for number in numbers]
                if self._options.parameters:
                    step.part.parameters = self._meter.measure(numbers, tensors)
                step.part.before = self._meter.sample(numbers, tensors)
        self._open[optimizer] = step

    def after_step(self, optimizer: int) -> None:
        step = self._open.pop(optimizer, None)
        if step is None:
            return
        current = step.round
        if step.closure:
            self._measure_gradients(step)
        if step.part is not None:
            self._measure_moves(step.part)
            current.parts.append(step.part)
        if current is self._round and current.covered >= self._trainable:
            self._end_round()

    def after_backward(self) -> None:
        """Gradients are complete, and nobody will tell when the parameters move."""
        if self._closed or self._is_capturing():
            return
        self._end_round()
        current = self._begin_round()
        numbers = range(len(self._parameters))
        step = _Step(current, numbers, False, None, _Part() if self._is_watched(current.number) else None)
        self._measure_gradients(step)
        if step.part is not None:
            if self._options.parameters:
                with self._torch.no_grad():
                    tensors = [flat(self._torch, tensor) for tensor in self._parameters]
                    step.part.parameters = self._meter.measure(numbers, tensors)
            current.parts.append(step.part)
        self._end_round()

    def failed(self, error: Exception) -> None:
        self._failures += 1
        logger.debug("watching failed", exc_info=error)
        if self._failures == 1:
            logger.warning("trackkit: a step of the model could not be watched: %s: %s", type(error).__name__, error)
        if self._failures >= MOST_FAILURES:
            logger.warning("trackkit: the model is no longer watched, as that failed %d times", self._failures)
            self.abandon()

    def _begin_round(self) -> _Round:
        current = self._round = _Round(self._count, self._outlet.step(), self._outlet.now())
        if self._activations is not None:
            current.activations = self._activations.take()
        self._count += 1
        return current

    def _end_round(self) -> None:
        current, self._round = self._round, None
        self._open.clear()
        if current is not None and (current.parts or current.activations):
            self._outlet.arrivals.put(_Landing(self, current))

    def _is_watched(self, number: int) -> bool:
        return number % self._options.every == 0

    def _next_is_watched(self) -> bool:
        return not self._closed and self._is_watched(self._count)

    def _is_capturing(self) -> bool:
        """Whether work is being recorded into a CUDA graph, which must hold nothing of ours."""
        cuda = self._torch.cuda
        return bool(cuda.is_initialized() and cuda.is_current_stream_capturing())

    def _measure_gradients(self, step: _Step) -> None:
        """Measure gradients in a watched step, or in one that a look at some of them makes one."""
        if step.part is None and self._trips(step):
            step.part = _Part()
        if step.part is None or not self._options.gradients:
            return
        there = [number for number in step.numbers if self._parameters[number].grad is not None]
        if there:
            with self._torch.no_grad():
                tensors = [flat(self._torch, self._parameters[number].grad) for number in there]
                step.part.gradients = self._meter.measure(there, tensors)
        step.part.scaling = self._scaling(step.optimizer)

    def _scaling(self, optimizer: Any) -> Any:
        """The loss scale that the optimizer undoes by itself, and whether it will leave the step out, as a copy.

        None if neither is the optimizer's affair. A `GradScaler` leaves both to optimizers that are fused.
        """
        scale, found = getattr(optimizer, "grad_scale", None), getattr(optimizer, "found_inf", None)
        there = next((each for each in (scale, found) if each is not None), None)
        if there is None:
            return None
        torch, device = self._torch, there.device
        one = torch.ones(1, device=device)
        parts = [one if scale is None else scale.detach().reshape(1).float()]
        parts.append(one * 0 if found is None else found.detach().reshape(1).float().to(device))
        return self._outlet.copier.block(torch.cat(parts))

    def _measure_moves(self, part: _Part) -> None:
        with self._torch.no_grad():
            for before in part.before:
                tensors = [flat(self._torch, self._parameters[number]) for number in before.numbers]
                part.moved.append(self._meter.moved(before, tensors))
        part.before = []

    def _trips(self, step: _Step) -> bool:
        """Look at some gradients; whether a NaN or an infinity among them is known at once, as it is on a CPU.

        What a device finds is reported when it arrives.
        """
        if self._alerted or getattr(step.optimizer, "found_inf", None) is not None:
            return False  # an infinity there is business of the loss scale
        some: dict[Any, list[int]] = {}
        for number in step.numbers:
            if number in self._probe.numbers and (gradient := self._parameters[number].grad) is not None:
                gradient = local(gradient)
                if gradient.numel():
                    some.setdefault(gradient.device, []).append(number)
        tripped = False
        with self._torch.no_grad():
            for device, group in some.items():
                norms = self._probe.norms([flat(self._torch, self._parameters[number].grad) for number in group])
                if device.type == "cpu" and self._options.gradients:
                    tripped = tripped or not bool(self._torch.isfinite(norms.sum()))
                else:
                    probed = Probed(group, step.round.step, self._outlet.copier.block(norms), self._report_probed)
                    self._outlet.arrivals.put(probed)
        return tripped

    # On the thread of arrivals.

    def _report_probed(self, step: int, bad: list[int]) -> None:
        self._report("gradients", step, bad, sorted(self._probe.numbers), self._names)

    def _report(self, key: str, step: int, bad: Sequence[int], present: Sequence[int], names: Sequence[str]) -> None:
        if self._alerted:
            return
        self._alerted = True
        title, text = nonfinite.describe(key, step, bad, present, names)
        self._outlet.alert(title, text, "error")
        if self._options.on_nonfinite == "stop":
            self._outlet.stop()

    def _record_round(self, current: _Round) -> None:
        scale, skipped = _read_scaling(current.parts)
        moves = [moved for part in current.parts for moved in part.moved]
        values: dict[str, float] = {}
        measured = [one for part in current.parts for one in part.gradients]
        if measured and self._options.gradients:
            values |= self._record(
                "gradients", current, measured, self._layers, [] if skipped else moves, scale, skipped
            )
        measured = [one for part in current.parts for one in part.parameters]
        if measured:
            moved = [] if skipped or self._options.gradients else moves
            values |= self._record("parameters", current, measured, self._layers, moved, 1.0, skipped)
        if current.activations and self._activations is not None:
            seen = self._activations
            layers = Layers(seen.names, seen.shapes, [_size(shape) for shape in seen.shapes], seen.kinds)
            found = self._record("activations", current, current.activations, layers, [], 1.0, skipped)
            # A norm over what all modules put out means nothing.
            values |= {name: value for name, value in found.items() if name.endswith(_COUNTS)}
        if values:
            packed = np.array(list(values.values()), ">f8").tobytes()
            self._outlet.record(records.Points(current.step, current.time, list(values), packed))

    def _record(
        self,
        kind: str,
        current: _Round,
        measured: Sequence[Measured],
        layers: Layers,
        moves: Iterable[Moved],
        scale: float,
        skipped: bool,
    ) -> dict[str, float]:
        """Record what was measured under one key; the overall statistics by the names of their metrics."""
        key = kind + self._options.suffix
        tally = merged([(one.numbers, one.read()) for one in measured], len(layers.names))
        frame = frames.summarise(tally, scale)
        values = frames.overall(tally, scale)
        update = frame.of("update_ratio")
        changed = weighed = 0.0
        for moved in moves:
            changes, weights = (norms.astype(np.float64) for norms in moved.read())
            with np.errstate(all="ignore"):
                update[moved.numbers] = changes / weights
            changed += float((moved.shares * changes**2).sum())
            weighed += float((moved.shares * weights**2).sum())
        if weighed > 0:
            values["update_ratio"] = (changed / weighed) ** 0.5
        self._keep(key, current, layers, frames.encode(frame))
        bad = np.flatnonzero((tally.nan + tally.inf) > 0)
        if len(bad) and not skipped:
            present = np.flatnonzero(tally.count).tolist()
            self._report(kind, current.step, bad.tolist(), present, layers.names)
        return {f"{key}/{name}": value for name, value in values.items()}

    def _keep(self, key: str, current: _Round, layers: Layers, content: bytes) -> None:
        digest = self._digest if layers is self._layers else layers.digest
        if self._recorded_layers.get(key) != digest:
            self._recorded_layers[key] = digest
            path = f"watch/{key}/layers-{digest}.json"
            self._keep_object(current, "layers", key, path, layers.encode(), {"digest": digest})
        path = f"watch/{key}/{current.step}.msgpack"
        self._keep_object(current, "watch", key, path, content, {"layers": digest})

    def _keep_object(
        self, current: _Round, kind: str, key: str, path: str, content: bytes, metadata: dict[str, Any]
    ) -> None:
        digest, inline = "", content
        if len(content) > INLINE_BYTES:
            from trackkit.core.blobs import Blobs

            digest, inline = Blobs(self._outlet.root).put_bytes(content), b""
        self._outlet.record(
            records.Object(current.time, key, kind, path, len(content), digest, inline, current.step, metadata)
        )


class _Landing:
    """A step that was measured, on its way to the host."""

    def __init__(self, watch: Watch, current: _Round) -> None:
        self._watch = watch
        self._current = current
        self._waiting: list[Any] = []
        for part in current.parts:
            self._waiting += [each.copy for group in (part.gradients, part.parameters, part.moved) for each in group]
            self._waiting += [] if part.scaling is None else [part.scaling]
        self._waiting += [one.copy for one in current.activations]

    def ready(self) -> bool:
        while self._waiting:
            if not self._waiting[-1].ready():
                return False
            self._waiting.pop()
        return True

    def land(self) -> None:
        try:
            self._watch._record_round(self._current)
        except Exception as error:
            self._watch.failed(error)

    def lose(self) -> None: ...


def _read_scaling(parts: Sequence[_Part]) -> tuple[float, bool]:
    """What the loss was multiplied by, and whether the step was left out for an infinity, as happens at times."""
    for part in parts:
        if part.scaling is not None:
            scale, found = (float(value) for value in part.scaling.array())
            return scale if scale > 0 else 1.0, found > 0
    return 1.0, False


def merged(tallies: Sequence[tuple[Sequence[int], Tally]], count: int) -> Tally:
    """Tallies of some tensors each as one of all; those in none have a count of 0."""

    def nothing() -> NDArray[np.float64]:
        return np.zeros(count)

    beyond = np.full(count, np.inf)
    whole = Tally(
        np.zeros(count, np.int64), nothing(), nothing(), nothing(), beyond, -beyond, nothing(), nothing(), nothing()
    )
    for numbers, tally in tallies:
        for name in ("count", "total", "squares", "spread", "least", "most", "zeros", "nan", "inf"):
            getattr(whole, name)[numbers] = getattr(tally, name)
        if tally.exponents is not None:
            if whole.exponents is None:
                whole.exponents = np.zeros((count, tally.exponents.shape[1]), np.int64)
            whole.exponents[numbers] = tally.exponents
    return whole


def _size(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64)) if shape else 0

"""From the arguments of `Run.watch` to a watch."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec

from trackkit.core import records
from trackkit.core.gradients.model import Model, as_modules, unwrapped
from trackkit.core.gradients.watch import OnNonfinite, Options, Watch

if TYPE_CHECKING:
    from trackkit.core.run import Run

EVERY: Final = 100
_LOGS: Final = ("gradients", "parameters", "all", None)


def start(
    run: Run,
    watches: list[Watch],
    models: Any,
    criterion: Any,
    log: str | None,
    every: int | None,
    *,
    histograms: bool,
    graph: bool,
    idx: int | None,
    activations: bool,
    on_nonfinite: OnNonfinite,
) -> None:
    """Begin to watch, and add the watch to those of the run; see `Run.watch`."""
    if log not in _LOGS:
        raise ValueError(f"log must be 'gradients', 'parameters', 'all' or None, not {log!r}")
    if on_nonfinite not in get_args(OnNonfinite):
        raise ValueError(f"on_nonfinite must be 'alert', 'stop' or 'ignore', not {on_nonfinite!r}")
    every = EVERY if every is None else every
    if type(every) is not int or every < 1:
        raise ValueError(f"every must be a whole number of steps, 1 or more, not {every!r}")
    torch: Any = sys.modules.get("torch")
    modules = as_modules(torch, models, criterion, idx or 0)
    if any(matches(watch, module) for watch in watches for module in modules.values()):
        raise ValueError("the model is watched already; call unwatch(model) first to watch it otherwise")
    model = Model(torch, modules)
    options = Options(
        gradients=log in ("gradients", "all"),
        parameters=log in ("parameters", "all"),
        activations=activations,
        histograms=histograms,
        every=every,
        on_nonfinite=on_nonfinite,
        suffix=_free_suffix(watches, idx or 0),
    )
    outlet = run.outlet()
    if graph:
        content = msgspec.json.encode(model.tree())
        key = "graph" + options.suffix
        outlet.record(records.Object(outlet.now(), key, "graph", f"watch/{key}.json", len(content), inline=content))
    watches.append(Watch(torch, model, options, outlet))


def _free_suffix(watches: list[Watch], number: int) -> str:
    """What tells the keys of one watch from those of others."""
    taken = {watch.suffix for watch in watches}
    while (suffix := f".{number}" if number else "") in taken:
        number += 1
    return suffix


def matches(watch: Watch, models: Any) -> bool:
    """Whether a watch is of a model, or of one of several."""
    listed = models if isinstance(models, (list, tuple)) else [models]
    wanted = [unwrapped(model) for model in listed]
    return any(module is each for module in watch.model.modules.values() for each in wanted)

"""What there is to say about a torch model, its optimizer and its data; found by their attributes, without torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_MAX_DEPTH = 8


def model_facts(model: Any) -> dict[str, Any]:
    """Class, number of parameters and of trainable ones, their size and types, of a torch module.

    Returns
    -------
    dict
        class; parameters and trainable_parameters: counts, each shared parameter once, without those that are not
        initialised yet; megabytes: of parameters and buffers, 10^6 bytes; dtypes.
    """
    parameters = [one for one in model.parameters() if not _is_lazy(one)]
    buffers = [one for one in getattr(model, "buffers", list)() if not _is_lazy(one)]
    return {
        "class": class_name(model),
        "parameters": sum(one.numel() for one in parameters),
        "trainable_parameters": sum(one.numel() for one in parameters if one.requires_grad),
        "megabytes": round(sum(one.numel() * one.element_size() for one in [*parameters, *buffers]) / 1e6, 3),
        "dtypes": sorted({str(one.dtype).removeprefix("torch.") for one in parameters}),
    }


def architecture(model: Any) -> str:
    """A torch module as text: its layers, then the shape of every parameter."""
    lines = [repr(model), ""]
    for name, parameter in model.named_parameters():
        shape = "not initialised yet" if _is_lazy(parameter) else "×".join(map(str, parameter.shape)) or "scalar"
        lines.append(f"{name}: {shape}{'' if parameter.requires_grad else ', frozen'}")
    return "\n".join(lines) + "\n"


def optimizer_facts(optimizer: Any) -> dict[str, Any]:
    """Class and settings of a torch optimizer; those of further parameter groups, as far as they differ.

    Returns
    -------
    dict
        class; the settings of the first group; groups: for each further group what differs from the first.
    """
    inner = getattr(optimizer, "optimizer", optimizer)  # accelerate and Lightning wrap it
    first, *further = [_settings(group) for group in inner.param_groups] or [{}]
    facts = {"class": type(inner).__name__, **first}
    if further:
        facts["groups"] = [{key: value for key, value in group.items() if first.get(key) != value} for group in further]
    return facts


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key not in ("params", "param_names")}


def scheduler_facts(scheduler: Any) -> dict[str, Any]:
    """Class and plain settings of a learning rate schedule."""
    inner = getattr(scheduler, "scheduler", scheduler)
    plain = {
        key: value
        for key, value in vars(inner).items()
        if not key.startswith("_") and isinstance(value, (int, float, str, bool)) and key not in _PROGRESS
    }
    return {"class": type(inner).__name__, **plain}


_PROGRESS = ("last_epoch", "num_bad_epochs", "best", "cooldown_counter", "verbose")


def learning_rates(optimizers: Sequence[Any]) -> dict[str, float]:
    """The learning rate of every parameter group: `lr/Adam`, or `lr/Adam/0`, `lr/Adam/1`.

    Optimizers of one class are told apart as `Adam`, `Adam-1`.
    """
    found: dict[str, float] = {}
    counts: dict[str, itertools.count[int]] = {}
    for optimizer in optimizers:
        inner = getattr(optimizer, "optimizer", optimizer)
        name = type(inner).__name__
        number = next(counts.setdefault(name, itertools.count()))
        name = f"{name}-{number}" if number else name
        groups = inner.param_groups
        for index, group in enumerate(groups):
            key = name if len(groups) == 1 else f"{name}/{index}"
            if "lr" in group:
                found[f"lr/{key}"] = group["lr"]
    return found


def loader_facts(loader: Any) -> dict[str, Any]:
    """Data set, samples, batches, batch size and workers of a data loader, as far as it tells."""
    dataset = getattr(loader, "dataset", None)
    facts = {
        "dataset": class_name(dataset) if dataset is not None else class_name(loader),
        "samples": _length(dataset),
        "batches": _length(loader),
        "batch_size": getattr(loader, "batch_size", None) or getattr(_batches(loader), "batch_size", None),
        "workers": getattr(loader, "num_workers", None),
        "shuffled": _is_shuffled(loader),
        "columns": getattr(dataset, "column_names", None),
        "fingerprint": getattr(dataset, "_fingerprint", None),
    }
    return {key: value for key, value in facts.items() if value is not None}


def _batches(loader: Any) -> Any:
    """The sampler of batches that is innermost, where accelerate has wrapped it for each process."""
    found: Any = getattr(loader, "batch_sampler", None)
    while getattr(found, "batch_sampler", None) is not None:
        found = found.batch_sampler
    return found


def _is_shuffled(loader: Any) -> bool | None:
    sampler = getattr(_batches(loader), "sampler", None) or getattr(loader, "sampler", None)
    if sampler is None:
        return None
    return bool(getattr(sampler, "shuffle", "Random" in type(sampler).__name__))


def batch_size(batch: Any, depth: int = 0) -> int:
    """How many samples a batch has: the first dimension of the first tensor in it; 0 if that can't be told."""
    shape = getattr(batch, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) else 1
    if depth < _MAX_DEPTH and not isinstance(batch, (str, bytes)):
        inner: Iterable[Any] = batch.values() if isinstance(batch, Mapping) else ()
        if isinstance(batch, (list, tuple)):
            if batch and isinstance(batch[0], (str, int, float)):
                return len(batch)
            inner = batch
        for item in inner:
            if size := batch_size(item, depth + 1):
                return size
    return 0


def class_name(thing: Any) -> str:
    """A class's name as it is imported; of what a script or a notebook defines, without the module."""
    kind = thing if isinstance(thing, type) else type(thing)
    is_local = kind.__module__ in ("__main__", "builtins")
    return kind.__qualname__ if is_local else f"{kind.__module__}.{kind.__qualname__}"


def _is_lazy(parameter: Any) -> bool:
    return "Uninitialized" in type(parameter).__name__


def _length(sized: Any) -> int | None:
    try:
        return len(sized)
    except (TypeError, NotImplementedError):
        return None

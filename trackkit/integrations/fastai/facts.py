"""What there is to say about a Learner, its data and its callbacks."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from trackkit.core.model import batch_size, class_name, loader_facts, model_facts

_ARGUMENTS = ("lr", "wd", "wd_bn_bias", "train_bn", "moms")


def learner_facts(learn: Any) -> dict[str, Any]:
    """Settings of a Learner that is about to train: of the fit, the model, the optimizer, callbacks and data."""
    optimizer = learn.opt
    return {
        "learner": {
            "loss_func": _name(learn.loss_func),
            "opt_func": _name(learn.opt_func),
            "metrics": [str(one.name) for one in learn.metrics],
            "n_epoch": learn.n_epoch,
            **{name: _plain(getattr(learn, name, None)) for name in _ARGUMENTS},
        },
        "model": {**model_facts(learn.model), "input_shapes": _input_shapes(learn.dls)},
        "optimizer": {
            "groups": len(optimizer.hypers),
            "frozen_groups": getattr(optimizer, "frozen_idx", 0),
            **{name: _plain(value) for name, value in optimizer.hypers[-1].items()},
        },
        "callbacks": {type(cb).__name__: _settings(cb) for cb in learn.cbs},
        "data": data_facts(learn.dls),
    }


def data_facts(dls: Any) -> dict[str, Any]:
    """Sizes, batches and transforms of a Learner's data."""
    found: dict[str, Any] = {"device": str(getattr(dls, "device", None))}
    for name in ("train", "valid"):
        with contextlib.suppress(Exception):  # there may be no validation
            loader = getattr(dls, name)
            found[name] = {**loader_facts(loader), "batch_size": getattr(loader, "bs", None)}
    for name in ("after_item", "before_batch", "after_batch"):
        with contextlib.suppress(Exception):
            found[name] = str(getattr(dls, name))
    for name in ("cat_names", "cont_names", "y_names", "vocab", "c"):
        with contextlib.suppress(Exception):
            found[name] = _plain(getattr(dls, name))
    return found


def metrics(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """The Recorder's metrics by the part of the data they are of."""
    found = {}
    for name, value in zip(names, values, strict=False):
        if name in ("epoch", "time") or value is None:
            continue
        if name == "train_loss":
            found["train/epoch_loss"] = value
        elif name.startswith(("train_", "valid_")):
            part, _, rest = name.partition("_")
            found[f"{part}/{rest}"] = value
        else:
            found[f"valid/{name}"] = value
    return found


def _input_shapes(dls: Any) -> list[list[int]]:
    with contextlib.suppress(Exception):
        batch = dls.valid.one_batch()
        inputs = batch[: getattr(dls, "n_inp", 1)]
        return [list(one.shape) for one in inputs if batch_size(one)]
    return []


def _settings(callback: Any) -> Any:
    """What a callback was made with, as far as it is plain."""
    names = [name for name in vars(callback) if not name.startswith("_") and name not in ("learn", "run")]
    found = {name: _plain(getattr(callback, name)) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _plain(value: Any) -> Any:
    """Numbers, texts and lists of them; of a function or a class the name; of everything else nothing."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, slice):
        return [_plain(value.start), _plain(value.stop)]
    if isinstance(value, Sequence) or type(value).__name__ in ("L", "CategoryMap"):
        return [_plain(one) for one in value]
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()
    return _name(value) if callable(value) else None


def _name(value: Any) -> str:
    inner = getattr(value, "func", value)  # of a partial
    return getattr(inner, "__qualname__", None) or class_name(inner)

"""What there is to say about a Keras model and how it is trained."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np


def model_facts(model: Any) -> dict[str, Any]:
    """Class, name, number of layers and parameters of a model, as far as it is built."""
    found = {"name": model.name, "class": class_of(model), "layers": len(model.layers), "built": bool(model.built)}
    if model.built:
        found["parameters"] = int(model.count_params())
        found["trainable_parameters"] = int(sum(np.prod(tuple(one.shape)) for one in model.trainable_weights))
    return found


def compiled_facts(model: Any) -> dict[str, Any]:
    """Optimizer with its settings and schedule, loss, loss weights and metrics, as `compile` got them."""
    found: dict[str, Any] = {}
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None:
        found["optimizer"] = {"class": type(optimizer).__name__, **optimizer.get_config()}
    with contextlib.suppress(Exception):  # a model of one's own may not say
        compiled = model.get_compile_config() or {}
        wanted = ("loss", "loss_weights", "metrics", "weighted_metrics", "steps_per_execution", "jit_compile")
        found |= {key: _readable(compiled[key]) for key in wanted if compiled.get(key) is not None}
    return found


def summary_of(model: Any) -> str:
    """What `model.summary()` prints, in plain text; empty if the model is not built."""
    lines: list[str] = []
    with contextlib.suppress(Exception):
        model.summary(line_length=110, expand_nested=True, print_fn=lambda text, **_: lines.append(str(text)))
    return "\n".join(lines)


def class_of(thing: Any) -> str:
    """The name a class is imported by."""
    kind = thing if isinstance(thing, type) else type(thing)
    return f"{kind.__module__}.{kind.__qualname__}".replace("keras.src.models.functional.", "keras.").replace(
        "keras.src.models.", "keras."
    )


def _readable(value: Any) -> Any:
    """A serialised Keras object as its class and settings."""
    if isinstance(value, dict) and "class_name" in value:
        config = value.get("config")
        return {"class": value["class_name"], **config} if isinstance(config, dict) else config
    if isinstance(value, dict):
        return {str(key): _readable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_readable(item) for item in value]
    return value

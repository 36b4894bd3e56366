"""What the config says of a training with Lightning's Trainer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from trackkit.core.model import class_name, loader_facts, model_facts, optimizer_facts, scheduler_facts

_TRAINER = (
    "max_epochs", "min_epochs", "max_steps", "min_steps", "accumulate_grad_batches", "gradient_clip_val",
    "gradient_clip_algorithm", "log_every_n_steps", "check_val_every_n_epoch", "val_check_interval",
    "limit_train_batches", "limit_val_batches", "limit_test_batches", "num_sanity_val_steps", "overfit_batches",
    "precision", "num_nodes",
    "num_devices", "world_size", "fast_dev_run", "reload_dataloaders_every_n_epochs",
)  # fmt: skip
_PLAIN = (int, float, str, bool, type(None))


def training_facts(trainer: Any, module: Any) -> dict[str, Any]:
    """Trainer, strategy, model, optimizers, schedules, data and callbacks, as entries of the config."""
    schedules = [
        {**scheduler_facts(config.scheduler), "interval": config.interval, "frequency": config.frequency}
        for config in getattr(trainer, "lr_scheduler_configs", [])
    ]
    facts = {
        "trainer": trainer_facts(trainer),
        "model": model_facts(module),
        "optimizer": _one_or_all([optimizer_facts(optimizer) for optimizer in trainer.optimizers]),
        "scheduler": _one_or_all(schedules),
        "data": data_facts(trainer),
        "callbacks": callback_facts(trainer.callbacks),
    }
    return {key: value for key, value in facts.items() if value}


def trainer_facts(trainer: Any) -> dict[str, Any]:
    """The Trainer's own settings."""
    facts = {name: getattr(trainer, name, None) for name in _TRAINER}
    facts |= {
        "accelerator": type(trainer.accelerator).__name__,
        "strategy": type(trainer.strategy).__name__,
        "lightning": type(trainer).__module__.partition(".")[0] + " " + _version(trainer),
    }
    return {key: value for key, value in facts.items() if value is not None}


def data_facts(trainer: Any) -> dict[str, Any]:
    """Data module and data loaders; see `loader_facts`."""
    found: dict[str, Any] = {}
    if trainer.datamodule is not None:
        found["datamodule"] = class_name(trainer.datamodule)
    for stage in ("train", "val"):
        name = "train_dataloader" if stage == "train" else "val_dataloaders"
        loaders = getattr(trainer, name, None)
        if loaders is not None:
            found[stage] = _one_or_all([loader_facts(loader) for loader in _flat(loaders)])
    return found


def _flat(loaders: Any) -> Iterable[Any]:
    if isinstance(loaders, dict):
        return loaders.values()
    return loaders if isinstance(loaders, (list, tuple)) else [loaders]


def callback_facts(callbacks: Iterable[Any]) -> dict[str, Any]:
    """The settings of the callbacks by class: `Timer`, `Timer-1`, …; those that only show progress left out."""
    found: dict[str, Any] = {}
    for callback in callbacks:
        name = type(callback).__name__
        if name.endswith(("ProgressBar", "ModelSummary")) or type(callback).__module__.startswith("trackkit."):
            continue
        number = sum(key.partition("-")[0] == name for key in found)
        found[f"{name}-{number}" if number else name] = {
            key: value for key, value in vars(callback).items() if not key.startswith("_") and isinstance(value, _PLAIN)
        }
    return found


def outcome(callbacks: Iterable[Any]) -> dict[str, Any]:
    """What early stopping and checkpoints came to, for the summary."""
    found: dict[str, Any] = {}
    for callback in callbacks:
        if hasattr(callback, "stopped_epoch") and hasattr(callback, "wait_count"):
            found["early_stopping/stopped_epoch"] = callback.stopped_epoch
            found["early_stopping/best_score"] = callback.best_score
        if getattr(callback, "best_model_path", "") and getattr(callback, "monitor", None):
            found["checkpoint/best_path"] = str(callback.best_model_path)
            found["checkpoint/best_score"] = callback.best_model_score
    return found


def _version(trainer: Any) -> str:
    import importlib.metadata

    package = type(trainer).__module__.partition(".")[0]
    try:
        return importlib.metadata.version(package.replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        return ""


def _one_or_all(items: list[Any]) -> Any:
    return items[0] if len(items) == 1 else items

"""A small GPT-2 that learns to draw digits: an image is a text of 64 tokens, one for each of 17 shades."""

from __future__ import annotations

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

torch.set_num_threads(1)  # models as small as this one only wait for further threads
SHADES = 17


class Images(Dataset[Any]):
    def __init__(self, samples: int) -> None:
        self._tokens = torch.tensor(load_digits().data[:samples], dtype=torch.long)

    def __len__(self) -> int:
        return len(self._tokens)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self._tokens[index], "labels": self._tokens[index]}


def model() -> GPT2LMHeadModel:
    set_seed(0)
    config = GPT2Config(
        vocab_size=SHADES, n_positions=64, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    return GPT2LMHeadModel(config)


def trainer(callback: Any = None, epochs: float = 2, **options: Any) -> Trainer:
    """A Trainer on the CPU that logs every step: four an epoch."""
    given: dict[str, Any] = {
        "output_dir": "out",
        "num_train_epochs": epochs,
        "per_device_train_batch_size": 16,
        "logging_steps": 1,
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "save_strategy": "no",
        "dataloader_pin_memory": False,
    }
    parts = {
        name: options.pop(name) for name in ("model", "model_init", "callbacks", "trainer_class") if name in options
    }
    make = parts.pop("trainer_class", Trainer)
    if "model_init" not in parts:
        parts.setdefault("model", model())
    callbacks = [*parts.pop("callbacks", []), *([] if callback is None else [callback])]
    arguments = TrainingArguments(**{**given, **options})
    return make(args=arguments, train_dataset=Images(64), eval_dataset=Images(32), callbacks=callbacks, **parts)

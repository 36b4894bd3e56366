"""Hugging Face Transformers: `Trainer(callbacks=[TrackkitCallback()])`; `report_to="trackkit"` after `register()`."""

from trackkit.integrations.transformers.callback import TrackkitCallback
from trackkit.integrations.transformers.registration import register

__all__ = ["TrackkitCallback", "register"]

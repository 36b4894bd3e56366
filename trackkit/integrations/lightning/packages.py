"""Which of Lightning's packages is there, and the classes to inherit from.

`lightning` and `pytorch_lightning` hold the same code under two names, `lightning_fabric` a part of it. What is made of
one works in the other's trainer, so any that is there will do; one that is imported already costs nothing.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

_PACKAGES = ("lightning.pytorch", "pytorch_lightning", "lightning_fabric")


def _find() -> tuple[str, Any]:
    reason: ImportError | None = None
    for name in sorted(_PACKAGES, key=lambda name: name not in sys.modules):
        try:
            return name, importlib.import_module(name)
        except ImportError as error:
            reason = reason or error
    raise ImportError(
        "trackkit.integrations.lightning needs PyTorch Lightning or Fabric: pip install 'trackkit[lightning]'"
    ) from reason


_name, _module = _find()

Logger: Any = importlib.import_module(f"{_name}.loggers.logger").Logger
Callback: Any = getattr(_module, "Callback", object)

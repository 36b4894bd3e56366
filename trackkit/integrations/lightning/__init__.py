"""PyTorch Lightning and Fabric: `Trainer(logger=TrackkitLogger())`, `Fabric(loggers=[TrackkitLogger()])`.

Whichever of the packages `lightning`, `pytorch_lightning` and `lightning_fabric` is installed is used.
"""

from trackkit.integrations.lightning.logger import TrackkitLogger

__all__ = ["TrackkitLogger"]

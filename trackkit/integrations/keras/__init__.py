"""Keras 3, on any backend: callbacks that log trainings and mark checkpoints, and `autolog`."""

from __future__ import annotations

try:
    import keras as _keras
except ImportError as error:
    raise ImportError("trackkit.keras needs Keras 3: pip install 'trackkit[keras]'") from error

if int(_keras.__version__.partition(".")[0]) < 3:
    raise ImportError(f"trackkit.keras needs Keras 3, and this is {_keras.__version__}: pip install 'trackkit[keras]'")

from trackkit.integrations.keras.autolog import autolog
from trackkit.integrations.keras.callback import TrackkitCallback
from trackkit.integrations.keras.checkpoint import TrackkitBackup, TrackkitModelCheckpoint
from trackkit.integrations.keras.evaluation import TrackkitEvalCallback
from trackkit.integrations.keras.mark import Mark

__all__ = ["Mark", "TrackkitBackup", "TrackkitCallback", "TrackkitEvalCallback", "TrackkitModelCheckpoint", "autolog"]

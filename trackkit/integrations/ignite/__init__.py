"""PyTorch Ignite: a logger with the handlers that Ignite's loggers have, and a saver for its checkpoints."""

from __future__ import annotations

try:
    from ignite.handlers import global_step_from_engine
except ImportError as error:
    raise ImportError("trackkit.integrations.ignite needs PyTorch Ignite: pip install 'trackkit[ignite]'") from error

from trackkit.integrations.ignite.handlers import (
    GradsHistHandler,
    GradsScalarHandler,
    OptimizerParamsHandler,
    OutputHandler,
    WeightsHistHandler,
    WeightsScalarHandler,
)
from trackkit.integrations.ignite.logger import TrackkitLogger, setup_trackkit_logging
from trackkit.integrations.ignite.saver import TrackkitSaver

__all__ = [
    "GradsHistHandler",
    "GradsScalarHandler",
    "OptimizerParamsHandler",
    "OutputHandler",
    "TrackkitLogger",
    "TrackkitSaver",
    "WeightsHistHandler",
    "WeightsScalarHandler",
    "global_step_from_engine",
    "setup_trackkit_logging",
]

"""System metrics under the names that MLflow's own monitor gives them, so that its page shows them.

See `mlflow/system_metrics/metrics/`: megabytes are of 10^6 bytes there. What it has no name for keeps its own.
"""

from __future__ import annotations

import re
from typing import Final

_PERCENT: Final = {
    "cpu.percent": "cpu_utilization_percentage",
    "memory.percent": "system_memory_usage_percentage",
    "disk.percent": "disk_usage_percentage",
}
_BYTES: Final = {
    "memory.used_bytes": "system_memory_usage_megabytes",
    "disk.used_bytes": "disk_usage_megabytes",
    "disk.free_bytes": "disk_available_megabytes",
}
_GPU: Final = {
    "percent": ("utilization_percentage", 1.0),
    "memory_used_bytes": ("memory_usage_megabytes", 1e-6),
    "memory_percent": ("memory_usage_percentage", 1.0),
    "power_watts": ("power_usage_watts", 1.0),
    "power_percent": ("power_usage_percentage", 1.0),
}
_OF_GPU = re.compile(r"gpu\.(\d+)\.(.+)")


def named(key: str, value: float, label: str = "") -> tuple[str, float]:
    """A reading's key and value at MLflow.

    Parameters
    ----------
    label
        Tells the process among several; MLflow's monitor puts the node's name there.

    Examples
    --------
    >>> named("cpu.percent", 50.0)
    ('system/cpu_utilization_percentage', 50.0)
    >>> named("gpu.0.memory_used_bytes", 2e9, "rank 1")
    ('system/rank 1/gpu_0_memory_usage_megabytes', 2000.0)
    """
    prefix = f"system/{label}/" if label else "system/"
    if key in _PERCENT:
        return prefix + _PERCENT[key], value
    if key in _BYTES:
        return prefix + _BYTES[key], value / 1e6
    if found := _OF_GPU.fullmatch(key):
        name, factor = _GPU.get(found[2], (found[2].replace(".", "_"), 1.0))
        return f"{prefix}gpu_{found[1]}_{name}", value * factor
    return prefix + key.replace(".", "_"), value

"""What NVIDIA's management library tells of the GPUs; a machine without one is asked once."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from typing import Any

_THROTTLED = 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x80
"""Power cap, hardware slowdown, sync boost, software and hardware thermal slowdown, power brake. Idle is none."""

_PCIE_BYTES_FIELDS = (197, 198)
"""Counters of bytes sent and received (`NVML_FI_DEV_PCIE_COUNT_TX_BYTES`, `..._RX_BYTES`)."""

_FIELD_VALUES = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal")


def load_nvml() -> Any:
    """The `pynvml` module, initialised; None where there is no GPU, no driver or no module."""
    try:
        # Importing pynvml holds up the training thread for some milliseconds, so not without a driver.
        ctypes.CDLL("nvml.dll" if hasattr(ctypes, "WinDLL") else "libnvidia-ml.so.1")
        import pynvml

        pynvml.nvmlInit()
    except Exception:
        return None
    return pynvml


def describe_gpus(nvml: Any) -> dict[str, Any]:
    """The GPUs by name and memory, the driver's version, and the CUDA version it supports."""
    gpus: list[dict[str, Any]] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        gpus.append(
            {"name": _text(nvml.nvmlDeviceGetName(handle)), "memory_bytes": nvml.nvmlDeviceGetMemoryInfo(handle).total}
        )
    version = nvml.nvmlSystemGetCudaDriverVersion()
    return {
        "gpus": gpus,
        "gpu_driver": _text(nvml.nvmlSystemGetDriverVersion()),
        "cuda_driver": f"{version // 1000}.{version % 1000 // 10}",
    }


class GpuSampler:
    """Readings of all NVIDIA GPUs.

    A reading that a device doesn't support is left out and not asked for again. PCIe rates come from counters; a
    device without them is measured by the driver, which takes 20 ms for each direction, so only one of
    these is measured per sample, in turn.

    Parameters
    ----------
    nvml
        The `pynvml` module, initialised.
    rest
        Called between devices, to let the training thread have the interpreter.
    """

    def __init__(self, nvml: Any, rest: Callable[[], None] = lambda: None) -> None:
        self._nvml = nvml
        self._rest = rest
        self._devices = [_Device(nvml, index) for index in _handles(nvml)]
        self._measured = 0

    def sample(self) -> dict[str, float]:
        """The readings by name, such as `gpu.0.power_watts`."""
        values: dict[str, float] = {}
        for device in self._devices:
            values.update(device.sample())
            self._rest()
        values.update(self._measure_pcie())
        return values

    def close(self) -> None:
        self._nvml.nvmlShutdown()

    def _measure_pcie(self) -> dict[str, float]:
        without_counters = [device for device in self._devices if not device.counts_pcie]
        if not without_counters:
            return {}
        self._measured += 1
        return without_counters[self._measured % len(without_counters)].measure_pcie()


def _handles(nvml: Any) -> Iterator[tuple[int, Any]]:
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            yield index, nvml.nvmlDeviceGetHandleByIndex(index)
        except nvml.NVMLError:
            continue


class _Device:
    def __init__(self, nvml: Any, device: tuple[int, Any]) -> None:
        self._nvml = nvml
        index, self._handle = device
        self._prefix = f"gpu.{index}."
        self._unsupported: set[Callable[[], dict[str, float]]] = set()
        self._counted: tuple[float, list[int]] | None = None
        self.counts_pcie = True

    def sample(self) -> dict[str, float]:
        values: dict[str, float] = {}
        for reading in (
            self._utilization,
            self._memory,
            self._temperature,
            self._power,
            self._clock_sm,
            self._clock_memory,
            self._fan,
            self._pcie_generation,
            self._pcie_width,
            self._throttle,
        ):
            values.update(self._read(reading))
        if self.counts_pcie:
            values.update(self._count_pcie())
        return {self._prefix + name: float(value) for name, value in values.items()}

    def measure_pcie(self) -> dict[str, float]:
        values = {**self._read(self._pcie_sent), **self._read(self._pcie_received)}
        return {self._prefix + name: float(value) for name, value in values.items()}

    def _read(self, reading: Callable[[], dict[str, float]]) -> dict[str, float]:
        if reading in self._unsupported:
            return {}
        try:
            return reading()
        except Exception as error:
            if isinstance(error, AttributeError) or self._is_unsupported(error):
                self._unsupported.add(reading)
            return {}

    def _is_unsupported(self, error: Exception) -> bool:
        codes = (self._nvml.NVML_ERROR_NOT_SUPPORTED, self._nvml.NVML_ERROR_FUNCTION_NOT_FOUND)
        return getattr(error, "value", None) in codes

    def _utilization(self) -> dict[str, float]:
        return {"percent": self._nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu}

    def _memory(self) -> dict[str, float]:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
        return {"memory_used_bytes": memory.used, "memory_percent": 100.0 * memory.used / memory.total}

    def _temperature(self) -> dict[str, float]:
        sensor = self._nvml.NVML_TEMPERATURE_GPU
        return {"temperature_celsius": self._nvml.nvmlDeviceGetTemperature(self._handle, sensor)}

    def _power(self) -> dict[str, float]:
        milliwatts = self._nvml.nvmlDeviceGetPowerUsage(self._handle)
        return {"power_watts": milliwatts / 1000.0, **self._read_power_percent(milliwatts)}

    def _read_power_percent(self, milliwatts: int) -> dict[str, float]:
        limit = self._read(self._power_limit).get("limit")
        return {"power_percent": 100.0 * milliwatts / limit} if limit else {}

    def _power_limit(self) -> dict[str, float]:
        return {"limit": self._nvml.nvmlDeviceGetEnforcedPowerLimit(self._handle)}

    def _clock_sm(self) -> dict[str, float]:
        return {"clock_sm_mhz": self._nvml.nvmlDeviceGetClockInfo(self._handle, self._nvml.NVML_CLOCK_SM)}

    def _clock_memory(self) -> dict[str, float]:
        return {"clock_memory_mhz": self._nvml.nvmlDeviceGetClockInfo(self._handle, self._nvml.NVML_CLOCK_MEM)}

    def _fan(self) -> dict[str, float]:
        return {"fan_percent": self._nvml.nvmlDeviceGetFanSpeed(self._handle)}

    def _pcie_generation(self) -> dict[str, float]:
        return {"pcie_generation": self._nvml.nvmlDeviceGetCurrPcieLinkGeneration(self._handle)}

    def _pcie_width(self) -> dict[str, float]:
        return {"pcie_width": self._nvml.nvmlDeviceGetCurrPcieLinkWidth(self._handle)}

    def _throttle(self) -> dict[str, float]:
        ask = getattr(self._nvml, "nvmlDeviceGetCurrentClocksEventReasons", None)
        # Drivers before 535 know it by its former name.
        former = self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons
        try:
            reasons = ask(self._handle) if ask else former(self._handle)
        except self._nvml.NVMLError:
            reasons = former(self._handle)
        return {"throttle_reasons": reasons, "throttled": float(bool(reasons & _THROTTLED))}

    def _pcie_sent(self) -> dict[str, float]:
        kibibytes = self._nvml.nvmlDeviceGetPcieThroughput(self._handle, self._nvml.NVML_PCIE_UTIL_TX_BYTES)
        return {"pcie_sent_bytes_per_second": kibibytes * 1024}

    def _pcie_received(self) -> dict[str, float]:
        kibibytes = self._nvml.nvmlDeviceGetPcieThroughput(self._handle, self._nvml.NVML_PCIE_UTIL_RX_BYTES)
        return {"pcie_received_bytes_per_second": kibibytes * 1024}

    def _count_pcie(self) -> dict[str, float]:
        counts = self._pcie_counts()
        now = time.monotonic()
        if counts is None:
            self.counts_pcie = False
            return {}
        before, self._counted = self._counted, (now, counts)
        if before is None or now <= before[0]:
            return {}
        rates = [(count - old) / (now - before[0]) for count, old in zip(counts, before[1], strict=True)]
        names = ("pcie_sent_bytes_per_second", "pcie_received_bytes_per_second")
        # The counters may wrap around.
        return {name: rate for name, rate in zip(names, rates, strict=True) if rate >= 0}

    def _pcie_counts(self) -> list[int] | None:
        try:
            fields = self._nvml.nvmlDeviceGetFieldValues(self._handle, list(_PCIE_BYTES_FIELDS))
            if any(field.nvmlReturn for field in fields):
                return None
            return [int(getattr(field.value, _FIELD_VALUES[field.valueType])) for field in fields]
        except Exception:
            return None


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value

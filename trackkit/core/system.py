"""The machine while a run is on: processors, the process tree, memory, disks, network, cgroup and GPUs."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trackkit.core.gpu import GpuSampler

_SCAN_SHARE = 0.001
"""The share of a processor that looking for new child processes may take."""


class SystemSampler:
    """Samples of the machine and of this process and its children.

    Nothing is opened before the first sample. Whatever can't be read is left out; nothing is raised. Rates
    and CPU percentages are over the time since the previous sample, so the first sample has none.

    Parameters
    ----------
    path
        A file or folder on the filesystem whose use is told.
    gpu
        Whether to sample NVIDIA GPUs.
    nvml
        The `pynvml` module, initialised, or what behaves like it; by default the real one is loaded.
    rest
        Called about every 200 µs of work, to let the training thread have the interpreter.

    Examples
    --------
    >>> sampler = SystemSampler()
    >>> 0 < sampler.sample()["memory.percent"] < 100
    True
    >>> sampler.close()
    """

    def __init__(
        self,
        *,
        path: Path = Path("."),
        gpu: bool = True,
        nvml: Any = None,
        rest: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path
        self._gpu = gpu
        self._nvml = nvml
        self._rest = rest
        self._groups: list[Callable[[], dict[str, float]]] | None = None
        self._gpus: GpuSampler | None = None

    def sample(self) -> dict[str, float]:
        """The readings by name, in per cent, bytes, bytes a second, degrees, watts or MHz as the name says."""
        if self._groups is None:
            self._groups = self._open()
        values: dict[str, float] = {}
        for group in self._groups:
            with contextlib.suppress(Exception):
                values.update(group())
            self._rest()
        return values

    def close(self) -> None:
        """Let go of the GPUs' library; a later sample opens everything anew."""
        gpus, self._gpus, self._groups = self._gpus, None, None
        if gpus is not None:
            with contextlib.suppress(Exception):
                gpus.close()

    def _open(self) -> list[Callable[[], dict[str, float]]]:
        groups: list[Callable[[], dict[str, float]]] = [
            _Processors().sample,
            _process_tree().sample,
            _memory,
            lambda: _disk_usage(self._path),
            _Rates(_disk_counters).sample,
            _Rates(_network_counters).sample,
            Cgroup().sample,
        ]
        if self._gpu and (sampler := self._open_gpus()) is not None:
            groups.append(sampler.sample)
        return groups

    def _open_gpus(self) -> GpuSampler | None:
        from trackkit.core.gpu import GpuSampler, load_nvml

        nvml = self._nvml if self._nvml is not None else load_nvml()
        if nvml is not None:
            with contextlib.suppress(Exception):
                self._gpus = GpuSampler(nvml, self._rest)
        return self._gpus


class _Processors:
    def __init__(self) -> None:
        self._first = True

    def sample(self) -> dict[str, float]:
        import psutil

        percents = psutil.cpu_percent(percpu=True)
        if self._first:
            self._first = False
            return {}
        each = {f"cpu.{number}.percent": percent for number, percent in enumerate(percents)}
        return {"cpu.percent": sum(percents) / len(percents), **each}


def _memory() -> dict[str, float]:
    import psutil

    memory = psutil.virtual_memory()
    return {
        "memory.percent": memory.percent,
        "memory.available_bytes": float(memory.available),
        "memory.used_bytes": float(memory.total - memory.available),
    }


def _disk_usage(path: Path) -> dict[str, float]:
    import shutil

    existing = path.absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    usage = shutil.disk_usage(existing)
    return {
        "disk.percent": 100.0 * usage.used / ((usage.used + usage.free) or 1),
        "disk.used_bytes": float(usage.used),
        "disk.free_bytes": float(usage.free),
    }


class _Rates:
    """Counters as rates per second since the previous reading."""

    def __init__(self, read: Callable[[], dict[str, int]]) -> None:
        self._read = read
        self._before: tuple[float, dict[str, int]] | None = None

    def sample(self) -> dict[str, float]:
        now, counters = time.monotonic(), self._read()
        before, self._before = self._before, (now, counters)
        if before is None or now <= before[0]:
            return {}
        seconds = now - before[0]
        # A counter that went back belongs to a device that went away.
        return {
            f"{name}_per_second": (count - before[1][name]) / seconds
            for name, count in counters.items()
            if count >= before[1].get(name, count + 1)
        }


def _disk_counters() -> dict[str, int]:
    import psutil

    disks = psutil.disk_io_counters()
    return {} if disks is None else {"disk.read_bytes": disks.read_bytes, "disk.write_bytes": disks.write_bytes}


def _network_counters() -> dict[str, int]:
    import psutil

    cards = [card for name, card in psutil.net_io_counters(pernic=True).items() if name not in {"lo", "lo0"}]
    return {
        "network.sent_bytes": sum(card.bytes_sent for card in cards),
        "network.received_bytes": sum(card.bytes_recv for card in cards),
    }


def _process_tree() -> _ProcessTree:
    proc = Path("/proc")
    # Not every kernel is built with the list of children.
    if sys.platform == "linux" and (proc / f"{os.getpid()}/task/{os.getpid()}/children").exists():
        return _LinuxProcessTree(proc)
    return _ProcessTree()


class _Process:
    """One process at one moment; `seconds` is the CPU time it has used."""

    def __init__(self, seconds: float, rss: int, threads: int) -> None:
        self.seconds = seconds
        self.rss = rss
        self.threads = threads


class _ProcessTree:
    """The process and its descendants, by psutil.

    Looking for children costs more the more threads there are (or, by psutil, processes on the
    machine), so it is done the more seldom the longer it takes.
    """

    def __init__(self) -> None:
        self._members: list[int] = []
        self._scan_at = 0.0
        self._before: tuple[float, dict[tuple[int, float], float]] | None = None

    def sample(self) -> dict[str, float]:
        self._scan()
        now = time.monotonic()
        processes = {key: process for pid in self._members for key, process in self._read(pid)}
        seconds = {key: process.seconds for key, process in processes.items()}
        before, self._before = self._before, (now, seconds)
        values = {
            "process.rss_bytes": float(sum(process.rss for process in processes.values())),
            "process.threads": float(sum(process.threads for process in processes.values())),
            "process.count": float(len(processes)),
        }
        if before is not None and now > before[0]:
            used = sum(spent - before[1].get(key, spent) for key, spent in seconds.items())
            values["process.cpu_percent"] = 100.0 * used / (now - before[0])
        return values

    def _scan(self) -> None:
        if time.monotonic() < self._scan_at:
            return
        started = time.thread_time()
        self._members = [os.getpid(), *self._descendants()]
        self._scan_at = time.monotonic() + (time.thread_time() - started) / _SCAN_SHARE

    def _descendants(self) -> list[int]:
        import psutil

        return [child.pid for child in psutil.Process().children(recursive=True)]

    def _read(self, pid: int) -> Iterator[tuple[tuple[int, float], _Process]]:
        import psutil

        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            with process.oneshot():
                times, rss = process.cpu_times(), process.memory_info().rss
                yield (pid, process.create_time()), _Process(times.user + times.system, rss, process.num_threads())


class _LinuxProcessTree(_ProcessTree):
    """The same from `/proc`: psutil reads every process of the machine to find children, this only the tree."""

    def __init__(self, proc: Path) -> None:
        super().__init__()
        self._proc = str(proc)
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._page = os.sysconf("SC_PAGE_SIZE")

    def _descendants(self) -> list[int]:
        found: list[int] = []
        parents = [os.getpid()]
        while parents:
            children = [child for parent in parents for child in self._children(parent)]
            found += children
            parents = children
        return found

    def _children(self, pid: int) -> Iterator[int]:
        folder = f"{self._proc}/{pid}/task"
        try:
            threads = os.listdir(folder)
        except OSError:
            return
        for thread in threads:
            with contextlib.suppress(OSError):
                yield from map(int, _read_bytes(f"{folder}/{thread}/children").split())

    def _read(self, pid: int) -> Iterator[tuple[tuple[int, float], _Process]]:
        try:
            stat = _read_bytes(f"{self._proc}/{pid}/stat")
        except OSError:
            return
        # What follows the name, which may hold spaces and parentheses: state, ppid, …
        fields = stat[stat.rindex(b")") + 2 :].split()
        ticks = int(fields[11]) + int(fields[12])
        if fields[0] != b"Z":
            process = _Process(ticks / self._ticks, int(fields[21]) * self._page, int(fields[17]))
            yield (pid, float(fields[19])), process


class Cgroup:
    """The limits of the control group this process is in, of version 1 or 2; a container's usually.

    Memory in use is told without the file cache that the kernel gives back on demand.

    Parameters
    ----------
    root
        The folder that holds `proc` and `sys`.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._most_memory = _memory_total(root)
        paths = _memberships(root)
        self._cpu = _levels(root, "cpu", paths)
        self._memory = _levels(root, "memory", paths)

    def sample(self) -> dict[str, float]:
        """The tightest limits that hold, and the memory used under them; empty where nothing is limited."""
        values: dict[str, float] = {}
        cores = [limit for folder in self._cpu if (limit := _cpu_limit(folder)) is not None]
        if cores:
            values["cgroup.cpu_limit_cores"] = min(cores)
        limits = [(limit, folder) for folder in self._memory if (limit := _memory_limit(folder)) is not None]
        if limits:
            limit, folder = min(limits)
            if limit < self._most_memory:
                values["cgroup.memory_limit_bytes"] = float(limit)
                values["cgroup.memory_used_bytes"] = float(_memory_used(folder))
        return values


def _memberships(root: Path) -> dict[str, str]:
    """The path of this process's group by controller; under "" that of version 2."""
    paths: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in _read_bytes(root / "proc/self/cgroup").decode().splitlines():
            _, controllers, path = line.split(":", 2)
            paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def _levels(root: Path, controller: str, paths: dict[str, str]) -> list[Path]:
    """The folders of the group and of those above it, as far as they can be seen from in here."""
    mount = root / "sys/fs/cgroup"
    if controller in paths:
        mount = mount / controller
    elif not (mount / "cgroup.controllers").exists():
        mount = mount / "unified"
    group = mount / paths.get(controller, paths.get("", "/")).lstrip("/")
    # In a container the path may be the host's, which isn't there; the mount is then the group itself.
    return [folder for folder in (group, *group.parents) if folder.is_relative_to(mount) and folder.is_dir()]


def _cpu_limit(folder: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = _read_bytes(folder / "cpu.max").split()
        return None if quota == b"max" else int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        microseconds = int(_read_bytes(folder / "cpu.cfs_quota_us"))
        return microseconds / int(_read_bytes(folder / "cpu.cfs_period_us")) if microseconds > 0 else None
    return None


def _memory_limit(folder: Path) -> int | None:
    for name in ("memory.max", "memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            return int(_read_bytes(folder / name))
    return None


def _memory_used(folder: Path) -> int:
    try:
        used, cache = int(_read_bytes(folder / "memory.current")), b"inactive_file "
    except OSError:
        used, cache = int(_read_bytes(folder / "memory.usage_in_bytes")), b"total_inactive_file "
    for line in _read_bytes(folder / "memory.stat").splitlines():
        if line.startswith(cache):
            return max(0, used - int(line.split()[1]))
    return used


def _memory_total(root: Path) -> int:
    """What the machine has; a limit beyond it is none."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return 1024 * int(_read_bytes(root / "proc/meminfo").split()[1])
    return sys.maxsize


def _read_bytes(path: str | Path) -> bytes:
    # A file of /proc is read in one call; a file object would ask for its size and position first.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        return os.read(descriptor, 1 << 16)
    finally:
        os.close(descriptor)

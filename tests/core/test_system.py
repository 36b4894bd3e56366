import ctypes
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trackkit.core.gpu import describe_gpus
from trackkit.core.system import Cgroup, SystemSampler


def second_sample(sampler: SystemSampler, pause: float = 0.05) -> dict[str, float]:
    sampler.sample()
    time.sleep(pause)
    return sampler.sample()


def test_a_sample_tells_of_processors_memory_disk_network_and_process(tmp_path: Path) -> None:
    values = second_sample(SystemSampler(path=tmp_path, gpu=False))

    expected = {"cpu.percent", "memory.percent", "memory.available_bytes", "memory.used_bytes", "disk.percent"}
    expected |= {"disk.used_bytes", "disk.free_bytes", "process.cpu_percent", "process.rss_bytes"}
    expected |= {"process.threads", "process.count"}
    expected |= {"network.sent_bytes_per_second", "network.received_bytes_per_second"}
    expected |= {f"cpu.{number}.percent" for number in range(os.cpu_count() or 1)}
    assert expected <= values.keys()
    assert all(type(value) is float for value in values.values())
    assert all(0 <= value <= 100 for key, value in values.items() if key.startswith(("cpu.", "memory.percent")))


def test_the_first_sample_has_no_rates() -> None:
    first = SystemSampler(gpu=False).sample()

    assert "memory.percent" in first
    assert not [key for key in first if "per_second" in key or "cpu" in key.split(".")[-1] or key.startswith("cpu.")]


def test_a_busy_process_shows_its_cpu_time() -> None:
    sampler = SystemSampler(gpu=False)
    sampler.sample()
    began, started = time.monotonic(), time.process_time()
    while time.process_time() - started < 0.2:
        pass
    percent = sampler.sample()["process.cpu_percent"]
    share = (time.process_time() - started) / (time.monotonic() - began)  # of a processor others may want, too

    assert percent == pytest.approx(100 * share, rel=0.3)


def test_child_processes_and_their_children_are_counted() -> None:
    alone = SystemSampler(gpu=False).sample()
    script = "import subprocess,sys; subprocess.Popen(['sleep','30']); print('up', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        together = SystemSampler(gpu=False).sample()
        subprocess.run(["pkill", "-P", str(child.pid)], check=True)

    assert together["process.count"] == alone["process.count"] + 2
    assert together["process.rss_bytes"] > alone["process.rss_bytes"]
    assert together["process.threads"] >= alone["process.threads"] + 2


def test_children_of_other_threads_and_new_threads_are_counted() -> None:
    alone = SystemSampler(gpu=False).sample()
    ready, end = threading.Event(), threading.Event()

    def work() -> None:
        with subprocess.Popen(["sleep", "30"]) as child:
            ready.set()
            end.wait(10)
            child.kill()

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait(10)
    together = SystemSampler(gpu=False).sample()
    end.set()
    thread.join()

    assert together["process.count"] == alone["process.count"] + 1
    assert together["process.threads"] >= alone["process.threads"] + 2


def test_a_child_that_ends_between_samples_is_no_fault() -> None:
    sampler = SystemSampler(gpu=False)
    child = subprocess.Popen(["sleep", "30"])
    before = sampler.sample()
    child.kill()
    child.wait()
    after = sampler.sample()

    assert after["process.count"] == before["process.count"] - 1
    assert after["process.cpu_percent"] >= 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_sampler_made_in_a_forked_child_tells_of_the_child() -> None:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe()
    process = context.Process(target=lambda: sender.send(SystemSampler(gpu=False).sample()["process.count"]))
    process.start()

    assert receiver.poll(10)
    assert receiver.recv() == 1
    process.join()


def test_the_disk_of_a_folder_that_is_not_there_yet_is_that_of_its_parent(tmp_path: Path) -> None:
    values = SystemSampler(path=tmp_path / "not" / "yet", gpu=False).sample()

    assert values["disk.free_bytes"] > 0


def test_written_bytes_show_as_a_rate(tmp_path: Path) -> None:
    import psutil

    if psutil.disk_io_counters() is None:
        pytest.skip("the machine counts no disk traffic")
    values = second_sample(SystemSampler(path=tmp_path, gpu=False))

    assert values["disk.write_bytes_per_second"] >= 0
    assert values["disk.read_bytes_per_second"] >= 0


def test_a_sampler_rests_between_its_groups() -> None:
    rests: list[None] = []

    SystemSampler(gpu=False, rest=lambda: rests.append(None)).sample()

    assert len(rests) >= 5


def test_a_machine_without_gpus_is_sampled_without_them() -> None:
    if Path("/dev/nvidia0").exists():
        pytest.skip("the machine has a GPU")
    sampler = SystemSampler()
    values = sampler.sample()
    sampler.close()
    sampler.close()

    assert "memory.percent" in values
    assert not [key for key in values if key.startswith("gpu.")]


def write_tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal:       16384000 kB\nMemFree: 1 kB\n"}


def test_limits_of_a_version_2_group_are_read(tmp_path: Path) -> None:
    root = write_tree(
        tmp_path,
        {
            **MEMINFO,
            "proc/self/cgroup": "0::/pod/box\n",
            "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
            "sys/fs/cgroup/pod/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/pod/memory.max": "max\n",
            "sys/fs/cgroup/pod/box/cpu.max": "max 100000\n",
            "sys/fs/cgroup/pod/box/memory.max": "1073741824\n",
            "sys/fs/cgroup/pod/box/memory.current": "500000\n",
            "sys/fs/cgroup/pod/box/memory.stat": "anon 1\ninactive_file 200000\n",
        },
    )

    assert Cgroup(root).sample() == {
        "cgroup.cpu_limit_cores": 1.5,
        "cgroup.memory_limit_bytes": 1073741824.0,
        "cgroup.memory_used_bytes": 300000.0,
    }


def test_limits_of_a_version_1_group_are_read_from_the_mount_inside_a_container(tmp_path: Path) -> None:
    root = write_tree(
        tmp_path,
        {
            **MEMINFO,
            "proc/self/cgroup": "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "2147483648\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "700\n",
            "sys/fs/cgroup/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 200\n",
        },
    )

    assert Cgroup(root).sample() == {
        "cgroup.cpu_limit_cores": 2.0,
        "cgroup.memory_limit_bytes": 2147483648.0,
        "cgroup.memory_used_bytes": 500.0,
    }


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cgroup.controllers": ""},
        {
            "proc/self/cgroup": "0::/a\n",
            "sys/fs/cgroup/cgroup.controllers": "",
            "sys/fs/cgroup/a/cpu.max": "max 100000\n",
            "sys/fs/cgroup/a/memory.max": "max\n",
        },
        {
            **MEMINFO,
            "proc/self/cgroup": "4:memory:/\n2:cpu:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    ],
)
def test_a_group_without_limits_tells_nothing(tmp_path: Path, files: dict[str, str]) -> None:
    assert Cgroup(write_tree(tmp_path, files)).sample() == {}


class NvmlError(Exception):
    def __init__(self, value: int) -> None:
        self.value = value


class FakeNvml:
    """Stands in for pynvml with two GPUs; `errors` maps a function to the error code it fails with."""

    NVML_TEMPERATURE_GPU, NVML_CLOCK_SM, NVML_CLOCK_MEM = 0, 1, 2
    NVML_PCIE_UTIL_TX_BYTES, NVML_PCIE_UTIL_RX_BYTES = 0, 1
    NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_FUNCTION_NOT_FOUND, NVML_ERROR_GPU_IS_LOST = 3, 13, 15
    NVMLError = NvmlError

    def __init__(self, **errors: int) -> None:
        self.errors = errors
        self.calls: list[str] = []
        self.pcie_counters: list[int] | None = [1000, 2000]
        self.throttle = 0x1

    def __getattr__(self, name: str) -> Callable[..., Any]:
        answers: dict[str, Callable[..., Any]] = {
            "nvmlShutdown": lambda: None,
            "nvmlSystemGetDriverVersion": lambda: b"550.54.15",
            "nvmlSystemGetCudaDriverVersion": lambda: 12040,
            "nvmlDeviceGetCount": lambda: 2,
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetName": lambda handle: f"NVIDIA H{handle}",
            "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=40 + handle, memory=9),
            "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=2 << 30, total=8 << 30),
            "nvmlDeviceGetTemperature": lambda handle, sensor: 61,
            "nvmlDeviceGetPowerUsage": lambda handle: 350_000,
            "nvmlDeviceGetEnforcedPowerLimit": lambda handle: 700_000,
            "nvmlDeviceGetClockInfo": lambda handle, clock: {1: 1980, 2: 2619}[clock],
            "nvmlDeviceGetFanSpeed": lambda handle: 30,
            "nvmlDeviceGetCurrPcieLinkGeneration": lambda handle: 5,
            "nvmlDeviceGetCurrPcieLinkWidth": lambda handle: 16,
            "nvmlDeviceGetCurrentClocksEventReasons": lambda handle: self.throttle,
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda handle: self.throttle,
            "nvmlDeviceGetPcieThroughput": lambda handle, counter: {0: 10, 1: 20}[counter],
            "nvmlDeviceGetFieldValues": self._field_values,
        }
        if name not in answers:
            raise AttributeError(name)

        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            if name in self.errors:
                raise NvmlError(self.errors[name])
            return answers[name](*arguments)

        return call

    def _field_values(self, handle: int, fields: list[int]) -> list[SimpleNamespace]:
        counters = self.pcie_counters
        if counters is None:
            return [SimpleNamespace(nvmlReturn=3) for _ in fields]
        values = [SimpleNamespace(ullVal=ctypes.c_ulonglong(count).value) for count in counters]
        return [SimpleNamespace(nvmlReturn=0, valueType=3, value=value) for value in values]


def gpu_values(values: dict[str, float], prefix: str = "gpu.") -> dict[str, float]:
    return {key: value for key, value in values.items() if key.startswith(prefix)}


def test_every_reading_of_every_gpu_is_sampled() -> None:
    values = gpu_values(SystemSampler(nvml=FakeNvml()).sample())

    assert values == {
        f"gpu.{index}.{name}": value
        for index in (0, 1)
        for name, value in {
            "percent": 40.0 + index,
            "memory_percent": 25.0,
            "memory_used_bytes": float(2 << 30),
            "temperature_celsius": 61.0,
            "power_watts": 350.0,
            "power_percent": 50.0,
            "clock_sm_mhz": 1980.0,
            "clock_memory_mhz": 2619.0,
            "fan_percent": 30.0,
            "pcie_generation": 5.0,
            "pcie_width": 16.0,
            "throttle_reasons": 1.0,
            "throttled": 0.0,
        }.items()
    }
    assert all(type(value) is float for value in values.values())


def test_pcie_counters_become_rates() -> None:
    nvml = FakeNvml()
    sampler = SystemSampler(nvml=nvml)
    sampler.sample()
    nvml.pcie_counters = [1000 + 5000, 2000 + 10000]
    time.sleep(0.05)
    values = sampler.sample()

    assert 0 < values["gpu.0.pcie_sent_bytes_per_second"] <= 5000 / 0.05
    assert values["gpu.0.pcie_received_bytes_per_second"] == pytest.approx(
        2 * values["gpu.0.pcie_sent_bytes_per_second"]
    )
    assert "nvmlDeviceGetPcieThroughput" not in nvml.calls


def test_a_pcie_counter_that_wraps_around_gives_no_rate() -> None:
    nvml = FakeNvml()
    sampler = SystemSampler(nvml=nvml)
    sampler.sample()
    nvml.pcie_counters = [10, 20]

    assert not [key for key in sampler.sample() if "pcie_sent" in key or "pcie_received" in key]


def test_without_pcie_counters_one_gpu_at_a_time_is_measured() -> None:
    nvml = FakeNvml()
    nvml.pcie_counters = None
    sampler = SystemSampler(nvml=nvml)
    samples = [sampler.sample() for _ in range(4)]

    measured = [{key.split(".")[1] for key in values if "pcie_sent" in key} for values in samples]
    assert [len(gpus) for gpus in measured] == [1, 1, 1, 1]
    assert set.union(*measured) == {"0", "1"}
    index = measured[0].pop()
    assert samples[0][f"gpu.{index}.pcie_sent_bytes_per_second"] == 10 * 1024
    assert samples[0][f"gpu.{index}.pcie_received_bytes_per_second"] == 20 * 1024
    assert nvml.calls.count("nvmlDeviceGetPcieThroughput") == 8


@pytest.mark.parametrize(("reasons", "throttled"), [(0x0, 0.0), (0x1, 0.0), (0x4, 1.0), (0x41, 1.0), (0x2, 0.0)])
def test_throttling_is_told_apart_from_idling(reasons: int, throttled: float) -> None:
    nvml = FakeNvml()
    nvml.throttle = reasons
    values = SystemSampler(nvml=nvml).sample()

    assert values["gpu.0.throttle_reasons"] == reasons
    assert values["gpu.0.throttled"] == throttled


@pytest.mark.parametrize("error", [FakeNvml.NVML_ERROR_NOT_SUPPORTED, FakeNvml.NVML_ERROR_FUNCTION_NOT_FOUND])
def test_a_reading_the_device_does_not_support_is_left_out_and_not_asked_for_again(error: int) -> None:
    nvml = FakeNvml(nvmlDeviceGetFanSpeed=error, nvmlDeviceGetEnforcedPowerLimit=error)
    sampler = SystemSampler(nvml=nvml)
    samples = [sampler.sample() for _ in range(3)]

    for values in samples:
        assert "gpu.0.fan_percent" not in values
        assert "gpu.0.power_percent" not in values
        assert values["gpu.0.power_watts"] == 350.0
    assert nvml.calls.count("nvmlDeviceGetFanSpeed") == 2
    assert nvml.calls.count("nvmlDeviceGetEnforcedPowerLimit") == 2


def test_the_older_name_of_the_throttle_reasons_is_tried() -> None:
    nvml = FakeNvml(nvmlDeviceGetCurrentClocksEventReasons=FakeNvml.NVML_ERROR_FUNCTION_NOT_FOUND)

    assert SystemSampler(nvml=nvml).sample()["gpu.0.throttle_reasons"] == 1.0


def test_a_lost_gpu_comes_back_when_it_answers_again() -> None:
    nvml = FakeNvml(nvmlDeviceGetUtilizationRates=FakeNvml.NVML_ERROR_GPU_IS_LOST)
    sampler = SystemSampler(nvml=nvml)
    lost = sampler.sample()
    nvml.errors.clear()

    assert "gpu.0.percent" not in lost
    assert sampler.sample()["gpu.0.percent"] == 40.0


def test_a_library_that_fails_from_the_start_is_asked_once() -> None:
    nvml = FakeNvml(nvmlDeviceGetCount=999)
    sampler = SystemSampler(nvml=nvml)
    samples = [sampler.sample() for _ in range(3)]

    assert not any(gpu_values(values) for values in samples)
    assert nvml.calls.count("nvmlDeviceGetCount") == 1
    assert "memory.percent" in samples[0]


def test_closing_lets_go_of_the_library_once() -> None:
    nvml = FakeNvml()
    sampler = SystemSampler(nvml=nvml)
    sampler.sample()
    sampler.close()
    sampler.close()

    assert nvml.calls.count("nvmlShutdown") == 1


def test_gpus_can_be_left_out() -> None:
    nvml = FakeNvml()

    assert not gpu_values(SystemSampler(gpu=False, nvml=nvml).sample())
    assert nvml.calls == []


def test_gpus_are_described_by_name_memory_and_versions() -> None:
    assert describe_gpus(FakeNvml()) == {
        "gpus": [
            {"name": "NVIDIA H0", "memory_bytes": 8 << 30},
            {"name": "NVIDIA H1", "memory_bytes": 8 << 30},
        ],
        "gpu_driver": "550.54.15",
        "cuda_driver": "12.4",
    }

"""What sampling the machine every second costs: per cent of one core, of the sampler and of a whole idle run."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time

SAMPLES = 30
SECONDS = 20

_RUN = """
import json, sys, time
import trackkit
settings = {"quiet": True, "system": sys.argv[2] == "on", "system_interval": 1.0}
run = trackkit.init(project="bench", dir=sys.argv[1], settings=settings)
time.sleep(4)
before = time.process_time()
time.sleep(float(sys.argv[3]))
print(time.process_time() - before)
run.finish()
"""


def sampler() -> float:
    """Per cent of a core that a sample a second takes, caches cold as they are after a second of other work."""
    from trackkit.core.system import SystemSampler

    sampling = SystemSampler()
    sampling.sample()
    taken = []
    for _ in range(SAMPLES):
        time.sleep(1.0)
        began = time.thread_time()
        sampling.sample()
        taken.append(time.thread_time() - began)
    sampling.close()
    return 100.0 * statistics.fmean(taken)


def run(system: str) -> float:
    """Per cent of a core that a run takes that does nothing, with or without samples."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        command = [sys.executable, "-c", _RUN, folder, system, str(SECONDS)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        return 100.0 * float(done.stdout) / SECONDS


def measure() -> dict[str, float]:
    return {
        "sampler_percent_of_a_core": sampler(),
        "idle_run_percent_of_a_core": run("off"),
        "sampling_run_percent_of_a_core": run("on"),
    }


if __name__ == "__main__":
    print(json.dumps(measure()))

"""What it costs to import trackkit, to start a run, and to have one: milliseconds and memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile

_PROGRAM = """
import gc, json, sys, time
def rss():
    with open("/proc/self/smaps_rollup") as lines:
        fields = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.count("kB")}
    return fields["Rss"]
before = rss()
t0 = time.perf_counter()
import trackkit
t1 = time.perf_counter()
run = trackkit.init(project="bench", dir=sys.argv[1], config={"lr": 0.1}, settings={"quiet": True})
t2 = time.perf_counter()
for step in range(2000):
    run.log({"loss": 1.0 / (step + 1), "accuracy": step / 2000})
    time.sleep(0.0015)
memory = rss() - before
run.finish()
print(json.dumps({"import_ms": (t1 - t0) * 1e3, "init_ms": (t2 - t1) * 1e3, "rss_mb": memory / 1024}))
"""


def measure(rounds: int = 7) -> dict[str, float]:
    results = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=".") as folder:
            done = subprocess.run(
                [sys.executable, "-c", _PROGRAM, folder], capture_output=True, text=True, check=True, timeout=120
            )
            results.append(json.loads(done.stdout.splitlines()[-1]))
    return {key: statistics.median(result[key] for result in results) for key in results[0]}


if __name__ == "__main__":
    print(json.dumps(measure()))

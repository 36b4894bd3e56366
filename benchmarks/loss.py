"""What is left of 500 calls after SIGKILL of the process group: the part of the calls that returned and are lost."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import trackers

CALLS = 500
PAUSE_SECONDS = {"a row": 0.0, "100 a second": 0.01}
SETTLED_SECONDS = 3.0
"""How long a tracker's background threads and processes get to start before the calls."""

_PROGRAM = """
import sys, time
from pathlib import Path
from benchmarks import trackers
tracker = trackers.make(sys.argv[1])
tracker.start(Path(sys.argv[2]))
time.sleep(float(sys.argv[4]))
values = trackers.values()
for number in range(int(sys.argv[5])):
    tracker.log(values)
    time.sleep(float(sys.argv[3]))
print("logged", flush=True)
time.sleep(60)
"""


def measure(name: str) -> dict[str, float]:
    """The calls lost, in per cent, at each pace."""
    return {f"{pace} %": lost(name, pause) for pace, pause in PAUSE_SECONDS.items()}


def lost(name: str, pause: float) -> float:
    """The calls lost, in per cent, if the group is killed when the last of them has returned."""
    with tempfile.TemporaryDirectory(dir=".", ignore_cleanup_errors=True) as place:
        arguments = [name, place, str(pause), str(SETTLED_SECONDS), str(CALLS)]
        command = [sys.executable, "-c", _PROGRAM, *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
            assert process.stdout is not None
            while process.stdout.readline().strip() != "logged":
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended before its calls did")
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(1.0)  # for what helpers outside of the group still write
        return 100.0 * (1 - READERS[name](Path(place)) / CALLS)


def trackkit_calls(folder: Path) -> int:
    """Records the store has after it was opened, as a user would."""
    from trackkit import Api

    return len(Api(folder).runs()[0].series("loss").value)


def wandb_calls(folder: Path) -> int:
    """History records of an offline run's file, which `wandb sync` would send."""
    from wandb.proto import wandb_internal_pb2

    found = 0
    for path in folder.rglob("*.wandb"):
        for content in _log_records(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(content)
            found += record.WhichOneof("record_type") == "history"
    return found


def _log_records(data: bytes) -> Iterator[bytes]:
    """The records of a file in LevelDB's log format, up to where it is torn, after W&B's header of 7 bytes."""
    position, parts, block = 7, [], 32768
    while position + 7 <= len(data):
        if block - position % block < 7:
            position += block - position % block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        content = data[position + 7 : position + 7 + length]
        if not kind or len(content) < length:
            return
        parts.append(content)
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []


def trackio_calls(folder: Path) -> int:
    return _count(folder, "*.db", "select count(*) from metrics")


def mlflow_calls(folder: Path) -> int:
    return _count(folder, "mlflow.db", "select count(*) from metrics where key = 'loss'")


def _count(folder: Path, glob: str, sql: str) -> int:
    for path in folder.rglob(glob):
        connection = sqlite3.connect(path)
        try:
            return int(connection.execute(sql).fetchone()[0])
        finally:
            connection.close()
    return 0


def tensorboard_calls(folder: Path) -> int:
    """Whole events but the first, which is the format's version; a call is ten."""
    events = 0
    for path in folder.rglob("events.*"):
        data, position = path.read_bytes(), 0
        while position + 12 <= len(data):
            end = position + 16 + struct.unpack_from("<Q", data, position)[0]
            events += end <= len(data)
            position = end
    return max(0, events - 1) // 10


def floor_calls(folder: Path) -> int:
    return (folder / "floor").stat().st_size // 80


READERS: dict[str, Callable[[Path], int]] = {
    "deque.append(dict)": lambda folder: 0,
    "struct.pack + os.write": floor_calls,
    "trackkit": trackkit_calls,
    "tensorboardX": tensorboard_calls,
    "trackio": trackio_calls,
    "wandb offline": wandb_calls,
    "mlflow on SQLite": mlflow_calls,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("tracker", choices=list(trackers.TRACKERS))
    print(json.dumps(measure(parser.parse_args().tracker)))

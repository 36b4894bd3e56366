"""Artifacts: many small files, large ones, and memory, beside `cp`, a bare upload, wandb and MLflow in the same run.

`python -m benchmarks.artifacts [small|copy|upload|memory|peers] [--scale 1.0]`; needs up to 15 GB of disk at the full
scale, in the current folder, and gives it back.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

GB = 1000**3
QUIET = {"quiet": True, "console": "off", "system": False, "git": False, "code": False, "packages": False}
QUIET_TEXT = repr({**QUIET, "finish_timeout": 600})


def small(place: Path, scale: float) -> dict[str, float]:
    """100,000 files of 1 KiB logged to the local store, and again unchanged, beside `cp -r`."""
    count = round(100_000 * scale)
    tree = make_tree(place / "tree", count)
    copied = timed(lambda: subprocess.run(["cp", "-r", tree, place / "copy"], check=True))
    shutil.rmtree(place / "copy")
    first, again = (script(place, LOG, tree) for _ in range(2))
    return {
        "files": count,
        "cp_r_s": copied,
        "logged_s": first["seconds"],
        "logged_cpu_s": first["cpu"],
        "ratio_to_cp": first["seconds"] / copied,
        "unchanged_s": again["seconds"],
        "unchanged_cpu_s": again["cpu"],
        "unchanged_made_a_version": float(again["version"] != first["version"]),
    }


def copy(place: Path, scale: float) -> dict[str, float]:
    """A file of 2 GB to the local store, beside `cp` and `cp` + `sha256sum`, each with an fsync of nothing."""
    file = make_file(place / "large", round(2 * GB * scale))
    rows: dict[str, list[float]] = {"cp_s": [], "cp_sha256_s": [], "logged_s": []}
    for turn in range(3):
        rows["cp_s"].append(timed(lambda: subprocess.run(["cp", "--reflink=auto", file, place / "copy"], check=True)))
        (place / "copy").unlink()
        rows["cp_sha256_s"].append(timed(lambda: copy_and_hash(file, place / "copy")))
        (place / "copy").unlink()
        rows["logged_s"].append(script(place / str(turn), LOG, file)["seconds"])
        shutil.rmtree(place / str(turn))
    found = {name: min(seconds) for name, seconds in rows.items()}
    return {
        **found, "ratio_to_cp": found["logged_s"] / found["cp_s"],
        "ratio_to_cp_sha256": found["logged_s"] / found["cp_sha256_s"],
    }  # fmt: skip


def upload(place: Path, scale: float) -> dict[str, float]:
    """A file of 2 GB over HTTP until the version is committed, beside a bare PUT of the same bytes to a bare server."""
    file = make_file(place / "large", round(2 * GB * scale))
    with bare_server(place / "bare") as address:
        bare = timed(lambda: bare_upload(address, file))
    with server(place / "server") as address:
        found = script(place, LOG, file, TRACKKIT_SINK=address)
    return {
        "bare_upload_s": bare, "staged_s": found["staged"], "committed_s": found["seconds"],
        "sent_s": found["seconds"] - found["staged"], "ratio_sent_to_bare": (found["seconds"] - found["staged"]) / bare,
        "ratio_to_bare": found["seconds"] / bare,
    }  # fmt: skip


def memory(place: Path, scale: float) -> dict[str, float]:
    """A file of 5 GB over HTTP, and the memory that the process and the server had at most."""
    file = make_file(place / "large", round(5 * GB * scale))
    with server(place / "server") as address:
        found = script(place, LOG, file, TRACKKIT_SINK=address)
        peak = peak_of(server_pid)
    return {
        "bytes": file.stat().st_size, "seconds": found["seconds"], "rss_before_mb": found["rss_before"],
        "rss_peak_mb": found["rss_peak"], "server_rss_peak_mb": peak,
    }  # fmt: skip


def peers(place: Path, scale: float) -> dict[str, float]:
    """10,000 files of 1 KiB: trackkit on SQLite, wandb offline, MLflow local; until the process's run is finished."""
    count = round(10_000 * scale)
    tree = make_tree(place / "tree", count)
    bodies = {"trackkit": LOG, "wandb": WANDB, "mlflow": MLFLOW}
    seconds: dict[str, list[float]] = {name: [] for name in bodies if importlib.util.find_spec(name)}
    for turn in range(3):  # in turns, as the machine may have other work at times
        for name, rows in seconds.items():
            rows.append(script(place / f"{name}{turn}", bodies[name], tree)["finished"])
            shutil.rmtree(place / f"{name}{turn}")
    found = {f"{name}_s": min(rows) for name, rows in seconds.items()}
    return {"files": float(count), **found}


LOG = f"""
import trackkit
before = rss()
run = trackkit.init(project="bench", settings={QUIET_TEXT})
began = time.perf_counter()
artifact = trackkit.Artifact("data", "dataset")
artifact.add_dir(SOURCE) if os.path.isdir(SOURCE) else artifact.add_file(SOURCE)
run.log_artifact(artifact)
staged = time.perf_counter() - began
artifact.wait()
seconds = time.perf_counter() - began
run.finish()
told(seconds=seconds, staged=staged, finished=time.perf_counter() - began, cpu=sum(os.times()[:2]),
     rss_before=before, rss_peak=peak(), version=int(artifact.version[1:]))
"""
WANDB = """
os.environ.update(WANDB_SILENT="true", WANDB_MODE="offline", WANDB_DATA_DIR=os.getcwd(), WANDB_CACHE_DIR=os.getcwd())
import wandb
run = wandb.init(project="bench", dir=os.getcwd())
began = time.perf_counter()
artifact = wandb.Artifact("data", "dataset")
artifact.add_dir(SOURCE)
run.log_artifact(artifact)
run.finish()
told(finished=time.perf_counter() - began)
"""
MLFLOW = """
os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")
import mlflow
mlflow.set_tracking_uri(f"sqlite:///{os.getcwd()}/mlflow.db")
mlflow.set_experiment("bench")
mlflow.start_run()
began = time.perf_counter()
mlflow.log_artifacts(SOURCE)
mlflow.end_run()
told(finished=time.perf_counter() - began)
"""
_PRELUDE = """
import json, os, sys, time
SOURCE = sys.argv[1]
def field(name):
    return int(open("/proc/self/status").read().split(name + ":")[1].split()[0]) / 1000
def rss():
    return field("VmRSS")
def peak():
    return field("VmHWM")
def told(**figures):
    print(json.dumps(figures))
"""


def script(place: Path, body: str, source: Path, **environment: str) -> dict[str, float]:
    """The figures a script prints, in a process of its own."""
    place.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "XDG_CACHE_HOME": str(place / "cache"), **environment}
    env["PYTHONPATH"] = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", _PRELUDE + textwrap.dedent(body), str(source)]
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def make_tree(folder: Path, count: int) -> Path:
    """Different files of 1 KiB, 1,000 a folder."""
    for number in range(count):
        if not number % 1000:
            (folder / str(number // 1000)).mkdir(parents=True)
        content = (b"%d " % number) * 200
        (folder / str(number // 1000) / f"{number}.txt").write_bytes(content[:1024])
    return folder


def make_file(path: Path, size: int) -> Path:
    """A file that no compression helps with."""
    piece = os.urandom(16 << 20)
    with open(path, "wb") as file:
        for number in range(0, size, len(piece)):
            file.write((number.to_bytes(8, "big") + piece[8:])[: size - number])
    return path


def copy_and_hash(source: Path, target: Path) -> None:
    subprocess.run(["cp", "--reflink=auto", source, target], check=True)
    subprocess.run(["sha256sum", target], check=True, stdout=subprocess.DEVNULL)


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@contextmanager
def bare_server(folder: Path) -> Iterator[str]:
    """The floor: one thread that takes one request's body, hashes it and has it on the disk."""
    folder.mkdir()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        buffer, checksum = bytearray(1 << 20), hashlib.sha256()
        with connection, open(folder / "taken", "wb", buffering=0) as file:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65536)
            head, _, rest = head.partition(b"\r\n\r\n")
            left = int(head.lower().split(b"content-length:")[1].split()[0]) - len(rest)
            file.write(rest)
            checksum.update(rest)
            while left > 0:
                got = connection.recv_into(buffer)
                checksum.update(memoryview(buffer)[:got])
                file.write(memoryview(buffer)[:got])
                left -= got
            os.fsync(file.fileno())
            connection.sendall(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    thread.join()
    listener.close()


def bare_upload(address: str, file: Path) -> None:
    """The bytes from a process of their own, as the server under test has another, too."""
    code = "import requests, sys; requests.put(sys.argv[1], data=open(sys.argv[2], 'rb')).raise_for_status()"
    subprocess.run([sys.executable, "-c", code, address, str(file)], check=True)


server_pid = 0


@contextmanager
def server(root: Path) -> Iterator[str]:
    """A trackkit server in a process of its own."""
    global server_pid
    import requests

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "trackkit", "serve", str(root), "--port", str(port), "--log-level", "error"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                requests.get(f"{address}/health", timeout=1)
                break
            except requests.RequestException:
                time.sleep(0.1)
        server_pid = child.pid
        yield address
    finally:
        child.terminate()
        child.wait(30)


def peak_of(pid: int) -> float:
    """The most memory a process has had, MB."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) / 1000


PARTS: dict[str, Callable[[Path, float], dict[str, float]]] = {
    "small": small, "copy": copy, "upload": upload, "memory": memory, "peers": peers,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--scale", type=float, default=1.0)
    given = parser.parse_args()
    found: dict[str, float] = {}
    for part in given.parts:
        with tempfile.TemporaryDirectory(dir=".", prefix="bench-") as folder:
            figures = PARTS[part](Path(folder).absolute(), given.scale)
        found |= {f"{part}_{name}": figure for name, figure in figures.items()}
        print(part, {name: round(figure, 2) for name, figure in figures.items()}, file=sys.stderr)
    print(json.dumps(found))


if __name__ == "__main__":
    main()

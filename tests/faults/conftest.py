"""Real processes that are killed, starved and interrupted; what they leave is read as a user would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

PRELUDE = """
import os, signal, sys, threading, time
import trackkit
ROOT = os.environ["ROOT"]
QUIET = {"quiet": True, "interval": 0.05, "system_interval": 0.2, "finish_timeout": 20}
signal.signal(signal.SIGINT, signal.default_int_handler)
"""
"""Ctrl-C works even where the tests run in a shell's background, whose children inherit that it is ignored."""


class Script:
    """A training script in a process group of its own, tracking into `root`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "store"
        self.process: subprocess.Popen[str] | None = None

    def start(self, body: str, under: Sequence[str] = (), **environment: str) -> subprocess.Popen[str]:
        """Start it, without waiting, by way of another command if one is given."""
        file = self.folder / "train.py"
        file.write_text(PRELUDE + textwrap.dedent(body))
        self.process = subprocess.Popen(
            [*under, sys.executable, "-u", str(file)],
            cwd=self.folder,
            env={**os.environ, "ROOT": str(self.root), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return self.process

    def start_until_it_prints(self, body: str) -> subprocess.Popen[str]:
        """Start it, and wait until it has printed a line."""
        process = self.start(body)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    def run(
        self, body: str, timeout: float = 60, under: Sequence[str] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        process = self.start(body, under, **environment)
        out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def signal_group(self, number: int) -> None:
        """Send a signal to the script and everything it started."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.signal_group(signal.SIGKILL)
            self.process.communicate(timeout=20)


@pytest.fixture
def make_script(tmp_path: Path) -> Iterator[Callable[[str], Script]]:
    made: list[Script] = []

    def make(name: str = "job") -> Script:
        folder = tmp_path / name
        folder.mkdir()
        made.append(Script(folder))
        return made[-1]

    yield make
    for script in made:
        script.stop()


@pytest.fixture
def script(make_script: Callable[[str], Script]) -> Script:
    return make_script("job")

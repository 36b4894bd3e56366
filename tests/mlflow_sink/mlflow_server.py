"""Real `mlflow server`s, on loopback and in folders of the tests' own, by the mlflow of another environment."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from tests.servers import free_port, until

VARIABLE = "TRACKKIT_MLFLOW"
"""Names the Python of the environment that has mlflow."""
START_SECONDS = 180.0


def python() -> str:
    """The Python that has mlflow.

    Raises
    ------
    RuntimeError
        If none is named.
    """
    found = os.environ.get(VARIABLE) or _FOUND
    if not found:
        raise RuntimeError(f"these tests need mlflow in an environment of its own: set {VARIABLE} to its Python")
    return found


_FOUND = os.environ.get(VARIABLE, "")
"""As it was before the tests' environment was cleaned."""


def environment(**more: str) -> dict[str, str]:
    """The environment of a process that runs mlflow."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "TRACKKIT_"))}
    folder = str(Path(python()).parent)
    return {**known, "PATH": f"{folder}:{known.get('PATH', '')}", "PYTHONWARNINGS": "ignore", **more}


class Reader:
    """MLflow's own client, in a process that stays."""

    def __init__(self) -> None:
        self._asked = 0
        script = Path(__file__).with_name("mlflow_reader.py")
        self._child = subprocess.Popen(
            [python(), str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment(MLFLOW_HTTP_REQUEST_MAX_RETRIES="2"),
        )

    def __call__(self, name: str, *arguments: Any) -> Any:
        """What a function of `mlflow_reader.py` gives."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._asked += 1
        self._child.stdin.write(json.dumps([self._asked, name, arguments]) + "\n")
        self._child.stdin.flush()
        number = 0
        while number != self._asked:  # a test that ran out of time leaves its answer behind
            number, answer = json.loads(self._child.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def close(self) -> None:
        """End the process."""
        self._child.communicate(timeout=30)


class Server:
    """An `mlflow server` on a SQLite database, to be killed and started again.

    Parameters
    ----------
    folder
        Where its database and its artifacts are.
    store
        Where it keeps runs, if not in that database.
    arguments
        Further ones for the command.
    """

    def __init__(self, folder: Path, *arguments: str, store: str = "", env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.sink = f"mlflow+{self.address}"
        self._store = store or f"sqlite:///{folder / 'mlflow.db'}"
        self._arguments = arguments
        self._env = env or {}
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        """Start it, where it was before."""
        command = [python(), "-m", "mlflow", "server", "--backend-store-uri", self._store]
        if "--artifacts-destination" not in self._arguments:
            command += ["--artifacts-destination", str(self.folder / "artifacts")]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1", *self._arguments]
        with open(self.folder / "log.txt", "ab") as log:
            self._child = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment(**self._env), cwd=self.folder, start_new_session=True
            )
        until(self._answers, START_SECONDS)

    def _answers(self) -> bool:
        assert self._child.poll() is None, (self.folder / "log.txt").read_text()
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.address}/health", timeout=2).status_code == 200
        return False

    def kill(self) -> None:
        """End it and its workers at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)  # a group of its own
        self._child.wait(30)


@contextlib.contextmanager
def server(folder: Path, *arguments: str, **named: Any) -> Iterator[Server]:
    """A server, until the block ends."""
    started = Server(folder, *arguments, **named)
    try:
        yield started
    finally:
        started.kill()


def copy_of(folder: Path, target: Path) -> None:
    """Bring the database of a server that is stopped to another folder: its tables need not be made again."""
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "mlflow.db", target / "mlflow.db")

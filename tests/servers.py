"""Real servers for tests: on loopback, on a free port, in a folder of the test's, and gone when it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
import uvicorn

from trackkit.backend.server.app import make_app
from trackkit.backend.server.config import ServerConfig
from trackkit.backend.server.services import Services
from trackkit.backend.store import tokens

PATIENCE = 20.0


class Serving:
    """A server in a thread of the test's process."""

    def __init__(self, config: ServerConfig, address: str, services: Services) -> None:
        self.config = config
        self.address = address
        self.services = services
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["x-trackkit-csrf"] = "same-origin"

    def ask(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """The answer to a request below `/api/v1`."""
        return self.session.request(method, f"{self.address}/api/v1{path}", timeout=PATIENCE, **arguments)

    def get(self, path: str, **params: Any) -> Any:
        """The JSON that a GET gives, which must succeed."""
        answer = self.ask("GET", path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def token(self, name: str = "somebody", scope: tokens.Scope = "write", **more: Any) -> str:
        """The secret of a new token."""
        with self.services.storage.changing() as db:
            return tokens.create(db, name, scope, **more)[1]


@contextlib.contextmanager
def serving(root: Path, store: str = "", **options: Any) -> Iterator[Serving]:
    """A server for a store's folder, or for a database, until the block ends."""
    config = ServerConfig(store=store or str(root), root=root, **options)
    listener = socket.create_server(("127.0.0.1", 0))
    app = make_app(config)
    settings = uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=2, access_log=False)
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        until(lambda: server.started)
        found = Serving(config, address, app.state.services)
        with found.session:
            yield found
    finally:
        app.state.services.feed.stop_soon()
        server.should_exit = True
        thread.join(PATIENCE)
        listener.close()
    assert not thread.is_alive()


class Process:
    """A server in a process of its own, to be killed and started again."""

    def __init__(self, root: Path, port: int = 0, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.root = root
        self.port = port or free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "trackkit", "serve", str(root), "--port", str(self.port), *arguments]
        self._child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **(env or {})}
        )
        self.output = ""
        until(self._answers)

    def _answers(self) -> bool:
        if self._child.poll() is not None:
            raise AssertionError(f"the server ended: {self.read()}")
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.address}/health", timeout=1).status_code == 200
        return False

    def ask(self, path: str) -> Any:
        """The JSON that a GET below `/api/v1` gives."""
        answer = requests.get(f"{self.address}/api/v1{path}", timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def read(self) -> str:
        """What the server wrote, once it has ended."""
        self.output = self.output or self._child.communicate(timeout=PATIENCE)[0]
        return self.output

    def send(self, number: signal.Signals) -> None:
        """Send the server a signal, without waiting for what it does."""
        self._child.send_signal(number)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End the server; its exit code."""
        if self._child.poll() is None:
            self._child.send_signal(how)
        self.read()
        return self._child.returncode


@contextlib.contextmanager
def process(root: Path, *arguments: str, env: dict[str, str] | None = None) -> Iterator[Process]:
    """A server in a process of its own, until the block ends."""
    started = Process(root, 0, *arguments, env=env)
    try:
        yield started
    finally:
        started.end(signal.SIGKILL)


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def until(condition: Any, seconds: float = PATIENCE) -> Any:
    """What the condition gives once it is true.

    Raises
    ------
    AssertionError
        If that does not happen in time.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found

"""Starting a server: the socket, the processes, and the way out."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import tempfile
from collections.abc import Iterator
from typing import Final

import msgspec
import uvicorn
from starlette.applications import Starlette

from trackkit.backend.server.app import make_app
from trackkit.backend.server.config import ServerConfig, check_bind
from trackkit.backend.server.telemetry import FOLDER_VARIABLE, configure_logging

CONFIG_VARIABLE: Final = "TRACKKIT_SERVER_CONFIG"
"""How the processes of one server are told how to run."""
PORTS_TRIED: Final = 20
_GRACE_SECONDS = 10
"""How long requests may go on once the server was told to end."""


class PortTaken(OSError):
    """The port is another program's."""


def bind(host: str, port: int, *, exact: bool) -> socket.socket:
    """A socket to listen on.

    Parameters
    ----------
    exact
        Whether it must be this port; otherwise the next free one will do.

    Raises
    ------
    PortTaken
        If another program listens there.
    OSError
        If this machine has no such address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in [port] if exact or port == 0 else range(port, port + PORTS_TRIED):
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it. uvicorn takes a socket it is given by number for one of another family and leaves it
        # out; an answer's body would follow its head by the 40 ms for which clients put off saying that they have it.
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            found.bind((host.strip("[]"), candidate))
            found.listen(2048)
            return found
        except OSError as error:
            found.close()
            if error.errno != errno.EADDRINUSE:
                raise
    raise PortTaken(f"another program listens on port {port} of {host}; choose another with --port")


def run(
    config: ServerConfig,
    listener: socket.socket,
    *,
    workers: int = 1,
    log_json: bool = False,
    log_level: str = "info",
) -> None:
    """Serve until interrupted.

    Parameters
    ----------
    listener
        Where, from `bind`.
    workers
        How many processes.
    """
    check_bind(config.host, auth=config.auth)
    configure_logging(as_json=log_json, level=log_level)
    os.environ[CONFIG_VARIABLE] = msgspec.json.encode(_Launch(config, log_json, log_level), enc_hook=str).decode()
    with _counts_of_all() if workers > 1 else contextlib.nullcontext():
        _serve(listener, workers)


@contextlib.contextmanager
def _counts_of_all() -> Iterator[None]:
    """A folder for the processes' counts, as whichever is asked for metrics tells those of all."""
    with tempfile.TemporaryDirectory(prefix="trackkit-metrics-") as folder:
        os.environ[FOLDER_VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER_VARIABLE]


def _serve(listener: socket.socket, workers: int) -> None:
    uvicorn.run(
        f"{__name__}:app_of_environment",
        factory=True,
        fd=listener.fileno(),
        workers=workers,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_keep_alive=65,
        server_header=False,
        lifespan="on",
    )


class _Launch(msgspec.Struct):
    """What the processes of one server have to know."""

    config: ServerConfig
    log_json: bool
    log_level: str


def app_of_environment() -> Starlette:
    """The application of one of the server's processes."""
    launch = msgspec.json.decode(os.environ[CONFIG_VARIABLE], type=_Launch, dec_hook=lambda type, value: type(value))
    configure_logging(as_json=launch.log_json, level=launch.log_level)
    return make_app(launch.config)

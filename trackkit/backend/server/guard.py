"""What every request passes on its way in and every answer on its way out."""

from __future__ import annotations

import logging
import time
from typing import Final
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trackkit.backend.server.errors import ApiError
from trackkit.backend.server.telemetry import Telemetry

logger = logging.getLogger("trackkit.server")

CSP: Final = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-src 'self'; frame-ancestors "
)
"""Nothing is loaded from anywhere but this server, and no script but its own runs. Styles may be inline, as charts
place their parts by them."""


HEALTH: Final = "/health"


class HostGuard:
    """Answers only requests for a name this server is known by.

    A page of another site can make its own name lead here (DNS rebinding), and then counts as ours to the browser; the
    `Host` header still says whom the browser believes to speak to. Only `/health` answers to any name: load balancers
    ask for it by address.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self.app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != HEALTH and "*" not in self._hosts:
            host = _without_port(_header(scope, b"host").lower())
            if host not in self._hosts:
                text = (
                    f"this server does not know itself as {host!r}; "
                    f"if that is its name, start it with --allowed-host {host or 'NAME'}"
                )
                await ApiError(421, text).response()(scope, receive, send)
                return
        await self.app(scope, receive, send)


class SecurityHeaders:
    """Adds to every answer what keeps browsers from being turned against us."""

    def __init__(self, app: ASGIApp, frames: str) -> None:
        self.app = app
        self._headers = [
            (b"content-security-policy", (CSP + frames).encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"same-origin"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"cache-control", b"no-cache"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", []))
                given = {name.lower() for name, _ in headers}
                message["headers"] = headers + [(name, value) for name, value in self._headers if name not in given]
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class AccessLog:
    """Counts and logs every request; those that only ask how the server is, quietly."""

    _QUIET = (HEALTH, "/metrics")

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self.app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, note_status)
        finally:
            self._note(scope, status, time.perf_counter() - began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        endpoint = scope.get("state", {}).get("endpoint")
        path = endpoint.path if endpoint is not None else "other"
        method = scope["method"] if endpoint is not None else "other"
        self._telemetry.requests.labels(method, path, str(status)).inc()
        self._telemetry.seconds.labels(method, path).observe(seconds)
        level = logging.DEBUG if scope["path"] in self._QUIET or status < 400 else logging.INFO
        if logger.isEnabledFor(level):
            facts = {
                "method": scope["method"],
                "path": quote(scope["path"]),  # as decoded it could begin a line of its own
                "status": status,
                "ms": round(seconds * 1000, 1),
                "client": (scope.get("client") or [""])[0],
            }
            text = f"{facts['method']} {facts['path']} {status} in {facts['ms']} ms from {facts['client']}"
            logger.log(level, text, extra={"facts": facts})


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]

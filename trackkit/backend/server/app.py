"""The server's application: routes read from top to bottom, and what every request passes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from trackkit.backend.server import guard, openapi, telemetry
from trackkit.backend.server.api.table import ENDPOINTS, PREFIX
from trackkit.backend.server.auth import Authenticator
from trackkit.backend.server.config import ServerConfig
from trackkit.backend.server.errors import ApiError
from trackkit.backend.server.live import Feed
from trackkit.backend.server.mlflow.table import routes as mlflow_routes
from trackkit.backend.server.overview import Overviews
from trackkit.backend.server.presence import Presence
from trackkit.backend.server.routing import routes
from trackkit.backend.server.services import Services
from trackkit.backend.server.storage import Storage, open_storage
from trackkit.backend.store.database import Busy
from trackkit.backend.store.filters import FilterError
from trackkit.backend.tables.opened import OpenTables
from trackkit.version import __version__

logger = logging.getLogger("trackkit.server")

DASHBOARD: Final = Path(__file__).with_name("dashboard")
"""The built dashboard."""


def make_app(config: ServerConfig, storage: Storage | None = None) -> Starlette:
    """The application that serves a store.

    Parameters
    ----------
    config
        How to serve it.
    storage
        The store, by default that which `config` names; closed when the application ends.
    """
    storage = storage or open_storage(config.store, config.root, config.blobs)
    services = Services(
        config,
        storage,
        Authenticator(storage, required=config.auth),
        Feed(storage),
        Presence(storage),
        telemetry.Telemetry(),
        OpenTables(),
        Overviews(storage),
    )

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        _close_streams_on_signals(services.feed)
        upkeep = asyncio.create_task(services.presence.watch())
        yield
        upkeep.cancel()
        services.feed.close()
        storage.close()

    app = Starlette(
        routes=_routes(services),
        lifespan=lifespan,
        middleware=[
            Middleware(guard.AccessLog, telemetry=services.telemetry),
            Middleware(guard.SecurityHeaders, frames=config.frames()),
            Middleware(guard.HostGuard, hosts=config.hosts()),
            Middleware(GZipMiddleware, minimum_size=2000, compresslevel=4),
        ],
        exception_handlers={
            ApiError: _known_error,
            HTTPException: _http_error,
            Busy: _busy,
            FilterError: _filter_error,
            ClientDisconnect: _gone,
            RecursionError: _too_deep,
            Exception: _fault,
        },
    )
    app.state.services = services
    return app


def _close_streams_on_signals(feed: Feed) -> None:
    """End the streams as soon as the server is told to end: it waits for its answers, and these have no end."""
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        previous = signal.getsignal(number)

        def handle(received: int, frame: FrameType | None, previous: Any = previous) -> None:
            loop.call_soon_threadsafe(feed.close)
            if callable(previous):
                previous(received, frame)

        signal.signal(number, handle)


def _routes(services: Services) -> list[BaseRoute]:
    document = msgspec.json.encode(openapi.document(ENDPOINTS, PREFIX))
    page = openapi.page(ENDPOINTS, PREFIX)

    def show_health(request: Request) -> Response:
        with services.storage.reading() as db:  # a load balancer sends elsewhere what would fail here
            db.query("select 1")
        return Response(msgspec.json.encode({"status": "ok", "version": __version__}), media_type="application/json")

    def show_metrics(request: Request) -> Response:
        services.authenticator.identify(request, "read")
        return Response(services.telemetry.exposition(), media_type=telemetry.CONTENT_TYPE)

    async def show_document(request: Request) -> Response:
        return Response(document, media_type="application/json")

    async def show_docs(request: Request) -> Response:
        return HTMLResponse(page)

    return [
        *mlflow_routes(services),
        Route(guard.HEALTH, show_health),
        Route("/metrics", show_metrics),
        Route("/docs", show_docs),
        Route(f"{PREFIX}/openapi.json", show_document),
        *routes(ENDPOINTS, services, PREFIX),
        Route("/api/{path:path}", _no_endpoint, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        *_dashboard(),
    ]


async def _no_endpoint(request: Request) -> Response:
    raise ApiError(404, f"there is no endpoint {request.method} {request.url.path}; /docs lists them")


def _dashboard() -> list[BaseRoute]:
    """The dashboard's files; every other path is a page of its own making."""
    if not (DASHBOARD / "index.html").is_file():
        logger.warning("this installation has no dashboard: it was built without Node; the API works")

        async def redirect(request: Request) -> Response:
            return RedirectResponse("/docs")

        return [Route("/", redirect)]

    async def index(request: Request) -> Response:
        return FileResponse(DASHBOARD / "index.html")

    assets = Mount("/assets", _Assets(directory=DASHBOARD / "assets"))
    files = [
        Route(f"/{path.name}", _file(path))
        for path in DASHBOARD.iterdir()
        if path.is_file() and path.name != "index.html"
    ]
    return [assets, *files, Route("/{path:path}", index)]


class _Assets(StaticFiles):
    """Files whose names carry a hash of their content, so that browsers may keep them for good."""

    async def get_response(self, path: str, scope: object) -> Response:
        response = await super().get_response(path, scope)  # type: ignore[arg-type]
        response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return response


def _file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        return FileResponse(path)

    return serve


async def _known_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return ApiError(error.status_code, str(error.detail), dict(error.headers or {})).response()


async def _filter_error(request: Request, error: Exception) -> Response:
    return ApiError(400, str(error)).response()


async def _gone(request: Request, error: Exception) -> Response:
    """Nobody is there to read it, and nothing went wrong here: networks break, and the client sends again."""
    return ApiError(400, "the connection ended in the middle of the body").response()


async def _too_deep(request: Request, error: Exception) -> Response:
    return ApiError(400, "what was sent is nested too deeply").response()


async def _busy(request: Request, error: Exception) -> Response:
    return ApiError(503, str(error), {"retry-after": "1"}).response()


async def _fault(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return ApiError(500, "the server failed to answer this; its log says why").response()

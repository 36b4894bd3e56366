"""Where all procedures of MLflow's API are, read from top to bottom."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from trackkit.backend.server.mlflow import (
    artifacts,
    experiments,
    inputs,
    logs,
    models,
    multipart,
    registry,
    runs,
    webhooks,
)
from trackkit.backend.server.mlflow.routing import Dispatcher, Procedure
from trackkit.backend.server.services import Services

SPOKEN: Final = "3.3.2"
"""The version that clients are told: from 3.4 on they would send traces to `/v1/traces`."""
_METHODS: Final = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_ARTIFACTS: Final = "mlflow-artifacts"

PROCEDURES: Final[list[Procedure]] = [
    *experiments.PROCEDURES,
    *runs.PROCEDURES,
    *logs.PROCEDURES,
    *inputs.PROCEDURES,
    *models.PROCEDURES,
    *registry.PROCEDURES,
    *artifacts.PROCEDURES,
    *webhooks.PROCEDURES,
]

_INFO: Final[dict[str, Any]] = {
    "store_type": "SqlStore",
    "workspaces_enabled": False,
    "trace_archival_enabled": False,
    "multipart_uploads_enabled": True,
    "multipart_downloads_enabled": False,
    "presigned_upload_run_id_supported": False,
    "presigned_upload_model_id_supported": False,
    "features_enabled": {"gateway": False},
}


def routes(services: Services) -> list[BaseRoute]:
    """The routes of MLflow's API: for its clients below `/api`, for its pages below `/ajax-api`."""

    async def show_version(request: Request) -> Response:
        return PlainTextResponse(SPOKEN)

    async def show_info(request: Request) -> Response:
        return Response(msgspec.json.encode(_INFO), media_type="application/json")

    found: list[BaseRoute] = [Route("/version", show_version)]
    for root in ("/api", "/ajax-api"):
        more = artifacts.AJAX_PROCEDURES if root == "/ajax-api" else []
        found += [
            _route(f"{root}/2.0/mlflow", [*PROCEDURES, *more], services),
            _route(f"{root}/2.0/{_ARTIFACTS}", [*multipart.PROCEDURES, *artifacts.PROXY_PROCEDURES], services),
            Route(f"{root}/3.0/mlflow/server-info", show_info),
            _route(f"{root}/3.0/mlflow", [], services),
            _route(f"{root}/2.0", [], services),
            _route(f"{root}/3.0", [], services),
        ]
    found.append(_route("/ajax-api", [], services))
    page = Dispatcher(artifacts.PAGE_PROCEDURES, services, "")
    return [*found, Route("/get-artifact", page.serve, methods=["GET"])]


def _route(prefix: str, procedures: list[Procedure], services: Services) -> Route:
    return Route(prefix + "/{rest:path}", Dispatcher(procedures, services, prefix).serve, methods=_METHODS)

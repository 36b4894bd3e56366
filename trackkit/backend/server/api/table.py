"""All endpoints of the native API, in the order its documentation lists them."""

from __future__ import annotations

from trackkit.backend.server.api import (
    artifact_files,
    artifacts,
    blobs,
    charts,
    collections,
    events,
    files,
    ingest,
    lineage,
    media,
    points,
    projects,
    rows,
    run,
    runs,
    sessions,
    tables,
    views,
    watched,
)
from trackkit.backend.server.routing import Endpoint

PREFIX = "/api/v1"

ENDPOINTS: list[Endpoint] = [
    *projects.ENDPOINTS,
    *runs.ENDPOINTS,
    *run.ENDPOINTS,
    *rows.ENDPOINTS,
    *points.ENDPOINTS,
    *files.ENDPOINTS,
    *artifacts.ENDPOINTS,
    *artifact_files.ENDPOINTS,
    *collections.ENDPOINTS,
    *lineage.ENDPOINTS,
    *blobs.ENDPOINTS,
    *charts.ENDPOINTS,
    *media.ENDPOINTS,
    *tables.ENDPOINTS,
    *watched.ENDPOINTS,
    *events.ENDPOINTS,
    *views.ENDPOINTS,
    *ingest.ENDPOINTS,
    *sessions.ENDPOINTS,
]

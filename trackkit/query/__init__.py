"""Runs read back: `Api` opens a store, and everything else comes from it."""

from __future__ import annotations

from trackkit.backend.store.database import SchemaTooNew
from trackkit.backend.store.filters import FilterError
from trackkit.query.api import Api
from trackkit.query.artifacts import Artifact, ArtifactNotFound
from trackkit.query.files import File
from trackkit.query.listing import Project, Runs
from trackkit.query.media import MediaItem
from trackkit.query.run import Alert, Run
from trackkit.query.series import Series, SystemMetrics
from trackkit.query.source import RunNotFound
from trackkit.query.summary import Summary
from trackkit.query.tables import LoggedTable
from trackkit.query.watched import Histogram, Watched

__all__ = [
    "Alert",
    "Api",
    "Artifact",
    "ArtifactNotFound",
    "File",
    "FilterError",
    "Histogram",
    "LoggedTable",
    "MediaItem",
    "Project",
    "Run",
    "RunNotFound",
    "Runs",
    "SchemaTooNew",
    "Series",
    "Summary",
    "SystemMetrics",
    "Watched",
]

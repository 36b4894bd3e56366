"""What a server tells of itself: metrics for Prometheus, and a line of JSON a request."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
    multiprocess,
)

__all__ = ["CONTENT_TYPE", "JsonLines", "Telemetry", "configure_logging"]


FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder in which the processes of one server keep their counts, so that each can tell those of all."""


class Telemetry:
    """Counts what a server does: the process or, where there are several, all of them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._folder = os.environ.get(FOLDER_VARIABLE, "")
        if not self._folder:
            ProcessCollector(registry=self._registry)
        self.requests = Counter(
            "trackkit_requests", "Requests answered.", ["method", "path", "status"], registry=self._registry
        )
        self.seconds = Histogram(
            "trackkit_request_seconds",
            "Time to answer a request.",
            ["method", "path"],
            buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10),
            registry=self._registry,
        )
        self.records = Counter("trackkit_ingested_records", "Records taken from journals.", registry=self._registry)
        self.bytes = Counter(
            "trackkit_ingested_bytes", "Bytes of journals taken, uncompressed.", registry=self._registry
        )
        self.listeners = Gauge(
            "trackkit_event_streams", "Open streams of events.", registry=self._registry, multiprocess_mode="livesum"
        )

    def exposition(self) -> bytes:
        """The metrics as Prometheus reads them."""
        if not self._folder:
            return generate_latest(self._registry)
        for path in Path(self._folder).glob("gauge_live*_*.db"):
            pid = int(path.stem.rpartition("_")[2])
            if not psutil.pid_exists(pid):  # it was killed, and its streams with it
                multiprocess.mark_process_dead(pid, self._folder)  # type: ignore[no-untyped-call]
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, self._folder)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


class JsonLines(logging.Formatter):
    """Formats log records as JSON, a line each."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry).decode()


def configure_logging(*, as_json: bool, level: str = "info") -> None:
    """Send the server's log to standard error, as text or as lines of JSON."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")
    handler.setFormatter(JsonLines() if as_json else text)
    for name in ("trackkit.server", "trackkit", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = ([handler] if name in ("trackkit", "uvicorn") else []), name.count(".") > 0
        logger.setLevel(level.upper())

"""A real S3 server for tests (moto's), on loopback, with a fault it can be given."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from unittest import mock

import requests
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

BUCKET = "trackkit"


class ObjectStore:
    """An S3 server. While `failing` is above 0, requests are answered by 503 and count it down."""

    def __init__(self) -> None:
        self.address = ""
        self.uri = f"s3://{BUCKET}/files"
        self.failing = 0
        self.refused = 0

    def keys(self) -> list[str]:
        """The names of all objects."""
        text = requests.get(f"{self.address}/{BUCKET}?list-type=2", timeout=10).text
        return [part.partition("</Key>")[0] for part in text.split("<Key>")[1:]]


@contextlib.contextmanager
def object_store() -> Iterator[ObjectStore]:
    """An S3 server with an empty bucket, until the block ends; the environment names it."""
    found = ObjectStore()
    app = DomainDispatcherApplication(create_backend_app)

    def serve(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if found.failing > 0 and not environ["PATH_INFO"].startswith("/moto-api"):
            found.failing -= 1
            found.refused += 1
            start("503 Slow Down", [("content-length", "0")])
            return [b""]
        answer: Iterable[bytes] = app(environ, start)
        return answer

    server = make_server("127.0.0.1", 0, serve, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found.address = f"http://127.0.0.1:{server.server_port}"
    environment = {
        "AWS_ENDPOINT_URL": found.address, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }  # fmt: skip
    with mock.patch.dict(os.environ, environment):
        requests.post(f"{found.address}/moto-api/reset", timeout=10)
        requests.put(f"{found.address}/{BUCKET}", timeout=10).raise_for_status()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join(10)
            server.server_close()


class _Quiet(MotoRequestHandler):  # type: ignore[misc]
    def log_request(self, *arguments: object) -> None: ...

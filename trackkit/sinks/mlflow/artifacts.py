"""Files on their way through an MLflow server to where it keeps artifacts.

Large ones go in parts straight to the object store, where the server hands out addresses for that: see
`mlflow/store/artifact/http_artifact_repo.py`.
"""

from __future__ import annotations

import mimetypes
import os
import posixpath
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import requests

from trackkit.core.connection import CONNECT_SECONDS, reason
from trackkit.core.sink import SinkError
from trackkit.sinks.mlflow.client import Client, Rejected

_API: Final = "/api/2.0/mlflow-artifacts"
_PART_SECONDS: Final = 120.0
_LEAST_PART: Final = 5 << 20
"""Of what S3 takes."""
_TEXTS: Final = {".jsonl": "text/plain", ".log": "text/plain", ".md": "text/plain", ".patch": "text/plain"}


class NotProxied(Exception):
    """The server keeps artifacts where only its own network leads."""


class ArtifactStore:
    """The artifacts of a run.

    Parameters
    ----------
    client
        A connection to the server.
    uri
        The URI of the run's artifacts.

    Raises
    ------
    NotProxied
        If they don't go through the server.
    """

    def __init__(self, client: Client, uri: str) -> None:
        parts = urlsplit(uri)
        if parts.scheme != "mlflow-artifacts":
            raise NotProxied(
                f"{client.address} keeps artifacts in {uri or 'an unknown place'}, and not behind itself "
                "(`mlflow server --serve-artifacts`)"
            )
        self._client = client
        self._root = parts.path.strip("/")
        self._multipart: bool | None = None

    def put(self, path: str, content: bytes | Path) -> None:
        """Put a file under a path below the run's artifacts; one that is there is replaced.

        Raises
        ------
        FileNotFoundError
            If there is no such file here.
        Rejected
            If the server will not have it under this path.
        SinkError
            If it can't be sent now.
        """
        if isinstance(content, Path):
            size = content.stat().st_size
            if size >= _least_of_parts() and self._in_parts() and self._put_in_parts(path, content, size):
                return
            if size:
                with open(content, "rb") as file:
                    self._client.put(self._path("artifacts", path), file, _type_of(path))
                return
            content = b""
        self._client.put(self._path("artifacts", path), content, _type_of(path))

    def get(self, path: str) -> bytes | None:
        """What lies under a path; None if nothing does.

        The folder is looked at first: servers before 2.10 answer 500 for a file that is missing.
        """
        folder, name = posixpath.split(posixpath.join(self._root, path))
        listed = self._client.listing(f"{_API}/artifacts", folder)
        return self._client.download(self._path("artifacts", path)) if name in listed else None

    def _path(self, kind: str, path: str) -> str:
        return f"{_API}/{kind}/{quote(posixpath.join(self._root, path))}"

    def _in_parts(self) -> bool:
        """Whether the server may take files in parts: it says so, or MLflow's variable does."""
        if self._multipart is None:
            wanted = os.environ.get("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "").strip().lower() in ("true", "1")
            self._multipart = wanted or bool(self._client.information().get("multipart_uploads_enabled"))
        return self._multipart

    def _put_in_parts(self, path: str, file: Path, size: int) -> bool:
        """Send a file in parts; whether the server has a place that takes any."""
        length = max(_LEAST_PART, int(os.environ.get("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE") or 10_485_760))
        count = -(-size // length)
        folder, name = posixpath.split(path)
        body: dict[str, Any] = {"path": name, "num_parts": count}
        try:
            made = self._client.call(self._path("mpu/create", folder), body)
        except (Rejected, SinkError) as error:
            if isinstance(error, Rejected) or "not supported" in str(error).lower():
                self._multipart = False
                return False
            raise
        upload = {"path": name, "upload_id": made.get("upload_id")}
        try:
            with open(file, "rb") as content:
                parts = [_send_part(each, content, length) for each in made.get("credentials", ())]
        except BaseException:
            self._client.call(self._path("mpu/abort", folder), upload)
            raise
        self._client.call(self._path("mpu/complete", folder), {**upload, "parts": parts})
        return True


def _least_of_parts() -> int:
    return int(os.environ.get("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE") or 524_288_000)


def _send_part(credential: dict[str, Any], content: Any, length: int) -> dict[str, Any]:
    number = int(credential["part_number"])
    content.seek((number - 1) * length)
    headers = credential.get("headers") or {}
    headers = headers if isinstance(headers, dict) else {each["name"]: each["value"] for each in headers}
    try:
        timeout = (CONNECT_SECONDS, _PART_SECONDS)
        answer = requests.put(credential["url"], data=content.read(length), headers=headers, timeout=timeout)
    except requests.RequestException as error:
        raise SinkError(f"part {number} could not be sent: {reason(error)}") from error
    if answer.status_code >= 300:
        raise SinkError(f"part {number} was answered with {answer.status_code}")
    return {"part_number": number, "etag": answer.headers.get("etag", ""), "url": credential["url"]}


def _type_of(path: str) -> str:
    found = _TEXTS.get(posixpath.splitext(path)[1]) or mimetypes.guess_type(path)[0]
    return found or "application/octet-stream"

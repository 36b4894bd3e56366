"""Large files that go in parts straight to where an MLflow server keeps artifacts: an S3 server, moto's."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

import trackkit
from tests.mlflow_sink import mlflow_server
from tests.mlflow_sink.mlflow_server import Reader
from tests.objects import BUCKET, object_store
from trackkit.sinks.mlflow.client import Client


def test_a_large_file_goes_in_parts_and_arrives_whole(
    tmp_path: Path, read: Reader, folder: Path, project: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if tuple(map(int, read("version").split(".")[:2])) < (2, 8):
        pytest.skip("servers before 2.8 take no parts")
    asked: list[str] = []
    put = Client.call

    def call(self: Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
        asked.append(path)
        return put(self, path, body)

    monkeypatch.setattr(Client, "call", call)
    for name, value in {
        "ENABLE_PROXY_MULTIPART_UPLOAD": "true", "MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": "6000000",
        "MULTIPART_UPLOAD_CHUNK_SIZE": "5300000",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"MLFLOW_{name}", value)
    content = os.urandom(13_000_000)
    (folder / "large.bin").write_bytes(content)
    (folder / "small.bin").write_bytes(b"small")
    with object_store() as store:
        env = {
            "MLFLOW_S3_ENDPOINT_URL": store.address, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }  # fmt: skip
        destination = ["--artifacts-destination", f"s3://{BUCKET}/mlflow"]
        with mlflow_server.server(tmp_path / "server", *destination, env=env) as server:
            run = trackkit.init(project=project, sink=server.sink, dir=folder / "store", settings=settings)
            run.save("large.bin")
            run.save("small.bin")
            run.finish()

            (found,) = read("runs", server.address, project)
            assert found["files"]["large.bin"] == len(content)
            assert found["files"]["small.bin"] == 5
            assert read("digest", server.address, found["id"], "large.bin") == _digest(content)
    assert [path.split("/")[5] for path in asked] == ["create", "complete"]


def test_a_server_that_takes_no_parts_gets_the_file_whole(
    mlflow: mlflow_server.Server,
    read: Reader,
    folder: Path,
    project: str,
    settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "1000")
    content = os.urandom(50_000)
    (folder / "large.bin").write_bytes(content)
    run = trackkit.init(project=project, sink=mlflow.sink, dir=folder / "store", settings=settings)
    run.save("large.bin")
    run.finish()

    (found,) = read("runs", mlflow.address, project)
    assert read("digest", mlflow.address, found["id"], "large.bin") == _digest(content)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

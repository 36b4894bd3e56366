"""What the tests of the MLflow sink share: a server, and MLflow's client to read what is there."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.mlflow_sink import mlflow_server
from tests.mlflow_sink.mlflow_server import Reader, Server


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing of MLflow's comes from the machine the tests run on."""
    for name in ("TRACKING_URI", "TRACKING_USERNAME", "TRACKING_PASSWORD", "TRACKING_TOKEN", "TRACKING_INSECURE_TLS"):
        monkeypatch.delenv(f"MLFLOW_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that all tests share, in projects of their own."""
    with mlflow_server.server(tmp_path_factory.mktemp("mlflow")) as started:
        yield started


@pytest.fixture(scope="session")
def read() -> Iterator[Reader]:
    """MLflow's own client."""
    reader = Reader()
    yield reader
    reader.close()


@pytest.fixture
def project() -> str:
    """A project, and experiment, that no other test has."""
    return f"p-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def settings() -> dict[str, Any]:
    """Settings of a run that captures nothing by itself and delivers at once."""
    return {
        "quiet": True, "interval": 0.05, "system": False, "git": False, "code": False, "packages": False,
        "console": "off", "finish_timeout": 60.0,
    }  # fmt: skip

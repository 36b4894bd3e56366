"""Servers for MLflow's real client: `mlflow server` itself, and trackkit's on each database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import requests
from mlflow import MlflowClient

from tests.servers import Serving, free_port, serving, until
from tests.store.conftest import Filler
from trackkit.backend.store.sqlite import SQLiteDatabase

_RUNNING = os.environ.get("TRACKKIT_MLFLOW_SERVER", "")
KINDS = ["trackkit", pytest.param("postgres", marks=pytest.mark.postgres), "mlflow"]


@pytest.fixture(autouse=True)
def _plain_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The client as it is installed: no setting of this machine, no retries that take minutes, no state left behind."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    monkeypatch.setattr("mlflow.tracking.fluent._active_experiment_id", None)  # what set_experiment leaves behind
    monkeypatch.chdir(tmp_path)
    yield
    while mlflow.active_run() is not None:
        mlflow.end_run()
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an `mlflow server` on SQLite; of one that runs already, if TRACKKIT_MLFLOW_SERVER names it."""
    if _RUNNING:
        yield _RUNNING
        return
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts",
    ]  # fmt: skip
    env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd=folder, start_new_session=True)
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert server.poll() is None, (folder / "log").read_text()
        try:
            return requests.get(f"{address}/health", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    try:
        until(answers, 180)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Serving]:
    """Trackkit's server, on SQLite."""
    with serving(tmp_path / "store") as found:
        yield found


@pytest.fixture
def fill(ours: Serving) -> Iterator[Filler]:
    """Fills our server's store, as a script on the same machine does."""
    db = SQLiteDatabase(ours.config.root / "trackkit.db")
    yield Filler(db)
    db.close()


@pytest.fixture(params=KINDS)
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of each kind of server, which the client is told to use."""
    if request.param == "mlflow":
        address = str(request.getfixturevalue("original"))
        mlflow.set_tracking_uri(address)
        yield address
        return
    store = str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else ""
    with serving(tmp_path / "served", store) as found:
        mlflow.set_tracking_uri(found.address)
        yield found.address


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return MlflowClient(uri)


@pytest.fixture
def experiment(client: MlflowClient) -> str:
    """The id of an experiment of the test's own, which is the current one."""
    name = f"experiment {uuid.uuid4().hex[:8]}"
    id = client.create_experiment(name)
    mlflow.set_experiment(name)
    return id

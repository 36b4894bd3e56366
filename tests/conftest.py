"""What tests of every part share: a clean environment, journals read back, scripts run as people run them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.store.postgres import Cluster, require
from trackkit.core import records, session
from trackkit.core.journal import JournalReader, writer_folders

REPOSITORY = Path(__file__).parents[1]

ReadJournals = Callable[..., list[records.AnyRecord]]
RunScript = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No setting comes from the machine the tests run on, and no run outlives its test."""
    for name in [name for name in os.environ if name.startswith("TRACKKIT_")]:
        monkeypatch.delenv(name)
    for name in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "LOCAL_RANK", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("user")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    yield
    while (run := session.current()) is not None:
        run.finish()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is also the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def read_journals() -> ReadJournals:
    """Reads all records that the journals under a store's folder hold, writer after writer."""

    def read(root: Path, kind: type[records.Record] | None = None, run: str | None = None) -> list[records.AnyRecord]:
        found: list[records.AnyRecord] = []
        for writer in writer_folders(root, run):
            reader, offset = JournalReader(writer, final=False), 0
            while (frames := reader.read(offset)).payloads:
                found += map(records.decode, frames.payloads)
                offset = frames.end
        return found if kind is None else [record for record in found if isinstance(record, kind)]

    return read


@pytest.fixture
def run_script(tmp_path: Path) -> RunScript:
    """Runs Python source as a script in a process of its own, in the test's folder."""

    def run(
        source: str, *arguments: str, env: dict[str, str] | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        script = tmp_path / "script.py"
        script.write_text(textwrap.dedent(source))
        return subprocess.run(
            [sys.executable, str(script), *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL of the test session's own."""
    require()
    cluster = Cluster()
    yield cluster
    cluster.remove()


@pytest.fixture
def postgres_database(postgres: Cluster) -> Iterator[str]:
    """The name of a database with the tables of a store, and no rows."""
    name = postgres.create()
    yield name
    postgres.drop(name)


@pytest.fixture
def postgres_url(postgres: Cluster, postgres_database: str) -> str:
    """The URL of a database with the tables of a store, and no rows."""
    return postgres.url(postgres_database)

"""A server on a store that tests fill row by row, on each database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Serving, serving
from tests.store.conftest import Filler
from trackkit.backend.store.database import Database
from trackkit.backend.store.sqlite import SQLiteDatabase


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test that has a server on each database, but those marked `sqlite`."""
    if "store" in metafunc.fixturenames:
        postgres = [pytest.param("postgres", marks=pytest.mark.postgres)]
        alone = metafunc.definition.get_closest_marker("sqlite")
        metafunc.parametrize("store", ["sqlite", *([] if alone else postgres)], indirect=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(request: pytest.FixtureRequest) -> str:
    """The URL of a database; empty for the SQLite file in the folder."""
    return str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else ""


@pytest.fixture
def server(root: Path, store: str) -> Iterator[Serving]:
    """A server that asks for no token."""
    with serving(root, store) as found:
        yield found


@pytest.fixture
def guarded(root: Path, store: str) -> Iterator[Serving]:
    """A server that asks for tokens."""
    with serving(root, store, auth=True) as found:
        yield found


@pytest.fixture
def fill(root: Path, store: str) -> Iterator[Filler]:
    """Fills the server's store, as a script on the same machine does."""
    db = _open(root, store)
    db.migrate()
    yield Filler(db)
    db.close()


def _open(root: Path, store: str) -> Database:
    if not store:
        return SQLiteDatabase(root / "trackkit.db")
    from trackkit.backend.store.postgres import PostgresDatabase

    return PostgresDatabase(store)

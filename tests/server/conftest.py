"""A server on a store that tests fill row by row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Serving, serving
from tests.store.conftest import Filler
from trackkit.backend.store.sqlite import SQLiteDatabase


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def server(root: Path) -> Iterator[Serving]:
    """A server that asks for no token."""
    with serving(root) as found:
        yield found


@pytest.fixture
def guarded(root: Path) -> Iterator[Serving]:
    """A server that asks for tokens."""
    with serving(root, auth=True) as found:
        yield found


@pytest.fixture
def fill(root: Path) -> Iterator[Filler]:
    """Fills the server's store, as a script on the same machine does."""
    db = SQLiteDatabase(root / "trackkit.db")
    db.migrate()
    yield Filler(db)
    db.close()

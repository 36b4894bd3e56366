"""Stores filled row by row as `docs/store.md` describes the tables, without a training process."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trackkit.backend.store import blocks, codec, entries, plugin
from trackkit.backend.store.database import Database
from trackkit.backend.store.sqlite import SQLiteDatabase

EPOCH = 1_700_000_000_000_000
"""When the first run begins, in microseconds."""

Connect = Callable[[], Database]


class Filler:
    """Writes runs and series into a migrated store."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._numbers = itertools.count(1)

    def run(
        self,
        id: str | None = None,
        *,
        config: Mapping[str, Any] = {},
        summary: Mapping[str, Any] = {},
        tags: Sequence[str] = (),
        host: str = "",
        **fields: Any,
    ) -> int:
        """A run of one writer, `w`; its number."""
        number = next(self._numbers)
        created = fields.get("created", EPOCH + number * 1_000_000)
        row = {
            "run": number,
            "id": id or f"run{number}",
            "project": "p",
            "name": id or f"run{number}",
            "run_group": "",
            "job_type": "",
            "notes": "",
            "state": "finished",
            "updated": created,
            "ended": None,
            "exit_code": None,
            "error": "",
            "metadata": "{}",
            **fields,
            "created": created,
        }
        self.db.insert_many("runs", list(row), [list(row.values())])
        self.writer(number, "w", host=host, started=created)
        self.db.insert_many("tags", ["run", "tag"], [(number, tag) for tag in dict.fromkeys(tags)])
        columns = ["run", "key", "type", "number", "text"]
        rows = [(number, key, *entries.encode(value)) for key, value in entries.flatten(config).items()]
        self.db.insert_many("config", columns, rows)
        rows = [(number, key, *entries.encode(value), 0) for key, value in entries.flatten(summary).items()]
        self.db.insert_many("summary", [*columns, "edited"], rows)
        return number

    def writer(self, run: int, writer: str, *, host: str = "", started: int = EPOCH, accounting: str = "{}") -> None:
        columns = ["run", "writer", "role", "label", "host", "pid", "state", "started", "position", "accounting"]
        row = (run, writer, "main", "", host, 1, "finished", started, 0, accounting)
        self.db.insert_many("writers", columns, [row])

    def series(
        self,
        run: int,
        key: str,
        values: Sequence[float],
        *,
        steps: Sequence[int] | None = None,
        times: Sequence[int] | None = None,
        kind: str = "metric",
        writer: str = "w",
        per_chunk: int = 4096,
    ) -> int:
        """A series whose whole chunks are sealed and whose rest are rows; its number. Times in microseconds."""
        number = abs(hash((kind, key, writer))) & (2**62 - 1)
        steps = list(range(len(values)) if steps is None else steps)
        times = [EPOCH + 1_000 * position for position in range(len(values))] if times is None else list(times)
        sealed = len(values) // per_chunk * per_chunk
        row = {
            "run": run, "series": number, "kind": kind, "key": key, "writer": writer,
            "count": len(values), "sealed": sealed, "finite": len(values), "total": 0.0, "min": 0.0, "max": 0.0,
            "first": 0.0, "last": 0.0, "first_step": steps[0], "last_step": steps[-1], "min_step": min(steps),
            "max_step": max(steps), "first_time": times[0], "last_time": times[-1],
        }  # fmt: skip
        self.db.insert_many("series", list(row), [list(row.values())])
        for start in range(0, sealed, per_chunk):
            part = slice(start, start + per_chunk)
            self.chunk(run, number, start, steps[part], times[part], values[part])
        self.points(run, number, sealed, steps[sealed:], times[sealed:], values[sealed:])
        return number

    def chunk(
        self, run: int, series: int, seq: int, steps: Sequence[int], times: Sequence[int], values: Sequence[float]
    ) -> None:
        row = {
            "run": run, "series": series, "seq": seq, "count": len(steps), "finite": len(steps), "total": 0.0,
            "min": 0.0, "max": 0.0, "last": 0.0, "first_step": steps[0], "last_step": steps[-1],
            "min_step": min(steps), "max_step": max(steps), "first_time": times[0], "last_time": times[-1],
            "steps": codec.compress(np.array(steps, np.int64)), "times": codec.compress(np.array(times, np.int64)),
            "vals": codec.compress(np.array(values, np.float64)),
        }  # fmt: skip
        self.db.insert_many("chunks", list(row), [list(row.values())])
        columns = np.array(steps, np.int64), np.array(times, np.int64), np.array(values, np.float64)
        rows = [(run, series, seq, blocks.encode(*columns))]
        self.db.upsert_many("blocks", ["run", "series", "seq"], ["stats"], rows)

    def points(
        self, run: int, series: int, seq: int, steps: Sequence[int], times: Sequence[int], values: Sequence[float]
    ) -> None:
        columns = zip(steps, times, values, strict=True)
        rows = [(run, series, seq + position, *column) for position, column in enumerate(columns)]
        self.db.insert_many("points", ["run", "series", "seq", "step", "time", "value"], rows)

    def texts(self, run: int, key: str, values: Sequence[str], *, writer: str = "w") -> None:
        rows = [(run, writer, key, i, i, EPOCH + 1_000 * i, value) for i, value in enumerate(values)]
        self.db.insert_many("texts", ["run", "writer", "key", "seq", "step", "time", "value"], rows)

    def lines(self, run: int, texts: Sequence[tuple[str, str]], *, writer: str = "w", after: int = 0) -> None:
        """Console output: (stream, text) in order, a millisecond apart, from `after` microseconds on."""
        rows = [(run, writer, i, EPOCH + after + 1_000 * i, stream, text) for i, (stream, text) in enumerate(texts)]
        self.db.insert_many("lines", ["run", "writer", "seq", "time", "stream", "text"], rows)

    def object(self, run: int, path: str, *, seq: int = 0, kind: str = "file", size: int = 0, **columns: Any) -> None:
        row = {
            "run": run, "writer": "w", "seq": seq, "key": "", "kind": kind, "path": path, "size": size, "digest": "",
            "inline": None, "step": None, "time": EPOCH + seq, "metadata": json.dumps({}), **columns,
        }  # fmt: skip
        self.db.insert_many("objects", list(row), [list(row.values())])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / ".trackkit"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test that opens a store on each database, but those marked `sqlite`."""
    if "connect" in metafunc.fixturenames:
        postgres = [pytest.param("postgres", marks=pytest.mark.postgres)]
        alone = metafunc.definition.get_closest_marker("sqlite")
        metafunc.parametrize("connect", ["sqlite", *([] if alone else postgres)], indirect=True)


@pytest.fixture
def connect(request: pytest.FixtureRequest, root: Path) -> Iterator[Connect]:
    """Opens connections to one database with the tables of a store."""
    opened: list[Database] = []
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None

    def open() -> Database:
        opened.append(_open_sqlite(root) if url is None else _open_postgres(url))
        return opened[-1]

    yield open
    for database in opened:
        database.close()


def _open_sqlite(root: Path) -> Database:
    database = SQLiteDatabase(root / "trackkit.db")
    database.migrate()
    plugin.prepare_connection(database.connection)
    return database


def _open_postgres(url: str) -> Database:
    from trackkit.backend.store.postgres import PostgresDatabase

    return PostgresDatabase(url)


@pytest.fixture
def db(connect: Connect) -> Database:
    return connect()


@pytest.fixture
def fill(db: Database) -> Filler:
    return Filler(db)

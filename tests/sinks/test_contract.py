"""What every sink must do, whatever it writes to: one suite for all of them."""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from tests.servers import serving
from tests.sinks.mlflow_fake import FakeMLflow
from tests.store.journals import Writer
from trackkit.backend.store import runs, series
from trackkit.backend.store.database import Busy, Database
from trackkit.backend.store.ingest import Ingest
from trackkit.backend.store.sqlite import SQLiteDatabase
from trackkit.core import records
from trackkit.core.sink import Batch, Sink, SinkError, SinkFactory, find_factory

Contents = dict[tuple[str, str], list[float]]
"""The values of `x` of each writer of each run that a target holds."""


class MemorySink:
    """A sink of a third party, with a target in memory."""

    local = True
    targets: dict[str, tuple[dict[tuple[str, str], int], Contents]] = {}  # noqa: RUF012  what it writes to outlives it

    def __init__(self, uri: str, root: Path) -> None:
        self.offsets, self.contents = self.targets.setdefault(str(root), ({}, {}))

    def open(self, run: str, writer: str) -> int:
        self.name = run, writer
        return self.offsets.get(self.name, 0)

    def write(self, batch: Batch) -> int:
        position = self.offsets.get(self.name, 0)
        found = []
        for end, payload in zip(batch.ends, batch.payloads, strict=True):
            record = records.decode(payload)
            if end > position and isinstance(record, records.Points):
                found += [value for key, value in zip(record.keys, _doubles(record.values), strict=True) if key == "x"]
        self.contents.setdefault(self.name, []).extend(found)
        self.offsets[self.name] = max(position, batch.end)
        return self.offsets[self.name]

    def sync(self) -> None: ...

    def close(self) -> None: ...


class PostgresSink:
    """A store on PostgreSQL, written to as a server does."""

    local = False

    def __init__(self, uri: str, root: Path) -> None:
        self.uri = uri
        self.db: Any = None

    def open(self, run: str, writer: str) -> int:
        from trackkit.backend.store.postgres import PostgresDatabase

        self.close()
        self.db = PostgresDatabase(self.uri)
        self.ingest = Ingest(self.db, run, writer)
        return self.ingest.position()

    def write(self, batch: Batch) -> int:
        try:
            return self.ingest.write(batch)
        except Busy as error:
            raise SinkError(str(error)) from error

    def sync(self) -> None:
        self.db.sync()

    def close(self) -> None:
        if self.db is not None:
            self.db.close()


def _doubles(packed: bytes) -> list[float]:
    return list(struct.unpack(f">{len(packed) // 8}d", packed))


def _in_memory(root: Path) -> Contents:
    return dict(MemorySink.targets.get(str(root), ({}, {}))[1])


def _in_database(open_database: Callable[[], Database]) -> Contents:
    found: Contents = {}
    with contextlib.closing(open_database()) as db:
        for row in runs.load(db, runs.numbers(db)):
            values = series.points(db, row.run, "x").values.tolist()
            sql = "select writer from writers where run = ? order by writer"
            for number, (writer,) in enumerate(db.query(sql, [row.run])):
                # Each writer logs values of its own, so that they can be told apart.
                found[row.id, writer] = [value for value in values if value // 1000 == number]
    return found


def _at_mlflow(fake: FakeMLflow) -> Contents:
    found: Contents = {}
    for run in fake.runs.values():
        values = [value for _, _, value in run["metrics"].get("x", [])]
        writers = sorted(key.removeprefix("trackkit.writer.") for key in run["tags"] if "trackkit.writer." in key)
        for number, writer in enumerate(writers):
            found[run["tags"]["trackkit.id"], writer] = [value for value in values if value // 1000 == number]
    return found


def _sqlite(path: Path) -> Callable[[], Database]:
    return lambda: SQLiteDatabase(path, read_only=True)


def _postgres(url: str) -> Callable[[], Database]:
    from trackkit.backend.store.postgres import PostgresDatabase

    return lambda: PostgresDatabase(url)


class Target:
    """A kind of sink and how to look into what it wrote."""

    def __init__(
        self, uri: str, root: Path, contents: Callable[[], Contents], factory: SinkFactory | None = None
    ) -> None:
        self.uri = uri
        self.root = root
        self.contents = contents
        self.factory = factory

    def sink(self) -> Sink:
        return (self.factory or find_factory(self.uri))(self.uri, self.root)


@pytest.fixture(
    params=[
        "sqlite",
        "sqlite elsewhere",
        "http",
        "mlflow",
        "third party",
        pytest.param("postgres", marks=pytest.mark.postgres),
    ]
)
def target(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    root = tmp_path / "store"
    match request.param:
        case "sqlite":
            yield Target("sqlite:", root, lambda: _in_database(_sqlite(root / "trackkit.db")))
        case "sqlite elsewhere":
            path = tmp_path / "a team's" / "runs.db"
            yield Target(f"sqlite:///{path}", root, lambda: _in_database(_sqlite(path)))
        case "http":
            with serving(tmp_path / "server") as server:
                yield Target(server.address, root, lambda: _in_database(_sqlite(tmp_path / "server" / "trackkit.db")))
        case "mlflow":
            fake = FakeMLflow()
            yield Target(fake.sink, root, lambda: _at_mlflow(fake))
            fake.close()
        case "postgres":
            url = request.getfixturevalue("postgres_url")
            yield Target(url, root, lambda: _in_database(_postgres(url)), PostgresSink)
        case _:
            entry = EntryPoint("memory", f"{__name__}:MemorySink", "trackkit.sinks")
            monkeypatch.setattr(EntryPoint, "load", lambda self: MemorySink)

            def entry_points(**wanted: Any) -> EntryPoints:
                return EntryPoints([entry]).select(**wanted)

            monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
            yield Target("memory://", root, lambda: _in_memory(root))


def journal(target: Target, run: str = "run", writer: str = "w", count: int = 50, offset: int = 0) -> Writer:
    made = Writer(target.root, run, writer).start()
    for step in range(count):
        made.log({"x": offset + step, "y": 0.5})
    return made.finish().die()


def test_a_target_that_knows_nothing_begins_at_zero(target: Target) -> None:
    sink = target.sink()

    assert sink.open("run", "w") == 0

    sink.close()


def test_everything_written_is_there(target: Target) -> None:
    writer, sink = journal(target), target.sink()
    position = sink.open("run", "w")

    for batch in writer.batches(1, 10, 20):
        assert batch.start == position
        position = sink.write(batch)
        assert position == batch.end
    sink.sync()
    sink.close()

    assert target.contents() == {("run", "w"): list(range(50))}


def test_a_batch_sent_twice_changes_nothing(target: Target) -> None:
    writer, sink = journal(target), target.sink()
    sink.open("run", "w")
    batch = writer.batch(0, 30)
    sink.write(batch)

    assert sink.write(batch) == batch.end
    sink.write(writer.batch(30))
    sink.close()

    assert target.contents() == {("run", "w"): list(range(50))}


def test_of_a_batch_that_overlaps_only_what_is_new_is_taken(target: Target) -> None:
    writer, sink = journal(target), target.sink()
    sink.open("run", "w")
    sink.write(writer.batch(0, 30))

    end = sink.write(writer.batch(20))
    sink.close()

    assert end == writer.batch().end
    assert target.contents() == {("run", "w"): list(range(50))}


def test_the_offset_is_known_after_reopening(target: Target) -> None:
    writer, sink = journal(target), target.sink()
    sink.open("run", "w")
    reached = sink.write(writer.batch(0, 30))
    sink.close()
    again = target.sink()

    assert again.open("run", "w") == reached
    assert again.open("run", "other") == 0
    assert again.open("run", "w") == reached
    again.write(writer.batch(30))
    again.close()

    assert target.contents()["run", "w"] == list(range(50))


def test_an_exception_in_the_middle_acknowledges_nothing(target: Target) -> None:
    writer, sink = journal(target, count=300), target.sink()
    sink.open("run", "w")
    reached = sink.write(writer.batch(0, 30))
    broken = writer.batch(30)
    broken.ends = broken.ends[:-100]  # as a fault in the middle of the work

    with pytest.raises((IndexError, ValueError, SinkError)):
        sink.write(broken)
    sink.close()
    again = target.sink()

    assert again.open("run", "w") == reached
    again.write(writer.batch(30))
    again.close()
    assert target.contents()["run", "w"] == list(range(300))


def test_many_writers_of_one_run_at_once(target: Target) -> None:
    writers = [journal(target, writer=f"w{number}", count=200, offset=1000 * number) for number in range(6)]
    failures: list[Exception] = []

    def work(writer: Writer) -> None:
        sink = target.sink()
        try:
            sink.open(writer.run, writer.writer)
            for batch in writer.batches(*[20] * 9):
                _patiently(sink, writer, batch)
        except Exception as error:
            failures.append(error)
        finally:
            sink.close()

    threads = [threading.Thread(target=work, args=[writer]) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert target.contents() == {
        ("run", f"w{number}"): list(range(1000 * number, 1000 * number + 200)) for number in range(6)
    }


def _patiently(sink: Sink, writer: Writer, batch: Batch) -> None:
    """As the pump does: open anew and send again what could not be taken."""
    for _ in range(20):
        try:
            sink.write(batch)
            return
        except SinkError:
            sink.open(writer.run, writer.writer)
    raise AssertionError("the sink took nothing for too long")

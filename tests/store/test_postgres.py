"""What is PostgreSQL's own: connections that are lost, locks, migrations by many, text it can't hold, notices."""

from __future__ import annotations

import contextlib
import math
import re
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.conftest import Filler
from tests.store.journals import BEGAN, Writer
from tests.store.postgres import Cluster, require
from trackkit.backend.store import lines, runs, series, writers
from trackkit.backend.store.database import Busy, Row, SchemaTooNew, Unavailable
from trackkit.backend.store.filters import FilterError, parse
from trackkit.backend.store.ingest import Ingest
from trackkit.backend.store.panels import Axis, Wanted, panel
from trackkit.core import records
from trackkit.core.sink import Batch, OffsetConflict, SinkRefused

pytestmark = pytest.mark.postgres

require(of_module=True)

from trackkit.backend.store.notices import Listener  # noqa: E402
from trackkit.backend.store.postgres import PostgresDatabase, PostgresPool  # noqa: E402


@pytest.fixture
def db(postgres_url: str) -> Iterator[PostgresDatabase]:
    database = PostgresDatabase(postgres_url, patience=0.2)
    yield database
    database.close()


@pytest.fixture
def other(postgres_url: str) -> Iterator[PostgresDatabase]:
    """A second connection to the same database."""
    database = PostgresDatabase(postgres_url, patience=0.2)
    yield database
    database.close()


# Values


def test_a_nul_in_text_is_kept_as_its_symbol(db: PostgresDatabase, tmp_path: Path) -> None:
    writer = Writer(tmp_path).start(name="a\0b", tags=["x\0"])
    writer.log({"lo\0ss": 1.0, "note": "one\0two"})
    writer.say(
        records.Lines(BEGAN, "stdout", "a\0b\n"),
        *[records.Lines(BEGAN + 1, "stdout", "c\0\n")] * 20,
        records.Config(BEGAN, {"k\0": "v\0", "list": ["\0"]}),
        records.Provenance(BEGAN, {"argv": ["\0"]}),
    )
    writer.log({"lo\0ss": 2.0, "lo␀ss": 3.0})
    writer.finish().die()

    for batch in writer.batches(2, 22):
        Ingest(db, "run", "writer").write(batch)

    (row,) = runs.load(db, runs.numbers(db))
    assert (row.name, row.tags) == ("a␀b", ["x␀"])
    assert row.config == {"k␀": "v␀", "list": ["\0"]}
    assert lines.text(db, row.run) == "a␀b\n" + "c␀\n" * 20
    assert series.points(db, row.run, "lo␀ss").values.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("count", [1, 100])
def test_nan_is_null_however_many_rows_are_written(db: PostgresDatabase, count: int) -> None:
    columns = ["run", "series", "seq", "step", "time", "value"]

    db.insert_many("points", columns, [(1, 1, seq, seq, seq, math.nan) for seq in range(count)])

    assert db.query("select count(*), count(value) from points") == [(count, 0)]


def test_numbers_come_back_as_they_do_from_sqlite(db: PostgresDatabase) -> None:
    db.insert_many("tags", ["run", "tag"], [(2**62, "a"), (2**62, "b"), (1, "c")])

    ((total, mean, yes, number),) = db.query("select sum(run), avg(1), 1 = 1, ? from tags", [True])

    assert (type(total), total) == (int, 2**63 + 1)
    assert (type(mean), mean) == (float, 1.0)
    assert (yes, number) == (1, 1)


def test_a_question_mark_in_a_literal_is_no_parameter(db: PostgresDatabase) -> None:
    assert db.query("""select 'it''s %s?' as "a?", ?""", ["b"]) == [("it's %s?", "b")]


def test_of_rows_with_the_same_keys_the_last_one_counts(db: PostgresDatabase) -> None:
    rows = [(1, "a", "int", 1.0, None), (1, "b", "int", 5.0, None), (1, "a", "int", 2.0, None)]

    db.upsert_many("config", ["run", "key"], ["type", "number", "text"], rows)

    assert db.query("select key, number from config order by key") == [("a", 2.0), ("b", 5.0)]


@pytest.mark.parametrize("count", [1, 9, 1000])
def test_an_upsert_inserts_and_replaces(db: PostgresDatabase, count: int) -> None:
    for value in (1.0, 2.0):
        rows = [(1, f"k{number}", "float", value, None) for number in range(count)]
        db.upsert_many("config", ["run", "key"], ["type", "number", "text"], rows)

    assert db.query("select count(*), min(number), max(number) from config") == [(count, 2.0, 2.0)]


# Regular expressions

PIECES = ["a", "é", "1", " ", ".", "^", "$", r"\b", r"\B", r"\d", r"\w", r"\s", r"\A", r"\Z", r"\x61", r"\.", "[a1]"]
PIECES += ["[^a]", "[]a]", "[[a]", r"[\d-]", "(a|1)", "(?:a )", "(?P<n>[a1])(?P=n)", "(?=a)", "(?!a)", "(?<=a)", "|"]
REPEATS = ["", "", "", "*", "+", "?", "{2}", "{,2}", "{1,}", "*?"]
SOLID = {"^", "$", r"\b", r"\B", r"\A", r"\Z", "(?=a)", "(?!a)", "(?<=a)", "|"}
patterns = st.builds(
    lambda flags, pieces: flags + "".join(pieces),
    st.sampled_from(["", "", "(?i)", "(?s)", "(?m)", "(?im)"]),
    st.lists(
        st.tuples(st.sampled_from(PIECES), st.sampled_from(REPEATS)).map(
            lambda pair: pair[0] + ("" if pair[0] in SOLID else pair[1])
        ),
        max_size=5,
    ).filter(lambda pieces: sum("(?P<n>" in piece for piece in pieces) < 2),
)


@pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(pattern=patterns, text=st.text(st.sampled_from("aA1é .\n]["), min_size=1, max_size=8))
def test_a_regular_expression_finds_what_pythons_finds(db: PostgresDatabase, pattern: str, text: str) -> None:
    ((found,),) = db.query("select regexp(?, t.x) from (select cast(? as text) as x) t", [pattern, text])

    assert found == (re.search(pattern, text) is not None)


@pytest.mark.parametrize("pattern", ["(?>a)", "a*+", "(?i:a)b", "(?x) a", "(a)?(?(1)b|c)", "a{1,300}"])
def test_what_postgresql_cannot_search_for_is_refused_by_name(db: PostgresDatabase, pattern: str) -> None:
    with pytest.raises(FilterError, match="PostgreSQL can't search for"):
        runs.numbers(db, parse({"name": {"$regex": pattern}}))


# Transactions and locks


def test_a_lock_held_for_too_long_is_busy(db: PostgresDatabase, other: PostgresDatabase) -> None:
    writers.create(db, 1, "run", "w", 0)

    with db.atomic():
        db.execute("update runs set notes = 'x'")
        with pytest.raises(Busy), other.atomic():
            other.execute("update runs set notes = 'y'")

    with other.atomic():
        other.execute("update runs set name = 'z'")
    assert db.query("select notes, name from runs") == [("x", "z")]


def test_a_statement_that_failed_takes_the_transaction_with_it(db: PostgresDatabase) -> None:
    def swallow() -> None:
        with db.atomic():
            db.execute("insert into tags values (1, 'a')")
            try:
                db.execute("insert into tags values (1, 'a')")
            except Exception:
                return

    with pytest.raises(RuntimeError, match="rolled back"):
        swallow()

    assert db.query("select * from tags") == []


def test_two_servers_that_take_one_journal_at_once_do_not_double_it(postgres_url: str, tmp_path: Path) -> None:
    writer = Writer(tmp_path).start()
    for step in range(2000):
        writer.log({"x": step})
    writer.finish().die()
    failures: list[Exception] = []

    def send(sizes: list[int]) -> None:
        db = PostgresDatabase(postgres_url)
        try:
            for batch in writer.batches(*sizes):
                _patiently(Ingest(db, "run", "writer"), batch)
        except Exception as error:
            failures.append(error)
        finally:
            db.close()

    threads = [threading.Thread(target=send, args=[[size] * (2000 // size)]) for size in (17, 40, 90, 250)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    db = PostgresDatabase(postgres_url)
    (row,) = runs.load(db, runs.numbers(db))
    assert failures == []
    assert series.points(db, row.run, "x").values.tolist() == list(range(2000))
    assert row.state == "finished"
    db.close()


def _patiently(ingest: Ingest, batch: Batch) -> None:
    """As the pump does: send again what could not be taken."""
    for _ in range(50):
        try:
            ingest.write(batch)
            return
        except (OffsetConflict, Busy):
            continue
    raise AssertionError("the store took nothing for too long")


def test_writers_that_finish_at_once_leave_the_run_finished(postgres_url: str, tmp_path: Path) -> None:
    journals = [Writer(tmp_path, writer=f"w{number}").start().finish().die() for number in range(8)]
    start = threading.Barrier(len(journals))

    def send(writer: Writer) -> None:
        db = PostgresDatabase(postgres_url)
        first, last = writer.batches(1)
        ingest = Ingest(db, writer.run, writer.writer)
        ingest.write(first)
        start.wait()
        ingest.write(last)
        db.close()

    threads = [threading.Thread(target=send, args=[writer]) for writer in journals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    db = PostgresDatabase(postgres_url)
    (row,) = runs.load(db, runs.numbers(db))
    assert row.state == "finished"
    db.close()


class SlowDatabase(PostgresDatabase):
    """Takes its time for every statement, so that another connection's come in between."""

    def execute(self, *arguments: Any) -> int:
        time.sleep(0.02)
        return int(super().execute(*arguments))


def test_a_run_deleted_while_a_batch_is_written_leaves_nothing(postgres_url: str, tmp_path: Path) -> None:
    db, slow = PostgresDatabase(postgres_url), SlowDatabase(postgres_url)
    writer = Writer(tmp_path).start()
    writer.log({"x": 1})
    ingest = Ingest(db, "run", "writer")
    ingest.write(writer.batch())
    writer.log({"x": 2})

    def delete() -> None:
        with slow.atomic():
            runs.delete(slow, runs.numbers(slow)[0])

    deleting = threading.Thread(target=delete)
    deleting.start()
    time.sleep(0.15)
    with pytest.raises(SinkRefused, match="deleted from the store"):
        ingest.write(writer.batch(2))
    deleting.join()
    writer.die()

    left = {table: db.query(f"select count(*) from {table}")[0][0] for table in runs.TABLES}
    assert left == dict.fromkeys(runs.TABLES, 0)
    db.close()
    slow.close()


# The schema


def test_many_processes_migrate_a_new_database_once(postgres: Cluster) -> None:
    name = postgres.create(empty=True)
    failures: list[Exception] = []

    def migrate() -> None:
        db = PostgresDatabase(postgres.url(name))
        try:
            db.migrate()
        except Exception as error:
            failures.append(error)
        finally:
            db.close()

    threads = [threading.Thread(target=migrate) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    db = PostgresDatabase(postgres.url(name))
    assert failures == []
    assert runs.count(db) == 0
    db.close()
    postgres.drop(name)


def test_a_newer_schema_is_refused(db: PostgresDatabase) -> None:
    db.execute("insert into trackkit_migrations (name) values ('9999 wonders')")

    with pytest.raises(SchemaTooNew, match="'9999 wonders'"):
        db.migrate()


def test_reading_one_key_leaves_the_points_of_others_alone_however_old_the_statistics(postgres_url: str) -> None:
    db = WatchedDatabase(postgres_url)
    fill = Filler(db)
    fill.series(fill.run(), "loss", [1.0] * 10)
    db.execute("analyze")
    run = fill.run()
    for number in range(60):
        fill.series(run, f"layer.{number}", [1.0] * 104, per_chunk=8)
        fill.series(run, f"loose.{number}", [1.0] * 80)
    db.queries.clear()

    for key in ("layer.7", "loose.7"):
        series.points(db, run, key)
        panel(db, [Wanted(run, 0, key)], Axis(), 500)
        list(series.windows(db, run, [key]))

    read = [rows_read(plan) for sql, given in db.queries for plan in _plans(db, sql, given)]
    assert 80 <= max(read) <= 100
    db.close()


class WatchedDatabase(PostgresDatabase):
    """Remembers what it was asked."""

    queries: list[tuple[str, Sequence[Any]]]

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.queries = []

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        self.queries.append((sql, parameters))
        return super().query(sql, parameters)


def _plans(db: PostgresDatabase, sql: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
    ((plans,),) = PostgresDatabase.query(db, f"explain (analyze, format json) {sql}", parameters)
    return [plan["Plan"] for plan in plans]


def rows_read(plan: dict[str, Any]) -> int:
    """How many points and chunks a plan looked at, of those that hold any."""
    below = sum(rows_read(part) for part in plan.get("Plans", []))
    if plan.get("Relation Name") not in ("points", "chunks", "blocks"):
        return below
    return below + int(plan["Actual Rows"]) + int(plan.get("Rows Removed by Filter", 0))


# Connections


def test_a_lost_connection_is_told_and_made_anew(
    db: PostgresDatabase, postgres: Cluster, postgres_database: str
) -> None:
    db.execute("insert into tags values (1, 'kept')")

    def lose() -> None:
        with db.atomic():
            db.execute("insert into tags values (1, 'lost')")
            postgres.disconnect(postgres_database)
            db.execute("insert into tags values (1, 'lost, too')")

    with pytest.raises(Unavailable):
        lose()

    assert db.query("select tag from tags") == [("kept",)]


def test_nothing_is_written_outside_the_transaction_that_was_lost(
    db: PostgresDatabase, postgres: Cluster, postgres_database: str
) -> None:
    def lose() -> None:
        with db.atomic():
            postgres.disconnect(postgres_database)
            for _ in range(3):
                with contextlib.suppress(Unavailable):
                    db.execute("insert into tags values (1, 'stray')")

    with pytest.raises(Unavailable):
        lose()

    assert db.query("select tag from tags") == []


def test_a_database_that_is_away_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="PostgreSQL can't be reached"):
        PostgresDatabase(f"postgresql://somebody:secret@/nowhere?host={tmp_path}")


def test_an_ingest_goes_on_after_the_server_restarted(postgres: Cluster, db: PostgresDatabase, tmp_path: Path) -> None:
    writer = Writer(tmp_path).start()
    for step in range(600):
        writer.log({"x": step})
    ingest = Ingest(db, "run", "writer")
    ingest.write(writer.batch(0, 300))
    postgres.stop()

    with pytest.raises(Unavailable):
        ingest.write(writer.batch(300))
    postgres.start()
    ingest.write(writer.batch())
    writer.die()

    assert series.points(db, runs.numbers(db)[0], "x").values.tolist() == list(range(600))


def test_a_pool_lends_connections_and_replaces_lost_ones(
    postgres_url: str, postgres: Cluster, postgres_database: str
) -> None:
    with PostgresPool(postgres_url, 2) as pool:
        with pool.connection() as one, pool.connection() as two:
            with one.atomic():
                one.execute("insert into tags values (1, 'a')")
            assert two.query("select tag from tags") == [("a",)]
        postgres.disconnect(postgres_database)

        with pool.connection() as db:
            assert db.query("select tag from tags") == [("a",)]


def test_a_pool_takes_back_what_a_transaction_left_open(postgres_url: str) -> None:
    with PostgresPool(postgres_url, 1) as pool:
        with pool.connection() as db:
            db.execute("begin")
            db.execute("insert into tags values (1, 'a')")

        with pool.connection() as db:
            assert db.query("select tag from tags") == []


def test_a_pool_without_a_free_connection_is_unavailable(postgres_url: str) -> None:
    with (
        PostgresPool(postgres_url, 1, patience=0.1) as pool,
        pool.connection(),
        pytest.raises(Unavailable),
        pool.connection(),
    ):
        pass


# Notices


def test_a_notice_is_heard_once_its_transaction_is_committed(db: PostgresDatabase, postgres_url: str) -> None:
    listener = Listener(postgres_url, "runs of a team")

    with db.atomic():
        db.notify("runs of a team", "one")
        assert listener.wait(0.1) == []
        db.notify("another", "not heard")
        db.notify("runs of a team", "two")

    assert listener.wait(5) == ["one", "two"]
    assert listener.wait(0) == []
    listener.close()


def test_what_is_said_between_two_waits_is_heard(db: PostgresDatabase, postgres_url: str) -> None:
    listener = Listener(postgres_url, "runs")

    for number in range(3):
        db.notify("runs", str(number))
    db.query("select pg_sleep(0.05)")

    heard: list[str] = []
    while len(heard) < 3:
        heard += listener.wait(5)
    assert heard == ["0", "1", "2"]
    listener.close()


def test_a_listener_that_lost_its_connection_says_so_and_listens_on(
    db: PostgresDatabase, postgres: Cluster, postgres_database: str, postgres_url: str
) -> None:
    listener = Listener(postgres_url, "runs")
    postgres.disconnect(postgres_database)

    with pytest.raises(Unavailable):
        listener.wait(5)
    assert listener.wait(0) == []
    with pytest.raises(Unavailable):
        db.notify("runs", "lost")
    db.notify("runs", "again")

    assert listener.wait(5) == ["again"]
    listener.close()

"""A store is closed under the threads that use it, and none of them finds a connection torn away."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pytest

from trackkit.backend.server.storage import SQLiteStorage
from trackkit.backend.store.database import Busy

ENDLESS = "with recursive n(x) as (select 1 union all select x + 1 from n) select count(*) from n"


@pytest.fixture
def storage(tmp_path: Path) -> SQLiteStorage:
    return SQLiteStorage(tmp_path / "store")


def test_closing_breaks_off_what_is_being_read(storage: SQLiteStorage) -> None:
    failures: list[BaseException] = []
    begun = threading.Barrier(5)

    def read() -> None:
        try:
            with storage.reading() as db:
                begun.wait(30)
                db.query(ENDLESS)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    begun.wait(30)
    storage.close()
    for thread in threads:
        thread.join()

    assert [type(error) for error in failures] == [Busy] * 4


def test_closing_waits_for_what_is_being_written(storage: SQLiteStorage) -> None:
    begun, written = threading.Event(), threading.Event()

    def write() -> None:
        with storage.changing() as db:
            begun.set()
            written.wait(0.2)
            db.execute("update upkeep set count = 7 where name = 'blobs'")
        written.set()

    thread = threading.Thread(target=write)
    thread.start()
    assert begun.wait(30)

    storage.close()

    assert written.is_set()
    thread.join()
    with contextlib.closing(SQLiteStorage(storage.root)) as again, again.reading() as db:
        assert db.query("select count from upkeep where name = 'blobs'") == [(7,)]


def test_a_closed_store_is_busy(storage: SQLiteStorage) -> None:
    with storage.reading():
        pass
    storage.close()
    storage.close()

    with pytest.raises(Busy, match="stopping"), storage.reading():
        pass
    with pytest.raises(Busy, match="stopping"), storage.changing():
        pass
    with pytest.raises(Busy, match="stopping"):
        storage.changes(0)

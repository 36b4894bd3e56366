"""Writing journals: segments grow and turn over, threads share them, and a disk that refuses stops nobody."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trackkit.core import writer as writing
from trackkit.core.journal import JournalReader, is_alive, read_sinks, segments
from trackkit.core.writer import MIB, JournalWriter

Make = Callable[..., JournalWriter]
KILOBYTE = b"k" * 1000


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes writers in the test's folder, and lets go of them afterwards."""
    made: list[JournalWriter] = []

    def build(**options: object) -> JournalWriter:
        writer = JournalWriter(tmp_path, "run", f"writer{len(made)}", **{"sinks": [], **options})  # type: ignore[arg-type]
        made.append(writer)
        return writer

    yield build
    for writer in made:
        writer.close(acknowledged=False)


class Disk:
    """Takes files, or refuses them with an error as the kernel would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: int | None = None
        self.largest = 1 << 62
        """Files may not be larger."""
        allocate = os.posix_fallocate

        def refuse_or(handle: int, offset: int, size: int) -> None:
            if self.error is not None or size > self.largest:
                number = self.error or errno.ENOSPC
                raise OSError(number, os.strerror(number))
            allocate(handle, offset, size)

        monkeypatch.setattr(os, "posix_fallocate", refuse_or)
        sync = os.fsync

        def refuse_or_sync(handle: int) -> None:
            if self.error is not None:
                raise OSError(self.error, os.strerror(self.error))
            sync(handle)

        monkeypatch.setattr(os, "fsync", refuse_or_sync)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    if not hasattr(os, "posix_fallocate"):
        pytest.skip("this system has no posix_fallocate to refuse")
    return Disk(monkeypatch)


def on_disk(writer: JournalWriter) -> list[bytes]:
    """What a process that opens the journal's files would find."""
    if not writer.folder.is_dir():
        return []
    reader, offset, found = JournalReader(writer.folder, final=True), 0, []
    while (frames := reader.read(offset)).payloads:
        found += frames.payloads
        offset = frames.end
    assert reader.damage == []
    return found


def readable(writer: JournalWriter) -> list[bytes]:
    """What the writer's own process reads from it."""
    offset, found = 0, []
    while (frames := writer.read(offset)).payloads:
        found += frames.payloads
        offset = frames.end
    return found


def numbered(count: int, size: int = 1000) -> list[bytes]:
    return [str(number).encode().ljust(size, b".") for number in range(count)]


def test_a_record_is_in_the_file_when_append_returns(make: Make) -> None:
    writer = make()
    for number in range(100):
        writer.append(str(number).encode())

        assert on_disk(writer)[-1] == str(number).encode()


def test_segments_turn_over_and_keep_the_order(make: Make) -> None:
    writer = make(segment_bytes=8192)
    payloads = numbered(100)

    for payload in payloads:
        writer.append(payload)

    assert len(segments(writer.folder)) > 10
    assert on_disk(writer) == readable(writer) == payloads


def test_segments_start_small_and_grow_to_their_size(make: Make) -> None:
    writer = make(segment_bytes=16 * MIB)
    capacities = [segments(writer.folder)[0][1].stat().st_size]

    for _ in range(25_000):
        writer.append(KILOBYTE)
        newest = segments(writer.folder)[-1][1] if not writer.appended % 1000 else None
        if newest is not None and newest.stat().st_size != capacities[-1]:
            capacities.append(newest.stat().st_size)

    assert capacities == [MIB, 4 * MIB, 16 * MIB]


def test_a_closed_journal_takes_no_more_room_than_its_records(make: Make) -> None:
    writer = make()
    writer.append(KILOBYTE)

    writer.close(acknowledged=False)

    assert segments(writer.folder)[0][1].stat().st_size == 1008
    assert on_disk(writer) == [KILOBYTE]


def test_a_closed_journal_that_all_sinks_have_is_deleted(make: Make, tmp_path: Path) -> None:
    writer = make()
    writer.append(KILOBYTE)

    writer.close(acknowledged=True)

    assert list((tmp_path / "journals").iterdir()) == []


def test_a_closed_journal_counts_what_comes_too_late(make: Make) -> None:
    writer = make()
    writer.append(b"in time")
    writer.close(acknowledged=False)

    writer.append(b"too late")

    assert writer.dropped == 1
    assert on_disk(writer) == [b"in time"]


def test_a_record_larger_than_a_segment_gets_one_of_its_own(make: Make) -> None:
    writer = make(segment_bytes=8192)
    payloads = [b"before", b"x" * 3_000_000, b"after"]

    for payload in payloads:
        writer.append(payload)

    assert on_disk(writer) == readable(writer) == payloads


def test_a_record_larger_than_a_journal_takes_is_refused_and_harms_nothing(make: Make) -> None:
    writer = make()
    writer.append(b"before")

    with pytest.raises(ValueError, match=r"33,554,433 bytes is larger than the limit of 33,554,432"):
        writer.append(bytes(32 * MIB + 1))
    writer.append(b"after")

    assert on_disk(writer) == [b"before", b"after"]


def test_the_journal_is_locked_while_its_writer_lives(make: Make) -> None:
    writer = make(sinks=["sqlite:", "http://host"])

    assert is_alive(writer.folder)
    assert read_sinks(writer.folder) == {"sqlite:": 0, "http://host": 0}
    writer.close(acknowledged=False)
    assert not is_alive(writer.folder)


def test_segments_that_every_sink_has_are_deleted(make: Make) -> None:
    writer = make(segment_bytes=8192)
    payloads = numbered(40)
    for payload in payloads:
        writer.append(payload)
    half = writer.read(0).end

    writer.release(half - 1)
    before = on_disk(writer)
    writer.release(half)

    assert before == payloads
    assert on_disk(writer) == readable(writer) == payloads[8:]


def test_readers_follow_while_pages_are_readied_and_written_back(make: Make) -> None:
    writer = make(segment_bytes=64 * 1024)
    payloads = numbered(2000, 200)
    stop = threading.Event()

    def keep() -> None:
        while not stop.is_set():
            writer.keep_ahead()
            writer.write_back()

    keeper = threading.Thread(target=keep)
    keeper.start()
    for payload in payloads:
        writer.append(payload)
    stop.set()
    keeper.join()

    assert on_disk(writer) == readable(writer) == payloads


def test_many_threads_append_without_losing_or_mixing_anything(make: Make) -> None:
    writer = make(segment_bytes=32 * 1024)

    def work(name: int) -> None:
        for number in range(2000):
            writer.append(f"{name}:{number}".encode() * (1 + number % 7))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = on_disk(writer)
    assert len(found) == 16_000
    for name in range(8):
        mine = [payload for payload in found if payload.startswith(f"{name}:".encode())]
        assert mine == [f"{name}:{number}".encode() * (1 + number % 7) for number in range(2000)]


def test_a_writer_that_overtakes_the_preparation_of_its_next_segment_stays_on_disk(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[str] = []
    writer = make(segment_bytes=64 * 1024, warn=complaints.append)
    payloads = numbered(300)
    for payload in payloads[:50]:
        writer.append(payload)
    entered, overtaken = threading.Event(), threading.Event()
    allocate = os.posix_fallocate

    def slow(handle: int, offset: int, size: int) -> None:
        if threading.current_thread() is keeper:
            entered.set()
            overtaken.wait(10)
        allocate(handle, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", slow)
    keeper = threading.Thread(target=writer.keep_ahead)
    keeper.start()
    assert entered.wait(10)

    for payload in payloads[50:]:
        writer.append(payload)
    overtaken.set()
    keeper.join()

    assert complaints == []
    assert on_disk(writer) == payloads


def test_a_small_disk_is_used_up_with_smaller_segments(make: Make, disk: Disk) -> None:
    disk.largest = 100_000
    complaints: list[str] = []
    writer = make(warn=complaints.append)
    payloads = numbered(300)

    for payload in payloads:
        writer.append(payload)

    assert on_disk(writer) == payloads
    assert complaints == []


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_what_a_disk_refuses_is_kept_in_memory_with_one_warning(make: Make, disk: Disk, error: int) -> None:
    complaints: list[str] = []
    writer = make(segment_bytes=8192, warn=complaints.append)
    payloads = numbered(10_000)
    for payload in payloads[:20]:
        writer.append(payload)
    safe = on_disk(writer)

    disk.error = error
    for payload in payloads[20:]:
        writer.append(payload)
    silent = list(complaints)
    writer.keep_ahead()

    assert silent == [], "a warning comes from the pump's thread, not out of append"
    assert safe == payloads[:20]
    assert on_disk(writer) == payloads[: len(on_disk(writer))]
    assert len(on_disk(writer)) >= 20
    assert readable(writer) == payloads
    assert writer.dropped == 0
    assert len(complaints) == 1
    assert os.strerror(error) in complaints[0]


def test_memory_is_bounded_and_what_is_dropped_is_counted(make: Make, disk: Disk) -> None:
    writer = make(segment_bytes=8192, memory_bytes=8 * MIB)
    disk.error = errno.ENOSPC
    payloads = numbered(20_000)

    for payload in payloads:
        writer.append(payload)

    kept = readable(writer)
    assert kept == payloads[: len(kept)]
    assert 7_000 < len(kept) < 9_000
    assert writer.dropped == 20_000 - len(kept)
    assert writer.appended == len(kept)


def test_room_made_by_the_sinks_is_used_again(make: Make, disk: Disk) -> None:
    writer = make(segment_bytes=8192, memory_bytes=8 * MIB)
    disk.error = errno.ENOSPC
    for payload in numbered(20_000):
        writer.append(payload)
    dropped = writer.dropped

    writer.release(writer.end)
    writer.append(b"again")

    assert dropped > 0
    assert writer.dropped == dropped
    assert readable(writer)[-1] == b"again"


def test_records_return_to_the_disk_when_it_takes_them_again(make: Make, disk: Disk) -> None:
    complaints: list[str] = []
    writer = make(segment_bytes=8192, warn=complaints.append)
    payloads = numbered(12_000)
    disk.error = errno.ENOSPC
    for payload in payloads[:11_000]:
        writer.append(payload)
    writer.restore()
    refused = on_disk(writer)

    disk.error = None
    writer.restore()
    for payload in payloads[11_000:]:
        writer.append(payload)

    assert len(refused) < 100
    assert on_disk(writer) == readable(writer) == payloads
    assert writer.dropped == 0


def test_a_disk_that_refuses_again_is_complained_about_again(make: Make, disk: Disk) -> None:
    complaints: list[str] = []
    writer = make(segment_bytes=8192, warn=complaints.append)
    for _ in range(2):
        disk.error = errno.ENOSPC
        for payload in numbered(100):
            writer.append(payload)
        writer.keep_ahead()
        disk.error = None
        writer.restore()

    assert len(complaints) == 2


def test_closing_brings_what_memory_held_to_a_disk_that_recovered(make: Make, disk: Disk) -> None:
    writer = make(segment_bytes=8192)
    payloads = numbered(6000)
    disk.error = errno.ENOSPC
    for payload in payloads:
        writer.append(payload)
    disk.error = None

    lost = writer.close(acknowledged=False)

    assert lost == 0
    assert on_disk(writer) == payloads


def test_closing_says_what_could_be_kept_nowhere(make: Make, disk: Disk) -> None:
    writer = make(segment_bytes=8192)
    for payload in numbered(8):
        writer.append(payload)
    disk.error = errno.ENOSPC
    for payload in numbered(10):
        writer.append(payload)

    lost = writer.close(acknowledged=False)

    assert lost == 10 * 1008
    assert on_disk(writer) == numbered(8)


def test_a_folder_that_can_not_be_made_is_made_when_it_can(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    complaints: list[str] = []
    writer = JournalWriter(
        tmp_path / "file", "run", "writer", sinks=["sqlite:"], segment_bytes=8192, warn=complaints.append
    )
    payloads = numbered(3000)
    for payload in payloads[:2000]:
        writer.append(payload)
    in_memory = readable(writer)

    (tmp_path / "file").unlink()
    writer.restore()
    for payload in payloads[2000:]:
        writer.append(payload)

    assert in_memory == payloads[:2000]
    assert on_disk(writer) == payloads
    assert read_sinks(writer.folder) == {"sqlite:": 0}
    assert is_alive(writer.folder)
    assert len(complaints) == 1
    assert writer.close(acknowledged=False) == 0


def test_an_attempt_to_make_the_folder_that_failed_half_way_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sinks = writing.write_sinks

    def refuse(folder: Path, offsets: dict[str, int]) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writing, "write_sinks", refuse)
    writer = JournalWriter(tmp_path, "run", "writer", sinks=[])
    writer.append(b"first")
    monkeypatch.setattr(writing, "write_sinks", write_sinks)

    writer.restore()
    writer.append(b"second")

    assert on_disk(writer) == [b"first", b"second"]
    assert writer.close(acknowledged=False) == 0


def test_closing_makes_the_folder_that_could_not_be_made_before(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    writer = JournalWriter(tmp_path / "file", "run", "writer", sinks=[])
    writer.append(b"only in memory")
    (tmp_path / "file").unlink()

    lost = writer.close(acknowledged=False)

    assert lost == 0
    assert on_disk(writer) == [b"only in memory"]


def test_the_journals_end_counts_what_was_appended(make: Make) -> None:
    writer = make(segment_bytes=8192)
    began = writer.end

    writer.append(b"12345")

    assert (began, writer.end) == (0, 13)


def test_names_of_writers_sort_by_time() -> None:
    names = []
    for _ in range(20):
        names.append(writing.new_writer_id())
        time.sleep(0.0001)

    assert names == sorted(set(names))

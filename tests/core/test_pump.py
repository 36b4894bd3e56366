"""The pump: delivers at each sink's own pace, tries again, gives room back, and stumbles over nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from trackkit.core.journal import read_sinks, segments
from trackkit.core.pump import Chore, Pump
from trackkit.core.sink import Batch, OffsetConflict, SinkBusy, SinkError, SinkRefused
from trackkit.core.writer import JournalWriter


class Target:
    """What a sink writes to; it can be told to misbehave."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.position = 0
        self.synced = 0
        self.opened = 0
        self.failures: list[BaseException] = []
        """What the next calls of `write` raise, instead of taking the batch."""
        self.unsafe: list[Exception] = []
        """What the next calls of `sync` raise."""
        self.threads: set[int] = set()
        self.hangs = threading.Event()
        self.hangs.set()


TARGETS: dict[str, Target] = {}


class BusySink:
    """A target that others write to, which can't be asked whether to stop, and takes a batch at the third try."""

    local = True
    stop_requested = False
    tries = 0

    def __init__(self, uri: str, root: Path) -> None: ...

    def open(self, run: str, writer: str) -> int:
        return 0

    def write(self, batch: Batch) -> int:
        BusySink.tries += 1
        if BusySink.tries < 3:
            raise SinkBusy("others write")
        return batch.end

    def idle(self) -> None:
        raise OSError("nobody answers")

    def sync(self) -> None: ...

    def close(self) -> None: ...


class RecordingSink:
    """A sink of a third party, which takes records into memory."""

    def __init__(self, uri: str, root: Path) -> None:
        self.target = TARGETS[uri]
        self.local = uri.startswith("here")

    def open(self, run: str, writer: str) -> int:
        self.target.opened += 1
        return self.target.position

    def write(self, batch: Batch) -> int:
        self.target.threads.add(threading.get_ident())
        self.target.hangs.wait()
        if self.target.failures:
            raise self.target.failures.pop(0)
        self.target.payloads += batch.payloads
        self.target.position = batch.end
        return batch.end

    def sync(self) -> None:
        self.target.threads.add(threading.get_ident())
        if self.target.unsafe:
            raise self.target.unsafe.pop(0)
        self.target.synced = self.target.position

    def close(self) -> None: ...


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[JournalWriter]:
    made = JournalWriter(tmp_path, "run", "writer", sinks=["here:", "away:"], segment_bytes=8192)
    yield made
    made.close(acknowledged=False)


@pytest.fixture
def make_pump(
    tmp_path: Path, journal: JournalWriter, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[Pump, list[Target]]]]:
    names = ["here", "away"]
    entries = EntryPoints([EntryPoint(name, f"{__name__}:RecordingSink", "trackkit.sinks") for name in names])
    monkeypatch.setattr(EntryPoint, "load", lambda self: RecordingSink)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **wanted: entries.select(**wanted))
    made: list[Pump] = []

    def make(*uris: str, **options: Any) -> tuple[Pump, list[Target]]:
        targets = [TARGETS.setdefault(uri, Target()) for uri in uris]
        given = {"interval": 0.02, "write_back_interval": 0.05, "chores": [], "once": iter(()), **options}
        made.append(Pump(given.pop("of", journal), tmp_path, list(uris), **given))
        return made[-1], targets

    yield make
    for target in TARGETS.values():
        target.hangs.set()
    for pump in made:
        pump.stop(5)
    TARGETS.clear()


def numbered(count: int) -> list[bytes]:
    return [str(number).encode().ljust(500, b".") for number in range(count)]


def until(condition: Callable[[], bool], seconds: float = 5) -> bool:
    """Whether something comes true in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


@pytest.mark.parametrize("uris", [["here:"], ["away:"], ["here:", "away:"]])
def test_everything_arrives_once_and_in_order(make_pump: Any, journal: JournalWriter, uris: list[str]) -> None:
    pump, targets = make_pump(*uris)
    pump.start()
    for payload in numbered(1000):
        journal.append(payload)

    assert pump.drain(10)
    assert all(target.payloads == numbered(1000) for target in targets)


@pytest.mark.parametrize("error", [SinkError("busy"), OSError("cut off"), ValueError("a bug"), OffsetConflict("moved")])
def test_a_failed_batch_is_sent_again(make_pump: Any, journal: JournalWriter, error: Exception) -> None:
    pump, (target,) = make_pump("away:")
    target.failures = [error]
    pump.start()
    for payload in numbered(100):
        journal.append(payload)

    assert pump.drain(10)
    assert target.payloads == numbered(100)
    assert target.opened == 2, "it asks the target anew how far it is"


def test_pauses_between_tries_grow(make_pump: Any, journal: JournalWriter) -> None:
    pump, (target,) = make_pump("away:")
    target.failures = [OSError("away")] * 1000
    journal.append(b"record")

    pump.start()
    time.sleep(2.0)

    tries = 1000 - len(target.failures)
    assert 2 <= tries <= 6
    assert pump.lanes[0].retries == tries
    assert "away" in pump.lanes[0].trouble


def test_a_line_that_lets_no_large_batch_through_is_sent_small_ones(
    make_pump: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = JournalWriter(tmp_path, "run", "large", sinks=["away:"], segment_bytes=8 << 20)
    sizes: list[int] = []
    take = RecordingSink.write

    def write(self: RecordingSink, batch: Batch) -> int:
        sizes.append(batch.end - batch.start)
        if sizes[-1] > 200_000:
            raise OSError("the connection was cut")
        return take(self, batch)

    monkeypatch.setattr(RecordingSink, "write", write)
    pump, (target,) = make_pump("away:", of=journal)
    payloads = numbered(4000)
    for payload in payloads:
        journal.append(payload)
    pump.start()

    assert pump.drain(30)
    assert target.payloads == payloads
    assert sizes[0] > 500_000
    journal.close(acknowledged=True)


def test_a_sink_that_refuses_is_left_alone_and_its_records_are_kept(make_pump: Any, journal: JournalWriter) -> None:
    pump, (good, bad) = make_pump("here:", "away:")
    bad.failures = [SinkRefused("no such project")]
    pump.start()
    for payload in numbered(100):
        journal.append(payload)

    drained = pump.drain(10)

    assert not drained
    assert good.payloads == numbered(100)
    assert pump.lanes[1].refused == "no such project"
    assert bad.payloads == []
    assert len(journal.read(0, 1 << 20)) > 0


def test_a_slow_sink_holds_up_no_other(make_pump: Any, journal: JournalWriter) -> None:
    pump, (good, slow) = make_pump("here:", "away:")
    slow.hangs.clear()
    pump.start()
    for payload in numbered(200):
        journal.append(payload)

    assert until(lambda: len(good.payloads) == 200)
    assert slow.payloads == []
    slow.hangs.set()
    assert pump.drain(10)
    assert slow.payloads == numbered(200)


def test_segments_go_once_every_sink_has_made_them_safe(make_pump: Any, journal: JournalWriter) -> None:
    pump, (good, slow) = make_pump("here:", "away:")
    slow.hangs.clear()
    pump.start()
    for payload in numbered(200):
        journal.append(payload)
    assert until(lambda: len(good.payloads) == 200)
    time.sleep(0.3)
    before = len(segments(journal.folder))

    slow.hangs.set()

    assert before > 10
    assert until(lambda: len(segments(journal.folder)) <= 2)
    assert good.synced >= segments(journal.folder)[0][0]
    assert slow.synced >= segments(journal.folder)[0][0]
    assert set(read_sinks(journal.folder)) == {"here:", "away:"}


@pytest.mark.parametrize("uris", [["here:"], ["away:"], ["here:", "away:"]])
def test_a_sink_is_only_ever_used_by_one_thread(make_pump: Any, journal: JournalWriter, uris: list[str]) -> None:
    pump, targets = make_pump(*uris)
    pump.start()
    for payload in numbered(200):
        journal.append(payload)
    assert until(lambda: len(segments(journal.folder)) <= 2)

    assert pump.drain(10)
    for target in targets:
        assert len(target.threads) == 1
        assert target.synced == journal.end


@pytest.mark.parametrize("uri", ["here:", "away:"])
def test_nothing_is_drained_before_the_sink_has_made_it_safe(make_pump: Any, journal: JournalWriter, uri: str) -> None:
    pump, (target,) = make_pump(uri)
    target.unsafe = [OSError("the disk is gone")] * 1000
    pump.start()
    journal.append(b"record")

    assert not pump.drain(0.5)
    assert target.payloads == [b"record"]

    target.unsafe.clear()
    assert pump.drain(10)


def test_a_sink_that_hangs_is_left_behind(make_pump: Any, journal: JournalWriter) -> None:
    pump, (target,) = make_pump("away:")
    target.hangs.clear()
    pump.start()
    journal.append(b"record")
    time.sleep(0.2)

    began = time.monotonic()
    drained = pump.drain(0.3)
    pump.stop(0.3)

    assert not drained
    assert time.monotonic() - began < 3


def test_nothing_is_drained_without_a_sink(make_pump: Any, journal: JournalWriter) -> None:
    pump, _ = make_pump()
    pump.start()

    assert not pump.drain(1)


def test_a_chore_that_fails_stops_neither_itself_nor_others(make_pump: Any, journal: JournalWriter) -> None:
    failed, done = [], []

    def fail() -> None:
        failed.append(1)
        raise RuntimeError("no sensor")

    pump, (target,) = make_pump("here:", chores=[Chore(0.02, fail), Chore(0.02, lambda: done.append(1))])
    pump.start()
    journal.append(b"record")

    assert until(lambda: len(failed) > 2 and len(done) > 2)
    assert until(lambda: target.payloads == [b"record"])


def test_gathering_that_fails_is_given_up_and_nothing_else(make_pump: Any, journal: JournalWriter) -> None:
    def gather() -> Iterator[object]:
        yield "first"
        raise OSError("git is broken")

    pump, (target,) = make_pump("here:", once=gather())
    pump.start()
    journal.append(b"record")

    pump.settle(5)

    assert until(lambda: target.payloads == [b"record"])


def test_a_pump_that_stumbles_goes_on(
    make_pump: Any, journal: JournalWriter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keep_ahead, calls = journal.keep_ahead, []

    def stumble() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("a fault of ours")
        keep_ahead()

    monkeypatch.setattr(journal, "keep_ahead", stumble)
    pump, (target,) = make_pump("here:")
    pump.start()
    assert until(lambda: len(calls) > 1)
    journal.append(b"record")

    assert until(lambda: target.payloads == [b"record"])
    assert "stumbled" in caplog.text


def test_a_target_that_is_busy_or_can_not_be_asked_is_no_trouble(
    make_pump: Any, journal: JournalWriter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(EntryPoint, "load", lambda self: BusySink)
    pump, _ = make_pump("here:")
    journal.append(b"x")
    pump.start()

    assert pump.drain(20)
    for _ in range(20):
        time.sleep(0.01)
        assert pump.lanes[0].done
    assert BusySink.tries == 3
    assert not caplog.records

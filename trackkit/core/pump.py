"""The pump: the background thread that keeps the journal ready, gathers what a run captures by itself, and
delivers records to the sinks, each at its own pace.

It is polite: it works in slices of about 100 µs of Python with a rest between them, so that the training
thread never waits the interpreter's 5 ms switch interval for it, and its heavy parts let go of the GIL.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from trackkit.core.bell import Bell
from trackkit.core.journal import write_sinks
from trackkit.core.lifecycle import import_early
from trackkit.core.sink import (
    Attentive,
    Batch,
    Holding,
    OffsetConflict,
    Sink,
    SinkBusy,
    SinkError,
    SinkRefused,
    find_factory,
)
from trackkit.core.writer import JournalWriter

logger = logging.getLogger("trackkit")

_REST_SECONDS = 0.0002
"""Long enough for a thread that waits for the GIL to be woken and take it."""
_PIECE_BYTES = 64 * 1024
_BATCH_BYTES = 8 * 1024 * 1024
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_FAILURES_WITHOUT_HOPE = 5


class Lane:
    """One sink of one writer: how far it got, and when to try again.

    Parameters
    ----------
    uri, root
        Which sink, and the store's folder.
    journal
        What to deliver.
    rest
        Gives way to the training thread.
    """

    def __init__(self, uri: str, root: Path, journal: JournalWriter, rest: Callable[[], None]) -> None:
        self.uri = uri
        self.acknowledged = 0
        self.settled = 0
        """The offset up to which all survives a power cut at the sink's target."""
        self.settling = False
        """Whether the sink is to be asked for that, on the lane's own thread."""
        self.retries = 0
        self.refused = ""
        """Why the sink will take nothing more, or empty."""
        self.trouble = ""
        """Why the last try failed, or empty."""
        self.stop_requested = False
        """Whether somebody asked, at the sink's target, that the run be stopped."""
        self.bell = Bell()
        """Wakes the lane's own thread, if it has one."""
        self._root = root
        self._journal = journal
        self._rest = rest
        self._sink: Sink | None = None
        self._opened = False
        self._pause = _FIRST_PAUSE
        self._not_before = 0.0
        self._failures = 0
        self._batch_bytes = _BATCH_BYTES
        """How large batches may be: a network that breaks off lets small ones through where it lets no large one."""
        self._complained = False
        self._sink_is_local = False

    @property
    def done(self) -> bool:
        """Whether the sink has everything, or will never take it."""
        return bool(self.refused) or (self._opened and self.delivered >= self._journal.end)

    @property
    def safe(self) -> bool:
        """Whether the sink has everything so that it survives a power cut, or will never take it."""
        return bool(self.refused) or (self.done and self.settled >= self._journal.end)

    @property
    def delivered(self) -> int:
        """The offset up to which the sink has everything, the files that records name too."""
        held = _held(self._sink)
        return self.acknowledged if held is None else min(held, self.acknowledged)

    @property
    def files_waiting(self) -> int:
        """How many files are still on their way."""
        return _files_waiting(self._sink)

    @property
    def hopeless(self) -> bool:
        """Whether waiting for the sink is no use: nothing that comes and goes with a network keeps failing."""
        return self._failures >= _FAILURES_WITHOUT_HOPE and self._sink_is_local

    def due(self, now: float) -> bool:
        """Whether it is time to deliver again."""
        return not self.refused and now >= self._not_before

    def sink(self) -> Sink:
        """The sink, made when first needed."""
        if self._sink is None:
            self._sink = find_factory(self.uri)(self.uri, self._root)
        return self._sink

    def deliver(self, *, hurry: bool = False) -> None:
        """Send what the journal has; a failure sets the time of the next try. Never raises."""
        try:
            if not self._opened:
                self._sink_is_local = self.sink().local
                self.acknowledged = self.sink().open(self._journal.run, self._journal.writer)
                self._opened = True
            while (batch := self._next_batch(hurry)) is not None:
                self.acknowledged = self.sink().write(batch)
                if self._complained:
                    logger.warning("trackkit: %s takes records again", self.uri)
                self._complained, self.trouble, self._pause, self._failures = False, "", _FIRST_PAUSE, 0
                self._batch_bytes = min(self._batch_bytes + _PIECE_BYTES, _BATCH_BYTES)
                self._rest()
            self.stop_requested = self.stop_requested or _is_asked_to_stop(self._sink)
        except SinkRefused as error:
            self.refused = str(error) or type(error).__name__
            logger.warning("trackkit: %s refused the run: %s; its records stay in the journal", self.uri, error)
            self.close()
        except OffsetConflict:
            self.close()
        except Exception as error:
            self._back_off(error, hurry)

    def _back_off(self, error: Exception, hurry: bool) -> None:
        if not self.trouble and not isinstance(error, SinkBusy):
            self._complained = True
            logger.warning("trackkit: %s takes no records now (%s); they wait in the journal", self.uri, error)
            logger.debug("the sink failed", exc_info=error)
        self.trouble = f"{type(error).__name__}: {error}"
        self.retries += 1
        self._failures += not isinstance(error, SinkError)
        self._not_before = time.monotonic() + self._pause * _jitter() * (0.2 if hurry else 1.0)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        self._batch_bytes = max(self._batch_bytes // 4, _PIECE_BYTES)
        self.close()

    def _next_batch(self, hurry: bool) -> Batch | None:
        first = self._journal.read(self.acknowledged, self._batch_bytes if hurry else _PIECE_BYTES)
        if not first.payloads:
            return None
        payloads, ends, end = first.payloads, first.ends, first.end
        while end - first.start < self._batch_bytes:
            self._rest()
            more = self._journal.read(end, _PIECE_BYTES)
            if not more.payloads or more.start != end:
                break
            payloads += more.payloads
            ends += more.ends
            end = more.end
        return Batch(first.start, end, payloads, ends, self._rest)

    def settle(self) -> None:
        """Make what is acknowledged survive a power cut. Never raises."""
        self.settling = False
        reached = self.delivered
        try:
            if self._opened:
                self.sink().sync()
                self.settled = reached
        except Exception as error:
            self._back_off(error, hurry=False)
            self.acknowledged = 0

    def tidy(self, rest: Callable[[], None]) -> None:
        """Let the sink finish what dead writers left behind, if it knows how. Never raises."""
        try:
            tidy: Callable[[Callable[[], None]], None] | None = getattr(self.sink(), "tidy", None)
            if tidy is not None:
                tidy(rest)
        except (_Hurry, Exception):
            logger.debug("tidying %s ended early", self.uri, exc_info=True)

    def close(self) -> None:
        """Close the sink; the next delivery opens it again. Never raises."""
        sink, self._sink, self._opened = self._sink, None, False
        try:
            if sink is not None:
                sink.close()
        except Exception:
            logger.debug("closing %s failed", self.uri, exc_info=True)


class _Hurry(BaseException):
    """The run is finishing; what can be done by the next one is left to it. Passes through `except Exception`."""


def _held(sink: object) -> int | None:
    return sink.held if isinstance(sink, Holding) else None


def _files_waiting(sink: object) -> int:
    return sink.files_waiting if isinstance(sink, Holding) else 0


def _is_asked_to_stop(sink: object) -> bool:
    """Whether it is; a target that can't be asked now has all the same what was written to it."""
    if not isinstance(sink, Attentive):
        return False
    try:
        sink.idle()
    except Exception:
        logger.debug("a sink could not be asked whether to stop", exc_info=True)
    return sink.stop_requested


def _jitter() -> float:
    """A factor from 0.5 to 1, so that many runs don't try again at once."""
    return 0.5 + (time.monotonic_ns() // 1000 % 1000) / 2000


class Chore:
    """Something the pump does now and then, such as sampling the system."""

    def __init__(self, every: float, work: Callable[[], Any], first: float = 0.0) -> None:
        self.every = every
        self.next = time.monotonic() + first
        self._work = work

    def run(self, now: float) -> None:
        """Do the work; a failure is noted and changes nothing else."""
        self.next = now + self.every
        try:
            self._work()
        except Exception:
            logger.debug("a chore failed", exc_info=True)


class Pump:
    """Runs lanes and chores for one writer.

    Parameters
    ----------
    journal
        The writer's journal.
    root
        The store's folder.
    sinks
        URIs of the sinks.
    interval, write_back_interval
        Seconds between deliveries, and between write-backs of the journal.
    chores
        What else to do.
    once
        Work done step by step after the start: the gathering of provenance.
    before_release
        Called with an offset before the journal forgets what lies before it.
    on_stop
        Called once, on a background thread, when somebody asks at a sink's target that the run be stopped.
    modules
        What the sinks and chores will import.
    """

    def __init__(
        self,
        journal: JournalWriter,
        root: Path,
        sinks: list[str],
        *,
        interval: float,
        write_back_interval: float,
        chores: list[Chore],
        once: Iterator[object],
        before_release: Callable[[int], None] = lambda offset: None,
        on_stop: Callable[[], None] = lambda: None,
        modules: Sequence[str] = (),
    ) -> None:
        self._journal = journal
        self._interval = interval
        self._next_delivery = 0.0
        self._chores = [*chores, Chore(write_back_interval, self._keep, write_back_interval)]
        self._once: Iterator[object] | None = once
        self._before_release = before_release
        self._on_stop: Callable[[], None] | None = on_stop
        self._modules = modules
        self._inline: list[Lane] = []
        self._hurry = False
        self._draining = False
        self._stop = False
        self._settled = Bell()
        self._progress = Bell()
        self.lanes = [Lane(uri, root, journal, self.rest) for uri in sinks]
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the thread."""
        self._start(self._run, "trackkit-pump")

    def _start(self, target: Callable[..., None], name: str, *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    # The pump's thread.

    def _run(self) -> None:
        import_early(self._modules)
        inline = self._inline = self._split_lanes()
        while not self._stop:
            try:
                self._work(inline)
            except Exception:
                logger.warning("trackkit: the pump stumbled; the journal has everything", exc_info=True)
                self._journal.wake.wait(_FIRST_PAUSE)
        for lane in inline:
            lane.close()

    def _work(self, inline: list[Lane]) -> None:
        """One round: keep the journal ready, deliver and gather what is due, wait for what comes next."""
        now = time.monotonic()
        if not self._hurry:
            self._journal.keep_ahead()
        if now >= self._next_delivery or self._hurry:
            self._next_delivery = now + self._interval
            self._deliver(inline)
        for chore in self._chores:
            if chore.next <= now and not self._stop:
                self.rest()
                chore.run(now)
        self._gather(inline)
        if not self._stop:
            due = min([self._next_delivery, *(chore.next for chore in self._chores)])
            pause = max(0.0, due - time.monotonic())
            self._journal.wake.wait(min(pause, 0.02) if self._hurry or self._once else pause)

    def _split_lanes(self) -> list[Lane]:
        """The lanes this thread serves; each sink that may have to wait for a network gets a thread of its own."""
        inline = []
        for lane in self.lanes:
            if self._is_local(lane):
                inline.append(lane)
            else:
                self._start(self._serve, f"trackkit-{lane.uri.partition(':')[0]}", lane)
        return inline

    def _is_local(self, lane: Lane) -> bool:
        try:
            return len(self.lanes) == 1 and lane.sink().local
        except Exception as error:
            lane.refused = str(error)
            logger.warning("trackkit: %s can't be used: %s", lane.uri, error)
            return True

    def _serve(self, lane: Lane) -> None:
        while not self._stop:
            self._deliver([lane])
            lane.bell.wait(0.02 if self._hurry else self._interval)
        lane.close()

    def _deliver(self, lanes: list[Lane]) -> None:
        for lane in lanes:
            if lane.due(time.monotonic()):
                lane.deliver(hurry=self._hurry)
            if lane.settling or (self._draining and lane.done and not lane.safe):
                lane.settle()
            if lane.stop_requested and self._on_stop is not None and not self._hurry:
                stop, self._on_stop = self._on_stop, None
                stop()
        self._progress.ring()

    def _gather(self, inline: list[Lane]) -> None:
        if self._once is None:
            return
        try:
            next(self._once)
            return
        except StopIteration:
            pass
        except Exception:
            logger.debug("gathering failed", exc_info=True)
        self._once = None
        self._settled.ring()
        for lane in inline:
            lane.tidy(self._rest_until_hurry)

    def rest(self) -> None:
        """Give way to the training thread, and keep its pages ready."""
        if self._hurry:
            return
        time.sleep(_REST_SECONDS)
        if self._journal.wake.rung and threading.current_thread() is self._threads[0]:
            self._journal.keep_ahead()

    def _rest_until_hurry(self) -> None:
        if self._hurry:
            raise _Hurry
        self.rest()

    def _keep(self) -> None:
        self._journal.write_back()
        self._journal.restore()
        self._release()

    def _release(self) -> None:
        acknowledged = min((lane.delivered for lane in self.lanes), default=0)
        if acknowledged < self._journal.smallest_release:
            return
        for lane in self.lanes:
            lane.settling = True
            lane.bell.ring()
        for lane in self._inline:
            lane.settle()
        settled = min(lane.settled for lane in self.lanes)  # lanes with a thread of their own, as of the last time
        if settled < self._journal.smallest_release:
            return
        self._before_release(settled)
        self.note_offsets()
        self._journal.release(settled)

    def note_offsets(self) -> None:
        """Write down what each sink has, for whoever may have to finish the work."""
        try:
            write_sinks(self._journal.folder, {lane.uri: lane.delivered for lane in self.lanes})
        except OSError:
            logger.debug("the sinks' offsets could not be noted", exc_info=True)

    # The caller's thread.

    def add(self, chore: Chore) -> None:
        """Do something more now and then."""
        self._chores.append(chore)
        self._journal.wake.ring()

    def hasten(self) -> None:
        """Deliver what there is now; somebody waits for it."""
        self._next_delivery = 0.0
        self._wake()

    def settle(self, timeout: float) -> None:
        """Wait until what the run gathers by itself is in the journal."""
        self._hurry = True
        self._journal.wake.ring()
        self._settled.wait(timeout)

    def drain(self, timeout: float) -> bool:
        """Wait until every sink has everything, on its disk; whether that came about.

        A journal with no sink is never drained.
        """
        self._hurry = self._draining = True
        deadline = time.monotonic() + timeout
        while not all(lane.safe or lane.hopeless for lane in self.lanes):
            left = deadline - time.monotonic()
            if left <= 0 or not any(thread.is_alive() for thread in self._threads):
                break
            self._wake()
            self._progress.wait(min(left, 0.05))
        return bool(self.lanes) and all(lane.safe and not lane.refused for lane in self.lanes)

    def _wake(self) -> None:
        self._journal.wake.ring()
        for lane in self.lanes:
            lane.bell.ring()

    def stop(self, timeout: float) -> None:
        """End the threads; one that hangs in a sink is left behind."""
        self._stop = True
        self._wake()
        for thread in self._threads:
            thread.join(timeout)

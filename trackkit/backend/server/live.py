"""Live views: a stream of hints that runs changed, so that pages ask for what they show.

A hint says that a run has a new version. Whoever was away names the last version seen and gets a hint
for each run that changed since, so nothing needs to be kept for anybody, any server process can take over from any
other, and a script that writes to the store with no server in its path is as live as any.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec
from starlette.concurrency import run_in_threadpool

from trackkit.backend.server.storage import Storage
from trackkit.backend.store import changes
from trackkit.backend.store.changes import OVERLAP, Change

logger = logging.getLogger("trackkit.server")

POLL_SECONDS: Final = 0.2
"""Between two looks whether the store was changed."""
KEEP_ALIVE_SECONDS: Final = 15.0
_MOST_WAITING = 10_000
"""Hints kept for a slow reader, one a run; one that is slower is told to begin anew."""

See = Callable[[Change], bool]


class Subscriber:
    """A reader of the feed: the newest hint of each run since it last looked."""

    def __init__(self, see: See) -> None:
        self.closed = False
        self._see = see
        self._waiting: dict[str, Change] = {}
        self._bell = asyncio.Event()

    def take(self, found: list[Change]) -> None:
        """Keep what this reader may see."""
        for change in found:
            if self._see(change):
                self._waiting.pop(change.run, None)
                self._waiting[change.run] = change
        if len(self._waiting) > _MOST_WAITING:
            self.closed = True
        if self._waiting or self.closed:
            self._bell.set()

    def close(self) -> None:
        """End the stream."""
        self.closed = True
        self._bell.set()

    async def next(self, timeout: float) -> list[Change]:
        """The hints since the last call; empty after some seconds without any, or at the end."""
        try:
            await asyncio.wait_for(self._bell.wait(), timeout)
        except TimeoutError:
            return []
        self._bell.clear()
        found = sorted(self._waiting.values(), key=lambda change: change.version)
        self._waiting.clear()
        return found


class Feed:
    """Watches the store while somebody listens.

    Parameters
    ----------
    storage
        The store.
    interval
        Seconds between two looks.
    """

    def __init__(self, storage: Storage, interval: float = POLL_SECONDS) -> None:
        self._storage = storage
        self._interval = interval
        self._subscribers: set[Subscriber] = set()
        self._task: asyncio.Task[None] | None = None
        self._version = 0
        self._told: dict[str, int] = {}
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def subscribers(self) -> int:
        """How many listen."""
        return len(self._subscribers)

    async def stream(self, see: See, after: int | None) -> AsyncIterator[bytes]:
        """Server-sent events for one reader.

        Parameters
        ----------
        see
            Whether the reader is told of a change.
        after
            The last version the reader knows, to be told of what it missed; None for what comes from now on.
        """
        self._loop = asyncio.get_running_loop()
        subscriber = Subscriber(see)
        self._subscribers.add(subscriber)
        try:
            version = await self._begin()
            yield _event("hello", {"version": version}, version if after is None else None)
            if after is not None:
                subscriber.take(await run_in_threadpool(self._missed, after))
            last = time.monotonic()
            while not (subscriber.closed or self._closing):
                found = await subscriber.next(KEEP_ALIVE_SECONDS)
                for change in found:
                    yield _hint(change)
                if not found and time.monotonic() - last >= KEEP_ALIVE_SECONDS:
                    yield b": still here\n\n"
                last = time.monotonic()
        finally:
            self._subscribers.discard(subscriber)

    def close(self) -> None:
        """End all streams; their readers come back, here or to another process."""
        self._closing = True
        for subscriber in self._subscribers:
            subscriber.close()
        if self._task is not None:
            self._task.cancel()

    def stop_soon(self) -> None:
        """End all streams, from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.close)

    async def _begin(self) -> int:
        """Watch, unless that is being done; the version from which on changes are told."""
        if self._task is None or self._task.done():
            self._version = await run_in_threadpool(self._latest)
            self._told.clear()
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._watch())
        return self._version

    def _latest(self) -> int:
        with self._storage.reading() as db:
            return changes.latest(db)

    def _missed(self, after: int) -> list[Change]:
        found: dict[str, Change] = {}
        version = after - OVERLAP
        with self._storage.reading() as db:
            while some := changes.since(db, version):
                found.update({change.run: change for change in some})
                version = some[-1].version
        return list(found.values())

    async def _watch(self) -> None:
        while self._subscribers:
            try:
                # A transaction that began earlier may end later, so some of the past is looked at again.
                found = await run_in_threadpool(self._storage.changes, self._version - OVERLAP)
            except Exception:
                logger.warning("the store could not be watched", exc_info=True)
                await asyncio.sleep(1.0)
                continue
            self._tell([change for change in found if self._told.get(change.run) != change.version])
            await asyncio.sleep(self._interval)

    def _tell(self, found: list[Change]) -> None:
        if not found:
            return
        self._told.update({change.run: change.version for change in found})
        self._version = max(self._version, found[-1].version)
        self._told = {run: version for run, version in self._told.items() if version > self._version - 2 * OVERLAP}
        for subscriber in list(self._subscribers):
            subscriber.take(found)


def _hint(change: Change) -> bytes:
    if change.deleted:
        return _event("gone", {"run": change.run, "project": change.project, "version": change.version}, change.version)
    data = {"run": change.run, "project": change.project, "version": change.version, "state": change.state}
    return _event("run", data, change.version)


def _event(name: str, data: dict[str, object], id: int | None) -> bytes:
    head = f"id: {id}\n" if id is not None else ""
    return f"{head}event: {name}\ndata: {msgspec.json.encode(data).decode()}\n\n".encode()

"""Which writers live: those of this machine by the locks on their journals, those of others by being heard of."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Final

from starlette.concurrency import run_in_threadpool

from trackkit.backend.server.storage import Storage
from trackkit.backend.store import writers

logger = logging.getLogger("trackkit.server")

NOTED_SECONDS: Final = 30.0
"""Between two notes that a writer was heard of: most of its batches need not cost another transaction."""
SILENCE_SECONDS: Final = 300.0
"""A writer on another machine that is not heard of for so long is dead; one that is heard of again, is not."""
LOOK_SECONDS: Final = 10.0
"""Between two looks for dead writers."""


class Presence:
    """Finds the runs of dead writers and marks them crashed.

    Parameters
    ----------
    storage
        The store.
    silence
        Seconds.
    """

    def __init__(self, storage: Storage, silence: float = SILENCE_SECONDS) -> None:
        self._storage = storage
        self._silence = silence
        self._noted: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()
        self._since = time.monotonic()

    def note(self, run: str, writer: str) -> None:
        """Remember that a writer was heard of."""
        now = time.monotonic()
        with self._lock:
            if now - self._noted.get((run, writer), -NOTED_SECONDS) < NOTED_SECONDS:
                return
            self._noted[run, writer] = now
            if len(self._noted) > 10_000:
                self._noted = {name: when for name, when in self._noted.items() if now - when < NOTED_SECONDS}
        with self._storage.changing() as db:
            known = writers.see(db, run, writer, time.time_ns() // 1000)
        if not known:  # its first batch is still to come
            with self._lock:
                self._noted.pop((run, writer), None)

    def look(self) -> list[str]:
        """Mark the runs of dead writers crashed; the ids of those on other machines that were.

        While the server was away nobody could be heard of, so it begins by listening.
        """
        self._storage.recover()
        if time.monotonic() - self._since < self._silence:
            return []
        with self._storage.reading() as db:
            silent = writers.unseen(db, time.time_ns() // 1000 - round(self._silence * 1e6))
        for run, writer, seen in silent:
            self._storage.abandon(run, writer, seen / 1e6)
            logger.info("run %s, writer %s was not heard of for %d s and counts as crashed", run, writer, self._silence)
        return [run for run, _, _ in silent]

    async def watch(self) -> None:
        """Look again and again."""
        while True:
            try:
                await run_in_threadpool(self.look)
            except Exception:
                logger.warning("dead writers could not be looked for", exc_info=True)
            await asyncio.sleep(LOOK_SECONDS)

"""What is still on its way from a device: taken in by a background thread, in order, as it becomes ready.

The training thread hands over a promise and goes on. It never waits for a device, and neither does the pump.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Protocol

from trackkit.core.bell import Bell

logger = logging.getLogger("trackkit")

PAUSE_SECONDS = 0.02
"""Between two looks at what is not ready yet; several things taken in at once disturb training less than one by one."""
_HURRIED_PAUSE_SECONDS = 0.001
_LONG_SECONDS = 3600.0


class Arrival(Protocol):
    """Something on its way."""

    def ready(self) -> bool:
        """Whether it is here. Must not wait."""
        ...

    def land(self) -> None:
        """Take it in; called once, when it is ready, on the background thread."""
        ...

    def lose(self) -> None:
        """Give up on it, as the device failed; called once instead of `land`."""
        ...


class Arrivals:
    """Takes arrivals in, first come, first served, on a thread of their own.

    The order is that of the calls of `put`, which is also the order in which a device works, so that one that waits
    for its turn rarely holds up another that is ready.
    """

    def __init__(self) -> None:
        self._waiting: deque[Arrival] = deque()
        self._bell = Bell()
        self._landed = Bell()
        self._stop = False
        self._hurry = False
        self._thread = threading.Thread(target=self._run, name="trackkit-arrivals", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, arrival: Arrival) -> None:
        """Have something taken in when it is ready. Takes no lock that a signal's handler could meet."""
        self._waiting.append(arrival)
        self._bell.ring()

    def drain(self, timeout: float) -> int:
        """Wait until everything has landed, at most `timeout` seconds; how much has not."""
        deadline = time.monotonic() + timeout
        self._hurry = True
        while self._waiting and self._thread.is_alive():
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._bell.ring()
            self._landed.wait(min(left, PAUSE_SECONDS))
        return len(self._waiting)

    def stop(self, timeout: float) -> None:
        """End the thread; what has not landed by then never will."""
        self._stop = True
        self._bell.ring()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop:
            while self._waiting and self._take(self._waiting[0]):
                self._waiting.popleft()  # after the landing, for which who drains waits, too
                self._landed.ring()
            if self._waiting:
                time.sleep(_HURRIED_PAUSE_SECONDS if self._hurry else PAUSE_SECONDS)
            else:
                self._hurry = False
                self._bell.wait(_LONG_SECONDS)

    def _take(self, arrival: Arrival) -> bool:
        """Take an arrival in if it is ready; whether that is settled. Never raises."""
        try:
            if not arrival.ready():
                return False
        except Exception:
            logger.warning("trackkit: a value was lost on its way from the device", exc_info=True)
            arrival.lose()
            return True
        try:
            arrival.land()
        except Exception:
            logger.warning("trackkit: what came from the device could not be recorded", exc_info=True)
        return True

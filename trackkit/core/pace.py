"""How fast a training goes, as an adapter sees it."""

from __future__ import annotations

import time
from typing import Any


class Pace:
    """How fast a training goes, what is no training left out.

    Examples
    --------
    >>> pace = Pace()
    >>> for batch in [[1, 2], [3, 4]]:
    ...     pace.wait()
    ...     pace.waited()
    ...     pace.count(len(batch))
    >>> sorted(pace.rates())
    ['throughput/batches_per_second', 'throughput/samples_per_second', 'throughput/waiting_for_data']
    """

    def __init__(self) -> None:
        self._batches = self._samples = 0
        self._elapsed = self._waited = 0.0
        self._since = self._asked = time.perf_counter()

    def pause(self, *arguments: Any) -> None:
        """What was done since the last batch is no training."""
        self._since = self._asked = time.perf_counter()

    def wait(self, *arguments: Any) -> None:
        """The next batch is asked for."""
        self._asked = time.perf_counter()

    def waited(self, *arguments: Any) -> None:
        """The batch is there."""
        self._waited += time.perf_counter() - self._asked

    def count(self, samples: int) -> None:
        """The work on a batch is over, and the next one is asked for.

        Parameters
        ----------
        samples
            How many samples it had.
        """
        now = time.perf_counter()
        self._elapsed += now - self._since
        self._since = self._asked = now
        self._batches += 1
        self._samples += samples

    def rates(self) -> dict[str, float]:
        """Batches and samples a second, and the share of time data was waited for, since this was last asked."""
        if not self._batches or not self._elapsed:
            return {}
        found = {
            "throughput/batches_per_second": self._batches / self._elapsed,
            "throughput/samples_per_second": self._samples / self._elapsed,
            "throughput/waiting_for_data": min(1.0, self._waited / self._elapsed),
        }
        self._batches = self._samples = 0
        self._elapsed = self._waited = 0.0
        return found

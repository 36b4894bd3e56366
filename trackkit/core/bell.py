"""A way to wake a thread that signal handlers may use, and break off, at any moment."""

from __future__ import annotations

import contextlib
import threading


class Bell:
    """Wakes the one thread that waits for it.

    `threading.Event` does as much, but its lock is taken in Python: where the handler of a signal raises at the
    wrong moment (Ctrl-C does) the lock stays taken, and the next one to ring or to wait hangs. This is one lock
    taken by the one who waits and released by whoever rings, each in a single step.

    Examples
    --------
    >>> bell = Bell()
    >>> bell.ring()
    >>> bell.wait(1.0), bell.wait(0.0)
    (True, False)
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    @property
    def rung(self) -> bool:
        """Whether it was rung since the last wait."""
        return not self._lock.locked()

    def ring(self) -> None:
        """Wake the thread that waits, or keep it from waiting the next time."""
        with contextlib.suppress(RuntimeError):  # it was rung already
            self._lock.release()

    def wait(self, timeout: float) -> bool:
        """Wait to be rung, at most `timeout` seconds; whether it was."""
        return self._lock.acquire(timeout=timeout) if timeout > 0 else self._lock.acquire(blocking=False)

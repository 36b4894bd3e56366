"""Values logged while they are still on a device: recorded once they are here, in the order they were logged.

A call that logs such a value returns at once. Plain numbers of the same call are in the journal by then; the values
from the device follow in a record with the same step and time. Until they are here, later values of the same keys
wait behind them, so that every series keeps its order; other keys don't wait.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from trackkit.core import values as loggable
from trackkit.core.device import Copier, Copy, TorchCopier

if TYPE_CHECKING:
    from trackkit.core.arrivals import Arrivals

logger = logging.getLogger("trackkit")


class LateValues:
    """The values of one writer that are on their way from a device.

    Parameters
    ----------
    changed
        Called when `keys` becomes empty or no longer is.

    Attributes
    ----------
    keys
        How many values of each key are on their way, or wait behind one that is.
    arrivals
        The thread that takes them in; None until one is needed.
    copier
        Copies from the device.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.keys: Counter[str] = Counter()
        self.arrivals: Arrivals | None = None
        self.copier: Copier = TorchCopier()
        self._changed = changed
        self._lock = threading.RLock()  # a signal's handler may log, too
        self._append: Callable[[bytes], None] = lambda payload: None

    def write_to(self, append: Callable[[bytes], None]) -> None:
        """Where the records go."""
        self._append = append

    def get_arrivals(self) -> Arrivals:
        """The thread that takes things in, made when first needed."""
        with self._lock:
            if self.arrivals is None:
                from trackkit.core.arrivals import Arrivals

                self.arrivals = Arrivals()
            return self.arrivals

    def any_remote(self, values: Mapping[str, Any]) -> bool:
        """Whether any of the values lies on a device."""
        return _has_tensors(self.copier) and any(map(self.copier.is_remote, values.values()))

    def set_aside(self, values: Mapping[Any, Any]) -> tuple[Mapping[Any, Any], dict[str, Copy]]:
        """Split what was logged into what is at hand and copies, just begun, of what lies on a device.

        Raises
        ------
        TypeError, ValueError
            As `values.flatten`, if anything lies on a device.
        """
        if not _has_tensors(self.copier) or not isinstance(values, Mapping):
            return values, {}
        if not any(isinstance(value, Mapping) or self.copier.is_remote(value) for value in values.values()):
            return values, {}
        flat = loggable.flatten(values)
        remote = {key: value for key, value in flat.items() if self.copier.is_remote(value)}
        if not remote:
            return values, {}
        try:
            copies = self.copier.scalars(list(remote.values()))
        except Exception:  # no memory to copy to, say; then it has to be waited for
            logger.debug("values could not be copied from the device in the background", exc_info=True)
            return values, {}
        near = {key: value for key, value in flat.items() if key not in remote}
        return near, dict(zip(remote, copies, strict=True))

    def follow(
        self, step: int, when: float, found: dict[str, float], texts: dict[str, str], far: dict[str, Copy]
    ) -> tuple[dict[str, float], dict[str, str]]:
        """Have copies recorded when they are here, and with them values of keys that wait; what need not wait."""
        with self._lock:
            waits = self.keys.keys() & (found.keys() | texts.keys())
            if not far and not waits:
                return found, texts
            late = _Late(
                self,
                step,
                when,
                {key: value for key, value in found.items() if key in waits},
                {key: text for key, text in texts.items() if key in waits},
                far,
            )
            self.keys.update(late.keys)
            self._changed()
            self.get_arrivals().put(late)
        return (
            {key: value for key, value in found.items() if key not in waits},
            {key: text for key, text in texts.items() if key not in waits},
        )

    def landed(self, late: _Late, payload: bytes | None) -> None:
        """Record what has arrived, and let its keys go."""
        try:
            if payload is not None:
                self._append(payload)
        finally:
            with self._lock:
                self.keys.subtract(late.keys)
                self.keys = +self.keys
                self._changed()


class _Late:
    """What one call logged and could not record at once."""

    def __init__(
        self,
        owner: LateValues,
        step: int,
        when: float,
        found: dict[str, float],
        texts: dict[str, str],
        far: dict[str, Copy],
    ) -> None:
        self.keys = [*found, *texts, *far]
        self._owner = owner
        self._step = step
        self._when = when
        self._found = found
        self._texts = texts
        self._far = far

    def ready(self) -> bool:
        return all(copy.ready() for copy in self._far.values())

    def lose(self) -> None:
        self._owner.landed(self, None)

    def land(self) -> None:
        payload = None
        try:
            arrived = {key: float(copy.array()) for key, copy in self._far.items()}
            payload = loggable.points(self._step, self._when, self._found | arrived, self._texts)
        finally:
            self._owner.landed(self, payload)


def _has_tensors(copier: Copier) -> bool:
    """Whether there can be any; most scripts that log only numbers never import torch."""
    return type(copier) is not TorchCopier or "torch" in sys.modules

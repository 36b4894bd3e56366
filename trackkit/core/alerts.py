"""How much an alert matters."""

from __future__ import annotations

from enum import Enum


class AlertLevel(Enum):
    """The level of `run.alert`, which takes the plain words too.

    Examples
    --------
    >>> AlertLevel.WARN.value
    'warning'
    """

    INFO = "info"
    WARN = "warning"
    ERROR = "error"

"""trackkit: an experiment tracker that never slows, stalls or loses a run.

>>> import trackkit
>>> run = trackkit.init(project="digits", config={"lr": 0.1})  # doctest: +SKIP
>>> run.log({"loss": 0.5})  # doctest: +SKIP
>>> run.finish()  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec as msgspec  # a third of what init() would otherwise wait for

from trackkit.version import __version__

if TYPE_CHECKING:
    from trackkit.core.lifecycle import RunStopped
    from trackkit.core.run import Run
    from trackkit.core.session import alert, config, define_metric, finish, init, log, log_code, summary
    from trackkit.core.settings import Settings
    from trackkit.query import Api

    run: Run | None

_HOMES = {
    **dict.fromkeys(
        ("init", "log", "finish", "define_metric", "alert", "log_code", "config", "summary"), "trackkit.core.session"
    ),
    "Run": "trackkit.core.run",
    "RunStopped": "trackkit.core.lifecycle",
    "Settings": "trackkit.core.settings",
    "Api": "trackkit.query",
}

__all__ = [
    "Api",
    "Run",
    "RunStopped",
    "Settings",
    "__version__",
    "alert",
    "config",
    "define_metric",
    "finish",
    "init",
    "log",
    "log_code",
    "run",
    "summary",
]


def __getattr__(name: str) -> Any:
    """The public names, imported when first used; `run` is the current run, or None."""
    if name == "run":
        from trackkit.core.session import current

        return current()
    if name not in _HOMES:
        raise AttributeError(f"module 'trackkit' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__

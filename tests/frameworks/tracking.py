"""What the tests of all frameworks need: quiet runs, the run a test recorded, and a tracker that fails."""

from __future__ import annotations

from typing import Any

import pytest

import trackkit
from trackkit.core.recorder import Recorder
from trackkit.query.run import Run

QUIET: dict[str, Any] = {"system": False, "git": False, "packages": False, "console": "off", "quiet": True}
INIT: dict[str, Any] = {"project": "tests", "settings": QUIET}


def recorded() -> list[Run]:
    """The runs of the project `tests` in the current folder's store, oldest first."""
    return sorted(trackkit.Api().runs("tests"), key=lambda run: run.created)


def only() -> Run:
    """The one run that was recorded."""
    (run,) = recorded()
    return run


def versions(run: Run) -> dict[str, Any]:
    """The versions of the model that a run logged, by their numbers."""
    found = [one for one in run.logged_artifacts() if one.name.startswith(f"model-{run.id}")]
    return {one.version: one for one in sorted(found, key=lambda one: int(one.version[1:]))}


def values(run: Run, key: str, *, superseded: bool = False) -> dict[int, float]:
    """A metric's points by step."""
    series = run.series(key, superseded=superseded)
    return dict(zip(series.step.tolist(), series.value.tolist(), strict=True))


def logged_versions(run: Run) -> list[Any]:
    """The versions of artifacts that a run logged, in order."""
    return sorted(run.logged_artifacts(), key=lambda one: int(one.version.removeprefix("v")))


class Fault(Exception):
    """The tracker's own."""


def break_tracking(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Let the tracker fail: from the start, whenever it is told something, or where records go."""

    def fail(*arguments: Any, **named: Any) -> Any:
        raise Fault("the tracker is broken")

    monkeypatch.setattr("trackkit.core.adapter._reported", set())
    if how == "init":
        monkeypatch.setattr("trackkit.core.session.init", fail)
        monkeypatch.setattr("trackkit.core.session.beside", fail)
    elif how == "log":
        monkeypatch.setattr("trackkit.core.run.Recorder", lambda *given: _broken(Recorder(*given), fail))
    elif how == "config":
        monkeypatch.setattr("trackkit.core.config.Config.update", fail)
        monkeypatch.setattr("trackkit.core.summary_view.RunSummary.update", fail)
    elif how == "sink":
        monkeypatch.setattr("trackkit.sinks.sqlite.SQLiteSink.write", fail)
        monkeypatch.setattr("trackkit.sinks.sqlite.SQLiteSink.open", fail)
    else:
        raise ValueError(how)


def _broken(recorder: Recorder, fail: Any) -> Recorder:
    recorder.log = fail  # type: ignore[method-assign]
    return recorder


FAULTS = ["init", "log", "config", "sink"]
BROKEN_INIT: dict[str, Any] = {"project": "tests", "settings": {**QUIET, "finish_timeout": 0.2}}

"""How far each writer of a run is, and what that makes of the run's status; kept in tags of the MLflow run."""

from __future__ import annotations

from typing import Final

import msgspec

_KEY: Final = "trackkit.writer."
_QUIET_SECONDS: Final = 60.0
"""A writer that has said nothing for so long, and no last word either, is not waited for."""
_STATUS: Final = {"finished": "FINISHED", "killed": "KILLED", "crashed": "FAILED", "failed": "FAILED"}
_SEVERITY: Final = ("finished", "killed", "crashed", "failed")


class Mark(msgspec.Struct, omit_defaults=True):
    """How far one writer is; times in seconds since the epoch.

    Attributes
    ----------
    position
        The offset of the journal up to which all but files is at the server.
    held
        Where the first record began whose files were not there, when this was written.
    time
        Of the last record that has one.
    """

    position: int = 0
    held: int | None = None
    state: str = "running"
    role: str = "main"
    label: str = ""
    started: float = 0.0
    time: float = 0.0

    @staticmethod
    def key(writer: str) -> str:
        """The tag that holds a writer's mark."""
        return f"{_KEY}{writer}"

    @classmethod
    def of(cls, tags: dict[str, str], writer: str) -> Mark:
        """A writer's mark among tags; that of one who has sent nothing if there is none."""
        try:
            return msgspec.json.decode(tags.get(cls.key(writer), "{}"), type=cls)
        except msgspec.MsgspecError:
            return cls()

    @classmethod
    def all(cls, tags: dict[str, str]) -> list[Mark]:
        """The marks of all writers."""
        return [cls.of(tags, key.removeprefix(_KEY)) for key in tags if key.startswith(_KEY)]

    def encode(self) -> str:
        """The value of the tag."""
        return msgspec.json.encode(self).decode()


def status_of(marks: list[Mark], own: Mark) -> str | None:
    """The status of a run one of whose writers has ended; None while others go on.

    Examples
    --------
    >>> ended = Mark(state="failed", time=100.0)
    >>> status_of([ended, Mark(time=99.0)], ended) is None, status_of([ended, Mark(time=3.0)], ended)
    (True, 'FAILED')
    """
    mains = [mark for mark in marks if mark.role == "main"]
    if own.role != "main":
        return None
    if any(mark.state == "running" and mark.time > own.time - _QUIET_SECONDS for mark in mains):
        return None
    counted = [mark.state for mark in mains if mark.state in _SEVERITY and mark.time >= own.started]
    return _STATUS[max([*counted, "finished"], key=_SEVERITY.index)]

"""The run of `mode="disabled"`."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from trackkit.core import records
from trackkit.core.config import Config
from trackkit.core.journal import Frames
from trackkit.core.run import Run
from trackkit.core.settings import Settings
from trackkit.core.summary_view import RunSummary
from trackkit.core.values import check_step

if TYPE_CHECKING:
    from trackkit.core.artifact import Artifact


class DisabledRun(Run):
    """A run that records nothing: `mode="disabled"`. Config and summary work within the process."""

    def __init__(self, identity: records.Start, settings: Settings) -> None:
        self.settings = settings
        self.id, self.project = identity.run, identity.project
        self.group, self.job_type = identity.group, identity.job_type
        self.resumed = self.joined = False
        self.dir = Path(settings.dir).absolute()
        self._name, self._tags, self._notes = identity.name, list(identity.tags), identity.notes
        self._sinks = []
        self._redactor = None
        self._after = []

        self._artifact_log = self._loose = self._pump = None
        self._state = "running"
        self.config = Config()
        self.summary = RunSummary(lambda offset: Frames(offset))
        self._started = time.time()

    def rewind(self, step: int) -> None:
        """Do nothing."""
        check_step(step)

    def log(self, values: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        """Do nothing."""

    def log_code(self, *arguments: Any, **named: Any) -> list[str]:
        """Do nothing."""
        return []

    def watch(self, *arguments: Any, **named: Any) -> None:
        """Do nothing."""

    def unwatch(self, *arguments: Any, **named: Any) -> None:
        """Do nothing."""

    def save(self, *arguments: Any, **named: Any) -> list[str]:
        """Do nothing."""
        return []

    def log_artifact(
        self,
        artifact_or_path: Artifact | str | os.PathLike[str],
        name: str | None = None,
        type: str | None = None,
        *arguments: Any,
        **named: Any,
    ) -> Artifact:
        """Give the artifact back, or an empty one for a path; nothing is read, staged or waited for."""
        from trackkit.core.artifact import Artifact

        made = artifact_or_path
        if not isinstance(made, Artifact):
            made = Artifact(name or f"run-{self.id}-disabled", type or "unspecified")
        made.drop()
        return made

    upsert_artifact = finish_artifact = log_artifact

    def link_artifact(self, artifact: Artifact, *arguments: Any, **named: Any) -> Artifact:
        """Do nothing."""
        return artifact

    def use_artifact(self, artifact_or_name: str | Artifact, type: str | None = None, **compatible: Any) -> Artifact:
        """The artifact if it is one; by its name none is found.

        Raises
        ------
        ArtifactNotLogged
            For a name.
        """
        from trackkit.core.artifact_facts import ArtifactNotLogged

        if isinstance(artifact_or_name, str):
            raise ArtifactNotLogged(
                f"a disabled run reads no artifacts; get it by trackkit.Api().artifact({artifact_or_name!r})"
            )
        return artifact_or_name

    def restore(self, *arguments: Any, **named: Any) -> IO[str] | None:
        """Find nothing."""
        return None

    @property
    def step(self) -> int:
        return 0

    @step.setter
    def step(self, step: int) -> None: ...

    def accounting(self) -> dict[str, float]:
        return {}

    def finish(self, exit_code: int | None = None, quiet: bool | None = None, timeout: float | None = None) -> None:
        self._state = "finished" if not exit_code else "failed"

    def end(self, state: str, exit_code: int, error: str, *, leaving: bool = False) -> None: ...

    def _say(self, record: records.AnyRecord) -> None: ...

    def _now(self) -> float:
        return time.time()

    def _record(self, record: records.AnyRecord) -> None: ...

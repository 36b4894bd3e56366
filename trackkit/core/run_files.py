"""What a run keeps of files: artifacts, and files that belong to none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any, cast

from trackkit.core import records

if TYPE_CHECKING:
    from trackkit.core.artifact import Artifact
    from trackkit.core.artifact_log import ArtifactLog
    from trackkit.core.loose_files import LooseFiles, When
    from trackkit.core.pump import Pump
    from trackkit.core.run import Run


class RunFiles:
    """The part of a run that takes files; what it needs of the rest stands first."""

    id: str
    group: str
    _sinks: list[str]
    _pump: Pump | None
    _artifact_log: ArtifactLog | None
    _loose: LooseFiles | None

    def _now(self) -> float:
        raise NotImplementedError

    def _say(self, record: records.AnyRecord) -> None:
        raise NotImplementedError

    def _record(self, record: records.AnyRecord) -> None:
        raise NotImplementedError

    def _check_running(self) -> None:
        raise NotImplementedError

    def log_artifact(
        self,
        artifact_or_path: Artifact | str | os.PathLike[str],
        name: str | None = None,
        type: str | None = None,
        aliases: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
    ) -> Artifact:
        """Log an artifact, which makes a version of it; what has the files of the latest version makes none.

        The call returns once the artifact is in the journal and its files are staged; it is sent in the background,
        and `artifact.wait()` waits for that.

        Parameters
        ----------
        artifact_or_path
            The artifact; or a file, a folder or a URI to make one of.
        name, type
            Of an artifact made of a path; by default `run-ID-FILE` and `unspecified`.
        aliases
            What the version is to be called besides `latest`.
        tags
            To find it by.

        Returns
        -------
        Artifact
            The artifact. Where a full disk or a budget kept it from being logged, a warning says so, and `wait` raises.

        Raises
        ------
        FileNotFoundError
            If there is nothing at the path.
        FileChanged
            If a file changes while it is read.
        ValueError
            If a name or an alias can't be one.

        Examples
        --------
        >>> run.log_artifact("model.pt", name="digits", type="model", aliases=["best"])  # doctest: +SKIP
        """
        return self._artifacts().log(artifact_or_path, name, type, aliases, tags)

    def use_artifact(self, artifact_or_name: str | Artifact, type: str | None = None, **compatible: Any) -> Artifact:
        """The version of an artifact, which the run uses from now on.

        Parameters
        ----------
        artifact_or_name
            `name:alias`, `project/name:v3`, `name` for the latest version, or a digest.
        type
            What it has to be.
        **compatible
            `aliases` and `use_as` are accepted for scripts written for W&B.

        Raises
        ------
        KeyError
            If there is no such version where the run is sent.
        ValueError
            If the name means nothing.

        Examples
        --------
        >>> folder = run.use_artifact("digits/model:best").download()  # doctest: +SKIP
        """
        return self._artifacts().use(artifact_or_name, type)

    def upsert_artifact(
        self,
        artifact_or_path: Artifact | str | os.PathLike[str],
        name: str | None = None,
        type: str | None = None,
        aliases: Sequence[str] | None = None,
        distributed_id: str | None = None,
    ) -> Artifact:
        """Add this writer's part to a version that several writers build; see `finish_artifact`.

        Parameters
        ----------
        distributed_id
            Names what is built, the same for all writers; by default the run's group, or its id.
        """
        draft = distributed_id or self.group or self.id
        return self._artifacts().log(artifact_or_path, name, type, aliases, None, draft=draft, is_part=True)

    def finish_artifact(
        self,
        artifact_or_path: Artifact | str | os.PathLike[str],
        name: str | None = None,
        type: str | None = None,
        aliases: Sequence[str] | None = None,
        distributed_id: str | None = None,
        parts: int = 0,
    ) -> Artifact:
        """Make a version of what the writers have added, and of what is in this artifact.

        Parameters
        ----------
        parts
            How many parts there have to be. The version waits for them, so that the writers need not; 0 takes
            those that have arrived.
        """
        draft = distributed_id or self.group or self.id
        return self._artifacts().log(artifact_or_path, name, type, aliases, None, draft=draft, parts=parts)

    def link_artifact(self, artifact: Artifact, target_path: str, aliases: Sequence[str] | None = None) -> Artifact:
        """Make an artifact a version of another collection too, such as `registry/model`; see `Artifact.link`."""
        return self._artifacts().link(artifact, target_path, aliases)

    def save(
        self,
        glob_str: str | os.PathLike[str],
        base_path: str | os.PathLike[str] | None = None,
        policy: When = "live",
    ) -> list[str]:
        """Keep loose files with the run.

        Parameters
        ----------
        glob_str
            A path or a pattern, with `**` for folders.
        base_path
            The folder their paths in the run are relative to; by default the current one, of an absolute path the
            file's.
        policy
            `now`; `live`: now, and whenever they change; `end`: when the run ends.

        Returns
        -------
        list of str
            The paths in the run.

        Raises
        ------
        ValueError
            If a file lies outside of `base_path`, or the policy is none.
        """
        self._check_running()
        loose = self._loose_files()
        was_live = loose.is_live
        kept = loose.save(glob_str, base_path, policy)
        if loose.is_live and not was_live and self._pump is not None:
            from trackkit.core.loose_files import LOOK_SECONDS
            from trackkit.core.pump import Chore

            self._pump.add(Chore(LOOK_SECONDS, loose.look, LOOK_SECONDS))
        return kept

    def restore(
        self,
        name: str,
        run_path: str | None = None,
        replace: bool = False,
        root: str | os.PathLike[str] | None = None,
    ) -> IO[str] | None:
        """Bring a file that a run kept back to a folder, and open it to read.

        Parameters
        ----------
        name
            Its path in the run.
        run_path
            `project/id` of the run; by default this one.
        replace
            Replace a file that is there.
        root
            The folder, by default the current one.

        Raises
        ------
        ValueError
            If the run has no such file.
        """
        return self._loose_files().restore(name, run_path, replace, root, self._artifacts().shelf())

    def _artifacts(self) -> ArtifactLog:
        if self._artifact_log is None:
            from trackkit.core.artifact_log import ArtifactLog

            self._artifact_log = ArtifactLog(cast("Run", self), self._say, self._now, self._sinks)
        return self._artifact_log

    def _loose_files(self) -> LooseFiles:
        if self._loose is None:
            from trackkit.core.loose_files import LooseFiles

            self._loose = LooseFiles(cast("Run", self), self._record, self._now, lambda: self._artifacts().cache)
        return self._loose

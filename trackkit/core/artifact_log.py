"""A run's side of artifacts: logged, used, linked, built by several writers."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trackkit.core import records
from trackkit.core.artifact import REGISTRY, Artifact
from trackkit.core.artifact_facts import ArtifactNotLogged
from trackkit.core.cache import Cache
from trackkit.core.manifest import Manifest, Reference, check_alias
from trackkit.core.sink import Shelf, Shelving, Submitted, find_factory
from trackkit.core.staging import NotStaged

if TYPE_CHECKING:
    from trackkit.core.run import Run


class ArtifactNotFound(KeyError):
    """No store the run is sent to has such a version."""

    def __str__(self) -> str:
        return str(self.args[0])


class ArtifactLog:
    """Logs and uses artifacts for a run.

    Parameters
    ----------
    run
        The run.
    record
        Takes a record.
    now
        The run's clock.
    sinks
        URIs of the run's sinks; the first that keeps artifacts is the one they are read from.
    """

    def __init__(
        self, run: Run, record: Callable[[records.AnyRecord], None], now: Callable[[], float], sinks: Sequence[str]
    ) -> None:
        self._run = run
        self._record = record
        self._now = now
        self._sinks = list(sinks)
        self._lock = threading.RLock()
        self._shelf: Shelf | None = None
        self._process = os.getpid()
        self._cache: Cache | None = None
        self._waiting: dict[str, Artifact] = {}
        self._bytes = 0

    @property
    def cache(self) -> Cache:
        """The client's cache."""
        if self._cache is None:
            self._cache = Cache.of(self._run.settings)
        return self._cache

    def log(
        self,
        artifact: Artifact | str | os.PathLike[str],
        name: str | None,
        type: str | None,
        aliases: Sequence[str] | None,
        tags: Sequence[str] | None,
        *,
        draft: str = "",
        is_part: bool = False,
        parts: int = 0,
    ) -> Artifact:
        """Log an artifact, or a file, a folder or a reference as one."""
        wanted = [check_alias(alias) for alias in ([aliases] if isinstance(aliases, str) else aliases or ())]
        labels = list(dict.fromkeys(map(str, [tags] if isinstance(tags, str) else tags or ())))
        if not isinstance(artifact, Artifact):
            artifact = self._made_of(artifact, name, type)
        elif not artifact.is_draft():
            return self._again(artifact, wanted, labels)
        if artifact.incremental:
            self._continue(artifact)
        if artifact.trouble or not self._fits(artifact):
            reason = artifact.trouble or f"it is over the run's budget of {self._run.settings.max_bytes:,} bytes"
            self._refuse(artifact, reason)
            return artifact
        try:
            manifest = artifact.submit(self._run.dir, self.cache)
        except NotStaged as error:
            self._refuse(artifact, str(error))
            return artifact
        except FileNotFoundError as error:
            self._refuse(artifact, f"a staged file is gone: {error}")
            return artifact
        except OSError as error:
            self._refuse(artifact, str(error))
            return artifact
        self._bytes += manifest.size
        artifact.aliases = [*artifact.aliases, *(alias for alias in wanted if alias not in artifact.aliases)]
        artifact.tags = [*artifact.tags, *labels]
        self._say(artifact, manifest, draft, is_part, parts)
        return artifact

    def _say(self, artifact: Artifact, manifest: Manifest, draft: str, is_part: bool, parts: int) -> None:
        token = secrets.token_hex(16)
        self._record(
            records.Artifact(
                self._now(),
                token,
                artifact.collection,
                artifact.type,
                manifest.digest,
                manifest.size,
                len(manifest),
                "",
                artifact.description,
                artifact.metadata,
                [alias for alias in artifact.aliases if alias != "latest"],
                list(artifact.tags),
                None if artifact.ttl is None else artifact.ttl.total_seconds(),
                draft,
                is_part,
                parts,
            )
        )
        run = self._run.id
        artifact.expect((lambda: self._ask(run, token)) if self._sinks else None, self.shelf)
        if not is_part:
            self._waiting[artifact.collection] = artifact

    def use(self, reference: str | Artifact, type: str | None) -> Artifact:
        """The version a reference means, and a note that the run uses it."""
        if isinstance(reference, Artifact):
            found = self.log(reference, None, None, None, None) if reference.is_draft() else reference
            if self._sinks:
                found.wait(self._run.settings.finish_timeout)
            written = found.name
        else:
            found = self._find(reference, type)
            written = reference
        try:
            version, project = int(found.version[1:]), found.project
        except ArtifactNotLogged:  # an offline run uses what it has just logged
            version, project = -1, self._run.project
        self._record(records.Use(self._now(), written, project, found.collection, found.type, version, found.digest))
        return found

    def link(self, artifact: Artifact, target: str, aliases: Sequence[str] | None) -> Artifact:
        """Make an artifact a version of another collection too."""
        if artifact.is_draft():
            artifact = self.log(artifact, None, None, None, None)
        artifact.wait(self._run.settings.finish_timeout)
        place, _, name = target.rpartition("/")
        return artifact.link(f"{place or REGISTRY}/{name}", aliases)

    def shelf(self) -> Shelf:
        """The artifacts of the first sink that keeps some.

        Raises
        ------
        ArtifactNotLogged
            If the run is sent nowhere that does.
        """
        with self._lock:
            if self._shelf is None or self._process != os.getpid():
                self._process = os.getpid()
                for uri in self._sinks:
                    sink = find_factory(uri)(uri, self._run.dir)
                    if isinstance(sink, Shelving):
                        self._shelf = sink.shelf()
                        break
                else:
                    raise ArtifactNotLogged(
                        f"{self._run.path} is sent to no store that keeps artifacts"
                        + (": it is offline" if not self._sinks else "")
                    )
            return self._shelf

    def close(self) -> None:
        """Let go of nothing that artifacts still read from, and trim the client's cache."""
        with contextlib.suppress(OSError):
            if self._cache is not None:
                self._cache.trim()

    def after_fork_in_child(self) -> None:
        """In a forked child: connections are the parent's."""
        self._lock = threading.RLock()
        self._shelf = None

    def _ask(self, run: str, token: str) -> Submitted:
        self._run.hasten()
        return self.shelf().submitted(run, token)

    def _find(self, reference: str, type: str | None) -> Artifact:
        wanted = Reference.parse(reference)
        waiting = self._waiting.get(wanted.name)
        if waiting is not None and wanted.project in ("", self._run.project) and self._sinks:
            with contextlib.suppress(TimeoutError):
                waiting.wait(self._run.settings.finish_timeout)
        shelf = self.shelf()
        found = shelf.find(reference, self._run.project, type)
        if found is None:
            where = wanted.project or self._run.project
            of_type = f" of type {type!r}" if type else ""
            raise ArtifactNotFound(f"there is no artifact {reference!r}{of_type} in the project {where!r}")
        return Artifact.shelved(found, shelf, self.cache)

    def _made_of(self, path: str | os.PathLike[str], name: str | None, type: str | None) -> Artifact:
        text = os.fspath(path)
        chosen = name or f"run-{self._run.id}-{Path(text).name}"
        made = Artifact(chosen, type or "unspecified")
        if "://" in text:
            made.add_reference(text)
        elif Path(text).is_dir():
            made.add_dir(text)
        elif Path(text).is_file():
            made.add_file(text)
        else:
            raise FileNotFoundError(f"log_artifact() found neither a file nor a folder {text!r}")
        return made

    def _again(self, artifact: Artifact, aliases: list[str], tags: list[str]) -> Artifact:
        """Log a version that is logged: it gets the aliases and tags."""
        if aliases or tags:
            artifact.wait(self._run.settings.finish_timeout)
            artifact.aliases = list(dict.fromkeys([*artifact.aliases, *aliases]))
            artifact.tags = [*artifact.tags, *tags]
            artifact.save()
        return artifact

    def _continue(self, artifact: Artifact) -> None:
        """An incremental artifact begins with the files of the latest version."""
        try:
            latest = self._find(f"{artifact.collection}:latest", None)
        except (ArtifactNotFound, ArtifactNotLogged):
            return
        artifact.begin_with({entry.path: entry.entry for entry in latest.manifest_entries()})

    def _fits(self, artifact: Artifact) -> bool:
        limit = self._run.settings.max_bytes
        return not limit or self._bytes + artifact.size <= limit

    def _refuse(self, artifact: Artifact, reason: str) -> None:
        text = f"the artifact {artifact.collection!r} is not logged: {reason}"
        warnings.warn(f"trackkit: {text}", RuntimeWarning, stacklevel=4)
        self._record(records.Alert(self._now(), "error", "an artifact was not logged", text))
        artifact.expect(lambda: Submitted("refused", text), self.shelf)

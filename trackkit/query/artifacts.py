"""Artifacts read from a store, in a folder or on a server."""

from __future__ import annotations

from typing import Any

from trackkit.core.artifact import Artifact as CoreArtifact
from trackkit.core.cache import Cache
from trackkit.core.manifest import Change, Reference, differences
from trackkit.core.settings import load
from trackkit.core.sink import BudgetState, CollectionState, Move, Shelved
from trackkit.query.source import Source


class ArtifactNotFound(KeyError):
    """There is no such artifact in the store."""

    def __str__(self) -> str:
        return str(self.args[0])


class Artifact(CoreArtifact):
    """A version of an artifact, read from a store; see `trackkit.Artifact`.

    Examples
    --------
    >>> artifact = trackkit.Api().artifact("digits/model:best")
    >>> artifact.version, artifact.size, [entry.path for entry in artifact.files()]
    ('v3', 81920, ['model.pt'])
    >>> artifact.aliases.append("production")
    >>> artifact.save()
    """

    _source: Source

    @classmethod
    def of(cls, source: Source, found: Shelved) -> Artifact:
        """A version as a store has it."""
        made = cls.shelved(found, source.artifacts, Cache.of(load()))
        assert isinstance(made, Artifact)
        made._source = source
        return made

    def logged_by(self) -> Any:
        """The run that logged it, as `Api().run` gives it; None if it is gone."""
        from trackkit.query.run import Run

        found = self._source.artifacts.producer(self.id)
        row = None if found is None else self._source.find(found.path)
        return None if row is None else Run(self._source, row)

    def used_by(self) -> Any:
        """The runs that used it, as `Api().run` gives them."""
        from trackkit.query.run import Run

        rows = [self._source.find(run.path) for run in self._source.artifacts.consumers(self.id)]
        return [Run(self._source, row) for row in rows if row is not None]

    def compare(self, other: CoreArtifact) -> list[Change]:
        """What has to change for this version to become another, by path."""
        return differences(self._contents(), other._contents())

    def history(self) -> list[Move]:
        """Who moved the aliases of its name, the latest first."""
        return self._source.artifacts.moves(self.project, self.collection)


class Artifacts:
    """The artifacts of a store: what `Api` asks them.

    Parameters
    ----------
    source
        Where they are.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    def find(self, name: str, type: str | None) -> Artifact:
        """The version a reference means."""
        reference = Reference.parse(name)
        project = reference.project or (self._project_of(reference.name) if reference.name else "")
        found = self._source.artifacts.find(name, project, type)
        if found is None:
            raise ArtifactNotFound(f"there is no artifact {name!r} in {self._source.place}")
        return Artifact.of(self._source, found)

    def listed(self, type: str | None, project: str | None, name: str | None) -> list[Artifact]:
        """Versions, the newest of each name first."""
        return [
            Artifact.of(self._source, found)
            for row in self._source.artifacts.collections(project, type)
            if name is None or row.name == name
            for found in self._source.artifacts.versions(row.project, row.name)
        ]

    def collections(self, project: str | None, type: str | None) -> list[CollectionState]:
        """The names of artifacts."""
        return self._source.artifacts.collections(project, type)

    def versions(self, name: str) -> list[Shelved]:
        """The versions of a name."""
        return self._source.artifacts.versions(*self._split(name))

    def moves(self, name: str) -> list[Move]:
        """The moves of a name's aliases."""
        return self._source.artifacts.moves(*self._split(name))

    def protect(self, artifact: CoreArtifact, alias: str, protected: bool) -> None:
        """Have an alias mean a version, protected or not."""
        self._source.artifacts.protect(artifact.id, alias, protected)

    def budgets(self) -> list[BudgetState]:
        """The budgets."""
        return self._source.artifacts.budgets()

    def set_budget(self, project: str, limit: int, rule: str) -> None:
        """Give a project a budget."""
        self._source.artifacts.set_budget(project, limit, rule)

    def of_run(self, run: str) -> tuple[list[Artifact], list[Artifact]]:
        """What a run logged, and what it used."""
        logged, used = self._source.artifacts.of_run(run)
        return [Artifact.of(self._source, one) for one in logged], [Artifact.of(self._source, one) for one in used]

    def _split(self, name: str) -> tuple[str, str]:
        project, _, own = name.partition(":")[0].rpartition("/")
        project = project or self._project_of(own)
        if not any(row.name == own for row in self._source.artifacts.collections(project)):
            raise ArtifactNotFound(f"there is no artifact {name!r} in {self._source.place}")
        return project, own

    def _project_of(self, name: str) -> str:
        """The only project that has an artifact of this name; empty if none has."""
        found = sorted(row.project for row in self._source.artifacts.collections() if row.name == name)
        if len(found) > 1:
            raise ValueError(f"{name!r} could be in {' or '.join(found)}; write PROJECT/{name}")
        return found[0] if found else ""

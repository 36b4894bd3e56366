"""The way in: a store opened for reading."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trackkit.backend.store.runs import PAGE
from trackkit.core.artifact import Artifact as CoreArtifact
from trackkit.core.sink import BudgetState, CollectionState, Move, Shelved
from trackkit.query.artifacts import Artifact, Artifacts
from trackkit.query.listing import Project, Runs, list_runs
from trackkit.query.local import LocalSource
from trackkit.query.moments import moment
from trackkit.query.run import Run
from trackkit.query.source import RunNotFound, Source
from trackkit.query.store import Store


class Api:
    """Runs of a store, in a folder or on a server: found, read and edited.

    Opening a folder takes over what runs that died left in their journals. Reading holds no lock and
    no transaction between calls, so that runs go on writing undisturbed.

    A server is read with the token that `trackkit login` kept for it, or that of `TRACKKIT_TOKEN`, and answers
    as a folder does: every point of a series, exact. Any question to it may raise ConnectionError if it does not
    answer, and PermissionError if the token is not good for it.

    Parameters
    ----------
    uri
        The store's folder, its database file or `sqlite:///path`; or a server, `http://host:port` (of several
        servers on one store `http://one:port,two:port`). By default the folder the settings name (`TRACKKIT_DIR`,
        or else `.trackkit`).
    progress
        Called now and then with the bytes done and to do, while journals of runs that died are taken over.

    Raises
    ------
    FileNotFoundError
        If there is no store.
    SchemaTooNew
        If a newer trackkit wrote it.
    ConnectionError
        If the server can't be reached, or is no trackkit server.
    PermissionError
        If the server asks for a token, or for another one.

    Examples
    --------
    >>> api = trackkit.Api("runs")
    >>> for run in api.runs("digits", "config.lr < 0.01 and state = 'finished'", order="-summary.accuracy"):
    ...     print(run.name, run.summary["accuracy"])
    >>> api.run("digits/k3x9q0aa7c").series("loss").value
    array([2.31, 1.12, 0.54])
    >>> trackkit.Api("https://track.example.org").run("digits/k3x9q0aa7c").summary["accuracy"]
    0.97
    """

    def __init__(
        self, uri: str | os.PathLike[str] | None = None, *, progress: Callable[[int, int], None] | None = None
    ) -> None:
        self._source = _open(uri, progress)
        self._artifacts = Artifacts(self._source)

    def projects(self) -> list[Project]:
        """The projects, the one with the latest activity first."""
        return [
            Project(row.name, row.runs, row.running, moment(row.updated), self._source)
            for row in self._source.projects()
        ]

    def runs(
        self,
        project: str | None = None,
        filters: str | Mapping[str, Any] | None = None,
        order: str | Sequence[str] = "-created",
        limit: int | None = None,
    ) -> Runs:
        """The runs that match, lazily: a sequence with a length that loads a page at a time.

        Parameters
        ----------
        project
            Only this project's runs.
        filters
            An expression such as `config.lr < 0.01 and summary.acc > 0.9 and tags has "baseline"`, or a dict in
            W&B's manner such as `{"config.lr": {"$lt": 0.01}, "state": "finished"}`.
        order
            Keys such as `-created`, `+name`, `config.lr` or `-summary.acc`, in a list or separated by
            commas; runs without a value come last.
        limit
            Runs at most.

        Raises
        ------
        FilterError
            If the filter or the order means nothing; the message points at the column.
        """
        return list_runs(self._source, project, filters, order, limit)

    def run(self, path: str) -> Run:
        """The run named `project/id`, or by its `id` alone.

        Raises
        ------
        RunNotFound
            If there is no such run.
        """
        path = path.strip("/")
        found = self._source.find(path)
        if found is None:
            raise RunNotFound(self._absence(path))
        return Run(self._source, found)

    def artifact(self, name: str, type: str | None = None) -> Artifact:
        """The version of an artifact named `project/name:alias`, `name:v3`, or by a digest.

        Raises
        ------
        ArtifactNotFound
            If there is none.
        ValueError
            If the name means nothing, or several projects have it.
        """
        return self._artifacts.find(name, type)

    def artifacts(self, type: str | None = None, project: str | None = None, name: str | None = None) -> list[Artifact]:
        """Versions of artifacts, the newest of each name first.

        Parameters
        ----------
        type, project, name
            Only those.
        """
        return self._artifacts.listed(type, project, name)

    def collections(self, project: str | None = None, type: str | None = None) -> list[CollectionState]:
        """The names that artifacts have, the one that changed last first: how many versions, bytes, and when."""
        return self._artifacts.collections(project, type)

    def versions(self, name: str) -> list[Shelved]:
        """The versions of `project/name`, the newest first."""
        return self._artifacts.versions(name)

    def alias_history(self, name: str) -> list[Move]:
        """Who moved the aliases of `project/name`, the latest first."""
        return self._artifacts.moves(name)

    def protect_alias(self, artifact: CoreArtifact, alias: str, protect: bool = True) -> None:
        """Have an alias mean a version, and let no run move it any more, or again."""
        self._artifacts.protect(artifact, alias, protect)

    def budgets(self) -> list[BudgetState]:
        """How many bytes the artifacts of projects may take, and do."""
        return self._artifacts.budgets()

    def set_budget(self, project: str, max_bytes: int, rule: str = "refuse") -> None:
        """Say how many bytes the artifacts of a project may take; 0 for no limit.

        Parameters
        ----------
        rule
            What happens when a version would be too much: `refuse` it, or delete older ones but for those that have an
            alias (`keep aliased`), and in each collection the last (`keep last 5`) or the best (`keep best 3 by
            val/acc`, `keep best 3 by -val/loss`).

        Raises
        ------
        ValueError
            If the rule is none.
        """
        self._artifacts.set_budget(project, max_bytes, rule)

    def _absence(self, path: str) -> str:
        """What to say where there is no such run: those whose id or name are like it."""
        id = path.rpartition("/")[2]
        ids = {row.id: row for row in self._source.load(self._source.handles(None, "-created", PAGE))}
        like = [row for row in ids.values() if row.name == id or row.id in difflib.get_close_matches(id, ids, 3)]
        hint = f"; did you mean {' or '.join(f'{row.project}/{row.id}' for row in like[:3])}?" if like else ""
        return f"there is no run {path!r} in {self._source.place}{hint}"

    def __repr__(self) -> str:
        return f"Api({self._source.name!r})"


def _open(uri: str | os.PathLike[str] | None, progress: Callable[[int, int], None] | None) -> Source:
    if isinstance(uri, str) and uri.startswith(("http://", "https://")):
        from trackkit.query.remote import RemoteSource

        return RemoteSource(uri)
    return LocalSource(Store(uri, progress=progress))

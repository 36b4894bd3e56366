"""What there is to know of an artifact besides its files, and what of it can be changed."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trackkit.core.draft import Draft
from trackkit.core.manifest import Manifest, check_alias
from trackkit.core.metadata import check_metadata
from trackkit.core.sink import Shelved, Submitted

Waiter = Callable[[], Submitted]


class ArtifactNotLogged(RuntimeError):
    """What was asked for exists once the artifact is logged, and its version is committed."""


class ArtifactFacts:
    """The facts of an artifact: of a draft, of one that is on its way, or of a version."""

    _draft: Draft | None

    def __init__(
        self, name: str, type: str, description: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> None:
        self._name = name
        self._type = type
        self._description = description or ""
        self._metadata = check_metadata(metadata)
        self._ttl: datetime.timedelta | None = None
        self._aliases: list[str] = []
        self._tags: list[str] = []
        self._manifest: Manifest | None = None
        self._shelved: Shelved | None = None
        self._submitted: Waiter | None = None
        self._changed: set[str] = set()

    def _show(self, found: Shelved) -> None:
        self._shelved = found
        self._name, self._type, self._description = found.name, found.type, found.description
        self._metadata, self._aliases, self._tags = dict(found.metadata), list(found.aliases), list(found.tags)
        lifetime = None if found.expires is None else datetime.timedelta(seconds=found.expires - found.created)
        self._ttl, self._changed = lifetime, set()

    @property
    def name(self) -> str:
        """The name, with `:v3` once the version is known."""
        return self._name if self._shelved is None else f"{self._name}:v{self._shelved.number}"

    @property
    def collection(self) -> str:
        """The name without the version."""
        return self._name

    @property
    def type(self) -> str:
        """What it is: `dataset`, `model`, …."""
        return self._type

    @property
    def project(self) -> str:
        """The project it is in."""
        return self._committed().project

    @property
    def id(self) -> str:
        """Names the version in its store, whatever its aliases become."""
        return self._committed().id

    @property
    def version(self) -> str:
        """The version: `v0`, `v1`, ….

        Raises
        ------
        ArtifactNotLogged
            If it is not committed yet.
        """
        return f"v{self._committed().number}"

    @property
    def qualified_name(self) -> str:
        """`project/name:v3`."""
        found = self._committed()
        return f"{found.project}/{found.name}:v{found.number}"

    @property
    def source_name(self) -> str:
        """The name of the version this was linked from; its own if it was not."""
        return self._committed().source or self.name

    @property
    def description(self) -> str:
        """For people; on a version, `save()` keeps a change."""
        return self._description

    @description.setter
    def description(self, description: str | None) -> None:
        self._description = str(description or "")
        self._changed.add("description")

    @property
    def metadata(self) -> dict[str, Any]:
        """Facts about it; on a version, `save()` keeps a change."""
        return self._metadata

    @metadata.setter
    def metadata(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = check_metadata(metadata)
        self._changed.add("metadata")

    @property
    def aliases(self) -> list[str]:
        """What the version is called besides its number; on a version, `save()` keeps a change."""
        return self._aliases

    @aliases.setter
    def aliases(self, aliases: Sequence[str]) -> None:
        self._aliases = [check_alias(alias) for alias in aliases]

    @property
    def tags(self) -> list[str]:
        """Labels to find versions by; on a version, `save()` keeps a change."""
        return self._tags

    @tags.setter
    def tags(self, tags: Sequence[str]) -> None:
        self._tags = list(dict.fromkeys(map(str, tags)))

    @property
    def ttl(self) -> datetime.timedelta | None:
        """How long the version is kept after it was made; None for ever. On a version, `save()` keeps a change."""
        return self._ttl

    @ttl.setter
    def ttl(self, ttl: datetime.timedelta | None) -> None:
        given: object = ttl
        if given is not None and (not isinstance(given, datetime.timedelta) or given.total_seconds() <= 0):
            raise ValueError(f"ttl must be a timedelta longer than 0, or None, not {ttl!r}")
        self._ttl = ttl
        self._changed.add("ttl")

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest in hex: two artifacts with the same files have the same."""
        return self._shelved.digest if self._shelved is not None else self._contents().digest

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return self._shelved.size if self._shelved is not None else self._contents().size

    @property
    def file_count(self) -> int:
        """How many files and references there are."""
        return self._shelved.count if self._shelved is not None else len(self._contents())

    @property
    def created_at(self) -> str:
        """When the version was made, as ISO 8601 in UTC."""
        return datetime.datetime.fromtimestamp(self._committed().created, datetime.UTC).isoformat()

    @property
    def state(self) -> str:
        """`DRAFT`, `PENDING` or `COMMITTED`."""
        return "DRAFT" if self._draft is not None else "PENDING" if self._shelved is None else "COMMITTED"

    def is_draft(self) -> bool:
        """Whether it is not logged yet."""
        return self._draft is not None

    def _contents(self) -> Manifest:
        raise NotImplementedError

    def _committed(self) -> Shelved:
        if self._shelved is None and self._submitted is not None:
            answer = self._submitted()
            if answer.version is not None:
                self._show(answer.version)
        if self._shelved is None:
            raise ArtifactNotLogged(
                f"{self._name!r} has no version yet: it is "
                + ("a draft; log it first" if self._draft is not None else "on its way; call wait() first")
            )
        return self._shelved

"""A file of an artifact, as people hold it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from trackkit.core.manifest import Entry

if TYPE_CHECKING:
    from trackkit.core.artifact_files import ArtifactFiles


class ArtifactEntry:
    """A file of an artifact, or a reference.

    Attributes
    ----------
    path
        Its path in the artifact.
    size
        Bytes.
    digest
        SHA-256 of the content in hex; of a reference, its checksum.
    ref
        The URI that is referred to, or empty.
    """

    def __init__(self, artifact: ArtifactFiles, path: str, entry: Entry) -> None:
        self.artifact = artifact
        self.entry = entry
        self.path = path
        self.size = entry.size
        self.digest = entry.digest or entry.checksum
        self.ref = entry.ref

    @property
    def name(self) -> str:
        """The same as `path`, as W&B calls it."""
        return self.path

    def ref_target(self) -> str:
        """The URI that is referred to.

        Raises
        ------
        ValueError
            If it is no reference.
        """
        if not self.ref:
            raise ValueError(f"{self.path!r} is a file of the artifact, and no reference")
        return self.ref

    def download(self, root: str | os.PathLike[str] | None = None) -> str:
        """Bring the file below a folder, by default the artifact's own; its path there."""
        return str(self.artifact.bring([self.path], root)[0])

    def __repr__(self) -> str:
        return f"ArtifactEntry({self.path!r}, {self.size} bytes)"

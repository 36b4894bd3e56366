"""The files of an artifact: listed, brought here, verified."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from trackkit.core import references
from trackkit.core.artifact_entry import ArtifactEntry
from trackkit.core.artifact_facts import ArtifactFacts
from trackkit.core.blobs import Blobs, digest_of, is_digest
from trackkit.core.cache import Cache
from trackkit.core.download import download
from trackkit.core.manifest import Entry, Manifest
from trackkit.core.settings import load
from trackkit.core.sink import Shelf


class ArtifactFiles(ArtifactFacts):
    """What is in an artifact: in a draft, where it was staged, or in a version, where its store has it."""

    _root: Path | None
    _shelf: Shelf | None
    _cache: Cache | None
    _open_shelf: Callable[[], Shelf]

    def manifest_entries(self) -> list[ArtifactEntry]:
        """All entries, by path."""
        return [ArtifactEntry(self, path, entry) for path, entry in self._contents().items()]

    def files(self, names: Iterable[str] | None = None, per_page: int | None = None) -> list[ArtifactEntry]:
        """The files and references, all or those of some paths."""
        wanted = None if names is None else set(names)
        return [entry for entry in self.manifest_entries() if wanted is None or entry.path in wanted]

    def get_entry(self, name: str) -> ArtifactEntry:
        """The entry of a path.

        Raises
        ------
        KeyError
            If there is none.
        """
        return self._entry(name)

    get_path = get_entry

    def download(
        self,
        root: str | os.PathLike[str] | None = None,
        allow_missing_references: bool = False,
        skip_cache: bool | None = None,
        path_prefix: str | os.PathLike[str] | None = None,
    ) -> str:
        """Bring the files below a folder; those that are there and are what they should be stay.

        Parameters
        ----------
        root
            The folder; by default `artifacts/NAME:vN` here.
        allow_missing_references
            Leave out references that can't be read.
        path_prefix
            Only entries whose path begins like this.

        Returns
        -------
        str
            The folder.

        Raises
        ------
        FileNotFoundError
            If a blob is missing from the store.
        BlobDamaged
            If what arrived is not what it should be.
        ValueError
            If an entry would be written outside of the folder.
        """
        before = "" if path_prefix is None else os.fspath(path_prefix)
        paths = [path for path in self._contents() if path.startswith(before)]
        self.bring(paths, root, allow_missing=allow_missing_references)
        return str(self.folder(root))

    def checkout(self, root: str | os.PathLike[str] | None = None) -> str:
        """Like `download`, and everything else under the folder is deleted."""
        folder = self.folder(root)
        self.bring(list(self._contents()), folder)
        for here, _, names in os.walk(folder):
            for name in names:
                file = Path(here, name)
                if file.relative_to(folder).as_posix() not in self._contents():
                    file.unlink()
        return str(folder)

    def file(self, root: str | os.PathLike[str] | None = None) -> str:
        """Download an artifact of a single file; its path.

        Raises
        ------
        ValueError
            If there are several.
        """
        paths = list(self._contents())
        if len(paths) != 1:
            raise ValueError(f"{self.name!r} has {len(paths)} files; use download() or get_entry(path).download()")
        return str(self.bring(paths, root)[0])

    def verify(self, root: str | os.PathLike[str] | None = None) -> None:
        """Check that a downloaded folder has exactly the artifact's files, with their content.

        Raises
        ------
        ValueError
            If a file is missing, differs, or is not of the artifact.
        """
        folder, contents = self.folder(root), self._contents()
        for path, entry in contents.items():
            file = folder / path
            if not file.is_file():
                raise ValueError(f"{file} is missing")
            checksum = entry.digest or entry.checksum.removeprefix("sha256:")
            if is_digest(checksum) and digest_of(file) != checksum:
                raise ValueError(f"{file} differs from the artifact: it should have the digest {checksum}")
        for here, _, names in os.walk(folder):
            for name in names:
                if Path(here, name).relative_to(folder).as_posix() not in contents:
                    raise ValueError(f"{Path(here, name)} is not a file of the artifact")

    def folder(self, root: str | os.PathLike[str] | None = None) -> Path:
        """Where `download` puts the files, by default `artifacts/NAME:vN` here."""
        if root is not None:
            return Path(root).absolute()
        return Path("artifacts", re.sub(r"[^\w.: -]", "_", self.name)).absolute()

    def bring(
        self, paths: Sequence[str], root: str | os.PathLike[str] | None, *, allow_missing: bool = False
    ) -> list[Path]:
        """Bring some entries below a folder; where they are."""
        contents, cache = self._contents(), self._cache or self._staging()[1]
        chosen = [(path, contents[path]) for path in paths]
        if allow_missing:
            chosen = [(path, entry) for path, entry in chosen if not entry.ref or references.verify(entry)]
        found = download(self.folder(root), chosen, self.fetch, cache.stats)
        return found

    def fetch(self, entry: Entry, target: Path) -> None:
        """Write an entry to a new file, verified."""
        if entry.ref:
            references.fetch(entry, target)
            return
        if self._draft is not None or (self._root is not None and Blobs(self._root).exists(entry.digest)):
            blobs = self._draft.blobs if self._draft is not None else Blobs(self._root or Path())
            blobs.write_to(entry.digest, target)
            return
        self._shelf_of().fetch(self._committed().id, entry.digest, entry.size, target)

    def _contents(self) -> Manifest:
        if self._draft is not None:
            return self._draft.manifest()
        if self._manifest is None:
            found = self._committed()
            if self._root is not None and Blobs(self._root).exists(found.digest):
                content = Blobs(self._root).path(found.digest).read_bytes()
            else:
                content = self._read_blob(found.digest, 0)
            self._manifest = Manifest.decode(content)
        return self._manifest

    def _read_blob(self, digest: str, size: int) -> bytes:
        import tempfile

        with tempfile.TemporaryDirectory(prefix="trackkit-") as folder:
            target = Path(folder) / "blob"
            self._shelf_of().fetch(self._committed().id, digest, size, target)
            return target.read_bytes()

    def _entry(self, path: str) -> ArtifactEntry:
        contents = self._contents() if self._draft is None else self._draft.entries
        if path not in contents:
            near = ", ".join(list(contents)[:5]) or "nothing"
            raise KeyError(f"{self.name!r} has no entry {path!r}; it has {near}{' …' if len(contents) > 5 else ''}")
        return ArtifactEntry(self, path, contents[path])

    def _shelf_of(self) -> Shelf:
        if self._shelf is None:
            self._committed()
            self._shelf = self._open_shelf()
        return self._shelf

    def _staging(self) -> tuple[Blobs, Cache]:
        from trackkit.core.session import current

        run = current()
        settings = run.settings if run is not None else load()
        root = run.dir if run is not None else Path(settings.dir).absolute()
        return Blobs(root), Cache.of(settings)

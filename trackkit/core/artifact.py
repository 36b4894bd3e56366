"""Artifacts: versioned sets of files, put together, logged, and read back."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from trackkit.core import references
from trackkit.core.artifact_entry import ArtifactEntry
from trackkit.core.artifact_facts import ArtifactNotLogged, Waiter
from trackkit.core.artifact_files import ArtifactFiles
from trackkit.core.blobs import Blobs
from trackkit.core.cache import Cache
from trackkit.core.draft import Draft
from trackkit.core.manifest import Entry, Manifest, check_alias, check_path, is_artifact_name
from trackkit.core.metadata import check_metadata
from trackkit.core.sink import Edit, RunName, Shelf, Shelved
from trackkit.core.staging import Policy

REGISTRY = "registry"
"""The project whose collections hold what projects have linked."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5


class ArtifactRefused(RuntimeError):
    """The store did not take the artifact: its type differs, or it is over the budget."""


class ArtifactFinal(RuntimeError):
    """A version never changes; what is in it can be changed in a draft of the next."""


class Artifact(ArtifactFiles):
    """A versioned set of files: a dataset, a model, an evaluation.

    Files are added to a draft and are staged at once, as they are then; `run.log_artifact` makes a version of it, which
    never changes. The version's number and aliases are known once it is committed; `wait()` waits for that.

    Parameters
    ----------
    name
        Letters, digits, `_`, `-`, `.` and spaces. Versions of one name are v0, v1, …
    type
        What it is: `dataset`, `model`, …; the same for all versions of a name.
    description
        For people.
    metadata
        Facts about it, as a dict of what JSON can hold.
    incremental
        The version that is logged next begins with the files of the latest one.

    Raises
    ------
    ValueError
        If the name or the type can't be one.
    TypeError
        If the metadata is nothing JSON can hold.

    Examples
    --------
    >>> artifact = trackkit.Artifact("digits-model", type="model", metadata={"depth": 3})  # doctest: +SKIP
    >>> artifact.add_file("model.pt")  # doctest: +SKIP
    >>> run.log_artifact(artifact, aliases=["best"]).wait().version  # doctest: +SKIP
    'v0'
    """

    def __init__(
        self,
        name: str,
        type: str,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        incremental: bool = False,
        use_as: str | None = None,
    ) -> None:
        if not is_artifact_name(name):
            raise ValueError(
                f"{name!r} can't be an artifact's name: use up to 128 letters, digits, '_', '-', '.' and spaces, "
                "beginning with a letter, a digit or '_'"
            )
        if not is_artifact_name(type):
            raise ValueError(f"{type!r} can't be an artifact's type: use a word such as 'dataset' or 'model'")
        super().__init__(name, type, description, metadata)
        self.incremental = incremental
        self._draft = Draft(self._staging)
        self._root: Path | None = None
        self._is_dropped = False
        self._shelf: Shelf | None = None
        self._cache: Cache | None = None

    @classmethod
    def shelved(cls, found: Shelved, shelf: Shelf, cache: Cache) -> Artifact:
        """A version as a target has it."""
        made = cls.__new__(cls)
        Artifact.__init__(made, found.name, found.type)
        made._draft = None
        made._shelf, made._cache = shelf, cache
        made._show(found)
        return made

    # What goes in.

    def add_file(
        self,
        local_path: str | os.PathLike[str],
        name: str | None = None,
        is_tmp: bool = False,
        policy: Policy = "mutable",
        overwrite: bool = False,
        skip_cache: bool = False,
    ) -> ArtifactEntry:
        """Add a file as it is now.

        Parameters
        ----------
        local_path
            The file.
        name
            Its path in the artifact, with `/`; by default the file's name.
        policy
            `mutable`: the file may change later, and is cloned or copied. `immutable`: it never will, and is linked.
        overwrite
            Replace an entry of the name that has other content.
        is_tmp, skip_cache
            Accepted for scripts written for W&B.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        FileChanged
            If the file changed while it was read.
        ValueError
            If the name can't be a path in an artifact, or is taken.
        """
        file = Path(local_path)
        if not file.is_file():
            raise FileNotFoundError(f"add_file() found no file {str(file)!r}")
        path = name if name is not None else file.name
        draft = self._open()
        draft.add_file(file, path, policy, overwrite=overwrite or is_tmp)
        if draft.trouble and path not in draft.entries:
            return ArtifactEntry(self, path, Entry(0))
        return self._entry(path)

    def add_dir(
        self,
        local_path: str | os.PathLike[str],
        name: str | None = None,
        policy: Policy = "mutable",
        overwrite: bool = True,
        skip_cache: bool = False,
        merge: bool = True,
    ) -> None:
        """Add the files under a folder as they are now; links are followed.

        Parameters
        ----------
        local_path
            The folder.
        name
            A folder of the artifact to put them in; by default its top.

        Raises
        ------
        NotADirectoryError
            If there is no such folder.
        """
        folder = Path(local_path)
        if not folder.is_dir():
            raise NotADirectoryError(f"add_dir() found no folder {str(folder)!r}")
        before = f"{check_path(name.strip('/'))}/" if name and name.strip("/") else ""
        self._open().add_folder(folder, before, policy, overwrite=overwrite)

    @contextlib.contextmanager
    def new_file(
        self, name: str, mode: str = "w", encoding: str | None = None, overwrite: bool = False
    ) -> Iterator[IO[Any]]:
        """A file to write to in a `with`, which is added when the block ends well.

        Examples
        --------
        >>> with artifact.new_file("labels.json") as file:  # doctest: +SKIP
        ...     json.dump(labels, file)
        """
        with self._open().writing(name, mode, encoding, overwrite=overwrite) as file:
            yield file

    def add(self, obj: Any, name: str, overwrite: bool = False) -> ArtifactEntry:
        """Add an entry of another artifact without copying it, or media or a table, which get their extension.

        Raises
        ------
        TypeError
            If it is neither.
        """
        if isinstance(obj, ArtifactEntry):
            self._adopt(obj, name, overwrite)
            return self._entry(name)
        return self._entry(self._open().add_value(obj, name, overwrite=overwrite))

    def add_reference(
        self,
        uri: str | ArtifactEntry,
        name: str | None = None,
        checksum: bool = True,
        max_objects: int | None = None,
    ) -> list[ArtifactEntry]:
        """Refer to files that stay where they are.

        Parameters
        ----------
        uri
            `file:///…`, `http(s)://…`, or `s3://`, `gs://`, `az://` with fsspec's package for it; a file, or all under
            a folder.
        name
            The path in the artifact, or the folder they are put in.
        checksum
            Note what tells whether they changed: the SHA-256 of files, elsewhere what the place says (ETag, MD5).
        max_objects
            How many files there may be; 100,000 unless given.

        Raises
        ------
        FileNotFoundError
            If there is nothing.
        ValueError
            If the URI is of a kind that can't be referred to.
        ImportError
            If a package is missing, naming it.
        """
        if isinstance(uri, ArtifactEntry):
            return [self.add(uri, name or uri.path)]
        draft = self._open()
        most = max_objects if max_objects is not None else references.MOST
        paths = draft.add_reference(str(uri), name, checksum=checksum, most=most)
        return [self._entry(path) for path in paths]

    def remove(self, item: str | os.PathLike[str] | ArtifactEntry) -> None:
        """Take an entry out of the draft, or all entries under a folder.

        Raises
        ------
        FileNotFoundError
            If there is none.
        """
        path = item.path if isinstance(item, ArtifactEntry) else Path(item).as_posix()
        try:
            self._open().remove(path)
        except KeyError as error:
            raise FileNotFoundError(str(error.args[0])) from None

    def new_draft(self) -> Artifact:
        """A draft of the next version that begins with this one's files, none of which is copied.

        Raises
        ------
        ArtifactNotLogged
            If this is not logged.
        """
        if self._draft is not None:
            raise ArtifactNotLogged(f"{self._name!r} is a draft itself; log it first")
        made = Artifact(self._name, self._type, self._description, self._metadata)
        made._draft = Draft(made._staging, self._contents())
        return made

    # What becomes of it.

    def wait(self, timeout: float | None = None) -> Artifact:
        """Wait until the version is committed, and know its number and aliases.

        Parameters
        ----------
        timeout
            Seconds; None for as long as it takes.

        Raises
        ------
        TimeoutError
            If it takes longer.
        ArtifactRefused
            If the store refused it.
        ArtifactNotLogged
            If it is a draft, or goes to no store yet (an offline run).
        """
        if self._shelved is not None or self._is_dropped:
            return self
        if self._submitted is None:
            raise ArtifactNotLogged(f"{self._name!r} is not logged to a store yet; call run.log_artifact() first")
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_PAUSE
        while True:
            answer = self._submitted()
            if answer.version is not None:
                self._show(answer.version)
                return self
            if answer.state == "refused":
                raise ArtifactRefused(answer.reason)
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(
                    f"{self._name!r} is {answer.state} after {timeout:g} s; it is sent in the background"
                )
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def save(self) -> Artifact:
        """Keep what was changed of a version, such as aliases and tags; log a draft to the current run.

        Raises
        ------
        RuntimeError
            If it is a draft and no run is going on.
        """
        if self._draft is not None:
            from trackkit.core.session import current

            run = current()
            if run is None:
                raise RuntimeError("a draft is saved by a run, and none is going on; call trackkit.init() first")
            return run.log_artifact(self)
        old = self._committed()
        lifetime = None if self._ttl is None else old.created + self._ttl.total_seconds()
        edit = Edit(
            description=self._description if "description" in self._changed else None,
            metadata=check_metadata(self._metadata) if self._metadata != old.metadata else None,
            tags=self._tags if sorted(self._tags) != sorted(old.tags) else None,
            expires=lifetime if "ttl" in self._changed else None,
            keep="ttl" in self._changed and lifetime is None,
            aliases_added=[check_alias(alias) for alias in self._aliases if alias not in old.aliases],
            aliases_removed=[alias for alias in old.aliases if alias not in self._aliases],
        )
        self._show(self._shelf_of().edit(old.id, edit))
        return self

    def delete(self, delete_aliases: bool = False) -> None:
        """Delete the version; `trackkit gc` frees its files that no other version has.

        Parameters
        ----------
        delete_aliases
            Delete it though it has aliases besides `latest`.

        Raises
        ------
        ValueError
            If it has such aliases, and `delete_aliases` is false.
        """
        self._shelf_of().delete(self._committed().id, aliases=delete_aliases)

    def link(self, target_path: str, aliases: Sequence[str] | None = None) -> Artifact:
        """Make this a version of another collection too, such as one of the registry.

        Parameters
        ----------
        target_path
            `registry/NAME`, `PROJECT/NAME`, or a NAME in the registry.
        aliases
            What it is to be called there, such as `production`.
        """
        place, _, name = target_path.rpartition("/")
        project = place.rpartition("/")[2] or REGISTRY
        wanted = [check_alias(alias) for alias in aliases or ()]
        linked = self._shelf_of().link(self._committed().id, project, name, wanted)
        assert self._cache is not None
        return Artifact.shelved(linked, self._shelf_of(), self._cache)

    def logged_by(self) -> RunName | None:
        """The run that logged it."""
        return self._shelf_of().producer(self._committed().id)

    def used_by(self) -> list[RunName]:
        """The runs that used it."""
        return self._shelf_of().consumers(self._committed().id)

    def __repr__(self) -> str:
        return f"<trackkit artifact {self.name} {self._type} {self.state.lower()}>"

    # Underneath; the run's side is in `core.artifact_log`.

    def submit(self, root: Path, cache: Cache) -> Manifest:
        """Close the draft: its manifest, which is a blob under `root` now, with the blobs it names.

        Raises
        ------
        NotStaged
            If the disk can't take them.
        """
        draft = self._open()
        manifest = draft.manifest()
        blobs = Blobs(root)
        if draft.blobs.folder != blobs.folder:
            for digest in manifest.blobs():
                if not blobs.touch(digest):
                    blobs.take_from(draft.blobs, digest)
        blobs.put_bytes(manifest.encode())
        self._manifest, self._draft, self._root, self._cache = manifest, None, root, cache
        return manifest

    def expect(self, submitted: Waiter | None, shelf: Callable[[], Shelf]) -> None:
        """Tell how to find out what became of it, and where to read it back."""
        self._submitted = submitted
        self._open_shelf = shelf

    def drop(self) -> None:
        """A run that records nothing logged it: there is nothing to wait for."""
        self._is_dropped = True

    @property
    def trouble(self) -> str:
        """Why a draft can't be logged; empty if it can."""
        return "" if self._draft is None else self._draft.trouble

    def begin_with(self, entries: Mapping[str, Entry]) -> None:
        """Give a draft the entries of a version beside its own."""
        draft = self._open()
        draft.put({path: entry for path, entry in entries.items() if path not in draft.entries}, True)

    def _open(self) -> Draft:
        if self._draft is None:
            raise ArtifactFinal(f"{self.name!r} is logged and never changes; use new_draft() for the next version")
        return self._draft

    def _adopt(self, entry: ArtifactEntry, name: str, overwrite: bool) -> None:
        draft, found = self._open(), entry.entry
        check_path(name)
        if found.digest and not draft.blobs.touch(found.digest):
            with draft.blobs.taking() as fresh:
                entry.artifact.fetch(found, fresh)
                draft.blobs.keep(fresh, found.digest)
        draft.put({name: found}, overwrite)

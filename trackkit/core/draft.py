"""A draft: the entries of an artifact while it is put together, staged as they are added."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from trackkit.core import references
from trackkit.core.blobs import Blobs
from trackkit.core.cache import Cache
from trackkit.core.manifest import Entry, Manifest, check_path
from trackkit.core.records import Json
from trackkit.core.staging import NotStaged, Policy, stage_bytes, stage_files, walk


class Draft:
    """What an artifact will hold. May be filled from several threads.

    Parameters
    ----------
    place
        Gives the blob store to stage to, and the client's cache; asked for when first needed.
    entries
        What it begins with.

    Attributes
    ----------
    trouble
        Why something could not be staged, though it was fine: a full disk. Such an artifact can't be logged.
    """

    def __init__(self, place: Callable[[], tuple[Blobs, Cache]], entries: Mapping[str, Entry] | None = None) -> None:
        self._place = place
        self._where: tuple[Blobs, Cache] | None = None
        self._entries: dict[str, Entry] = dict(entries or {})
        self._lock = threading.RLock()
        self.trouble = ""

    @property
    def blobs(self) -> Blobs:
        """Where the files are staged."""
        return self._staging()[0]

    @property
    def entries(self) -> dict[str, Entry]:
        """A copy of the entries as they are now."""
        with self._lock:
            return dict(self._entries)

    def manifest(self) -> Manifest:
        """The manifest of what was added."""
        return Manifest(self.entries)

    def add_file(self, file: Path, path: str, policy: Policy, *, overwrite: bool) -> None:
        """Take a file as it is now."""
        self._add([(check_path(path), os.path.abspath(file))], policy, overwrite=overwrite)

    def add_folder(self, folder: Path, before: str, policy: Policy, *, overwrite: bool) -> None:
        """Take the files under a folder as they are now."""
        found = [(check_path(f"{before}{path}"), file) for path, file in walk(folder)]
        self._add(found, policy, overwrite=overwrite)

    def add_bytes(self, content: bytes, path: str, *, overwrite: bool) -> None:
        """Take content."""
        check_path(path)
        with self._trouble_noted(path):
            digest = stage_bytes(self.blobs, content)
            self.put({path: Entry(len(content), digest)}, overwrite)

    def add_reference(self, uri: str, name: str | None, *, checksum: bool, most: int) -> list[str]:
        """Refer to what lies at a URI; the paths of the entries."""
        found = list(references.describe(uri, checksum=checksum, most=most))
        single = len(found) == 1 and not found[0][0]
        base = name if name is not None else uri.rstrip("/").rpartition("/")[2] if single else ""
        paths = {
            check_path(base if not path else f"{base}/{path}" if base else path): entry for path, entry in found
        }  # fmt: skip
        self.put(paths, overwrite=True)
        return list(paths)

    def add_value(self, value: object, path: str, *, overwrite: bool) -> str:
        """Take a media value or a table, encoded at once; the path of its file, which has its extension."""
        from trackkit.core.media.encoding import Content, encode
        from trackkit.core.media.snapshot import Media, Snapshot

        if not isinstance(value, Media):
            raise TypeError(
                f"an artifact can't hold a {type(value).__name__} by add(), which takes media, tables and entries of "
                "other artifacts; write it to a file and use add_file(), or new_file()"
            )

        def keep(role: str, part: Snapshot, content: Content) -> dict[str, Json]:
            data = content.data if isinstance(content.data, bytes) else content.data.read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            own = f"media/{part.kind}/{digest[:20]}.{content.extension}"
            self.add_bytes(data, own, overwrite=True)
            return {"digest": digest, "size": len(data), "path": own}

        content = encode(value.snapshot(), keep)
        suffix = f".{content.extension}"
        own = path if path.endswith(suffix) else f"{path}{suffix}"
        if isinstance(content.data, Path):
            self.add_file(content.data, own, "mutable", overwrite=overwrite)
        else:
            self.add_bytes(content.data, own, overwrite=overwrite)
        return own

    def remove(self, path: str) -> None:
        """Take an entry out, or all under a folder.

        Raises
        ------
        KeyError
            If there is none.
        """
        with self._lock:
            gone = [known for known in self._entries if known == path or known.startswith(f"{path.rstrip('/')}/")]
            if not gone:
                raise KeyError(f"the artifact has no entry {path!r}")
            for known in gone:
                del self._entries[known]

    @contextlib.contextmanager
    def writing(self, path: str, mode: str, encoding: str | None, *, overwrite: bool) -> Iterator[IO[Any]]:
        """A file in memory to write to, which becomes an entry when the block ends without an exception."""
        if mode not in ("w", "wb", "x", "xb", "wt"):
            raise ValueError(f"new_file() opens files to write, with the mode 'w' or 'wb', not {mode!r}")
        check_path(path)
        binary = io.BytesIO()
        file: IO[Any] = binary if "b" in mode else io.TextIOWrapper(binary, encoding or "utf-8", newline="")
        yield file
        file.flush()
        self.add_bytes(binary.getvalue(), path, overwrite=overwrite)

    def _add(self, files: list[tuple[str, str]], policy: Policy, *, overwrite: bool) -> None:
        if policy not in ("mutable", "immutable"):
            raise ValueError(f"policy must be 'mutable' or 'immutable', not {policy!r}")
        blobs, cache = self._staging()
        with self._trouble_noted(files[0][0] if files else ""):
            staged = stage_files(blobs, [file for _, file in files], policy, cache.stats)
            paths = [path for path, _ in files]
            entries = {path: Entry(size, digest) for path, (digest, size) in zip(paths, staged, strict=True)}
            self.put(entries, overwrite)

    def put(self, entries: Mapping[str, Entry], overwrite: bool) -> None:
        """Add entries whose blobs are staged.

        Raises
        ------
        ValueError
            If one is there with other content, and `overwrite` is false.
        """
        with self._lock:
            if not overwrite:
                for path, entry in entries.items():
                    known = self._entries.get(path)
                    if known is not None and (known.digest, known.ref) != (entry.digest, entry.ref):
                        raise ValueError(
                            f"the artifact has {path!r} already, with other content; remove it first, or pass "
                            "overwrite=True"
                        )
            self._entries.update(entries)

    @contextlib.contextmanager
    def _trouble_noted(self, path: str) -> Iterator[None]:
        """A disk that refuses is no fault of the script's: it is noted and said, and logging is what fails."""
        try:
            yield
        except NotStaged as error:
            self.trouble = self.trouble or str(error)
            warnings.warn(f"trackkit: {path!r} could not be added: {error}", RuntimeWarning, stacklevel=5)

    def _staging(self) -> tuple[Blobs, Cache]:
        if self._where is None:
            self._where = self._place()
        return self._where

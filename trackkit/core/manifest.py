"""Manifests: what an artifact holds, as a list of paths with the digests of their contents.

A manifest is canonical JSON, so that the same files give the same bytes on every machine, and its SHA-256 is
the artifact's digest. It is kept as a blob. Manifests also come from others, so nothing in one is believed:
a path that leads out of a folder, or a digest that is none, makes it unreadable.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from trackkit.core.blobs import is_digest

VERSION: Final = 1
LONGEST_PATH: Final = 4096
"""Bytes of a path in UTF-8, as file systems limit it."""
LONGEST_PART: Final = 255

_PLAIN = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_. -]*/)*[A-Za-z0-9_-][A-Za-z0-9_. -]*")
"""What nearly all paths are, told in one go: there may be a hundred thousand."""
_DRIVE = re.compile(r"[A-Za-z]:")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,127}")
_VERSION = re.compile(r"v\d+")


class ManifestDamaged(ValueError):
    """A manifest can't be read, or has a path that no artifact may have."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=False):
    """What lies under a path: a blob, or a reference to something kept elsewhere.

    Attributes
    ----------
    size
        Bytes.
    digest
        SHA-256 of the content in hex, the name of the blob; empty for a reference.
    ref
        The URI of what is referred to; empty for a blob.
    checksum
        What tells that a reference still means the same: `sha256:…`, `etag:…`, `md5:…` or `mtime:…`.
    """

    size: int
    digest: str = ""
    ref: str = ""
    checksum: str = ""


class _Document(msgspec.Struct):
    version: int
    entries: dict[str, Entry]


class Manifest(Mapping[str, Entry]):
    """The entries of an artifact by path, in the order of the paths.

    Parameters
    ----------
    entries
        By path. No path may be another one's folder.

    Raises
    ------
    ManifestDamaged
        If a path or a digest is none an artifact may have.

    Examples
    --------
    >>> Manifest({"a.txt": Entry(2, "0" * 64)}).size
    2
    """

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = dict(sorted(entries.items()))
        before = ""
        folders: set[str] = set()
        for path, entry in self._entries.items():
            try:
                check_path(path)
            except ValueError as error:
                raise ManifestDamaged(str(error)) from None
            if bool(entry.digest) == bool(entry.ref) or entry.size < 0:
                raise ManifestDamaged(f"the entry {path!r} must have a digest or a reference, and a size")
            if entry.digest and not is_digest(entry.digest):
                raise ManifestDamaged(f"the entry {path!r} has {entry.digest!r} for a digest, which is no SHA-256")
            before = path.rpartition("/")[0]
            while before and before not in folders:
                folders.add(before)
                before = before.rpartition("/")[0]
        both = folders & self._entries.keys()
        if both:
            raise ManifestDamaged(f"{min(both)!r} can't be both a file and a folder of an artifact")

    def __getitem__(self, path: str) -> Entry:
        return self._entries[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """Bytes of all entries."""
        return sum(entry.size for entry in self._entries.values())

    def blobs(self) -> dict[str, int]:
        """The size of each blob by digest."""
        return {entry.digest: entry.size for entry in self._entries.values() if entry.digest}

    def encode(self) -> bytes:
        """The manifest as canonical JSON."""
        return msgspec.json.encode(_Document(VERSION, self._entries))

    @property
    def digest(self) -> str:
        """The artifact's digest."""
        return hashlib.sha256(self.encode()).hexdigest()

    @classmethod
    def decode(cls, content: bytes) -> Manifest:
        """The manifest in a blob.

        Raises
        ------
        ManifestDamaged
            If it is none, or one that nobody may follow.
        """
        try:
            document = msgspec.json.decode(content, type=_Document)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ManifestDamaged(f"this is no manifest of an artifact: {error}") from None
        if document.version != VERSION:
            raise ManifestDamaged(f"the manifest has the version {document.version}; upgrade trackkit to read it")
        return cls(document.entries)


class Change(msgspec.Struct, frozen=True):
    """How one path differs between two manifests; `change` is `added`, `removed` or `changed`."""

    path: str
    change: str
    before: Entry | None = None
    after: Entry | None = None


def differences(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> list[Change]:
    """What has to change for one manifest to become another, by path."""
    found = []
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old != new:
            word = "added" if old is None else "removed" if new is None else "changed"
            found.append(Change(path, word, old, new))
    return found


def merged(parts: Iterable[Mapping[str, Entry]]) -> Manifest:
    """One manifest of what several writers added; where two have a path, the later one's counts."""
    entries: dict[str, Entry] = {}
    for part in parts:
        entries.update(part)
    return Manifest(entries)


def check_path(path: object) -> str:
    """A path as an artifact may have it.

    Raises
    ------
    ValueError
        If it is absolute, leads out of its folder or can't be a path everywhere.

    Examples
    --------
    >>> check_path("weights/layer 1.bin")
    'weights/layer 1.bin'
    """
    if isinstance(path, str) and len(path) <= LONGEST_PART and _PLAIN.fullmatch(path):
        return path
    if not isinstance(path, str):
        raise ValueError(f"a path in an artifact must be a string, not {type(path).__name__}")
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{path!r} can't be a path in an artifact: it is no valid Unicode") from None
    parts = path.split("/")
    wrong = (
        "it is empty" if not path
        else "it is too long" if size > LONGEST_PATH or any(len(part.encode()) > LONGEST_PART for part in parts)
        else "it has a NUL character" if "\0" in path
        else "it is absolute" if path.startswith("/") or _DRIVE.match(path)
        else "it has a backslash" if "\\" in path
        else "it has an empty part, '.' or '..'" if any(part in ("", ".", "..") for part in parts)
        else ""
    )  # fmt: skip
    if wrong:
        raise ValueError(f"{path!r} can't be a path in an artifact: {wrong}; use a relative path with '/'")
    return path


def is_artifact_name(text: object) -> bool:
    """Whether an artifact may be called this: it is part of references and URLs."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def check_alias(alias: object) -> str:
    """An alias as a version may have it.

    Raises
    ------
    ValueError
        If it can't be one: `v3` means a version, a digest an artifact.
    """
    if not isinstance(alias, str) or not is_artifact_name(alias) or _VERSION.fullmatch(alias) or is_digest(alias):
        raise ValueError(
            f"{alias!r} can't be an alias: use up to 128 letters, digits, '_', '.', '-' and spaces, "
            "and neither a version such as 'v3' nor a digest"
        )
    return alias


class Reference(msgspec.Struct, frozen=True):
    """How people name a version: `project/name:alias`, `name:v3`, or a digest.

    Attributes
    ----------
    project, name
        Empty if not named.
    alias
        An alias, or `v` and the number of a version; empty if a digest is given.
    digest
        The artifact's digest, or its beginning.
    """

    project: str = ""
    name: str = ""
    alias: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: object) -> Reference:
        """The reference a text means.

        Raises
        ------
        ValueError
            If it is none.

        Examples
        --------
        >>> Reference.parse("digits/model:best").alias
        'best'
        """
        if not isinstance(text, str) or not text:
            raise ValueError(f"an artifact is named 'name:alias' or 'project/name:v3', not {text!r}")
        if is_digest(text):
            return cls(digest=text)
        place, _, alias = text.rpartition(":") if ":" in text else (text, "", "latest")
        project, _, name = place.rpartition("/")
        if project.count("/") == 1:  # W&B's entity/project/name
            project = project.partition("/")[2]
        if is_digest(alias):
            return cls(project, name, digest=alias)
        if not is_artifact_name(name) or not alias or "/" in project:
            raise ValueError(
                f"{text!r} names no artifact: expected 'name:alias', 'project/name:v3' or a digest of 64 digits"
            )
        return cls(project, name, alias)

    @property
    def number(self) -> int | None:
        """The number of the version, if one is named."""
        return int(self.alias[1:]) if _VERSION.fullmatch(self.alias) and len(self.alias) < 19 else None

    def __str__(self) -> str:
        place = "/".join(filter(None, (self.project, self.name)))
        return f"{place}:{self.alias or self.digest}" if place else self.digest

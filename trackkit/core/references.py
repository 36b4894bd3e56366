"""References: entries of artifacts that stay where they are, with what tells whether they are still the same.

Files and `http(s)` need nothing more; `s3`, `gs` and `az` go through fsspec and its package for the place
(s3fs, gcsfs, adlfs).
"""

from __future__ import annotations

import email.utils
import hashlib
import os
import urllib.request
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.error import URLError
from urllib.parse import unquote, urlsplit
from urllib.request import pathname2url, url2pathname

from trackkit.core.blobs import digest_of
from trackkit.core.manifest import Entry
from trackkit.core.staging import walk

MOST: Final = 100_000
_SECONDS: Final = 30.0
_PIECE: Final = 1 << 20
_PACKAGES: Final = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs"}


class ReferenceChanged(OSError):
    """What a reference means is not what it was when it was added."""


def describe(uri: str, *, checksum: bool, most: int = MOST) -> Iterator[tuple[str, Entry]]:
    """What lies at a URI, as entries with paths relative to it; a single file has the path "".

    Raises
    ------
    ValueError
        If the URI is of a kind that can't be referred to, or there are more than `most` files.
    FileNotFoundError
        If there is nothing.
    ImportError
        If the package for the place is not installed.
    """
    scheme = urlsplit(uri).scheme.lower()
    if scheme in ("http", "https"):
        yield "", _web(uri, checksum)
        return
    found = _files(uri, checksum) if scheme in ("", "file") else _objects(uri, scheme, checksum)
    for count, one in enumerate(found):
        if count >= most:
            raise ValueError(f"{uri} has more than {most:,} files; refer to a part of it, or raise max_objects")
        yield one


def fetch(entry: Entry, target: Path) -> None:
    """Write what a reference means to a new file.

    Raises
    ------
    ReferenceChanged
        If it is no longer what it was.
    OSError
        If it can't be read.
    """
    kind, _, expected = entry.checksum.partition(":")
    checksum, size = hashlib.sha256(), 0
    source, now = _open(entry.ref)
    with source, open(target, "xb") as copy:
        while piece := source.read(_PIECE):
            checksum.update(piece)
            copy.write(piece)
            size += len(piece)
    changed = (
        checksum.hexdigest() != expected if kind == "sha256"
        else bool(expected) and now.get(kind, expected) != expected
    )  # fmt: skip
    if changed or (entry.size and size != entry.size):
        raise ReferenceChanged(f"{entry.ref} has changed since it was added to the artifact; its checksum differs")


def verify(entry: Entry) -> bool:
    """Whether a reference still means what it meant, as far as can be told without reading all of it."""
    kind, _, expected = entry.checksum.partition(":")
    if urlsplit(entry.ref).scheme == "file" and kind == "sha256":
        path = _path_of(entry.ref)
        return path.is_file() and digest_of(path) == expected
    try:
        found = dict(describe(entry.ref, checksum=kind != "")).get("")
    except FileNotFoundError:
        return False
    return found is not None and (not expected or found.checksum == entry.checksum) and found.size == entry.size


def _files(uri: str, checksum: bool) -> Iterator[tuple[str, Entry]]:
    place = _path_of(uri)
    if not place.exists():
        raise FileNotFoundError(f"there is nothing at {uri}")
    for path, file in walk(place) if place.is_dir() else [("", str(place))]:
        digest = f"sha256:{digest_of(Path(file))}" if checksum else ""
        address = f"file://{pathname2url(os.path.abspath(file))}"
        yield path, Entry(os.stat(file).st_size, ref=address, checksum=digest)


def _path_of(uri: str) -> Path:
    parts = urlsplit(uri)
    if parts.scheme != "file":
        return Path(uri).absolute()
    if parts.netloc not in ("", "localhost"):
        raise ValueError(f"{uri} names the machine {parts.netloc}; a file on this machine is file:///…")
    return Path(url2pathname(parts.path))


def _web(uri: str, checksum: bool) -> Entry:
    with _request(uri, "HEAD") as answer:
        known, size = _marks(answer), int(answer.headers.get("content-length") or 0)
    if checksum and not known:
        digest, size = hashlib.sha256(), 0
        with _request(uri, "GET") as answer:
            while piece := answer.read(_PIECE):
                digest.update(piece)
                size += len(piece)
        known = {"sha256": digest.hexdigest()}
    kind, mark = next(iter(known.items()), ("", ""))
    return Entry(size, ref=uri, checksum=f"{kind}:{mark}" if checksum else "")


def _request(uri: str, method: str) -> HTTPResponse:
    try:
        request = urllib.request.Request(uri, method=method, headers={"user-agent": "trackkit"})
        answer: HTTPResponse = urllib.request.urlopen(request, timeout=_SECONDS)
        return answer
    except URLError as error:
        raise FileNotFoundError(f"{uri} can't be read: {error}") from error


def _marks(answer: HTTPResponse) -> dict[str, str]:
    """What an answer says by which a later one can be told to be the same."""
    modified = email.utils.parsedate_to_datetime(since) if (since := answer.headers.get("last-modified")) else None
    marks = {"etag": answer.headers.get("etag", "").strip('"'), "mtime": modified.isoformat() if modified else ""}
    return {kind: mark for kind, mark in marks.items() if mark}


def _objects(uri: str, scheme: str, checksum: bool) -> Iterator[tuple[str, Entry]]:
    system, place = _file_system(uri, scheme)
    if not system.exists(place):
        raise FileNotFoundError(f"there is nothing at {uri}")
    for path, info in (
        [(place, system.info(place))] if system.isfile(place) else system.find(place, detail=True).items()
    ):
        relative = unquote(str(path)).removeprefix(str(place)).strip("/")
        mark = _object_mark(info) if checksum else ""
        address = f"{scheme}://{str(path).removeprefix(f'{scheme}://')}"
        yield relative, Entry(int(info.get("size") or 0), ref=address, checksum=mark)


def _object_mark(info: dict[str, Any]) -> str:
    for kind, names in (("etag", ("ETag", "etag")), ("md5", ("md5Hash", "content_md5")), ("mtime", ("LastModified",))):
        for name in names:
            if info.get(name):
                return f"{kind}:{str(info[name]).strip(chr(34))}"
    return ""


def _file_system(uri: str, scheme: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError:
        raise ImportError(f"a reference to {scheme}:// needs fsspec: pip install fsspec {_package(scheme)}") from None
    try:
        system, place = fsspec.core.url_to_fs(uri)
    except ImportError as error:
        raise ImportError(f"a reference to {scheme}:// needs {_package(scheme)}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{uri} can't be referred to: {error}; use file, http, https, s3, gs or az") from None
    system.invalidate_cache()  # fsspec remembers listings for as long as the process lives, and checksums in them
    return system, place


def _package(scheme: str) -> str:
    return _PACKAGES.get(scheme, "")


def _open(uri: str) -> tuple[BinaryIO, dict[str, str]]:
    scheme = urlsplit(uri).scheme.lower()
    if scheme == "file":
        return open(_path_of(uri), "rb"), {}
    if scheme in ("http", "https"):
        answer = _request(uri, "GET")
        return answer, _marks(answer)
    system, place = _file_system(uri, scheme)
    kind, _, mark = _object_mark(system.info(place)).partition(":")
    return system.open(place, "rb"), {kind: mark} if kind else {}

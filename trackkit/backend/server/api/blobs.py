"""`/blobs`: contents on their way in, whole or in parts."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import threading
from binascii import crc32
from collections import OrderedDict
from pathlib import Path
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from trackkit.backend.server.errors import ApiError, not_found
from trackkit.backend.server.routing import Answer, Body, Call, Endpoint, Query, json_response, read_at_most
from trackkit.backend.store.blobstore import BlobStore
from trackkit.core.blobs import is_digest

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

MOST_PART_BYTES: Final = 64 << 20
_WRITTEN_AT_ONCE: Final = 1 << 20
_HASHES_KEPT: Final = 256


class BlobState(Answer):
    """The digest and the size of a blob that the server has."""

    digest: str
    size: int


class DigestsBody(Body):
    """Blobs, at most 50,000."""

    digests: list[str]


class Digests(Answer):
    """Those of the blobs that are not here."""

    digests: list[str]


class PartQuery(Query):
    """Where a part begins, how large the whole blob is, and the CRC-32 of the part."""

    offset: int
    size: int
    check: int


class PartState(Answer):
    """How far the server has a blob, and whether it is whole."""

    offset: int
    complete: bool


def blob_state(call: Call) -> BlobState:
    digest = _digest(call)
    size = call.services.storage.blobs.size(digest)
    if size is None:
        raise not_found(f"blob {digest}")
    return BlobState(digest=digest, size=size)


def lacking(call: Call) -> Digests:
    wanted = call.body.digests
    if len(wanted) > 50_000 or not all(map(is_digest, wanted)):
        raise ApiError(400, "digests are at most 50,000 SHA-256 in hex")
    return Digests(digests=call.services.storage.blobs.lacking(wanted))


async def put_blob(call: Call) -> Response:
    """Take a blob as it comes, to a file of its own that gets its name once it is whole and what it should be."""
    digest = await run_in_threadpool(_digest, call)
    blobs = call.services.storage.blobs
    if not await run_in_threadpool(blobs.lacking, [digest]):
        return Response(status_code=204)
    limit = call.services.config.max_blob_mb << 20
    fresh = await run_in_threadpool(_spooled, blobs, f"{digest}.{secrets.token_hex(8)}")
    checksum, size = hashlib.sha256(), 0
    try:
        with open(fresh, "xb") as file:
            gathered = bytearray()
            async for part in call.request.stream():
                size += len(part)
                if limit and size > limit:
                    text = f"the file is larger than the {limit:,} bytes this server takes"
                    raise ApiError(413, text, {"connection": "close"})
                gathered += part
                if len(gathered) >= _WRITTEN_AT_ONCE:
                    await run_in_threadpool(_append, file, checksum, bytes(gathered))
                    gathered.clear()
            await run_in_threadpool(_append, file, checksum, bytes(gathered))
            await run_in_threadpool(_keep, file)
        if checksum.hexdigest() != digest:
            raise ApiError(400, f"what arrived has the digest {checksum.hexdigest()}, not {digest}; send it again")
        await run_in_threadpool(blobs.keep, fresh, digest)
    except OSError as error:
        raise ApiError(503, f"the file can't be kept: {error.strerror or error}", {"retry-after": "10"}) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
    return Response(status_code=201)


def _append(file: Any, checksum: Any, part: bytes) -> None:
    checksum.update(part)
    file.write(part)


def _keep(file: Any) -> None:
    """Have the file survive a power cut: its sender may forget it."""
    file.flush()
    os.fsync(file.fileno())


def _spooled(blobs: BlobStore, name: str) -> Path:
    blobs.spool.mkdir(parents=True, exist_ok=True)
    return blobs.spool / name


# Parts: a file named by the blob's digest grows part by part. Its length is how far it is.


class _Hashes:
    """The checksums of unfinished blobs up to where they are; what is not known here is read again at the end."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[int, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, digest: str, offset: int) -> Any | None:
        with self._lock:
            known = self._known.pop(digest, (0, hashlib.sha256()) if offset == 0 else (-1, None))
        return known[1] if known[0] == offset else None

    def keep(self, digest: str, offset: int, checksum: Any) -> None:
        with self._lock:
            self._known[digest] = (offset, checksum)
            if len(self._known) > _HASHES_KEPT:
                self._known.popitem(last=False)


_hashes = _Hashes()


def part_state(call: Call) -> PartState:
    digest, blobs = _digest(call), call.services.storage.blobs
    if not blobs.lacking([digest]):
        return PartState(offset=blobs.size(digest) or 0, complete=True)
    try:
        return PartState(offset=_spooled(blobs, digest).stat().st_size, complete=False)
    except FileNotFoundError:
        return PartState(offset=0, complete=False)


async def put_part(call: Call) -> Response:
    """Take the next part of a blob; a part that does not go on where the blob is changes nothing."""
    digest = await run_in_threadpool(_digest, call)
    query: PartQuery = call.query
    limit = call.services.config.max_blob_mb << 20
    if query.size < 0 or query.offset < 0 or query.offset > query.size:
        raise ApiError(400, "a part has an offset from 0 to the size of the blob")
    if limit and query.size > limit:
        raise ApiError(413, f"the file is larger than the {limit:,} bytes this server takes", {"connection": "close"})
    part = await read_at_most(call.request, MOST_PART_BYTES)
    if crc32(part) != query.check:
        raise ApiError(400, "the part was damaged on its way; send it again")
    try:
        state = await run_in_threadpool(_add_part, call.services.storage.blobs, digest, query, part)
    except OSError as error:
        raise ApiError(503, f"the file can't be kept: {error.strerror or error}", {"retry-after": "10"}) from error
    return json_response(state)


def _add_part(blobs: BlobStore, digest: str, query: PartQuery, part: bytes) -> PartState:
    if not blobs.lacking([digest]):
        return PartState(offset=query.size, complete=True)
    spooled = _spooled(blobs, digest)
    with open(spooled, "ab") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)  # two clients may send the same blob, through two processes
        offset = os.fstat(file.fileno()).st_size
        if offset > query.size:  # somebody said it was larger, and was wrong
            file.truncate(0)
            offset = 0
        if offset != query.offset or offset + len(part) > query.size:
            return PartState(offset=offset, complete=False)
        checksum = _hashes.take(digest, offset)
        file.write(part)
        file.flush()
        if hasattr(os, "posix_fadvise"):  # has Linux begin to write it, so that less is left when the last part is here
            os.posix_fadvise(file.fileno(), offset, len(part), os.POSIX_FADV_DONTNEED)
        if checksum is not None:
            checksum.update(part)
        offset += len(part)
        if offset < query.size:
            if checksum is not None:
                _hashes.keep(digest, offset, checksum)
            return PartState(offset=offset, complete=False)
        found = checksum.hexdigest() if checksum is not None else _digest_of(spooled)
        if found != digest:
            spooled.unlink()
            raise ApiError(400, f"what arrived has the digest {found}, not {digest}; send it again")
        _keep(file)
        blobs.keep(spooled, digest)
    return PartState(offset=offset, complete=True)


def _digest_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(call: Call) -> str:
    digest = call.path["digest"]
    if not is_digest(digest):
        raise ApiError(400, f"{digest!r} is no SHA-256 digest: expected 64 hexadecimal digits")
    return digest


ENDPOINTS = [
    Endpoint(
        "POST",
        "/blobs/lacking",
        lacking,
        "Which of some blobs the server does not have.",
        scope="write",
        body=DigestsBody,
        answer=Digests,
    ),
    Endpoint(
        "GET",
        "/blobs/{digest}",
        blob_state,
        "Whether the server has a blob.",
        scope="write",
        answer=BlobState,
        errors=[404],
    ),
    Endpoint(
        "PUT",
        "/blobs/{digest}",
        None,
        "Take a blob, named by the SHA-256 of its content.",
        scope="write",
        raw=put_blob,
        takes="application/octet-stream",
        status=201,
        errors=[413, 503],
    ),
    Endpoint(
        "GET",
        "/blobs/{digest}/parts",
        part_state,
        "How far the server has a blob that is sent in parts.",
        scope="write",
        answer=PartState,
    ),
    Endpoint(
        "PUT",
        "/blobs/{digest}/parts",
        None,
        "Take the next part of a blob.",
        scope="write",
        query=PartQuery,
        answer=PartState,
        raw=put_part,
        takes="application/octet-stream",
        errors=[413, 503],
    ),
]

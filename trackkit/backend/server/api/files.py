"""`/runs/{run}/files` and `/blobs`: the files of runs, in and out."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from pathlib import Path
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from trackkit.backend.server.api.access import run_number
from trackkit.backend.server.api.content import respond
from trackkit.backend.server.api.values import plain, seconds
from trackkit.backend.server.errors import ApiError, not_found
from trackkit.backend.server.routing import Answer, Call, Endpoint, Query
from trackkit.backend.store import objects, runs
from trackkit.core.blobs import Blobs


class FileSummary(msgspec.Struct):
    """A file of a run; `digest` names its blob, and is empty if the content is small enough to need none."""

    path: str
    kind: str
    key: str
    size: int
    digest: str
    time: float
    step: int | None
    metadata: dict[str, Any]


class Files(Answer):
    files: list[FileSummary]


class MissingBlobs(Answer):
    """Blobs that records name and that are not here yet."""

    digests: list[str]


class FilesQuery(Query):
    """`media` asks for media, too, of which a run may have very many; see `/media`."""

    media: bool = False


class FileQuery(Query):
    """`inline` asks to show the file in the browser, where that is harmless; HTML, in a frame alone."""

    inline: bool = False


class BlobState(Answer):
    """The digest and the size of a blob that the server has."""

    digest: str
    size: int


def list_files(call: Call) -> Files:
    with call.services.storage.reading() as db:
        rows = objects.files(db, run_number(call, db), media=call.query.media)
    return Files(
        files=[
            FileSummary(
                row.path, row.kind, row.key, row.size, row.digest, seconds(row.time), row.step,
                plain(msgspec.json.decode(row.metadata)),
            )
            for row in rows
        ]
    )  # fmt: skip


def missing(call: Call) -> MissingBlobs:
    blobs = call.services.storage.blobs
    with call.services.storage.reading() as db:
        number = runs.find(db, call.path["run"])
        digests = [] if number is None else objects.digests(db, run_number(call, db))
    return MissingBlobs(digests=[digest for digest in digests if not blobs.exists(digest)])


def show_file(call: Call) -> Response:
    path = call.path["path"]
    with call.services.storage.reading() as db:
        number = run_number(call, db)
        row = objects.file(db, number, path)
        if row is None:
            raise not_found(f"file {path!r} in this run")
        return respond(call, db, number, row, inline=call.query.inline)


def blob_state(call: Call) -> BlobState:
    path = _blob_path(call)
    if not path.is_file():
        raise not_found(f"blob {path.name}")
    return BlobState(digest=path.name, size=path.stat().st_size)


async def put_blob(call: Call) -> Response:
    """Take a blob as it comes, to a file of its own that gets its name once it is whole and what it should be."""
    target = await run_in_threadpool(_blob_path, call)
    if await run_in_threadpool(target.is_file):
        return Response(status_code=204)
    limit = call.services.config.max_blob_mb << 20
    fresh = target.with_name(f".{secrets.token_hex(8)}")
    await run_in_threadpool(target.parent.mkdir, parents=True, exist_ok=True)
    checksum, size = hashlib.sha256(), 0
    try:
        with open(fresh, "xb") as file:
            async for part in call.request.stream():
                size += len(part)
                if limit and size > limit:
                    text = f"the file is larger than the {limit:,} bytes this server takes"
                    raise ApiError(413, text, {"connection": "close"})
                await run_in_threadpool(_append, file, checksum, part)
            await run_in_threadpool(_keep, file)
        if checksum.hexdigest() != target.name:
            raise ApiError(400, f"what arrived has the digest {checksum.hexdigest()}, not {target.name}; send it again")
        await run_in_threadpool(os.replace, fresh, target)
    except OSError as error:
        raise ApiError(503, f"the file can't be kept: {error.strerror}", {"retry-after": "10"}) from error
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


def _blob_path(call: Call) -> Path:
    blobs: Blobs = call.services.storage.blobs
    try:
        return blobs.path(call.path["digest"])
    except ValueError as error:
        raise ApiError(400, str(error)) from None


ENDPOINTS = [
    Endpoint(
        "GET", "/runs/{run}/files", list_files, "The files of a run.", query=FilesQuery, answer=Files, errors=[404]
    ),
    Endpoint("GET", "/runs/{run}/missing", missing, "The blobs of a run that are not here.", answer=MissingBlobs),
    Endpoint(
        "GET",
        "/runs/{run}/files/{path:path}",
        show_file,
        "The content of a file.",
        query=FileQuery,
        gives="*/*",
        errors=[404],
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
]

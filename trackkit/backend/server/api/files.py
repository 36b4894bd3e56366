"""`/runs/{run}/files` and `/blobs`: the files of runs, in and out.

Contents come from whoever logged them, so none is shown as a page of ours: what is not plainly harmless is
offered for download, and even what is shown runs no script. HTML is shown in frames alone, where its scripts run
as those of a stranger: without our cookie, and without a way to send anything anywhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response

from trackkit.backend.server.api.access import run_number
from trackkit.backend.server.api.values import plain, seconds
from trackkit.backend.server.errors import ApiError, not_found
from trackkit.backend.server.routing import Answer, Call, Endpoint, Query
from trackkit.backend.store import objects, runs
from trackkit.core.blobs import Blobs

SHOWN: Final = {
    ".txt": "text/plain", ".log": "text/plain", ".py": "text/plain", ".patch": "text/plain", ".diff": "text/plain",
    ".md": "text/plain", ".yaml": "text/plain", ".yml": "text/plain", ".toml": "text/plain", ".cfg": "text/plain",
    ".ini": "text/plain", ".sh": "text/plain", ".csv": "text/plain", ".json": "application/json",
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp",
}  # fmt: skip
"""Files that a browser may show, and as what."""

FRAMED: Final = {".html": "text/html; charset=utf-8", ".htm": "text/html; charset=utf-8"}
"""Files that a frame of the dashboard may show, and as what."""

_SANDBOX: Final = (
    "sandbox; default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
_FRAME_SANDBOX: Final = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; media-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)


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


class FileQuery(Query):
    """`inline` asks to show the file in the browser, where that is harmless; HTML, in a frame alone."""

    inline: bool = False


class BlobState(Answer):
    """The digest and the size of a blob that the server has."""

    digest: str
    size: int


def list_files(call: Call) -> Files:
    with call.services.storage.reading() as db:
        rows = objects.files(db, run_number(call, db))
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
        row = next((each for each in objects.files(db, number) if each.path == path), None)
        if row is None:
            raise not_found(f"file {path!r} in this run")
        content = None if row.digest else objects.inline(db, number, row.writer, row.seq)
    kind, headers = _presentation(path, inline=call.query.inline, framed=_is_framed(call))
    if not row.digest:
        return Response(content or b"", media_type=kind, headers=headers)
    blob = call.services.storage.blobs.path(row.digest)
    if not blob.is_file():
        raise not_found(f"content of {path!r}: its blob {row.digest} is missing from the store")
    return FileResponse(blob, media_type=kind, headers=headers)


def _is_framed(call: Call) -> bool:
    """Whether the browser asks for what a frame is to show; pages can't set this header."""
    return call.request.headers.get("sec-fetch-dest", "") == "iframe"


def _presentation(path: str, *, inline: bool, framed: bool) -> tuple[str, dict[str, str]]:
    """A file's media type and the headers that say how it may be shown."""
    name, suffix = path.rpartition("/")[2], Path(path).suffix.lower()
    kind, policy = SHOWN.get(suffix, "application/octet-stream"), _SANDBOX
    shown = inline and suffix in SHOWN
    if inline and framed and suffix in FRAMED:
        kind, policy, shown = FRAMED[suffix], _FRAME_SANDBOX, True
    how = "inline" if shown else "attachment"
    disposition = f"{how}; filename*=UTF-8''{quote(name, safe='')}"
    return kind, {"content-security-policy": policy, "content-disposition": disposition}


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
    Endpoint("GET", "/runs/{run}/files", list_files, "The files of a run.", answer=Files, errors=[404]),
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

"""Contents of runs on their way to a browser, which come from whoever logged them.

None is shown as a page of ours: what is not plainly harmless is offered for download, and even what is shown runs no
script. HTML is shown in frames alone, where its scripts run as those of a stranger: without our cookie, and without a
way to send anything anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

from starlette.responses import FileResponse, Response, StreamingResponse

from trackkit.backend.server.errors import not_found
from trackkit.backend.server.routing import Call
from trackkit.backend.store import objects
from trackkit.backend.store.database import Database
from trackkit.backend.store.objects import ObjectRow
from trackkit.core.blobs import is_digest

SHOWN: Final = {
    ".txt": "text/plain", ".log": "text/plain", ".py": "text/plain", ".patch": "text/plain", ".diff": "text/plain",
    ".md": "text/plain", ".yaml": "text/plain", ".yml": "text/plain", ".toml": "text/plain", ".cfg": "text/plain",
    ".ini": "text/plain", ".sh": "text/plain", ".csv": "text/plain", ".json": "application/json",
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp",
    ".bmp": "image/bmp", ".svg": "image/svg+xml",
    ".wav": "audio/wav", ".mp3": "audio/mpeg", ".flac": "audio/flac", ".ogg": "audio/ogg", ".m4a": "audio/mp4",
    ".mp4": "video/mp4", ".webm": "video/webm",
    ".pdb": "text/plain", ".sdf": "text/plain", ".mol": "text/plain", ".mol2": "text/plain", ".cif": "text/plain",
    ".obj": "text/plain", ".glb": "model/gltf-binary", ".gltf": "model/gltf+json", ".stl": "model/stl",
}  # fmt: skip
"""Files that a browser may show, and as what."""

FRAMED: Final = {".html": "text/html; charset=utf-8", ".htm": "text/html; charset=utf-8"}
"""Files that a frame of the dashboard may show, and as what."""

SANDBOX: Final = (
    "sandbox; default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'"
)
_FRAME_SANDBOX: Final = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; media-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)

_RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)")
FOREVER: Final = {"cache-control": "private, max-age=31536000, immutable"}
"""What an address names by digest, or by a record that never changes."""


def respond(call: Call, db: Database, run: int, row: ObjectRow, *, inline: bool) -> Response:
    """The content of an object.

    Parameters
    ----------
    inline
        Show it in the browser, where that is harmless; HTML, in a frame alone.

    Raises
    ------
    ApiError
        404 if its content is missing from the store.
    """
    if row.digest:
        return respond_with_blob(call, row.digest, row.path, inline=inline)
    content = objects.inline(db, run, row.writer, row.seq)
    kind, headers = _presentation(row.path, inline=inline, framed=_is_framed(call))
    return Response(content or b"", media_type=kind, headers=headers)


def respond_with_blob(call: Call, digest: str, path: str, *, inline: bool) -> Response:
    """The content of a blob as the file of a path, or the range of it that is asked for.

    Raises
    ------
    ApiError
        404 if it is missing from the store.
    """
    blobs = call.services.storage.blobs
    kind, headers = _presentation(path, inline=inline, framed=_is_framed(call))
    file = blobs.local(digest) if is_digest(digest) else None
    if file is not None:
        return FileResponse(file, media_type=kind, headers=headers)
    size = blobs.size(digest) if is_digest(digest) else None
    if size is None:
        raise not_found(f"content of {path!r}: its blob {digest} is missing from the store")
    asked = _RANGE.fullmatch(call.request.headers.get("range", ""))
    start, stop = (int(asked[1]), min(int(asked[2]) + 1 if asked[2] else size, size)) if asked else (0, size)
    if asked and start < stop:
        headers["content-range"] = f"bytes {start}-{stop - 1}/{size}"
    else:
        start, stop, asked = 0, size, None
    headers |= {"accept-ranges": "bytes", "content-length": str(stop - start)}
    body: Iterator[bytes] = iter(()) if call.request.method == "HEAD" else blobs.read(digest, start, stop)
    return StreamingResponse(body, 206 if asked else 200, headers, kind)


def _is_framed(call: Call) -> bool:
    """Whether the browser asks for what a frame is to show; pages can't set this header."""
    return call.request.headers.get("sec-fetch-dest", "") == "iframe"


def _presentation(path: str, *, inline: bool, framed: bool) -> tuple[str, dict[str, str]]:
    """A file's media type and the headers that say how it may be shown."""
    name, suffix = path.rpartition("/")[2], Path(path).suffix.lower()
    kind, policy = SHOWN.get(suffix, "application/octet-stream"), SANDBOX
    shown = inline and suffix in SHOWN
    if inline and framed and suffix in FRAMED:
        kind, policy, shown = FRAMED[suffix], _FRAME_SANDBOX, True
    how = "inline" if shown else "attachment"
    disposition = f"{how}; filename*=UTF-8''{quote(name, safe='')}"
    return kind, {"content-security-policy": policy, "content-disposition": disposition}

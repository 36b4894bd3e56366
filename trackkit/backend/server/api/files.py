"""`/runs/{run}/files`: the files of runs."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from trackkit.backend.server.api.access import run_number
from trackkit.backend.server.api.content import respond
from trackkit.backend.server.api.values import plain, seconds
from trackkit.backend.server.errors import not_found
from trackkit.backend.server.routing import Answer, Call, Endpoint, Query
from trackkit.backend.store import objects, runs, submissions
from trackkit.core.blobs import is_digest


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


class WaitingArtifact(msgspec.Struct):
    """An artifact that was logged and is no version yet; `digest` is its manifest's."""

    token: str
    digest: str


class MissingQuery(Query):
    """`writer` asks for that writer's artifacts alone."""

    writer: str = ""


class MissingBlobs(Answer):
    """Blobs that records name and that are not here yet, and artifacts that are not whole."""

    digests: list[str]
    waiting: list[WaitingArtifact]


class FilesQuery(Query):
    """`media` asks for media, too, of which a run may have very many; see `/media`."""

    media: bool = False


class FileQuery(Query):
    """`inline` asks to show the file in the browser, where that is harmless; HTML, in a frame alone."""

    inline: bool = False


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
        rows = [] if number is None else submissions.waiting(db, number, call.query.writer or None)
    return MissingBlobs(
        digests=blobs.lacking([digest for digest in digests if is_digest(digest)]),
        waiting=[WaitingArtifact(row.token, row.digest) for row in rows],
    )


def show_file(call: Call) -> Response:
    path = call.path["path"]
    with call.services.storage.reading() as db:
        number = run_number(call, db)
        row = objects.file(db, number, path)
        if row is None:
            raise not_found(f"file {path!r} in this run")
        return respond(call, db, number, row, inline=call.query.inline)


ENDPOINTS = [
    Endpoint(
        "GET", "/runs/{run}/files", list_files, "The files of a run.", query=FilesQuery, answer=Files, errors=[404]
    ),
    Endpoint(
        "GET",
        "/runs/{run}/missing",
        missing,
        "The blobs of a run that are not here.",
        query=MissingQuery,
        answer=MissingBlobs,
    ),
    Endpoint(
        "GET",
        "/runs/{run}/files/{path:path}",
        show_file,
        "The content of a file.",
        query=FileQuery,
        gives="*/*",
        errors=[404],
    ),
]

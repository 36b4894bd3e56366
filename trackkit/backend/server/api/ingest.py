"""`/runs/{run}/journals/{writer}`: what the HTTP sink sends."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import zstandard
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from trackkit.backend.server.api.access import project_of
from trackkit.backend.server.api.values import plain
from trackkit.backend.server.errors import ApiError, not_found
from trackkit.backend.server.routing import Answer, Body, Call, Endpoint, Query, json_response, read_at_most
from trackkit.backend.store import entries, runs, series, writers
from trackkit.backend.store.database import Busy
from trackkit.core import names, records, wire
from trackkit.core.sink import OffsetConflict, SinkRefused

logger = logging.getLogger("trackkit.server")

_POINTS = b"\x96\xa1p"
"""How a record of points begins: there is no need to look for a project in it."""


class Position(Answer):
    """The offset up to which the server has a writer's journal, and whether the run was asked to stop.

    `check` repeats run and writer, so that a damaged answer is told from a good one.
    """

    position: int
    stop: bool
    check: str


class Abandon(Body):
    """`when` is the time of the writer's last record in seconds since the epoch."""

    when: float | None = None


class Abandoned(Answer):
    """Whether that was news."""

    changed: bool


class KnownRun(Answer):
    """What a run that is resumed begins with."""

    project: str
    name: str
    group: str
    job_type: str
    notes: str
    tags: list[str]
    state: str
    last_step: int | None
    config: dict[str, Any]
    summary: dict[str, Any]


class PositionQuery(Query):
    """`durable` asks that all up to the position survives a power cut before the answer is given."""

    durable: bool = False


def show_position(call: Call) -> Position:
    run, writer = _names(call)
    _check_run(call, run)
    position = _stored_position(call, run, writer)
    if call.query.durable:
        call.services.storage.sync()
    return _position(call, run, writer, position)


async def take(call: Call) -> Response:
    """Take a batch: decompressed, checked and written on a thread of the pool."""
    limit = call.services.config.max_batch_mb << 20
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != wire.CONTENT_TYPE:
        raise ApiError(415, f"the body must be {wire.CONTENT_TYPE}, not {kind or 'unnamed'}")
    body = await read_at_most(call.request, limit)
    return json_response(await run_in_threadpool(_take, call, body, limit))


def _take(call: Call, body: bytes, limit: int) -> Position:
    run, writer = _names(call)
    message = _decode(call, body, limit)
    if (message.run, message.writer) != (run, writer):
        raise ApiError(400, "the batch is of another journal than the URL says")
    _check_run(call, run, message)
    storage = call.services.storage
    try:
        position = _stored_position(call, run, writer)
        if message.after > position:
            text = f"the batch follows on {message.after}, and the server has the journal up to {position}"
            raise ApiError(409, text, details={"position": position})
        position = storage.write(run, writer, message.batch())
        if call.query.durable:
            storage.sync()
    except Busy as error:
        raise ApiError(503, str(error), {"retry-after": "1"}) from error
    except OffsetConflict as error:
        raise ApiError(409, str(error)) from error
    except SinkRefused as error:
        raise ApiError(410, str(error)) from error
    call.services.telemetry.records.inc(len(message.payloads))
    call.services.telemetry.bytes.inc(sum(map(len, message.payloads)))
    return _position(call, run, writer, position)


def _stored_position(call: Call, run: str, writer: str) -> int:
    with call.services.storage.reading() as db:
        number = writers.find(db, run)
        return 0 if number is None else writers.position(db, number, writer)


def _decode(call: Call, body: bytes, limit: int) -> wire.Message:
    encoding = call.request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "zstd"):
        raise ApiError(415, f"the content encoding must be zstd or identity, not {encoding}")
    try:
        if encoding == "zstd":
            size = zstandard.frame_content_size(body)
            if size > limit:
                raise ApiError(413, f"the batch is larger than the {limit:,} bytes this server takes")
            body = zstandard.ZstdDecompressor().decompress(body, max_output_size=limit)
        return wire.decode(body)
    except (zstandard.ZstdError, wire.Damaged) as error:
        raise ApiError(400, f"the batch can't be taken: {error}") from None


def _names(call: Call) -> tuple[str, str]:
    run, writer = call.path["run"], call.path["writer"]
    if not names.is_run_id(run):
        raise ApiError(400, f"{run!r} can't be a run's id")
    if not names.is_run_id(writer):
        raise ApiError(400, f"{writer!r} can't be a writer's id")
    return run, writer


def _check_run(call: Call, run: str, message: wire.Message | None = None) -> None:
    """Refuse to tell of or to write to a run of a project that the token is not good for."""
    if call.identity.projects is None:
        return
    named = [] if message is None else _projects_in(message)
    with call.services.storage.reading() as db:
        number = runs.find(db, run)
        if number is not None:
            named.append(project_of(db, number))
        elif message is not None and not named:
            named.append(writers.DEFAULT_PROJECT)
    for project in named:
        if not call.identity.may_see(project):
            raise ApiError(403, f"your token is not good for the project {project!r}")


def _projects_in(message: wire.Message) -> list[str]:
    """The projects that a batch's records would put the run into."""
    found = []
    for payload in message.payloads:
        if payload.startswith(_POINTS):
            continue
        try:
            record = records.decode(payload)
        except msgspec.MsgspecError:
            continue
        if isinstance(record, records.Start):
            found.append(record.project or writers.DEFAULT_PROJECT)
    return found


def _position(call: Call, run: str, writer: str, position: int) -> Position:
    call.services.presence.note(run, writer)
    with call.services.storage.reading() as db:
        number = runs.find(db, run)
        stop = number is not None and writers.is_asked_to_stop(db, number)
    return Position(position=position, stop=stop, check=f"{run}/{writer}/{position}/{int(stop)}")


def abandon(call: Call) -> Abandoned:
    run, writer = _names(call)
    _check_run(call, run)
    return Abandoned(changed=call.services.storage.abandon(run, writer, call.body.when))


def known(call: Call) -> KnownRun:
    run = call.path["run"]
    with call.services.storage.reading() as db:
        number = runs.find(db, run)
        if number is None or not call.identity.may_see(project_of(db, number)):
            raise not_found(f"run {run!r}")
        row = runs.load(db, [number])[0]
        last = series.last_step(db, number)
    return KnownRun(
        project=row.project,
        name=row.name,
        group=row.group,
        job_type=row.job_type,
        notes=row.notes,
        tags=row.tags,
        state=row.state,
        last_step=last,
        config=plain(entries.unflatten(row.config)),
        summary=plain(entries.unflatten(row.summary)),
    )


_JOURNAL = "/runs/{run}/journals/{writer}"

ENDPOINTS = [
    Endpoint(
        "GET",
        _JOURNAL,
        show_position,
        "How far the server has a journal.",
        scope="write",
        query=PositionQuery,
        answer=Position,
    ),
    Endpoint(
        "POST",
        _JOURNAL,
        None,
        "Take a batch of a journal. What the server has already changes nothing.",
        scope="write",
        query=PositionQuery,
        answer=Position,
        raw=take,
        takes=wire.CONTENT_TYPE,
        errors=[409, 410, 413, 503],
    ),
    Endpoint(
        "POST",
        f"{_JOURNAL}/abandon",
        abandon,
        "Tell that a writer died without finishing.",
        scope="write",
        body=Abandon,
        answer=Abandoned,
    ),
    Endpoint("GET", "/runs/{run}/known", known, "What a resumed run begins with.", answer=KnownRun, errors=[404]),
]

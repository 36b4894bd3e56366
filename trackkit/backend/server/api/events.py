"""`/events`: the stream of hints behind live views."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse

from trackkit.backend.server.errors import ApiError
from trackkit.backend.server.routing import Call, Endpoint, Query
from trackkit.backend.store.changes import Change


class EventsQuery(Query):
    """Which runs to hear of; `after` is the last version known, as the header `Last-Event-ID`."""

    project: str | None = None
    run: str | None = None
    after: int | None = None


async def events(call: Call) -> Response:
    query: EventsQuery = call.query
    identity = call.identity

    def see(change: Change) -> bool:
        wanted = query.run in (None, change.run) and query.project in (None, change.project)
        return wanted and identity.may_see(change.project)

    after = _last_seen(call)
    stream = call.services.feed.stream(see, query.after if after is None else after)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_counted(call, stream), media_type="text/event-stream", headers=headers)


def _last_seen(call: Call) -> int | None:
    text = call.request.headers.get("last-event-id", "")
    if not text:
        return None
    try:
        return max(0, min(int(text), 2**62))
    except ValueError:
        raise ApiError(400, f"{text!r} is no id of an event of this stream") from None


async def _counted(call: Call, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    with call.services.telemetry.listeners.track_inprogress():
        async for event in stream:
            yield event


ENDPOINTS = [
    Endpoint(
        "GET",
        "/events",
        None,
        "Server-sent events: `run` with a run's new version, `gone` when it was deleted. Resumable by Last-Event-ID.",
        query=EventsQuery,
        raw=events,
        gives="text/event-stream",
    )
]

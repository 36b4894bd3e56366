"""`/runs/{run}/points`, `/runs/{run}/window` and `/runs/{run}/keys`: every point of a run, exact, as it was logged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import msgspec
import zstandard
from starlette.responses import Response, StreamingResponse

from trackkit.backend.server.api.access import run_number
from trackkit.backend.server.routing import Answer, Call, Endpoint, Query
from trackkit.backend.store import passage, rewinds, series, transfer
from trackkit.backend.store.rewinds import Rewinds
from trackkit.backend.store.series import HIGHEST, LOWEST
from trackkit.backend.store.transfer import POINTS_TYPE

MOST_ROWS: Final = 100_000
"""Rows of a window at least."""
_LEVEL: Final = 1

Kind = Literal["metric", "system", "text"]


class KeysQuery(Query):
    kind: Kind = "metric"


class LoggedKeys(Answer):
    keys: list[str]


class PointsQuery(Query):
    """`key` may be given several times; `all` asks for every key. `first` and `last` are steps, inclusive.

    With `superseded` there are points, too, that the run left behind when it went back to an earlier step.
    """

    kind: Kind = "metric"
    key: list[str] = msgspec.field(default_factory=list)
    all: bool = False
    first: int = LOWEST
    last: int = HIGHEST
    superseded: bool = False


class WindowQuery(Query):
    """A window of steps from `first` on, to `last` at most, that holds about `rows` steps of a history."""

    key: list[str] = msgspec.field(default_factory=list)
    all: bool = False
    first: int = LOWEST
    last: int = HIGHEST
    rows: int = 1000


def list_keys(call: Call) -> LoggedKeys:
    with call.services.storage.reading() as db:
        return LoggedKeys(keys=series.keys(db, run_number(call, db), call.query.kind))


def show_points(call: Call) -> Response:
    with call.services.storage.reading() as db:
        number = run_number(call, db)
        back = rewinds.load(db, number)
    query: PointsQuery = call.query
    if query.kind == "text":
        return _streamed(call, _texts(call, number, back))
    return _streamed(call, _numbers(call, number, back))


def _numbers(call: Call, run: int, back: Rewinds) -> Iterator[bytes]:
    """The points of numbers, each page read on its own: between two there is no connection in use."""
    query: PointsQuery = call.query
    keys, first, last = _keys(query), _within_64_bits(query.first), _within_64_bits(query.last)
    if query.superseded or query.kind != "metric":
        back = rewinds.NONE
    with call.services.storage.reading() as db:
        there = passage.numbers(db, run, keys, query.kind)
    for number, key in there:
        start: int | None = 0
        while start is not None:
            with call.services.storage.reading() as db:
                found, start = passage.page(db, run, number, start, first, last)
            if len(found.steps):
                yield transfer.frame(key, series.standing(found, back))
    yield transfer.end(last)


def _texts(call: Call, run: int, back: Rewinds) -> Iterator[bytes]:
    query: PointsQuery = call.query
    keys, first, last = _keys(query), _within_64_bits(query.first), _within_64_bits(query.last)
    back = rewinds.NONE if query.superseded else back
    after: passage.Text | None = None
    while True:
        with call.services.storage.reading() as db:
            found, after = passage.texts(db, run, keys, after, first, last)
        for key, points in found.items():
            yield transfer.frame(key, series.standing(points, back))
        if after is None:
            break
    yield transfer.end(last)


def show_window(call: Call) -> Response:
    """The texts and numbers of the next window of steps, which is as wide as takes bounded memory."""
    query: WindowQuery = call.query
    keys, first, last = _keys(query), _within_64_bits(query.first), _within_64_bits(query.last)
    rows = max(1, min(query.rows, MOST_ROWS))
    with call.services.storage.reading() as db:
        number = run_number(call, db)
        _, ends = next(series.windows(db, number, keys, first, rows))
        ends = min(ends, last)
        texts = series.texts(db, number, keys, first, ends)
        numbers = series.between(db, number, keys, "metric", first, ends)
    frames = [transfer.frame(key, points) for key, points in {**texts, **numbers}.items()]
    return _streamed(call, iter([*frames, transfer.end(ends)]))


def _keys(query: PointsQuery | WindowQuery) -> list[str] | None:
    return None if query.all else list(dict.fromkeys(query.key))


def _within_64_bits(number: int) -> int:
    return max(LOWEST, min(HIGHEST, number))


def _streamed(call: Call, frames: Iterator[bytes]) -> Response:
    accepted = [part.partition(";")[0].strip() for part in call.request.headers.get("accept-encoding", "").split(",")]
    headers = {"vary": "accept-encoding", "cache-control": "no-store"}
    if "zstd" in accepted:
        return StreamingResponse(
            _compressed(frames), headers={**headers, "content-encoding": "zstd"}, media_type=POINTS_TYPE
        )
    return StreamingResponse(frames, headers=headers, media_type=POINTS_TYPE)


def _compressed(frames: Iterator[bytes]) -> Iterator[bytes]:
    compressor = zstandard.ZstdCompressor(level=_LEVEL).compressobj()
    for frame in frames:
        if packed := compressor.compress(frame):
            yield packed
    yield compressor.flush()


ENDPOINTS = [
    Endpoint(
        "GET", "/runs/{run}/keys", list_keys, "What the run logged.", query=KeysQuery, answer=LoggedKeys, errors=[404]
    ),
    Endpoint(
        "GET",
        "/runs/{run}/points",
        show_points,
        "Every point of some keys, writer after writer, each as it was logged.",
        query=PointsQuery,
        gives=POINTS_TYPE,
        errors=[404],
    ),
    Endpoint(
        "GET",
        "/runs/{run}/window",
        show_window,
        "The numbers and texts of the next window of a run's steps, each key's in time order.",
        query=WindowQuery,
        gives=POINTS_TYPE,
        errors=[404],
    ),
]

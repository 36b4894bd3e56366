"""`/runs/{run}/watched`: statistics of the models a run watched, as matrices of doubles."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response

from trackkit.backend.server.api.access import run_number
from trackkit.backend.server.errors import not_found
from trackkit.backend.server.routing import Answer, Call, Endpoint, Query
from trackkit.backend.store import changes, gradients
from trackkit.backend.store.database import Database
from trackkit.backend.store.gradients import How, Statistic
from trackkit.backend.store.series import HIGHEST, LOWEST
from trackkit.core.gradients import frames
from trackkit.core.gradients.frames import Layers

MEDIA_TYPE: Final = "application/x-trackkit-matrix"

Buckets = Annotated[int, msgspec.Meta(ge=1, le=2000)]
WholeStep = Annotated[int, msgspec.Meta(ge=LOWEST, le=HIGHEST)]


class LayerSummary(msgspec.Struct):
    """A layer: a parameter, or of activations a module; `kind` is the type of the module."""

    name: str
    kind: str
    shape: list[int]
    elements: int


class WatchedSummary(msgspec.Struct):
    """What was watched under a key, of which layers in the model's order, and in how many steps."""

    key: str
    steps: int
    first_step: int
    last_step: int
    statistics: list[str]
    layers: list[LayerSummary]


class WatchedKeys(Answer):
    watched: list[WatchedSummary]


class HeatMapQuery(Query):
    """A statistic over steps `first` to `last`, in at most so many buckets, of whose steps `how` makes one value."""

    statistic: Statistic = "norm"
    how: How = "max"
    buckets: Buckets = 300
    first: WholeStep = LOWEST
    last: WholeStep = HIGHEST


class DistributionQuery(Query):
    """The histogram of one layer over steps `first` to `last`, in at most so many buckets."""

    layer: str
    buckets: Buckets = 300
    first: WholeStep = LOWEST
    last: WholeStep = HIGHEST


class FramesQuery(Query):
    """Watched steps from `first` on, at most `limit` of them."""

    first: WholeStep = LOWEST
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class WatchedFrames(Answer):
    """Watched steps with all of their statistics and histograms.

    `times` are microseconds since the epoch, `frames` as docs/gradients.md says, each with a column a layer. `next` is
    the step to go on from, null at the end.
    """

    layers: Layers
    steps: list[int]
    times: list[int]
    frames: list[bytes]
    next: int | None


class HeatMapHeader(msgspec.Struct):
    """Before the doubles: first steps of `columns` buckets, `rows` × `columns` values, as many counts of NaN/Inf."""

    rows: int
    columns: int
    width: float
    layers: list[str]
    version: int


class DistributionHeader(msgspec.Struct):
    """Before the doubles: first steps of `columns` buckets, and `rows` × `columns` shares.

    The rows are negative numbers from large to small, what is closer to zero than 2**`low`, and positive numbers from
    small to large, each row twice as far from zero as the one before; the last ends at 2**(`high` + 1).
    """

    rows: int
    columns: int
    width: float
    low: int
    high: int
    version: int


def show_keys(call: Call) -> WatchedKeys:
    blobs = call.services.storage.blobs
    with call.services.storage.reading() as db:
        number = run_number(call, db)
        found = []
        for one in gradients.keys(db, number):
            known = list(gradients.layers(db, blobs, number, one.key).values())
            its = known[-1] if known else Layers([], [], [], [])
            summaries = [
                LayerSummary(name, kind, shape, size)
                for name, kind, shape, size in zip(its.names, its.kinds, its.shapes, its.sizes, strict=True)
            ]
            found.append(WatchedSummary(*one, list(frames.STATISTICS), summaries))
    return WatchedKeys(watched=found)


def show_frames(call: Call) -> WatchedFrames:
    query: FramesQuery = call.query
    with call.services.storage.reading() as db:
        number = _watching(call, db)
        steps, following = gradients.page(db, number, call.path["key"], query.first, query.limit)
    last = steps[-1] if steps else query.first
    found, _ = _read(call, query.first, last, histograms=True)
    encoded = [frames.encode(frame) for frame in found.frames]
    return WatchedFrames(
        layers=found.layers,
        steps=found.steps.tolist(),
        times=found.times.tolist(),
        frames=encoded,
        next=following,
    )


def show_heat_map(call: Call) -> Response:
    query: HeatMapQuery = call.query
    watched, version = _read(call, query.first, query.last, histograms=False)
    found = gradients.heat_map(watched, query.statistic, query.buckets, query.how)
    rows, columns = found.values.shape
    header = HeatMapHeader(rows, columns, found.width, found.layers.names, version)
    return _answer(header, found.steps, found.values, found.nonfinite)


def show_distribution(call: Call) -> Response:
    query: DistributionQuery = call.query
    watched, version = _read(call, query.first, query.last, histograms=True)
    try:
        found = gradients.distribution(watched, query.layer, query.buckets)
    except KeyError:
        raise not_found(f"layer {query.layer!r} under {call.path['key']!r} in this run") from None
    rows, columns = found.shares.shape
    header = DistributionHeader(rows, columns, found.width, found.low, found.high, version)
    return _answer(header, found.steps, found.shares)


def _read(call: Call, first: int, last: int, *, histograms: bool) -> tuple[gradients.Watched, int]:
    storage, key = call.services.storage, call.path["key"]
    with storage.reading() as db:
        number = _watching(call, db)
        version = changes.versions(db, [number]).get(number, 0)
        return gradients.read(db, storage.blobs, number, key, first, last, histograms=histograms), version


def _watching(call: Call, db: Database) -> int:
    """The number of the run, which watched something under the key."""
    number, key = run_number(call, db), call.path["key"]
    if key not in {one.key for one in gradients.keys(db, number)}:
        raise not_found(f"key {key!r} among what this run watched")
    return number


def _answer(header: msgspec.Struct, *arrays: NDArray[np.float64]) -> Response:
    head = msgspec.json.encode(header)
    head += b" " * (-(4 + len(head)) % 8)
    parts = [np.ascontiguousarray(array, "<f8").tobytes() for array in arrays]
    return Response(b"".join([len(head).to_bytes(4, "little"), head, *parts]), media_type=MEDIA_TYPE)


ENDPOINTS = [
    Endpoint(
        "GET",
        "/runs/{run}/watched",
        show_keys,
        "What the run watched of its models.",
        answer=WatchedKeys,
        errors=[404],
    ),
    Endpoint(
        "GET",
        "/runs/{run}/watched/{key}/frames",
        show_frames,
        "All that was watched under a key, a page of steps at a time.",
        query=FramesQuery,
        answer=WatchedFrames,
        errors=[404],
    ),
    Endpoint(
        "GET",
        "/runs/{run}/watched/{key}/heatmap",
        show_heat_map,
        "A statistic of all layers over steps: a u32, the length of a JSON header, the header, matrices of doubles.",
        query=HeatMapQuery,
        gives=MEDIA_TYPE,
        errors=[404],
    ),
    Endpoint(
        "GET",
        "/runs/{run}/watched/{key}/distribution",
        show_distribution,
        "The histogram of a layer over steps: a u32, the length of a JSON header, the header, a matrix of doubles.",
        query=DistributionQuery,
        gives=MEDIA_TYPE,
        errors=[404],
    ),
]

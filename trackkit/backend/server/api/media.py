"""`/media` and `/runs/{run}/content`: what runs logged besides numbers, by key and step."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response

from trackkit.backend.server.api.access import run_number
from trackkit.backend.server.api.content import FOREVER, respond
from trackkit.backend.server.api.selection import RunSelection, check_selection, chosen_runs
from trackkit.backend.server.api.values import plain, seconds
from trackkit.backend.server.errors import ApiError, not_found
from trackkit.backend.server.routing import Answer, Call, Endpoint, Query
from trackkit.backend.store import media, objects, runs
from trackkit.backend.store.blobstore import read_all
from trackkit.backend.store.database import Database
from trackkit.backend.store.media import KINDS, MediaKey
from trackkit.backend.store.objects import ObjectRow

MEDIA_TYPE: Final = "application/x-trackkit-histograms"
MOST_RUNS: Final = 500
MOST_ITEMS: Final = 1000
"""Of an answer."""
MOST_STEPS: Final = 5000
MOST_HISTOGRAMS: Final = 1000
MOST_BINS: Final = 512


class MediaKeysSpec(RunSelection, kw_only=True):
    """Runs, and kinds of media; without any, all kinds."""

    kinds: list[str] = msgspec.field(default_factory=list)


class MediaItemsSpec(RunSelection, kw_only=True):
    """Runs, a key, and a step: each run's media at its last step up to there, or at its last one without it."""

    key: str
    kind: str = ""
    step: int | None = None
    most: int = 100
    """Values of one run at most."""


class MediaStepsSpec(RunSelection, kw_only=True):
    """Runs and a key; of more than `most` steps an even choice, with the first and the last."""

    key: str
    most: int = 1000


class MediaHistorySpec(msgspec.Struct, forbid_unknown_fields=True):
    """A run's media under a key, from step to step; `offset` and `limit` make pages."""

    run: str
    key: str
    first: int | None = None
    last: int | None = None
    offset: int = 0
    limit: int = 100


class HistogramsSpec(msgspec.Struct, forbid_unknown_fields=True):
    """A run's histograms under a key, on one grid of bins; of more than `most` an even choice."""

    run: str
    key: str
    bins: int = 100
    most: int = 500
    first: int | None = None
    last: int | None = None
    range: tuple[float, float] | None = None


class SpecQuery(Query):
    """`spec` is a JSON object; see the endpoint's own."""

    spec: str


class ContentQuery(Query):
    """`inline` asks to show the content in the browser, where that is harmless; HTML, in a frame alone."""

    inline: bool = True


class MediaKeys(Answer):
    keys: list[MediaKey]


class MediaSteps(Answer):
    steps: list[int]


class MediaSummary(msgspec.Struct):
    """A media value; `content` is where its content is."""

    run: str
    key: str
    kind: str
    step: int
    time: float
    path: str
    size: int
    digest: str
    content: str
    metadata: dict[str, Any]


class MediaItems(Answer):
    """Media of runs in their order; `total` counts what there is of each run before `most` cut it off."""

    items: list[MediaSummary]
    total: dict[str, int]


class MediaPage(Answer):
    items: list[MediaSummary]
    total: int


class HistogramsHeader(msgspec.Struct):
    """What comes before the matrix: the steps of its rows, and the range of its bins of equal width."""

    steps: list[int]
    low: float
    high: float
    bins: int
    total: int


def list_keys(call: Call) -> MediaKeys:
    spec = decode_spec(call, MediaKeysSpec)
    check_selection(spec)
    for kind in spec.kinds:
        _check_kind(kind)
    with call.services.storage.reading() as db:
        return MediaKeys(keys=media.keys(db, chosen_runs(call, db, spec, MOST_RUNS), spec.kinds))


def list_steps(call: Call) -> MediaSteps:
    spec = decode_spec(call, MediaStepsSpec)
    check_selection(spec)
    with call.services.storage.reading() as db:
        numbers = chosen_runs(call, db, spec, MOST_RUNS)
        return MediaSteps(steps=media.steps(db, numbers, spec.key, max(2, min(spec.most, MOST_STEPS))))


def list_items(call: Call) -> MediaItems:
    spec = decode_spec(call, MediaItemsSpec)
    check_selection(spec)
    if spec.kind:
        _check_kind(spec.kind)
    step = spec.step if spec.step is None else _within_64_bits(spec.step)
    with call.services.storage.reading() as db:
        numbers = chosen_runs(call, db, spec, MOST_RUNS)
        ids = {row.run: row.id for row in runs.load(db, numbers, keys=())}
        found = media.at_step(db, numbers, spec.key, step, kind=spec.kind)
    most = max(1, min(spec.most, MOST_ITEMS))
    shown = [_summary(ids[run], row) for run, rows in found.items() for row in rows[:most]]
    return MediaItems(items=shown[:MOST_ITEMS], total={ids[run]: len(rows) for run, rows in found.items()})


def list_history(call: Call) -> MediaPage:
    spec = decode_spec(call, MediaHistorySpec)
    first, last = (None if step is None else _within_64_bits(step) for step in (spec.first, spec.last))
    with call.services.storage.reading() as db:
        rows = media.items(db, run_named(call, db, spec.run), spec.key, first=first, last=last)
    start, limit = max(0, spec.offset), max(0, min(spec.limit, MOST_ITEMS))
    return MediaPage(items=[_summary(spec.run, row) for row in rows[start : start + limit]], total=len(rows))


def show_content(call: Call) -> Response:
    """The content of a record, which never changes."""
    try:
        seq = _within_64_bits(int(call.path["seq"]))
    except ValueError:
        raise not_found(f"record {call.path['seq']!r}") from None
    with call.services.storage.reading() as db:
        number = run_number(call, db)
        row = objects.one(db, number, call.path["writer"], seq)
        if row is None:
            raise not_found(f"content of the record {seq} of the writer {call.path['writer']!r}")
        return _forever(respond(call, db, number, row, inline=call.query.inline))


def show_blob(call: Call) -> Response:
    """The content of a digest that the run names: a mask, or the media of a table's cell."""
    digest = call.path["digest"]
    with call.services.storage.reading() as db:
        number = run_number(call, db)
        row = objects.of_digest(db, number, digest)
        if row is None:
            raise not_found(f"content with the digest {digest!r} in this run")
        return _forever(respond(call, db, number, row, inline=call.query.inline))


def show_histograms(call: Call) -> Response:
    spec = decode_spec(call, HistogramsSpec)
    first, last = (None if step is None else _within_64_bits(step) for step in (spec.first, spec.last))
    bins, most = max(1, min(spec.bins, MOST_BINS)), max(1, min(spec.most, MOST_HISTOGRAMS))
    with call.services.storage.reading() as db:
        number = run_named(call, db, spec.run)
        rows = media.items(db, number, spec.key, kind="histogram", first=first, last=last)
        chosen = _even(rows, most)
        found = [(row.step or 0, _histogram(call, db, number, row)) for row in chosen]
    known = [(step, histogram) for step, histogram in found if histogram is not None]
    low, high = _range([histogram for _, histogram in known], spec.range)
    grid = np.linspace(low, high, bins + 1)
    matrix = np.array([_on_grid(histogram, grid) for _, histogram in known], "<f4").reshape(-1, bins)
    header = msgspec.json.encode(HistogramsHeader([step for step, _ in known], low, high, bins, len(rows)))
    header += b" " * (-(4 + len(header)) % 8)
    return Response(b"".join([len(header).to_bytes(4, "little"), header, matrix.tobytes()]), media_type=MEDIA_TYPE)


def decode_spec(call: Call, kind: type[Any]) -> Any:
    """The specification in a URL.

    Raises
    ------
    ApiError
        400 if it is none of that type.
    """
    try:
        return msgspec.json.decode(call.query.spec, type=kind)
    except (msgspec.MsgspecError, UnicodeEncodeError) as error:
        raise ApiError(400, f"the spec is wrong: {error}") from None


def run_named(call: Call, db: Database, id: str) -> int:
    """The number of a run that a specification names; raises 404 as `access.run_number`."""
    call.path["run"] = id
    return run_number(call, db)


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ApiError(400, f"there are no media of the kind {kind!r}; there are {', '.join(KINDS)}")


def _within_64_bits(number: int) -> int:
    return max(-(2**63), min(2**63 - 1, number))


def _summary(run: str, row: ObjectRow) -> MediaSummary:
    return MediaSummary(
        run, row.key, row.kind, row.step or 0, seconds(row.time), row.path, row.size, row.digest,
        f"/api/v1/runs/{run}/content/{row.writer}/{row.seq}", plain(msgspec.json.decode(row.metadata)),
    )  # fmt: skip


def _forever(response: Response) -> Response:
    response.headers.update({**FOREVER, "vary": "sec-fetch-dest"})
    return response


def _even(rows: list[ObjectRow], most: int) -> list[ObjectRow]:
    if len(rows) <= most:
        return rows
    if most == 1:
        return rows[-1:]
    return [rows[round(place * (len(rows) - 1) / (most - 1))] for place in range(most)]


Histogram = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Counts and edges."""


def _histogram(call: Call, db: Database, run: int, row: ObjectRow) -> Histogram | None:
    """A histogram; None if its content is missing or damaged."""
    try:
        if row.digest:
            content = read_all(call.services.storage.blobs, row.digest)
        else:
            content = objects.inline(db, run, row.writer, row.seq) or b""
        found = msgspec.json.decode(content)
        counts, edges = np.array(found["counts"], np.float64), np.array(found["edges"], np.float64)
    except (OSError, msgspec.MsgspecError, KeyError, TypeError, ValueError):
        return None
    whole = (
        counts.ndim == 1 and len(edges) == len(counts) + 1 and np.isfinite(edges).all() and np.isfinite(counts).all()
    )
    return (counts, edges) if whole and bool((np.diff(edges) >= 0).all()) else None


def _range(found: list[Histogram], wanted: tuple[float, float] | None) -> tuple[float, float]:
    """The range of a common grid: the one wanted, or that of all bins with something in them."""
    if wanted is not None:
        low, high = wanted
    else:
        filled = [(edges[:-1][counts > 0], edges[1:][counts > 0]) for counts, edges in found if (counts > 0).any()]
        low = min((float(lows[0]) for lows, _ in filled), default=0.0)
        high = max((float(highs[-1]) for _, highs in filled), default=1.0)
    if not (np.isfinite(low) and np.isfinite(high) and np.isfinite(high - low)):
        raise ApiError(400, f"the range from {low} to {high} is none for a grid")
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _on_grid(histogram: Histogram, grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Counts of a histogram in the bins of another grid, as if each of its bins were filled evenly."""
    counts, edges = histogram
    total = np.concatenate([[0.0], np.cumsum(counts)])
    found: NDArray[np.float64] = np.diff(np.interp(grid, edges, total))
    return found


ENDPOINTS = [
    Endpoint("GET", "/media/keys", list_keys, "Keys of media that runs logged.", query=SpecQuery, answer=MediaKeys),
    Endpoint("GET", "/media/steps", list_steps, "Steps with media of a key.", query=SpecQuery, answer=MediaSteps),
    Endpoint(
        "GET",
        "/media/items",
        list_items,
        "What several runs logged under a key at a step.",
        query=SpecQuery,
        answer=MediaItems,
    ),
    Endpoint(
        "GET",
        "/media/history",
        list_history,
        "What a run logged under a key, step after step.",
        query=SpecQuery,
        answer=MediaPage,
        errors=[404],
    ),
    Endpoint(
        "GET",
        "/media/histograms",
        show_histograms,
        "A run's histograms on one grid: a u32, the length of a JSON header, the header, steps × bins floats.",
        query=SpecQuery,
        gives=MEDIA_TYPE,
        errors=[404],
    ),
    Endpoint(
        "GET",
        "/runs/{run}/content/{digest}",
        show_blob,
        "The content of a digest that the run names.",
        query=ContentQuery,
        gives="*/*",
        errors=[404],
    ),
    Endpoint(
        "GET",
        "/runs/{run}/content/{writer}/{seq}",
        show_content,
        "The content of a media value.",
        query=ContentQuery,
        gives="*/*",
        errors=[404],
    ),
]

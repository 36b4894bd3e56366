"""`/panel`: what a chart shows, as arrays of doubles."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import Any, Final, Literal

import msgspec
import numpy as np
from starlette.responses import Response

from trackkit.backend.server.api.runs import value_of
from trackkit.backend.server.api.selection import check_selection, chosen_runs
from trackkit.backend.server.api.values import plain
from trackkit.backend.server.errors import ApiError
from trackkit.backend.server.routing import Call, Endpoint, Query
from trackkit.backend.store import changes, panels, runs
from trackkit.backend.store.filters import Entry, FilterError
from trackkit.backend.store.filters.nodes import Target
from trackkit.backend.store.filters.syntax import parse_target
from trackkit.backend.store.panels import Axis, Line, Panel, Wanted
from trackkit.backend.store.runs import RunRow

MEDIA_TYPE: Final = "application/x-trackkit-panel"
MOST_SERIES: Final = 500
"""Lines of one chart."""

Stat = Literal["mean", "min", "max", "last"]


class PanelGroup(msgspec.Struct, forbid_unknown_fields=True):
    """Runs that agree in the values of `by` become one line with a band around it."""

    by: list[str]
    band: Literal["std", "sem", "minmax"] = "std"


class PanelSpec(msgspec.Struct, forbid_unknown_fields=True):
    """What a chart wants: runs by their ids, or the first `limit` of a project that match a filter, and keys."""

    keys: list[str]
    runs: list[str] | None = None
    project: str | None = None
    filter: str = ""
    order: str = "-created"
    limit: int = 20
    kind: Literal["metric", "system"] = "metric"
    x: str = "step"
    """`step`, `time`, `relative`, `epoch` or `metric:KEY`; `epoch` is the metric of that name."""
    scale: Literal["linear", "log"] = "linear"
    range: tuple[float | None, float | None] | None = None
    buckets: int = 500
    stats: list[Stat] = msgspec.field(default_factory=lambda: ["mean", "min", "max"])
    group: PanelGroup | None = None


class PanelQuery(Query):
    """`spec` is a JSON object; see `PanelSpec`."""

    spec: str


class PanelX(msgspec.Struct):
    """The x axis: which array it is, and the width of a bucket, 0 where buckets are single points."""

    array: int
    width: float


class PanelSeries(msgspec.Struct):
    """A line: of a run, or of a group of runs, and which arrays are its statistics."""

    key: str
    run: str | None
    name: str
    group: dict[str, Any] | None
    runs: int
    points: int
    arrays: dict[str, int]


class PanelHeader(msgspec.Struct):
    """What comes before the arrays; `arrays` of them, each of `length` doubles."""

    x: PanelX
    series: list[PanelSeries]
    arrays: int
    length: int
    version: int


def show_panel(call: Call) -> Response:
    spec = _spec(call.query.spec)
    axis = _axis(spec)
    by = _by(spec)
    with call.services.storage.reading() as db:
        numbers = chosen_runs(call, db, spec, MOST_SERIES)
        if len(numbers) * len(spec.keys) > MOST_SERIES:
            text = f"{len(numbers)} runs × {len(spec.keys)} keys are more than the {MOST_SERIES} lines of a chart"
            raise ApiError(400, f"{text}: choose fewer")
        versions = changes.versions(db, numbers)
        tag = _tag(call.query.spec, versions)
        if _is_known(call, tag):
            return Response(status_code=304, headers={"etag": tag})
        rows = runs.load(db, numbers, [target for target in by if isinstance(target, Entry)])
        wanted = [Wanted(row.run, row.created, key) for key in spec.keys for row in rows]
        panel = panels.panel(db, wanted, axis, spec.buckets, spec.kind)
    body = _encode(spec, by, rows, panel, max(versions.values(), default=0))
    return Response(body, media_type=MEDIA_TYPE, headers={"etag": tag})


def _spec(text: str) -> PanelSpec:
    try:
        spec = msgspec.json.decode(text, type=PanelSpec)
    except (msgspec.MsgspecError, UnicodeEncodeError) as error:
        raise ApiError(400, f"the spec is wrong: {error}") from None
    check_selection(spec)
    return spec


def _axis(spec: PanelSpec) -> Axis:
    first, last = spec.range or (None, None)
    if spec.x in ("step", "time", "relative"):
        return Axis(spec.x, "", first, last, spec.scale)  # type: ignore[arg-type]
    kind, _, key = "metric:epoch".partition(":") if spec.x == "epoch" else spec.x.partition(":")
    if kind != "metric" or not key:
        raise ApiError(400, f"x must be step, time, relative, epoch or metric:KEY, not {spec.x!r}")
    return Axis("metric", key, first, last, spec.scale)


def _by(spec: PanelSpec) -> list[Target]:
    try:
        return [parse_target(key) for key in spec.group.by] if spec.group is not None else []
    except FilterError as error:
        raise ApiError(400, f"a key to group by can't be read: {error}") from None


def _tag(spec: str, versions: dict[int, int]) -> str:
    digest = hashlib.blake2b(spec.encode(errors="replace"), digest_size=12)
    digest.update(repr(sorted(versions.items())).encode())
    return f'"{digest.hexdigest()}"'


def _is_known(call: Call, tag: str) -> bool:
    known = call.request.headers.get("if-none-match", "")
    return any(each.strip().removeprefix("W/") == tag for each in known.split(","))


class _Arrays:
    """Collects the arrays of an answer."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def add(self, array: panels.Array) -> int:
        self.parts.append(np.ascontiguousarray(array, "<f8").tobytes())
        return len(self.parts) - 1


def _encode(spec: PanelSpec, by: list[Target], rows: list[RunRow], panel: Panel, version: int) -> bytes:
    arrays = _Arrays()
    x = PanelX(arrays.add(panel.x), panel.width)
    lines: list[PanelSeries] = []
    for position, key in enumerate(spec.keys):
        some = panel.lines[position * len(rows) : (position + 1) * len(rows)]
        pairs = [(row, line) for row, line in zip(rows, some, strict=True) if line.points]
        if spec.group is None:
            lines += [_single(spec, key, row, line, arrays) for row, line in pairs]
        else:
            lines += _grouped(spec, key, by, pairs, arrays)
    header = msgspec.json.encode(PanelHeader(x, lines, len(arrays.parts), len(panel.x), version))
    header += b" " * (-(4 + len(header)) % 8)
    return b"".join([len(header).to_bytes(4, "little"), header, *arrays.parts])


def _single(spec: PanelSpec, key: str, row: RunRow, line: Line, arrays: _Arrays) -> PanelSeries:
    stats = dict.fromkeys(spec.stats)
    named = {str(stat): arrays.add(getattr(line, stat)) for stat in stats}
    return PanelSeries(key, row.id, row.name, None, 1, line.points, named)


def _grouped(
    spec: PanelSpec, key: str, by: list[Target], pairs: list[tuple[RunRow, Line]], arrays: _Arrays
) -> list[PanelSeries]:
    assert spec.group is not None
    members: defaultdict[str, list[tuple[RunRow, Line]]] = defaultdict(list)
    for row, line in pairs:
        members[msgspec.json.encode([plain(value_of(row, target)) for target in by]).decode()].append((row, line))
    found = []
    for some in members.values():
        group = panels.grouped([line for _, line in some], spec.group.band)
        values = {str(target): plain(value_of(some[0][0], target)) for target in by}
        name = ", ".join(str(value) for value in values.values())
        named = {stat: arrays.add(getattr(group, stat)) for stat in ("mean", "low", "high")}
        found.append(PanelSeries(key, None, name, values, group.members, group.points, named))
    return found


ENDPOINTS = [
    Endpoint(
        "GET",
        "/panel",
        show_panel,
        "The lines of a chart on one grid: a u32, the length of a JSON header, the header, arrays of doubles.",
        query=PanelQuery,
        parts={"spec": PanelSpec},
        gives=MEDIA_TYPE,
        errors=[304],
    ),
]

"""`/projects`, `/columns`, `/values`, `/search`: what there is."""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec

from trackkit.backend.server.api.access import check_project, visible
from trackkit.backend.server.api.values import plain, seconds
from trackkit.backend.server.errors import ApiError
from trackkit.backend.server.routing import Answer, Call, Endpoint, Query
from trackkit.backend.store import artifacts, catalogue, runs
from trackkit.backend.store.filters import Entry, FilterError
from trackkit.backend.store.filters.nodes import And, Compare, Field, Node, Or
from trackkit.backend.store.filters.syntax import parse_target

SPARKLINE_DAYS: Final = 30


class ProjectSummary(msgspec.Struct):
    """A project; `sparkline` counts the runs begun on each of the last 30 days, today last."""

    name: str
    runs: int
    running: int
    updated: float
    sparkline: list[int]


class Projects(Answer):
    projects: list[ProjectSummary]


class ProjectQuery(Query):
    project: str


class ColumnSummary(msgspec.Struct):
    """A config or summary key; `min` and `max` are of its numbers."""

    key: str
    count: int
    kinds: list[str]
    min: float | str | None
    max: float | str | None


class Columns(Answer):
    """What the runs of a project have in common."""

    config: list[ColumnSummary]
    summary: list[ColumnSummary]
    metrics: list[catalogue.Metric]
    tags: list[catalogue.Count]
    groups: list[catalogue.Count]


class ValuesQuery(Query):
    """`key` is `config.<key>` or `summary.<key>`."""

    project: str
    key: str
    prefix: str = ""
    limit: int = 20


class Values(Answer):
    values: list[Any]


class SearchQuery(Query):
    q: str
    limit: int = 20


class FoundRun(msgspec.Struct):
    id: str
    name: str
    project: str
    state: str
    created: float


class FoundArtifact(msgspec.Struct):
    """A collection of artifacts."""

    project: str
    name: str
    type: str
    updated: float


class Found(Answer):
    projects: list[str]
    runs: list[FoundRun]
    artifacts: list[FoundArtifact]


def list_projects(call: Call) -> Projects:
    day = 86400
    first = (int(time.time()) // day - SPARKLINE_DAYS + 1) * day
    with call.services.storage.reading() as db:
        rows = [row for row in runs.projects(db) if call.identity.may_see(row.name)]
        days = catalogue.created_per_day(db, [row.name for row in rows], first * 1_000_000, SPARKLINE_DAYS)
    return Projects(
        projects=[ProjectSummary(row.name, row.runs, row.running, seconds(row.updated), days[row.name]) for row in rows]
    )


def list_columns(call: Call) -> Columns:
    project = call.query.project
    check_project(call, project)
    found = call.services.overviews.of(project)
    config, summary = (
        [ColumnSummary(one.key, one.count, one.kinds, plain(one.min), plain(one.max)) for one in columns]
        for columns in (found.config, found.summary)
    )
    return Columns(config=config, summary=summary, metrics=found.metrics, tags=found.tags, groups=found.groups)


def list_values(call: Call) -> Values:
    check_project(call, call.query.project)
    try:
        entry = parse_target(call.query.key)
    except FilterError as error:
        raise ApiError(400, f"the key can't be read: {error}") from None
    if not isinstance(entry, Entry):
        raise ApiError(400, f"the key must be config.<key> or summary.<key>, not {call.query.key!r}")
    with call.services.storage.reading() as db:
        limit = max(1, min(call.query.limit, 1000))
        return Values(values=plain(catalogue.values(db, call.query.project, entry, call.query.prefix, limit)))


def search(call: Call) -> Found:
    limit = max(1, min(call.query.limit, 100))
    pattern = "%" + "".join(f"\\{char}" if char in "\\%_" else char for char in call.query.q) + "%"
    named: Node = Or(tuple(Compare(Field(name), "like", pattern) for name in ("name", "id", "notes", "group")))
    seen = visible(call)
    condition = named if seen is None else And((seen, named))
    with call.services.storage.reading() as db:
        found = runs.load(db, runs.numbers(db, condition, limit=limit), keys=())
        collections = [row for row in artifacts.called(db, call.query.q) if call.identity.may_see(row.project)]
        projects = [row.name for row in runs.projects(db) if call.query.q.lower() in row.name.lower()]
    return Found(
        projects=[name for name in projects if call.identity.may_see(name)][:limit],
        runs=[FoundRun(row.id, row.name, row.project, row.state, seconds(row.created)) for row in found],
        artifacts=[FoundArtifact(row.project, row.name, row.type, seconds(row.updated)) for row in collections[:limit]],
    )


ENDPOINTS = [
    Endpoint(
        "GET", "/projects", list_projects, "The projects, the one with the latest activity first.", answer=Projects
    ),
    Endpoint(
        "GET",
        "/columns",
        list_columns,
        "The config, summary and metric keys of a project, its tags and groups.",
        query=ProjectQuery,
        answer=Columns,
        errors=[404],
    ),
    Endpoint(
        "GET",
        "/values",
        list_values,
        "Values that a project's runs have for a key, the most frequent first.",
        query=ValuesQuery,
        answer=Values,
        errors=[404],
    ),
    Endpoint(
        "GET",
        "/search",
        search,
        "Projects, runs and artifacts by what they are called.",
        query=SearchQuery,
        answer=Found,
    ),
]

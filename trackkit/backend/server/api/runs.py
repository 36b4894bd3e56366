"""`/runs` and `/groups`: many runs at once."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any, Final, Literal

import msgspec

from trackkit.backend.server.api.access import check_project, visible
from trackkit.backend.server.api.values import maybe_seconds, plain, seconds
from trackkit.backend.server.errors import ApiError, not_found
from trackkit.backend.server.routing import Answer, Body, Call, Endpoint, Query
from trackkit.backend.store import changes, runs, writers
from trackkit.backend.store.database import Database
from trackkit.backend.store.filters import Entry, FilterError
from trackkit.backend.store.filters.nodes import Target
from trackkit.backend.store.filters.syntax import parse_target
from trackkit.backend.store.runs import RunRow
from trackkit.core.names import is_project

MOST_RUNS: Final = 1000
"""Runs of one answer."""
MOST_GROUPED: Final = 100_000

ALL = "*"


class RunsQuery(Query):
    """`order` and `columns` are keys separated by commas; `columns=*` means every config and summary entry."""

    project: str | None = None
    filter: str = ""
    order: str = "-created"
    columns: str = ""
    limit: int = 100
    offset: int = 0
    deleted: bool = False


class RunSummary(msgspec.Struct):
    """A run in a listing; `error` is the last line of the exception that ended it."""

    id: str
    project: str
    name: str
    state: str
    group: str
    job_type: str
    notes: str
    tags: list[str]
    created: float
    updated: float
    ended: float | None
    exit_code: int | None
    error: str
    host: str
    version: int
    values: dict[str, Any]


class RunList(Answer):
    """`total` counts the runs that match, `version` is that of the last change to any run."""

    total: int
    version: int
    runs: list[RunSummary]


class GroupsQuery(Query):
    """`by` and `columns` are keys separated by commas, such as `config.optimizer` or `state`."""

    by: str
    project: str | None = None
    filter: str = ""
    columns: str = ""


class Aggregate(msgspec.Struct):
    """Of the numbers of a group's runs."""

    count: int
    mean: float | str | None
    min: float | str | None
    max: float | str | None
    std: float | str | None


class GroupSummary(msgspec.Struct):
    values: dict[str, Any]
    count: int
    running: int
    updated: float
    aggregates: dict[str, Aggregate]


class Groups(Answer):
    groups: list[GroupSummary]


class Action(Body):
    """What to do with some runs: `tags` goes with `tag` and `untag`, `project` with `move`."""

    action: Literal["stop", "delete", "restore", "tag", "untag", "move"]
    runs: list[str]
    tags: list[str] = msgspec.field(default_factory=list)
    project: str = ""


class Changed(Answer):
    """The runs that were there to be changed."""

    changed: list[str]


def list_runs(call: Call) -> RunList:
    query: RunsQuery = call.query
    condition = visible(call, query.project, query.filter)
    limit, offset = max(0, min(query.limit, MOST_RUNS)), max(0, query.offset)
    columns = None if query.columns.strip() == ALL else _targets(query.columns)
    entries = None if columns is None else [column for column in columns if isinstance(column, Entry)]
    with call.services.storage.reading() as db:
        try:
            numbers = runs.numbers(db, condition, query.order, trash=query.deleted)
        except FilterError as error:
            raise ApiError(400, f"the order can't be used: {error}") from None
        rows = runs.load(db, numbers[offset : offset + limit], entries)
        return RunList(total=len(numbers), version=changes.latest(db), runs=summaries(db, rows))


def summaries(db: Database, rows: list[RunRow]) -> list[RunSummary]:
    """Runs as a listing shows them."""
    numbers = [row.run for row in rows]
    versions, hosts = changes.versions(db, numbers), runs.hosts(db, numbers)
    return [
        RunSummary(
            row.id, row.project, row.name, row.state, row.group, row.job_type, row.notes, row.tags,
            seconds(row.created), seconds(row.updated), maybe_seconds(row.ended), row.exit_code,
            row.error.rstrip().rpartition("\n")[2], hosts.get(row.run, ""), versions.get(row.run, 0),
            plain(_values(row)),
        )
        for row in rows
    ]  # fmt: skip


def _values(row: RunRow) -> dict[str, Any]:
    config = {f"config.{key}": value for key, value in row.config.items()}
    return config | {f"summary.{key}": value for key, value in row.summary.items()}


def group_runs(call: Call) -> Groups:
    query: GroupsQuery = call.query
    condition = visible(call, query.project, query.filter)
    by, columns = _targets(query.by), _targets(query.columns)
    if not by:
        raise ApiError(400, "'by' names no key; give keys such as config.optimizer, separated by commas")
    entries = [target for target in [*by, *columns] if isinstance(target, Entry)]
    with call.services.storage.reading() as db:
        rows = runs.load(db, runs.numbers(db, condition, limit=MOST_GROUPED), entries)
    members: defaultdict[str, list[RunRow]] = defaultdict(list)
    for row in rows:
        members[msgspec.json.encode([plain(value_of(row, target)) for target in by]).decode()].append(row)
    found = [_group(some, by, columns) for some in members.values()]
    return Groups(groups=sorted(found, key=lambda group: -group.count))


def value_of(row: RunRow, target: Target) -> Any:
    """What a run has under a key; None if nothing."""
    if isinstance(target, Entry):
        return getattr(row, target.table).get(target.key)
    if target.name == "duration":
        return ((row.ended or row.updated) - row.created) / 1e6
    value = getattr(row, target.name, None)
    return seconds(value) if target.kind == "time" and value is not None else value


def _group(rows: list[RunRow], by: list[Target], columns: list[Target]) -> GroupSummary:
    return GroupSummary(
        {str(target): plain(value_of(rows[0], target)) for target in by},
        len(rows),
        sum(row.state == "running" for row in rows),
        seconds(max(row.updated for row in rows)),
        {str(target): _aggregate([value_of(row, target) for row in rows]) for target in columns},
    )


def _aggregate(values: list[Any]) -> Aggregate:
    numbers = [float(value) for value in values if isinstance(value, int | float) and not math.isnan(value)]
    if not numbers:
        return Aggregate(0, None, None, None, None)
    mean = sum(numbers) / len(numbers)
    finite = len(numbers) > 1 and all(map(math.isfinite, numbers))
    std = math.sqrt(sum((number - mean) ** 2 for number in numbers) / (len(numbers) - 1)) if finite else None
    return Aggregate(len(numbers), plain(mean), plain(min(numbers)), plain(max(numbers)), std)


def _targets(text: str) -> list[Target]:
    try:
        return [parse_target(part.strip()) for part in text.split(",") if part.strip()]
    except FilterError as error:
        raise ApiError(400, f"a column can't be read: {error}") from None


def act(call: Call) -> Changed:
    action: Action = call.body
    if action.action in ("tag", "untag") and not all(action.tags):
        raise ApiError(400, "tags are texts of at least one character")
    if action.action == "move":
        _check_target(call, action.project)
    with call.services.storage.changing() as db:
        found = {id: runs.find(db, id) for id in dict.fromkeys(action.runs)}
        rows = runs.load(db, [number for number in found.values() if number is not None], keys=())
        rows = [row for row in rows if call.identity.may_see(row.project)]
        if not rows and action.runs:
            raise not_found("such run" if len(action.runs) > 1 else f"run {action.runs[0]!r}")
        _do(db, action, rows)
    return Changed(changed=[row.id for row in rows])


def _check_target(call: Call, project: str) -> None:
    if not is_project(project):
        raise ApiError(400, f"{project!r} can't be a project's name: 1 to 128 characters, without '/'")
    check_project(call, project)


def _do(db: Database, action: Action, rows: list[RunRow]) -> None:
    numbers = [row.run for row in rows]
    match action.action:
        case "delete":
            runs.trash(db, numbers)
        case "restore":
            runs.restore(db, numbers)
        case "stop":
            for number in numbers:
                writers.ask_to_stop(db, number)
        case "tag":
            for row in rows:
                runs.set_tags(db, row.run, [*row.tags, *action.tags])
        case "untag":
            for row in rows:
                runs.set_tags(db, row.run, [tag for tag in row.tags if tag not in action.tags])
        case "move":
            for number in numbers:
                runs.move(db, number, action.project)


ENDPOINTS = [
    Endpoint(
        "GET",
        "/runs",
        list_runs,
        "Runs that match a filter, in order, a page at a time.",
        query=RunsQuery,
        answer=RunList,
    ),
    Endpoint("GET", "/groups", group_runs, "Runs grouped by keys, with aggregates.", query=GroupsQuery, answer=Groups),
    Endpoint(
        "POST",
        "/runs/actions",
        act,
        "Stop, delete, restore, tag or move runs. What was deleted can be restored for a week.",
        scope="write",
        body=Action,
        answer=Changed,
        errors=[404],
    ),
]

"""`/runs/{run}`: all there is to know of one run, but its charts and files."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from trackkit.backend.server.api.access import run_number
from trackkit.backend.server.api.runs import RunSummary, summaries
from trackkit.backend.server.api.values import check_depth, maybe_seconds, plain, seconds
from trackkit.backend.server.errors import ApiError
from trackkit.backend.server.routing import Answer, Body, Call, Endpoint, Query
from trackkit.backend.store import entries, lines, run_tags, runs, series, writers
from trackkit.backend.store import summaries as definitions
from trackkit.backend.store.database import Database
from trackkit.core.summary import Definition

MOST_LINES: Final = 20_000


class WriterSummary(msgspec.Struct):
    """A process that wrote to the run; `accounting` tells what tracking cost it."""

    id: str
    role: str
    label: str
    host: str
    pid: int
    state: str
    started: float
    ended: float | None
    accounting: dict[str, Any]


class MetricRule(msgspec.Struct):
    """What `define_metric` said of the metrics whose key matches `name`."""

    name: str
    step_metric: str | None
    summary: list[str] | None
    goal: str | None
    hidden: bool


class SeriesSummary(msgspec.Struct):
    """A series over all writers of the run."""

    key: str
    count: int
    min: float | str | None
    max: float | str | None
    last: float | str | None
    last_step: int


class Keys(msgspec.Struct):
    metric: list[SeriesSummary]
    system: list[SeriesSummary]
    text: list[str]


class RunDetail(RunSummary):
    """A run; `error` is the whole traceback here, `values` is empty."""

    config: dict[str, Any]
    summary: dict[str, Any]
    metadata: dict[str, Any]
    stop_requested: bool
    writers: list[WriterSummary]
    metrics: list[MetricRule]
    keys: Keys


class RunAnswer(Answer):
    run: RunDetail


class RunChanges(Body):
    """What to change; what is left out stays. Keys of nested dicts in `config` and `summary` are joined by "."."""

    name: str | None = None
    notes: str | None = None
    tags: list[str] | None = None
    group: str | None = None
    job_type: str | None = None
    config: dict[str, Any] | None = None
    summary: dict[str, Any] | None = None


class LinesQuery(Query):
    """`after` is the cursor of the answer before."""

    after: str = ""
    limit: int = 5000
    stream: str = ""


class LineSummary(msgspec.Struct):
    """What a stream got at a time, as it was written; it need not end at the end of a line."""

    time: float
    stream: str
    writer: str
    text: str


class ConsoleLines(Answer):
    """`done` tells that there is no more now."""

    lines: list[LineSummary]
    cursor: str
    done: bool


class AlertSummary(msgspec.Struct):
    time: float
    level: str
    title: str
    text: str


class Alerts(Answer):
    alerts: list[AlertSummary]


class KeyQuery(Query):
    key: str


class TextPoint(msgspec.Struct):
    step: int
    time: float
    value: str


class Texts(Answer):
    points: list[TextPoint]


def show(call: Call) -> RunAnswer:
    with call.services.storage.reading() as db:
        return RunAnswer(run=_detail(db, run_number(call, db)))


def _detail(db: Database, number: int) -> RunDetail:
    row = runs.load(db, [number])[0]
    listed = msgspec.structs.asdict(summaries(db, [row])[0])
    listed.update(error=row.error, values={})
    return RunDetail(
        **listed,
        config=plain(entries.unflatten(row.config)),
        summary=plain(row.summary),
        metadata=_metadata(db, row),
        stop_requested=writers.is_asked_to_stop(db, number),
        writers=[_writer(one) for one in writers.all_writers(db, number)],
        metrics=[_rule(definition) for definition in definitions.load_definitions(db, number)],
        keys=Keys(_series(db, number, "metric"), _series(db, number, "system"), series.keys(db, number, "text")),
    )


def _metadata(db: Database, row: runs.RunRow) -> dict[str, Any]:
    """Where a run came from, and the tags with values that MLflow's clients gave it."""
    found: dict[str, Any] = msgspec.json.decode(row.metadata)
    tags = {key: value for key, value in run_tags.load(db, [row.run]).get(row.run, {}).items() if key not in row.tags}
    return {**found, "tags": tags} if tags else found


def _writer(row: writers.WriterRow) -> WriterSummary:
    return WriterSummary(
        row.id, row.role, row.label, row.host, row.pid, row.state, seconds(row.started), maybe_seconds(row.ended),
        plain(msgspec.json.decode(row.accounting)),
    )  # fmt: skip


def _rule(rule: Definition) -> MetricRule:
    summary = None if rule.summary is None else list(rule.summary)
    return MetricRule(rule.name, rule.step_metric, summary, rule.goal, rule.hidden)


def _series(db: Database, number: int, kind: str) -> list[SeriesSummary]:
    return [
        SeriesSummary(one.key, one.count, plain(one.min), plain(one.max), plain(one.last), one.last_step)
        for one in series.overview(db, number, kind)
    ]


def change(call: Call) -> RunAnswer:
    changes: RunChanges = call.body
    for values in (changes.config, changes.summary):
        check_depth(values)
    fields = {name: getattr(changes, name) for name in ("name", "notes", "group", "job_type")}
    with call.services.storage.reading() as db:
        number = run_number(call, db)
    with call.services.storage.changing() as db:
        runs.describe(db, number, {name: value for name, value in fields.items() if value is not None})
        if changes.tags is not None:
            if not all(changes.tags):
                raise ApiError(400, "tags are texts of at least one character")
            runs.set_tags(db, number, changes.tags)
        if changes.config is not None:
            runs.edit_config(db, number, entries.flatten(changes.config))
        if changes.summary is not None:
            runs.edit_summary(db, number, entries.flatten(changes.summary))
    return show(call)


def delete(call: Call) -> None:
    with call.services.storage.reading() as db:
        number = run_number(call, db)
    with call.services.storage.changing() as db:
        runs.delete(db, number)


def console(call: Call) -> ConsoleLines:
    query: LinesQuery = call.query
    limit = max(1, min(query.limit, MOST_LINES))
    with call.services.storage.reading() as db:
        number = run_number(call, db)
        try:
            found = lines.page(db, number, lines.Cursor.parse(query.after), limit, query.stream or None)
        except ValueError:
            raise ApiError(400, f"{query.after!r} is no cursor; pass the one of the answer before, or none") from None
    shown = [LineSummary(seconds(one.time), one.stream, one.writer, one.text) for one in found]
    cursor = str(found[-1].cursor()) if found else query.after
    return ConsoleLines(lines=shown, cursor=cursor, done=len(found) < limit)


def alerts(call: Call) -> Alerts:
    with call.services.storage.reading() as db:
        rows = runs.alerts(db, run_number(call, db))
    return Alerts(alerts=[AlertSummary(seconds(row.time), row.level, row.title, row.text) for row in rows])


def texts(call: Call) -> Texts:
    with call.services.storage.reading() as db:
        found = series.texts(db, run_number(call, db), [call.query.key]).get(call.query.key, series.NOTHING)
    columns = zip(found.steps.tolist(), found.times.tolist(), found.values.tolist(), strict=True)
    return Texts(points=[TextPoint(step, seconds(time), value) for step, time, value in columns])


ENDPOINTS = [
    Endpoint("GET", "/runs/{run}", show, "A run.", answer=RunAnswer, errors=[404]),
    Endpoint(
        "PATCH", "/runs/{run}", change, "Change a run.", scope="write", body=RunChanges, answer=RunAnswer, errors=[404]
    ),
    Endpoint("DELETE", "/runs/{run}", delete, "Delete a run for good.", scope="write", status=204, errors=[404]),
    Endpoint(
        "GET",
        "/runs/{run}/console",
        console,
        "What the run wrote to the console, in the order it was written.",
        query=LinesQuery,
        answer=ConsoleLines,
        errors=[404],
    ),
    Endpoint("GET", "/runs/{run}/alerts", alerts, "The run's alerts.", answer=Alerts, errors=[404]),
    Endpoint(
        "GET", "/runs/{run}/texts", texts, "The texts logged under a key.", query=KeyQuery, answer=Texts, errors=[404]
    ),
]

"""`runs/log-…`, `runs/set-tag` and `metrics/…`: what runs log, and what they have logged."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np

from trackkit.backend.server.mlflow import limits, messages
from trackkit.backend.server.mlflow.access import active_run
from trackkit.backend.server.mlflow.errors import absent, invalid, missing
from trackkit.backend.server.mlflow.messages import GivenPair, Metric
from trackkit.backend.server.mlflow.routing import NOTHING, Call, Message, Nothing, Procedure, Reply
from trackkit.backend.store import direct, logged_models, mlflow_runs, run_tags, series
from trackkit.backend.store.database import Database
from trackkit.backend.store.direct import Point
from trackkit.backend.store.mlflow_runs import MlflowRun
from trackkit.backend.store.series import Points

MOST_BULK_RUNS: Final = 100
MOST_BULK_ROWS: Final = 25_000
MOST_INTERVAL_ROWS: Final = 2500
_HINT: Final = "See the API docs for more information about request parameters."


class MetricMessage(Message):
    run_id: str = ""
    run_uuid: str = ""
    key: str = ""
    value: float | None = None
    timestamp: int | None = None
    step: int = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class GivenMetric(msgspec.Struct):
    key: str | None = None
    value: float | None = None
    timestamp: int | None = None
    step: int | None = None
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None


class ParamMessage(Message):
    run_id: str = ""
    run_uuid: str = ""
    key: str = ""
    value: str = ""


class BatchMessage(Message):
    run_id: str = ""
    metrics: list[GivenMetric] = msgspec.field(default_factory=list)
    params: list[GivenPair] = msgspec.field(default_factory=list)
    tags: list[GivenPair] = msgspec.field(default_factory=list)


class TagMessage(Message):
    run_id: str = ""
    run_uuid: str = ""
    key: str = ""
    value: str = ""


class HistoryMessage(Message):
    run_id: str = ""
    run_uuid: str = ""
    metric_key: str = ""
    page_token: str = ""
    max_results: int | None = None


class BulkMessage(Message):
    run_id: list[str] = msgspec.field(default_factory=list)
    metric_key: str = ""
    max_results: int = MOST_BULK_ROWS


class IntervalMessage(Message):
    run_ids: list[str] = msgspec.field(default_factory=list)
    metric_key: str = ""
    start_step: int | None = None
    end_step: int | None = None
    max_results: int = MOST_INTERVAL_ROWS


class History(Reply):
    metrics: list[Metric] | None = None
    next_page_token: str | None = None


class Bulk(Reply):
    metrics: list[Metric] = msgspec.field(default_factory=list)


def log_metric(call: Call) -> Nothing:
    message: MetricMessage = call.message
    assert message.value is not None
    assert message.timestamp is not None
    limits.check_metric(message.key, message.value, message.timestamp, message.step)
    point = Point(message.key, message.step, message.timestamp * 1000, message.value)
    with call.services.storage.changing() as db:
        row = active_run(call, db, message.run_id)
        mlflow_runs.change(db, row.run)
        direct.log(db, row.run, [point])
        if message.model_id:
            logged_models.add_metrics(db, row.run, [_of_model(message, point)])
    return NOTHING


def log_param(call: Call) -> Nothing:
    message: ParamMessage = call.message
    value = limits.checked_param(message.key, message.value)
    with call.services.storage.changing() as db:
        row = active_run(call, db, message.run_id)
        mlflow_runs.change(db, row.run)
        clashes = mlflow_runs.set_params(db, row.run, {message.key: value})
        if clashes:
            key, old, new = clashes[0]
            raise invalid(
                f"Changing param values is not allowed. Param with key='{key}' was already logged with value='{old}' "
                f"for run ID='{row.id}'. Attempted logging new value '{new}'."
            )
    return NOTHING


def log_batch(call: Call) -> Nothing:
    message: BatchMessage = call.message
    limits.check_run_id(message.run_id)
    points = [_point(metric, position) for position, metric in enumerate(message.metrics)]
    params: dict[str, str] = {}
    repeated = []
    for position, pair in enumerate(message.params):
        key = _key(pair, f"params[{position}]")
        value = limits.checked_param(key, pair.value or "", f"params[{position}]")
        if key in params:
            repeated.append(key)
        params[key] = value
    tags = {}
    for position, pair in enumerate(message.tags):
        key = _key(pair, f"tags[{position}]")
        tags[key] = limits.checked_tag(key, pair.value or "", f"tags[{position}]")
    limits.check_batch(message.metrics, message.params, message.tags)
    if repeated:
        raise invalid(
            f"Duplicate parameter keys have been submitted: {repeated}. Please ensure the request contains only one "
            "param value per param key."
        )
    with call.services.storage.changing() as db:
        row = active_run(call, db, message.run_id)
        mlflow_runs.change(db, row.run)
        if params:
            _set_params(db, row, params)
        if points:
            direct.log(db, row.run, points)
            measured = [
                _of_model(metric, point)
                for metric, point in zip(message.metrics, points, strict=True)
                if metric.model_id
            ]
            logged_models.add_metrics(db, row.run, measured)
        if tags:
            run_tags.set_all(db, row.run, tags)
    return NOTHING


def _key(pair: GivenPair, path: str) -> str:
    if not pair.key:
        raise invalid(f"Missing value for required parameter '{path}.key'. {_HINT}")
    return pair.key


def _point(metric: GivenMetric, position: int) -> Point:
    path = f"metrics[{position}]"
    for name in ("key", "value", "timestamp"):
        if getattr(metric, name) in (None, ""):
            raise missing(f"{path}.{name}")
    assert metric.key is not None
    assert metric.value is not None
    assert metric.timestamp is not None
    step = metric.step or 0
    limits.check_metric(metric.key, metric.value, metric.timestamp, step, path)
    return Point(metric.key, step, metric.timestamp * 1000, metric.value)


def _of_model(metric: MetricMessage | GivenMetric, point: Point) -> tuple[str, str, int, int, float, str, str]:
    """What was measured of a logged model."""
    on = metric.dataset_name or "", metric.dataset_digest or ""
    return metric.model_id or "", point.key, point.step, point.time, point.value, *on


def _set_params(db: Database, row: MlflowRun, values: dict[str, str]) -> None:
    clashes = mlflow_runs.set_params(db, row.run, values)
    if clashes:
        told = [{"key": key, "old_value": old, "new_value": new} for key, old, new in clashes]
        raise invalid(
            f"Changing param values is not allowed. Params were already logged='{told}' for run ID='{row.id}'."
        )


def set_tag(call: Call) -> Nothing:
    message: TagMessage = call.message
    value = limits.checked_tag(message.key, message.value)
    with call.services.storage.changing() as db:
        row = active_run(call, db, message.run_id)
        mlflow_runs.change(db, row.run)
        run_tags.set_all(db, row.run, {message.key: value})
    return NOTHING


def delete_tag(call: Call) -> Nothing:
    message: TagMessage = call.message
    with call.services.storage.changing() as db:
        row = active_run(call, db, message.run_id)
        mlflow_runs.change(db, row.run)
        if not run_tags.drop(db, row.run, message.key):
            raise absent(f"No tag with name: {message.key} in run with id {row.id}")
    return NOTHING


def history(call: Call) -> History:
    message: HistoryMessage = call.message
    most = message.max_results
    if most is not None and most <= 0:
        raise invalid(f"Invalid value {most} for parameter 'max_results' supplied. It must be a positive integer.")
    offset = messages.offset_of(message.page_token)
    with call.services.storage.reading() as db:
        found = _points(call, db, message.run_id, message.metric_key)
    if found is None:
        return History()
    count = len(found.steps)
    end = count if most is None else min(count, offset + most)
    return History(
        metrics=_metrics(message.metric_key, found.where(slice(offset, end))) or None,
        next_page_token=messages.token_of(end) if end < count else None,
    )


def _points(call: Call, db: Database, id: str, key: str) -> Points | None:
    """A metric's points in MLflow's order; None if there are none, or none that the asker may see."""
    row = mlflow_runs.head(db, id)
    if row is None or not call.identity.may_see(row.project):
        return None
    found = series.points(db, row.run, key)
    if not len(found.steps):
        return None
    values = np.where(np.isnan(found.values), 0.0, found.values)  # as MLflow's database has it
    return found.where(np.lexsort((values, found.steps, found.times // 1000)))


def _metrics(key: str, found: Points, run_id: str | None = None) -> list[Metric]:
    times, steps = (found.times // 1000).tolist(), found.steps.tolist()
    values: list[Any] = found.values.tolist()
    if not np.isfinite(found.values).all():
        values = [messages.number(value) for value in values]
    if run_id is None:
        return [
            Metric(key=key, value=value, timestamp=time, step=step)
            for value, time, step in zip(values, times, steps, strict=True)
        ]
    return [
        Metric(key=key, value=value, timestamp=time, step=step, run_id=run_id)
        for value, time, step in zip(values, times, steps, strict=True)
    ]


def bulk_history(call: Call) -> Bulk:
    message: BulkMessage = call.message
    if not message.run_id:
        raise invalid("GetMetricHistoryBulk request must specify at least one run_id.")
    if len(message.run_id) > MOST_BULK_RUNS:
        text = f"GetMetricHistoryBulk request cannot specify more than {MOST_BULK_RUNS} run_ids. Received {{}} run_ids."
        raise invalid(text.format(len(message.run_id)))
    if not message.metric_key:
        raise invalid("GetMetricHistoryBulk request must specify a metric_key.")
    left = max(0, min(message.max_results, MOST_BULK_ROWS))
    found: list[Metric] = []
    with call.services.storage.reading() as db:
        for id in message.run_id:
            points = _points(call, db, id, message.metric_key)
            if points is not None and left > len(found):
                found += _metrics(message.metric_key, points.where(slice(0, left - len(found))), id)
    return Bulk(metrics=found)


def interval_history(call: Call) -> History:
    message: IntervalMessage = call.message
    if not message.run_ids:
        raise missing("run_ids")
    if len(message.run_ids) > MOST_BULK_RUNS:
        text = f"GetMetricHistoryBulkInterval request must specify at most {MOST_BULK_RUNS} run_ids. "
        raise invalid(f"{text}Received {len(message.run_ids)} run_ids.")
    most = message.max_results
    if not 1 <= most <= MOST_INTERVAL_ROWS:
        raise invalid(f"max_results must be between 1 and {MOST_INTERVAL_ROWS}. {_HINT}")
    first, last = message.start_step, message.end_step
    if (first is None) != (last is None):
        raise invalid("If either start step or end step are specified, both must be specified.")
    if first is not None and last is not None and first > last:
        raise invalid(f"end_step must be greater than start_step. Found start_step={first} and end_step={last}.")
    found: list[Metric] = []
    with call.services.storage.reading() as db:
        for id in message.run_ids:
            points = _points(call, db, id, message.metric_key)
            if points is None:
                continue
            if first is not None and last is not None:
                points = points.where((points.steps >= first) & (points.steps <= last))
            points = points.where(np.lexsort((points.times, points.steps)))
            count = len(points.steps)
            if count > most:
                points = points.where(np.unique(np.linspace(0, count - 1, most).round().astype(np.int64)))
            found += _metrics(message.metric_key, points, id)
    return History(metrics=found or None)


PROCEDURES = [
    Procedure("POST", "/runs/log-metric", log_metric, "write", MetricMessage, ["run_id", "key", "value", "timestamp"]),
    Procedure("POST", "/runs/log-parameter", log_param, "write", ParamMessage, ["run_id", "key"]),
    Procedure("POST", "/runs/log-batch", log_batch, "write", BatchMessage, ["run_id"]),
    Procedure("POST", "/runs/set-tag", set_tag, "write", TagMessage, ["run_id", "key"]),
    Procedure("POST", "/runs/delete-tag", delete_tag, "write", TagMessage, ["run_id", "key"]),
    Procedure("GET", "/metrics/get-history", history, "read", HistoryMessage, ["run_id", "metric_key"]),
    Procedure("GET", "/metrics/get-history-bulk", bulk_history, "read", BulkMessage),
    Procedure("GET", "/metrics/get-history-bulk-interval", interval_history, "read", IntervalMessage, ["metric_key"]),
]

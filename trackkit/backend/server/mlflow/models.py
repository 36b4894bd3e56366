"""`logged-models/…`: models that runs log."""

from __future__ import annotations

import math
import time
import uuid
from typing import Any, Final

import msgspec
from starlette.responses import Response

from trackkit.backend.server.mlflow import limits, messages
from trackkit.backend.server.mlflow.access import experiment_of, of_projects
from trackkit.backend.server.mlflow.artifacts import checked, infos, presented_blob
from trackkit.backend.server.mlflow.errors import absent, invalid, missing
from trackkit.backend.server.mlflow.messages import FileInfo, GivenPair, Metric, Pair, milliseconds, number, pairs
from trackkit.backend.server.mlflow.routing import NOTHING, Call, Message, Nothing, Procedure, Reply
from trackkit.backend.store import (
    experiments,
    logged_models,
    mlflow_filters,
    mlflow_runs,
    mlflow_search,
    proxied_files,
)
from trackkit.backend.store.database import Database
from trackkit.backend.store.experiments import ExperimentRow
from trackkit.backend.store.logged_models import LoggedModel
from trackkit.backend.store.mlflow_filters import LOGGED_MODELS, Condition

_STATUSES: Final = {logged_models.PENDING: 1, logged_models.READY: 2, logged_models.FAILED: 3}
_BY_NUMBER: Final = {str(value): key for key, value in _STATUSES.items()}
_COLUMNS: Final = {
    "name": "name", "model_id": "model", "model_type": "type", "status": "status", "source_run_id": "run",
    "creation_timestamp": "created", "creation_time": "created", "last_updated_timestamp": "updated",
}  # fmt: skip
_MOST: Final = 50
_BAD_NAME: Final = ("/", ":", ".", "%", '"', "'")


class CreateMessage(Message):
    experiment_id: str = ""
    name: str = ""
    model_type: str = ""
    source_run_id: str = ""
    params: list[GivenPair] = msgspec.field(default_factory=list)
    tags: list[GivenPair] = msgspec.field(default_factory=list)


class IdMessage(Message):
    model_id: str = ""


class StatusMessage(Message):
    model_id: str = ""
    status: str | int = ""


class TagsMessage(Message):
    model_id: str = ""
    tags: list[GivenPair] = msgspec.field(default_factory=list)


class ParamsMessage(Message):
    model_id: str = ""
    params: list[GivenPair] = msgspec.field(default_factory=list)


class FolderMessage(Message):
    model_id: str = ""
    artifact_directory_path: str = ""


class FileMessage(Message):
    artifact_file_path: str = ""


class GivenOrder(msgspec.Struct):
    field_name: str = ""
    ascending: bool = True
    dataset_name: str | None = None
    dataset_digest: str | None = None


class GivenDataset(msgspec.Struct):
    dataset_name: str = ""
    dataset_digest: str | None = None


class SearchMessage(Message):
    experiment_ids: list[str] = msgspec.field(default_factory=list)
    filter: str = ""
    datasets: list[GivenDataset] = msgspec.field(default_factory=list)
    max_results: int = _MOST
    order_by: list[GivenOrder] = msgspec.field(default_factory=list)
    page_token: str = ""


class ModelInfo(Reply):
    model_id: str
    experiment_id: str
    name: str
    creation_timestamp_ms: int
    last_updated_timestamp_ms: int
    artifact_uri: str
    status: str
    model_type: str | None = None
    source_run_id: str | None = None
    status_message: str | None = None
    tags: list[Pair] | None = None


class ModelData(Reply):
    params: list[Pair] | None = None
    metrics: list[Metric] | None = None


class Model(Reply):
    info: ModelInfo
    data: ModelData


class OneModel(Reply):
    model: Model


class Page(Reply):
    models: list[Model] | None = None
    next_page_token: str | None = None


class ModelFiles(Reply):
    root_uri: str
    files: list[FileInfo] | None = None


def folder(row: LoggedModel, of: ExperimentRow) -> str:
    """Where a model's files are, as a path of the proxy."""
    return messages.proxied_path(messages.model_uri(row.model, of))


def shown(row: LoggedModel, of: ExperimentRow) -> Model:
    """A model as clients see it."""
    return Model(
        info=ModelInfo(
            model_id=row.model,
            experiment_id=str(of.experiment),
            name=row.name,
            creation_timestamp_ms=milliseconds(row.created),
            last_updated_timestamp_ms=milliseconds(row.updated),
            artifact_uri=messages.model_uri(row.model, of),
            status=row.status,
            model_type=row.type,
            source_run_id=row.run,
            status_message=row.message or None,
            tags=pairs(row.tags),
        ),
        data=ModelData(
            params=pairs(row.params),
            metrics=[
                Metric(
                    key=one.key,
                    value=number(math.nan if one.value is None else one.value),
                    timestamp=milliseconds(one.time),
                    step=one.step,
                    dataset_name=one.dataset or None,
                    dataset_digest=one.digest or None,
                    model_id=row.model,
                    run_id=one.run,
                )
                for one in row.metrics
            ]
            or None,
        ),
    )


def find(call: Call, db: Database, id: str) -> tuple[LoggedModel, ExperimentRow]:
    """A model with its experiment.

    Raises
    ------
    MlflowError
        404 if there is none, or the asker may not see it.
    """
    row = logged_models.get(db, id)
    of = None if row is None else experiments.find(db, row.project)
    if row is None or of is None or not call.identity.may_see(row.project):
        raise absent(f"Logged model with ID '{id}' not found.")
    return row, of


def create(call: Call) -> OneModel:
    message: CreateMessage = call.message
    if any(char in message.name for char in _BAD_NAME):
        raise invalid(
            f"Invalid model name ({message.name!r}) provided. Model name must be a non-empty string and cannot contain "
            f"the following characters: {_BAD_NAME}"
        )
    id, now = f"m-{uuid.uuid4().hex}", time.time_ns() // 1000
    with call.services.storage.changing() as db:
        of = experiment_of(call, db, message.experiment_id)
        if of.deleted is not None:
            text = f"The experiment {of.experiment} must be in the 'active' state. Current state is deleted."
            raise invalid(text)
        row = LoggedModel(
            id, of.project, message.name or f"model-{id[2:10]}", message.model_type, logged_models.PENDING, "",
            message.source_run_id, now, now, None, None, _tags(message.tags), _tags(message.params),
        )  # fmt: skip
        logged_models.create(db, row)
    return OneModel(model=shown(row, of))


def _tags(given: list[GivenPair]) -> dict[str, str]:
    for position, pair in enumerate(given):
        if not pair.key:
            raise missing(f"[{position}].key")
        limits.check_length("key", limits.LONGEST_KEY, pair.key)
    return {str(pair.key): pair.value or "" for pair in given}


def show(call: Call) -> OneModel:
    with call.services.storage.reading() as db:
        return OneModel(model=shown(*find(call, db, call.path["model_id"])))


def finalize(call: Call) -> OneModel:
    """Say that a model is whole, which makes it an artifact, or that it never will be."""
    message: StatusMessage = call.message
    status = _BY_NUMBER.get(str(message.status), str(message.status))
    if status not in _STATUSES:
        raise invalid(f"Invalid value {message.status!r} for parameter 'status' supplied.")
    storage = call.services.storage
    with storage.changing() as db:
        row, of = find(call, db, message.model_id)
        logged_models.set_status(db, row.model, status)
        if status == logged_models.READY and row.version is None:
            maker = mlflow_runs.head(db, row.run) if row.run else None
            files = logged_models.manifest(db, folder(row, of))
            logged_models.publish(db, storage.blobs, row, files, None if maker is None else maker.run)
        return OneModel(model=shown(*find(call, db, message.model_id)))


def delete(call: Call) -> Nothing:
    with call.services.storage.changing() as db:
        row, _ = find(call, db, call.path["model_id"])
        logged_models.delete(db, row.model)
    return NOTHING


def set_tags(call: Call) -> Nothing:
    message: TagsMessage = call.message
    tags = _tags(message.tags)
    with call.services.storage.changing() as db:
        row, _ = find(call, db, message.model_id)
        logged_models.set_tags(db, row.model, tags)
    return NOTHING


def delete_tag(call: Call) -> Nothing:
    key = call.path["tag_key"]
    with call.services.storage.changing() as db:
        row, _ = find(call, db, call.path["model_id"])
        if not logged_models.drop_tag(db, row.model, key):
            raise absent(f"No tag with key {key!r} found for model with ID {row.model!r}.")
    return NOTHING


def add_params(call: Call) -> Nothing:
    message: ParamsMessage = call.message
    params = _tags(message.params)
    with call.services.storage.changing() as db:
        row, _ = find(call, db, message.model_id)
        logged_models.add_params(db, row.model, params)
    return NOTHING


def list_files(call: Call) -> ModelFiles:
    message: FolderMessage = call.message
    path = checked(message.artifact_directory_path)
    with call.services.storage.reading() as db:
        row, of = find(call, db, message.model_id)
        root = folder(row, of)
        files = [(file.path[len(root) + 1 :], file.size) for file in proxied_files.below(db, root)]
    return ModelFiles(
        root_uri=messages.model_uri(row.model, of),
        files=infos(files, path, f"{path}/" if path else ""),
    )


def show_file(call: Call) -> Response:
    message: FileMessage = call.message
    path = checked(message.artifact_file_path)
    with call.services.storage.reading() as db:
        row, of = find(call, db, call.path["model_id"])
        found = proxied_files.get(db, f"{folder(row, of)}/{path}")
    if found is None:
        raise absent(f"No such artifact: '{path}'")
    return presented_blob(call, found.digest, path)


def search(call: Call) -> Page:
    message: SearchMessage = call.message
    if not message.experiment_ids:
        raise missing("experiment_ids")
    limit = limits.check_most(message.max_results or _MOST, limits.MOST_LISTED)
    offset = messages.offset_of(message.page_token)
    conditions = mlflow_filters.parse(message.filter, LOGGED_MODELS)
    if any(not dataset.dataset_name for dataset in message.datasets):
        raise invalid("`dataset_name` in the `datasets` clause must be specified.")
    wanted = [limits.experiment_number(id) for id in message.experiment_ids]
    order = _order(message.order_by)
    with call.services.storage.reading() as db:
        projects = [name for name in experiments.projects_of(db, wanted).values() if call.identity.may_see(name)]
        where = [f"logged_models.project in ({', '.join('?' * len(projects)) or 'null'})", "deleted is null"]
        parameters: list[Any] = [*projects]
        for condition in conditions:
            sql, values = _condition(condition, message.datasets)
            where.append(sql)
            parameters += values
        if message.datasets and not any(condition.entity == "metric" for condition in conditions):
            sql, values = _measured("", message.datasets)
            where.append(sql)
            parameters += values
        ordering, keys = order
        condition_ = " and ".join(where)
        ids = logged_models.search(db, condition_, [*parameters, *keys], ordering, limit + 1, offset)
        rows = logged_models.load(db, ids[:limit])
        of = of_projects(call, db, {row.project for row in rows})
    return Page(
        models=[shown(row, of[row.project]) for row in rows if row.project in of] or None,
        next_page_token=messages.token_of(offset + limit) if len(ids) > limit else None,
    )


def _condition(condition: Condition, datasets: list[GivenDataset]) -> mlflow_search.Sql:
    match condition.entity:
        case "tag":
            return mlflow_search.valued("logged_model_tags", "logged_models.model", condition)
        case "parameter":
            return mlflow_search.valued("logged_model_params", "logged_models.model", condition)
        case "metric":
            sql, values = _measured(condition.key, datasets)
            compared, value = mlflow_search.number("t.value", condition.comparator, condition.value)
            return f"{sql[:-1]} and {compared})", [*values, *value]
    is_time = condition.key.endswith(("_timestamp", "_time"))
    if condition.key == "status" and isinstance(condition.value, str) and not condition.value.startswith("LOGGED"):
        condition = msgspec.structs.replace(condition, value=f"LOGGED_MODEL_{condition.value}")
    return mlflow_search.attribute(f"logged_models.{_COLUMNS[condition.key]}", condition, is_time=is_time)


def _measured(key: str, datasets: list[GivenDataset]) -> mlflow_search.Sql:
    """That a metric was measured of a model, on one of some datasets if there are any."""
    where, parameters = ["t.model = logged_models.model"], []
    if key:
        where.append("t.key = ?")
        parameters.append(key)
    if datasets:
        some = []
        for dataset in datasets:
            some.append("(t.dataset = ?" + (" and t.digest = ?)" if dataset.dataset_digest else ")"))
            parameters += [dataset.dataset_name, *([dataset.dataset_digest] if dataset.dataset_digest else [])]
        where.append(f"({' or '.join(some)})")
    return f"exists (select 1 from logged_model_metrics t where {' and '.join(where)})", parameters


def _order(given: list[GivenOrder]) -> tuple[str, list[Any]]:
    columns, parameters = [], []
    for one in given:
        if not one.field_name:
            raise invalid("`field_name` in the `order_by` clause must be specified.")
        way = "asc" if one.ascending else "desc"
        parsed = mlflow_filters.parse_order(one.field_name, LOGGED_MODELS)
        if parsed.entity == "metric":
            sql, values = _measured(parsed.key, [])
            if one.dataset_name:
                sql, values = _measured(parsed.key, [GivenDataset(one.dataset_name, one.dataset_digest)])
            picked = sql.removeprefix("exists (select 1 ")[:-1]
            value = f"(select t.value {picked} order by t.step desc, t.time desc limit 1)"
            columns += [f"case when {value} is null then 1 else 0 end", f"{value} {way}"]
            parameters += [*values, *values]
        elif parsed.entity == "attribute":
            columns.append(f"{_COLUMNS[parsed.key]} {way}")
        else:
            raise invalid(
                f"Invalid order by field name: {one.field_name}, only supports {sorted(LOGGED_MODELS.orders)}"
            )
    return ", ".join([*columns, "created desc", "model"]), parameters


PROCEDURES = [
    Procedure("POST", "/logged-models", create, "write", CreateMessage, ["experiment_id"]),
    Procedure("POST", "/logged-models/search", search, "read", SearchMessage),
    Procedure("GET", "/logged-models/{model_id}", show, "read"),
    Procedure("PATCH", "/logged-models/{model_id}", finalize, "write", StatusMessage, ["status"]),
    Procedure("DELETE", "/logged-models/{model_id}", delete, "write"),
    Procedure("PATCH", "/logged-models/{model_id}/tags", set_tags, "write", TagsMessage),
    Procedure("DELETE", "/logged-models/{model_id}/tags/{tag_key:path}", delete_tag, "write"),
    Procedure("POST", "/logged-models/{model_id}/params", add_params, "write", ParamsMessage),
    Procedure("GET", "/logged-models/{model_id}/artifacts/directories", list_files, "read", FolderMessage),
    Procedure("GET", "/logged-models/{model_id}/artifacts/files", show_file, "read", FileMessage),
]

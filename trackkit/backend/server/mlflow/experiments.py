"""`experiments/…`: projects."""

from __future__ import annotations

import msgspec

from trackkit.backend.server.mlflow import limits, messages
from trackkit.backend.server.mlflow.access import adopt_all, experiment_of
from trackkit.backend.server.mlflow.errors import MlflowError, absent, invalid, missing
from trackkit.backend.server.mlflow.messages import Experiment, GivenPair
from trackkit.backend.server.mlflow.routing import NOTHING, Call, Message, Nothing, Procedure, Reply
from trackkit.backend.store import experiments, mlflow_filters, mlflow_search
from trackkit.backend.store.experiments import ExperimentRow
from trackkit.backend.store.mlflow_filters import EXPERIMENTS, Condition

_COLUMNS = {
    "name": "project", "experiment_id": "experiment", "creation_time": "created", "last_update_time": "updated",
}  # fmt: skip


class CreateMessage(Message):
    name: str = ""
    artifact_location: str = ""
    tags: list[GivenPair] = msgspec.field(default_factory=list)


class Created(Reply):
    experiment_id: str


class NameMessage(Message):
    experiment_name: str = ""


class IdMessage(Message):
    experiment_id: str = ""


class Found(Reply):
    experiment: Experiment


class RenameMessage(Message):
    experiment_id: str = ""
    new_name: str = ""


class TagMessage(Message):
    experiment_id: str = ""
    key: str = ""
    value: str = ""


class SearchMessage(Message):
    max_results: int = 0
    page_token: str = ""
    filter: str = ""
    order_by: list[str] = msgspec.field(default_factory=list)
    view_type: str | int = "ACTIVE_ONLY"


class Page(Reply):
    experiments: list[Experiment] | None = None
    next_page_token: str | None = None


def create(call: Call) -> Created:
    message: CreateMessage = call.message
    limits.check_experiment_name(message.name)
    if message.artifact_location.startswith("runs:"):
        raise invalid(f"Artifact location cannot be a runs:/ URI. Given: '{message.artifact_location}'")
    tags = {}
    for position, tag in enumerate(message.tags):
        if not tag.key:
            raise missing(f"tags[{position}].key")
        limits.check_experiment_tag(tag.key, tag.value or "")
        tags[tag.key] = tag.value or ""
    _check_may(call, message.name)
    with call.services.storage.changing() as db:
        if message.name in experiments.untracked(db):
            experiments.adopt(db, [message.name])
        number = experiments.create(db, message.name, message.artifact_location, tags)
    if number is None:
        raise MlflowError("RESOURCE_ALREADY_EXISTS", f"Experiment(name={message.name}) already exists.")
    return Created(experiment_id=str(number))


def _check_may(call: Call, project: str) -> None:
    if not call.identity.may_see(project):
        raise MlflowError("PERMISSION_DENIED", f"your token is not good for the project {project!r}")


def show(call: Call) -> Found:
    with call.services.storage.reading() as db:
        return Found(experiment=messages.experiment(experiment_of(call, db, call.message.experiment_id)))


def show_by_name(call: Call) -> Found:
    name = call.message.experiment_name
    row = None
    if call.identity.may_see(name):
        with call.services.storage.reading() as db:
            row = experiments.find(db, name)
            known = row is not None or bool(db.query("select 1 from runs where project = ? limit 1", [name]))
        if row is None and known:
            with call.services.storage.changing() as db:
                experiments.adopt(db, [name])
                row = experiments.find(db, name)
    if row is None:
        raise absent(f"Could not find experiment with name '{name}'")
    return Found(experiment=messages.experiment(row))


def delete(call: Call) -> Nothing:
    with call.services.storage.changing() as db:
        experiments.delete(db, _of_stage(call, experiment_of(call, db, call.message.experiment_id), deleted=False))
    return NOTHING


def restore(call: Call) -> Nothing:
    with call.services.storage.changing() as db:
        experiments.restore(db, _of_stage(call, experiment_of(call, db, call.message.experiment_id), deleted=True))
    return NOTHING


def _of_stage(call: Call, row: ExperimentRow, *, deleted: bool) -> ExperimentRow:
    if (row.deleted is not None) != deleted:
        raise absent(f"No Experiment with id={row.experiment} exists")
    return row


def rename(call: Call) -> Nothing:
    message: RenameMessage = call.message
    if not message.new_name:
        raise invalid(f"Invalid experiment name: '{message.new_name}'")
    limits.check_experiment_name(message.new_name)
    _check_may(call, message.new_name)
    with call.services.storage.changing() as db:
        row = experiment_of(call, db, message.experiment_id)
        if row.deleted is not None:
            raise MlflowError("INVALID_STATE", "Cannot rename a non-active experiment.")
        if row.project != message.new_name and not experiments.rename(db, row, message.new_name):
            raise MlflowError("RESOURCE_ALREADY_EXISTS", f"Experiment(name={message.new_name}) already exists.")
    return NOTHING


def set_tag(call: Call) -> Nothing:
    message: TagMessage = call.message
    limits.check_experiment_tag(message.key, message.value)
    with call.services.storage.changing() as db:
        row = _active(experiment_of(call, db, message.experiment_id))
        experiments.set_tags(db, row.experiment, {message.key: message.value})
    return NOTHING


def delete_tag(call: Call) -> Nothing:
    message: TagMessage = call.message
    with call.services.storage.changing() as db:
        row = _active(experiment_of(call, db, message.experiment_id))
        if not experiments.drop_tag(db, row.experiment, message.key):
            raise absent(f"No tag with name: {message.key} in experiment with id {row.experiment}")
    return NOTHING


def _active(row: ExperimentRow) -> ExperimentRow:
    if row.deleted is not None:
        text = f"The experiment {row.experiment} must be in the 'active' state. Current state is deleted."
        raise invalid(text)
    return row


def search(call: Call) -> Page:
    message: SearchMessage = call.message
    limit = limits.check_most(message.max_results, limits.MOST_LISTED)
    conditions = mlflow_filters.parse(message.filter, EXPERIMENTS)
    orderings = [mlflow_filters.parse_order(text, EXPERIMENTS) for text in message.order_by]
    offset = messages.offset_of(message.page_token)
    where, parameters = ["1 = 1"], []
    stage = messages.view(message.view_type)
    if stage != "all":
        where.append("deleted is null" if stage == "active" else "deleted is not null")
    if call.identity.projects is not None:
        where.append(f"project in ({', '.join('?' * len(call.identity.projects)) or 'null'})")
        parameters += call.identity.projects
    for condition in conditions:
        sql, values = _condition(condition)
        where.append(sql)
        parameters += values
    order = [f"{_COLUMNS[one.key]} {'asc' if one.ascending else 'desc'}" for one in orderings if one.entity != "tag"]
    if not any(one.key == "experiment_id" for one in orderings):
        order += ["experiment desc"] if order else ["created desc", "experiment desc"]
    adopt_all(call)
    with call.services.storage.reading() as db:
        numbers = experiments.numbers(db, " and ".join(where), parameters, ", ".join(order), limit + 1, offset)
        rows = experiments.load(db, numbers[:limit])
    return Page(
        experiments=[messages.experiment(row) for row in rows] or None,
        next_page_token=messages.token_of(offset + limit) if len(numbers) > limit else None,
    )


def _condition(condition: Condition) -> mlflow_search.Sql:
    if condition.entity == "tag":
        return mlflow_search.valued("experiment_tags", "experiments.experiment", condition)
    if condition.key != "experiment_id":
        return mlflow_search.attribute(_COLUMNS[condition.key], condition, is_time=condition.key.endswith("_time"))
    if condition.comparator not in ("=", "!=", "IN", "NOT IN"):
        raise invalid(f"Invalid comparator for experiment_id: {condition.comparator}")
    if isinstance(condition.value, tuple):
        numbers = [limits.experiment_number(text) for text in condition.value]
        word = "in" if condition.comparator == "IN" else "not in"
        return f"experiment {word} ({', '.join('?' * len(numbers))})", list(numbers)
    return mlflow_search.number("experiment", condition.comparator, limits.experiment_number(str(condition.value)))


PROCEDURES = [
    Procedure("POST", "/experiments/create", create, "write", CreateMessage, ["name"]),
    Procedure("GET", "/experiments/get", show, "read", IdMessage, ["experiment_id"]),
    Procedure("GET", "/experiments/get-by-name", show_by_name, "read", NameMessage, ["experiment_name"]),
    Procedure("POST", "/experiments/delete", delete, "write", IdMessage, ["experiment_id"]),
    Procedure("POST", "/experiments/restore", restore, "write", IdMessage, ["experiment_id"]),
    Procedure("POST", "/experiments/update", rename, "write", RenameMessage, ["experiment_id"]),
    Procedure("POST", "/experiments/set-experiment-tag", set_tag, "write", TagMessage, ["experiment_id", "key"]),
    Procedure("POST", "/experiments/delete-experiment-tag", delete_tag, "write", TagMessage, ["experiment_id", "key"]),
    Procedure("POST", "/experiments/search", search, "read", SearchMessage),
    Procedure("GET", "/experiments/search", search, "read", SearchMessage),
]

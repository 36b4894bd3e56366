"""`registered-models/…` and `model-versions/…`: the registry."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from trackkit.backend.server.mlflow import limits, messages
from trackkit.backend.server.mlflow.errors import MlflowError, absent, invalid
from trackkit.backend.server.mlflow.messages import GivenPair, Pair, milliseconds, pairs
from trackkit.backend.server.mlflow.routing import NOTHING, Call, Message, Nothing, Procedure, Reply
from trackkit.backend.server.mlflow.sources import Source, download_uri, resolve
from trackkit.backend.store import (
    artifacts,
    experiments,
    logged_models,
    mlflow_filters,
    mlflow_search,
    registered_models,
)
from trackkit.backend.store.database import Database
from trackkit.backend.store.mlflow_filters import MODEL_VERSIONS, REGISTERED_MODELS, Condition, Grammar, Ordering
from trackkit.backend.store.registered_models import STAGES, ModelVersion, RegisteredModel

MOST_MODELS: Final = 1000
MOST_VERSIONS: Final = 200_000
_IS_PROMPT: Final = "mlflow.prompt.is_prompt"
_MODEL_COLUMNS: Final = {
    "name": "c.name", "timestamp": "c.created", "creation_timestamp": "c.created",
    "last_updated_timestamp": "c.updated",
}  # fmt: skip
_VERSION_COLUMNS: Final = {
    "name": "c.name", "version_number": "v.number", "run_id": "coalesce(x.run, '')", "source_path": "x.source",
    "creation_timestamp": "v.created", "last_updated_timestamp": "coalesce(x.updated, v.created)",
}  # fmt: skip


class CreateMessage(Message):
    name: str = ""
    tags: list[GivenPair] = msgspec.field(default_factory=list)
    description: str = ""


class NameMessage(Message):
    name: str = ""


class RenameMessage(Message):
    name: str = ""
    new_name: str = ""


class UpdateMessage(Message):
    name: str = ""
    description: str | None = None


class LatestMessage(Message):
    name: str = ""
    stages: list[str] = msgspec.field(default_factory=list)


class ModelsMessage(Message):
    filter: str = ""
    max_results: int = 100
    order_by: list[str] = msgspec.field(default_factory=list)
    page_token: str = ""


class VersionsMessage(Message):
    filter: str = ""
    max_results: int = MOST_VERSIONS
    order_by: list[str] = msgspec.field(default_factory=list)
    page_token: str = ""


class NewVersionMessage(Message):
    name: str = ""
    source: str = ""
    run_id: str = ""
    tags: list[GivenPair] = msgspec.field(default_factory=list)
    run_link: str = ""
    description: str = ""
    model_id: str = ""


class VersionMessage(Message):
    name: str = ""
    version: str | int = ""


class ChangeMessage(Message):
    name: str = ""
    version: str | int = ""
    description: str | None = None


class StageMessage(Message):
    name: str = ""
    version: str | int = ""
    stage: str = ""
    archive_existing_versions: bool = False


class TagMessage(Message):
    name: str = ""
    key: str = ""
    value: str = ""


class VersionTagMessage(Message):
    name: str = ""
    version: str | int = ""
    key: str = ""
    value: str = ""


class AliasMessage(Message):
    name: str = ""
    alias: str = ""
    version: str | int = ""


class Alias(Reply):
    alias: str
    version: str


class Version(Reply):
    name: str
    version: str
    creation_timestamp: int
    last_updated_timestamp: int
    current_stage: str
    description: str
    source: str
    run_id: str
    status: str
    run_link: str
    tags: list[Pair] | None = None
    aliases: list[str] | None = None


class Model(Reply):
    name: str
    creation_timestamp: int
    last_updated_timestamp: int
    description: str | None = None
    latest_versions: list[Version] | None = None
    tags: list[Pair] | None = None
    aliases: list[Alias] | None = None


class OneModel(Reply):
    registered_model: Model


class Models(Reply):
    registered_models: list[Model] | None = None
    next_page_token: str | None = None


class OneVersion(Reply):
    model_version: Version


class Versions(Reply):
    model_versions: list[Version] | None = None
    next_page_token: str | None = None


class Uri(Reply):
    artifact_uri: str


def _version(row: ModelVersion, *, aliases: bool = True) -> Version:
    return Version(
        name=row.name,
        version=str(row.number),
        creation_timestamp=milliseconds(row.created),
        last_updated_timestamp=milliseconds(row.updated),
        current_stage=row.stage,
        description=row.description,
        source=row.source or download_uri(row),
        run_id=row.run,
        status="READY",
        run_link=row.run_link,
        tags=pairs(row.tags),
        aliases=(row.aliases or None) if aliases else None,
    )


def _model(db: Database, row: RegisteredModel) -> Model:
    latest = [_version(one, aliases=False) for one in registered_models.latest(db, row.collection, STAGES)]
    return Model(
        name=row.name,
        creation_timestamp=milliseconds(row.created),
        last_updated_timestamp=milliseconds(row.updated),
        description=row.description or None,
        latest_versions=latest or None,
        tags=pairs(row.tags),
        aliases=[Alias(alias=alias, version=str(number)) for alias, number in row.aliases.items()] or None,
    )


def find(call: Call, db: Database, name: str) -> RegisteredModel:
    """A registered model.

    Raises
    ------
    MlflowError
        404 if there is none, or the asker may not see the registry.
    """
    row = registered_models.get(db, name) if call.identity.may_see(registered_models.PROJECT) else None
    if row is None:
        raise absent(f"Registered Model with name={name} not found")
    return row


def find_version(call: Call, db: Database, name: str, version: str | int) -> ModelVersion:
    """A version of a registered model.

    Raises
    ------
    MlflowError
        404 if there is none, 400 if that can't be one's number.
    """
    if not re.fullmatch(r"\d{1,18}", str(version)):
        raise invalid(f"Parameter 'version' must be an integer, got '{version}'.")
    may = call.identity.may_see(registered_models.PROJECT)
    row = registered_models.find_version(db, name, int(version)) if may else None
    if row is None:
        raise absent(f"Model Version (name={name}, version={version}) not found")
    return row


def _may_write(call: Call) -> None:
    if not call.identity.may_see(registered_models.PROJECT):
        raise MlflowError("PERMISSION_DENIED", "your token is not good for the registry")


def _tags(given: list[GivenPair]) -> dict[str, str]:
    for tag in given:
        limits.check_registry_tag(tag.key or "", tag.value or "")
    return {str(tag.key): tag.value or "" for tag in given}


def _actor(call: Call) -> str:
    return call.identity.name or "an MLflow client"


def _forces(call: Call) -> bool:
    return call.identity.scope == "admin"


def create(call: Call) -> OneModel:
    message: CreateMessage = call.message
    limits.check_model_name(message.name)
    tags = _tags(message.tags)
    _may_write(call)
    with call.services.storage.changing() as db:
        if registered_models.create(db, message.name, message.description, tags) is None:
            raise MlflowError("RESOURCE_ALREADY_EXISTS", f"Registered Model (name={message.name}) already exists.")
        return OneModel(registered_model=_model(db, find(call, db, message.name)))


def show(call: Call) -> OneModel:
    with call.services.storage.reading() as db:
        return OneModel(registered_model=_model(db, find(call, db, call.message.name)))


def rename(call: Call) -> OneModel:
    message: RenameMessage = call.message
    limits.check_model_name(message.new_name, "new_name")
    with call.services.storage.changing() as db:
        row = find(call, db, message.name)
        if not registered_models.rename(db, row, message.new_name):
            raise MlflowError("RESOURCE_ALREADY_EXISTS", f"Registered Model (name={message.new_name}) already exists.")
        return OneModel(registered_model=_model(db, find(call, db, message.new_name)))


def update(call: Call) -> OneModel:
    message: UpdateMessage = call.message
    with call.services.storage.changing() as db:
        row = find(call, db, message.name)
        if message.description is not None:
            artifacts.describe_collection(db, row.collection, message.description)
        return OneModel(registered_model=_model(db, find(call, db, message.name)))


def delete(call: Call) -> Nothing:
    with call.services.storage.changing() as db:
        registered_models.delete(db, find(call, db, call.message.name), _actor(call), force=_forces(call))
    return NOTHING


def latest(call: Call) -> Versions:
    message: LatestMessage = call.message
    stages = [_stage(stage) for stage in message.stages] or STAGES
    with call.services.storage.reading() as db:
        rows = registered_models.latest(db, find(call, db, message.name).collection, stages)
    return Versions(model_versions=[_version(row) for row in rows] or None)


def _stage(given: str) -> str:
    for stage in STAGES:
        if stage.lower() == given.lower():
            return stage
    raise invalid(f"Invalid Model Version stage: {given}. Value must be one of {', '.join(STAGES)}.")


def search(call: Call) -> Models:
    message: ModelsMessage = call.message
    limit = limits.check_most(message.max_results, MOST_MODELS, told=False)
    conditions = mlflow_filters.parse(message.filter, REGISTERED_MODELS)
    offset = messages.offset_of(message.page_token)
    orderings = _orderings(message.order_by, REGISTERED_MODELS)
    where, parameters = _where(call), []
    conditions, prompts = _without_prompts(conditions, "registered_model_tags", "c.collection")
    where.append(prompts)
    for condition in conditions:
        if condition.entity == "tag":
            sql, values = mlflow_search.valued("registered_model_tags", "c.collection", condition)
        else:
            sql, values = mlflow_search.attribute("c.name", condition)
        where.append(sql)
        parameters += values
    order = ", ".join([*_ordered(orderings, _MODEL_COLUMNS), "c.name"])
    with call.services.storage.reading() as db:
        found = registered_models.search(db, " and ".join(where), parameters, order, limit + 1, offset)
        rows = [_model(db, row) for row in registered_models.load(db, found[:limit])]
    return Models(
        registered_models=rows or None,
        next_page_token=messages.token_of(offset + limit) if len(found) > limit else None,
    )


def _without_prompts(conditions: list[Condition], table: str, owner: str) -> tuple[list[Condition], str]:
    """The conditions but for one that asks for no prompts, as all do that ask for none, and what that is in SQL."""
    asked = [condition for condition in conditions if condition.key == _IS_PROMPT]
    if any((condition.comparator, str(condition.value).lower()) == ("=", "true") for condition in asked):
        return conditions, "1 = 1"
    none = f"""not exists (select 1 from {table} p where p.{owner.partition(".")[2]} = {owner}
               and p.key = '{_IS_PROMPT}' and lower(p.value) = 'true')"""
    return [condition for condition in conditions if condition.key != _IS_PROMPT], none


def _where(call: Call) -> list[str]:
    return ["1 = 1" if call.identity.may_see(registered_models.PROJECT) else "1 = 0"]


def _orderings(given: list[str], grammar: Grammar) -> list[Ordering]:
    return [mlflow_filters.parse_order(one, grammar) for one in given]


def _ordered(orderings: list[Ordering], columns: dict[str, str]) -> list[str]:
    return [f"{columns[one.key]} {'asc' if one.ascending else 'desc'}" for one in orderings if one.key in columns]


def search_versions(call: Call) -> Versions:
    message: VersionsMessage = call.message
    limit = limits.check_most(message.max_results, MOST_VERSIONS, told=False)
    conditions = mlflow_filters.parse(message.filter, MODEL_VERSIONS)
    offset = messages.offset_of(message.page_token)
    orderings = _orderings(message.order_by, MODEL_VERSIONS)
    where: list[str] = _where(call)
    parameters: list[Any] = []
    conditions, prompts = _without_prompts(conditions, "model_version_tags", "v.version")
    where.append(prompts)
    for condition in conditions:
        if condition.entity == "tag":
            sql, values = mlflow_search.valued("model_version_tags", "v.version", condition)
        else:
            is_number = condition.key == "version_number"
            sql, values = mlflow_search.attribute(_VERSION_COLUMNS[condition.key], condition, is_number=is_number)
        where.append(sql)
        parameters += values
    order = [*_ordered(orderings, _VERSION_COLUMNS)] or ["coalesce(x.updated, v.created) desc"]
    order += ["c.name", "v.number desc"]
    with call.services.storage.reading() as db:
        found = registered_models.search_versions(
            db, " and ".join(where), parameters, ", ".join(order), limit + 1, offset
        )
        rows = registered_models.load_versions(db, found[:limit])
    return Versions(
        model_versions=[_version(row, aliases=False) for row in rows] or None,
        next_page_token=messages.token_of(offset + limit) if len(found) > limit else None,
    )


def create_version(call: Call) -> OneVersion:
    message: NewVersionMessage = call.message
    limits.check_model_name(message.name)
    tags = _tags(message.tags)
    _may_write(call)
    storage = call.services.storage
    with storage.changing() as db:
        row = find(call, db, message.name)
        source: Source = resolve(call, db, message.source, message.run_id, message.model_id)
        digest = source.digest or storage.blobs.put_bytes(source.manifest.encode())
        number = registered_models.add_version(
            db, row, digest=digest, size=source.size, count=source.count, run=source.run, origin=source.origin,
            description=message.description,
            facts=(message.source, message.run_id or source.run_id, message.run_link, source.model), tags=tags,
            actor=_actor(call),
        )  # fmt: skip
        if source.model:
            _note_registration(db, source.model)
        return OneVersion(model_version=_version(find_version(call, db, message.name, number)))


def _note_registration(db: Database, model: str) -> None:
    """Have a logged model say what it is registered as, in the tag that clients look at."""
    row = logged_models.get(db, model)
    if row is not None:
        told = ", ".join(f'{{"name": "{name}", "version": {number}}}' for name, number in row.registrations)
        logged_models.set_tags(db, model, {"mlflow.modelVersions": f"[{told}]"})


def show_version(call: Call) -> OneVersion:
    with call.services.storage.reading() as db:
        return OneVersion(model_version=_version(find_version(call, db, call.message.name, call.message.version)))


def change_version(call: Call) -> OneVersion:
    message: ChangeMessage = call.message
    with call.services.storage.changing() as db:
        row = find_version(call, db, message.name, message.version)
        registered_models.change_version(db, row, description=message.description)
        return OneVersion(model_version=_version(find_version(call, db, message.name, message.version)))


def transition(call: Call) -> OneVersion:
    message: StageMessage = call.message
    stage = _stage(message.stage)
    if message.archive_existing_versions and stage not in ("Staging", "Production"):
        raise invalid(
            f"Model version transition cannot archive existing model versions because '{message.stage}' is not an "
            "Active stage. Valid stages are ['Staging', 'Production']"
        )
    with call.services.storage.changing() as db:
        row = find_version(call, db, message.name, message.version)
        if message.archive_existing_versions:
            condition = "v.collection = ? and x.stage = ? and v.version <> ?"
            values = [row.collection, stage, row.version]
            others = registered_models.search_versions(db, condition, values, "v.number", MOST_VERSIONS, 0)
            for other in registered_models.load_versions(db, others):
                registered_models.change_version(db, other, stage="Archived")
        registered_models.change_version(db, row, stage=stage)
        return OneVersion(model_version=_version(find_version(call, db, message.name, message.version)))


def delete_version(call: Call) -> Nothing:
    message: VersionMessage = call.message
    with call.services.storage.changing() as db:
        row = find_version(call, db, message.name, message.version)
        artifacts.delete(db, row.version, _actor(call), aliases=True, force=_forces(call))
    return NOTHING


def show_uri(call: Call) -> Uri:
    with call.services.storage.reading() as db:
        row = find_version(call, db, call.message.name, call.message.version)
        return Uri(artifact_uri=_place(db, row))


def _place(db: Database, row: ModelVersion) -> str:
    """Where a version's files can be had from: where they were, if that is here."""
    if row.source.startswith("mlflow-artifacts:"):
        return row.source
    model = logged_models.get(db, row.model) if row.model and row.source.startswith("models:") else None
    of = None if model is None else experiments.find(db, model.project)
    if model is not None and of is not None:
        return messages.model_uri(model.model, of)
    return download_uri(row)


def set_tag(call: Call) -> Nothing:
    message: TagMessage = call.message
    limits.check_registry_tag(message.key, message.value)
    with call.services.storage.changing() as db:
        registered_models.set_tags(db, find(call, db, message.name).collection, {message.key: message.value})
    return NOTHING


def delete_tag(call: Call) -> Nothing:
    message: TagMessage = call.message
    with call.services.storage.changing() as db:
        registered_models.drop_tag(db, find(call, db, message.name).collection, message.key)
    return NOTHING


def set_version_tag(call: Call) -> Nothing:
    message: VersionTagMessage = call.message
    limits.check_registry_tag(message.key, message.value)
    with call.services.storage.changing() as db:
        row = find_version(call, db, message.name, message.version)
        registered_models.set_version_tags(db, row.version, {message.key: message.value})
    return NOTHING


def delete_version_tag(call: Call) -> Nothing:
    message: VersionTagMessage = call.message
    with call.services.storage.changing() as db:
        row = find_version(call, db, message.name, message.version)
        registered_models.drop_version_tag(db, row.version, message.key)
    return NOTHING


def set_alias(call: Call) -> Nothing:
    message: AliasMessage = call.message
    limits.check_free_alias(message.alias)
    with call.services.storage.changing() as db:
        row = find_version(call, db, message.name, message.version)
        try:
            artifacts.set_alias(db, row.version, message.alias, _actor(call), force=_forces(call))
        except ValueError as error:
            if isinstance(error, artifacts.Refusal):
                raise
            raise invalid(str(error)) from None
        registered_models.touch(db, row.collection)
    return NOTHING


def delete_alias(call: Call) -> Nothing:
    message: AliasMessage = call.message
    limits.check_alias(message.alias)
    with call.services.storage.changing() as db:
        row = find(call, db, message.name)
        number = row.aliases.get(message.alias)
        if number is not None:
            version = find_version(call, db, message.name, number)
            artifacts.drop_alias(db, version.version, message.alias, _actor(call), force=_forces(call))
            registered_models.touch(db, row.collection)
    return NOTHING


def show_alias(call: Call) -> OneVersion:
    message: AliasMessage = call.message
    limits.check_alias(message.alias)
    with call.services.storage.reading() as db:
        row = find(call, db, message.name)
        if message.alias.lower() == "latest":
            newest = registered_models.search_versions(db, "v.collection = ?", [row.collection], "v.number desc", 1, 0)
            if not newest:
                raise absent(f"Latest version not found for model {message.name}.")
            return OneVersion(model_version=_version(registered_models.load_versions(db, newest)[0]))
        number = row.aliases.get(message.alias)
        if number is None:
            raise invalid(f"Registered model alias {message.alias} not found.")
        return OneVersion(model_version=_version(find_version(call, db, message.name, number)))


_MODEL, _VERSION = ["name"], ["name", "version"]

PROCEDURES = [
    Procedure("POST", "/registered-models/create", create, "write", CreateMessage, _MODEL),
    Procedure("GET", "/registered-models/get", show, "read", NameMessage, _MODEL),
    Procedure("POST", "/registered-models/rename", rename, "write", RenameMessage, ["name", "new_name"]),
    Procedure("PATCH", "/registered-models/update", update, "write", UpdateMessage, _MODEL),
    Procedure("DELETE", "/registered-models/delete", delete, "write", NameMessage, _MODEL),
    Procedure("GET", "/registered-models/search", search, "read", ModelsMessage),
    Procedure("POST", "/registered-models/get-latest-versions", latest, "read", LatestMessage, _MODEL),
    Procedure("GET", "/registered-models/get-latest-versions", latest, "read", LatestMessage, _MODEL),
    Procedure("POST", "/registered-models/set-tag", set_tag, "write", TagMessage, ["name", "key"]),
    Procedure("DELETE", "/registered-models/delete-tag", delete_tag, "write", TagMessage, ["name", "key"]),
    Procedure("POST", "/registered-models/alias", set_alias, "write", AliasMessage, ["name", "alias", "version"]),
    Procedure("DELETE", "/registered-models/alias", delete_alias, "write", AliasMessage, ["name", "alias"]),
    Procedure("GET", "/registered-models/alias", show_alias, "read", AliasMessage, ["name", "alias"]),
    Procedure("POST", "/model-versions/create", create_version, "write", NewVersionMessage, ["name", "source"]),
    Procedure("GET", "/model-versions/get", show_version, "read", VersionMessage, _VERSION),
    Procedure("PATCH", "/model-versions/update", change_version, "write", ChangeMessage, _VERSION),
    Procedure("POST", "/model-versions/transition-stage", transition, "write", StageMessage, [*_VERSION, "stage"]),
    Procedure("DELETE", "/model-versions/delete", delete_version, "write", VersionMessage, _VERSION),
    Procedure("GET", "/model-versions/search", search_versions, "read", VersionsMessage),
    Procedure("GET", "/model-versions/get-download-uri", show_uri, "read", VersionMessage, _VERSION),
    Procedure("POST", "/model-versions/set-tag", set_version_tag, "write", VersionTagMessage, [*_VERSION, "key"]),
    Procedure(
        "DELETE", "/model-versions/delete-tag", delete_version_tag, "write", VersionTagMessage, [*_VERSION, "key"]
    ),
]

"""MLflow's registered models: the collections of the registry that hold models, with what MLflow says of them.

A version has one number, whether it is called `registry/digits:v3` or `models:/digits/3`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from trackkit.backend.store import artifacts, writers
from trackkit.backend.store.artifacts import LATEST
from trackkit.backend.store.database import Database

PROJECT: Final = "registry"
TYPE: Final = "model"
STAGES: Final = ("None", "Staging", "Production", "Archived")
_FIRST: Final = 1
_MANY: Final = 500
_IS_MODEL: Final = f"c.project = '{PROJECT}' and c.type = '{TYPE}'"
_EXISTS: Final = """(exists (select 1 from registered_models m where m.collection = c.collection)
    or exists (select 1 from versions w where w.collection = c.collection and w.deleted is null))"""
_VERSIONS: Final = """versions v join collections c on c.collection = v.collection
    left join model_versions x on x.version = v.version"""


class RegisteredModel(msgspec.Struct):
    """A registered model; times in microseconds since the epoch."""

    collection: int
    name: str
    description: str
    created: int
    updated: int
    tags: dict[str, str] = {}
    aliases: dict[str, int] = {}
    """Numbers of versions."""


class ModelVersion(msgspec.Struct):
    """A version of a registered model; times in microseconds since the epoch."""

    version: int
    collection: int
    name: str
    number: int
    digest: str
    description: str
    created: int
    updated: int
    source: str
    run: str
    run_link: str
    model: str
    stage: str
    tags: dict[str, str] = {}
    aliases: list[str] = []


def create(db: Database, name: str, description: str, tags: dict[str, str]) -> int | None:
    """The number of a new registered model's collection; None if there is one of this name."""
    now = _now()
    found = db.query("select collection, type from collections where project = ? and name = ?", [PROJECT, name])
    if found and (found[0][1] != TYPE or get(db, name) is not None):
        return None
    if found:
        collection = int(found[0][0])
        sql = "update collections set description = ?, updated = ? where collection = ?"
        db.execute(sql, [description, now, collection])
    else:
        collection = writers.new_number()
        row = (collection, PROJECT, name, TYPE, description, now, now)
        columns = ["collection", "project", "name", "type", "description", "created", "updated"]
        db.insert_many("collections", columns, [row])
    db.upsert_many("registered_models", ["collection"], ["created", "updated"], [(collection, now, now)])
    set_tags(db, collection, tags)
    return collection


def get(db: Database, name: str) -> RegisteredModel | None:
    """A registered model by its name."""
    found = load(db, search(db, "c.name = ?", [name], "c.name", 1, 0))
    return found[0] if found else None


def search(db: Database, condition: str, parameters: Sequence[Any], order: str, limit: int, offset: int) -> list[int]:
    """The collections of the registered models that match a condition in SQL, in order."""
    sql = f"""select c.collection from collections c where {_IS_MODEL} and {_EXISTS} and {condition}
              order by {order} limit ? offset ?"""
    return [collection for (collection,) in db.query(sql, [*parameters, limit, offset])]


def load(db: Database, collections: Sequence[int]) -> list[RegisteredModel]:
    """Some registered models, in the order of their collections' list."""
    rows: dict[int, RegisteredModel] = {}
    for start in range(0, len(collections), _MANY):
        some = collections[start : start + _MANY]
        marks = ", ".join("?" * len(some))
        sql = f"""select c.collection, c.name, c.description, coalesce(m.created, c.created),
                         case when m.updated > c.updated then m.updated else c.updated end
                  from collections c left join registered_models m on m.collection = c.collection
                  where c.collection in ({marks})"""
        for row in db.query(sql, some):
            rows[row[0]] = RegisteredModel(*row)
        sql = f"select collection, key, value from registered_model_tags where collection in ({marks}) order by key"
        for collection, key, value in db.query(sql, some):
            rows[collection].tags[key] = value
        sql = f"""select a.collection, a.alias, v.number from aliases a join versions v on v.version = a.version
                  where a.collection in ({marks}) and a.alias <> ? order by a.alias"""
        for collection, alias, number in db.query(sql, [*some, LATEST]):
            rows[collection].aliases[alias] = number
    return [rows[collection] for collection in collections if collection in rows]


def set_tags(db: Database, collection: int, tags: dict[str, str]) -> None:
    """Set tags of a registered model."""
    rows = [(collection, key, value) for key, value in tags.items()]
    db.upsert_many("registered_model_tags", ["collection", "key"], ["value"], rows)


def drop_tag(db: Database, collection: int, key: str) -> None:
    """Take a tag of a registered model away."""
    db.execute("delete from registered_model_tags where collection = ? and key = ?", [collection, key])


def touch(db: Database, collection: int) -> None:
    """Note that a registered model is changed."""
    db.execute("update collections set updated = ? where collection = ?", [_now(), collection])


def rename(db: Database, row: RegisteredModel, name: str) -> bool:
    """Give a registered model another name, within a transaction; whether that was free."""
    if db.query("select 1 from collections where project = ? and name = ?", [PROJECT, name]):
        return False
    now = _now()
    sql = "update collections set name = ?, updated = ? where collection = ?"
    db.execute(sql, [name, now, row.collection])
    sql = """update model_versions set updated = ? where version in
             (select version from versions where collection = ? and deleted is null)"""
    db.execute(sql, [now, row.collection])
    return True


def delete(db: Database, row: RegisteredModel, actor: str, *, force: bool) -> None:
    """Delete a registered model with its versions, within a transaction; no number is given again."""
    artifacts.delete_collection(db, row.collection, actor, force=force)
    for table in ("registered_models", "registered_model_tags"):
        db.execute(f"delete from {table} where collection = ?", [row.collection])


def add_version(
    db: Database,
    row: RegisteredModel,
    *,
    digest: str,
    size: int,
    count: int,
    run: int | None,
    origin: int | None,
    description: str,
    facts: tuple[str, str, str, str],
    tags: dict[str, str],
    actor: str,
) -> int:
    """Make a version, within a transaction; the number that people use.

    Parameters
    ----------
    origin
        The version of another collection that has the same files.
    facts
        The source as the client named it, the run's id, the link to it, and the logged model's id.
    """
    touch(db, row.collection)
    now = _now()
    version = artifacts.append(
        db, row.collection, digest=digest, size=size, count=count, now=now, run=run, source=origin,
        description=description, first=_FIRST,
    )  # fmt: skip
    source, run_id, run_link, model = facts
    columns = ["version", "source", "run", "run_link", "model", "stage", "updated"]
    db.insert_many("model_versions", columns, [(version, source, run_id, run_link, model, STAGES[0], now)])
    set_version_tags(db, version, tags)
    artifacts.set_alias(db, version, LATEST, actor)
    return int(db.query("select number from versions where version = ?", [version])[0][0])


def find_version(db: Database, name: str, number: int) -> ModelVersion | None:
    """A version of a registered model by its number."""
    found = load_versions(db, search_versions(db, "c.name = ? and v.number = ?", [name, number], "v.version", 1, 0))
    return found[0] if found else None


def search_versions(
    db: Database, condition: str, parameters: Sequence[Any], order: str, limit: int, offset: int
) -> list[int]:
    """The versions that match a condition in SQL, in order."""
    sql = f"""select v.version from {_VERSIONS} where {_IS_MODEL} and v.deleted is null and {condition}
              order by {order} limit ? offset ?"""
    return [version for (version,) in db.query(sql, [*parameters, limit, offset])]


def load_versions(db: Database, versions: Sequence[int]) -> list[ModelVersion]:
    """Some versions, in the order of their list."""
    rows: dict[int, ModelVersion] = {}
    for start in range(0, len(versions), _MANY):
        some = versions[start : start + _MANY]
        marks = ", ".join("?" * len(some))
        sql = f"""select v.version, v.collection, c.name, v.number, v.digest, v.description, v.created,
                         coalesce(x.updated, v.created), coalesce(x.source, ''), coalesce(x.run, r.id, ''),
                         coalesce(x.run_link, ''), coalesce(x.model, ''), coalesce(x.stage, '{STAGES[0]}')
                  from {_VERSIONS} left join runs r on r.run = v.run where v.version in ({marks})"""
        for row in db.query(sql, some):
            rows[row[0]] = ModelVersion(*row)
        sql = f"select version, tag, 'true' from version_tags where version in ({marks}) order by tag"
        tags = db.query(sql, some)
        sql = f"select version, key, value from model_version_tags where version in ({marks}) order by key"
        for version, key, value in [*tags, *db.query(sql, some)]:
            rows[version].tags[key] = value
        sql = f"select version, alias from aliases where version in ({marks}) and alias <> ? order by alias"
        for version, alias in db.query(sql, [*some, LATEST]):
            rows[version].aliases.append(alias)
    return [rows[version] for version in versions if version in rows]


def latest(db: Database, collection: int, stages: Sequence[str]) -> list[ModelVersion]:
    """The highest version of each stage."""
    rows = load_versions(db, search_versions(db, "v.collection = ?", [collection], "v.number", 2**31 - 1, 0))
    newest = {row.stage: row for row in rows}
    return sorted([row for row in newest.values() if row.stage in stages], key=lambda row: row.number)


def set_version_tags(db: Database, version: int, tags: dict[str, str]) -> None:
    """Set tags of a version."""
    rows = [(version, key, value) for key, value in tags.items()]
    db.upsert_many("model_version_tags", ["version", "key"], ["value"], rows)


def drop_version_tag(db: Database, version: int, key: str) -> None:
    """Take a tag of a version away."""
    db.execute("delete from model_version_tags where version = ? and key = ?", [version, key])
    db.execute("delete from version_tags where version = ? and tag = ?", [version, key])


def change_version(
    db: Database, row: ModelVersion, *, description: str | None = None, stage: str | None = None
) -> None:
    """Change a version's description or stage, within a transaction."""
    now = _now()
    if description is not None:
        db.execute("update versions set description = ? where version = ?", [description, row.version])
    sql = """insert into model_versions (version, source, run, run_link, model, stage, updated)
             values (?, ?, ?, ?, ?, ?, ?)
             on conflict (version) do update set stage = excluded.stage, updated = excluded.updated"""
    facts = [row.version, row.source, row.run, row.run_link, row.model]
    db.execute(sql, [*facts, row.stage if stage is None else stage, now])
    touch(db, row.collection)


def _now() -> int:
    return time.time_ns() // 1000

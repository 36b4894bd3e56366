"""MLflow's logged models: made while they are uploaded, and once they are ready, versions of artifacts as well.

The files of one lie under its own path among the `proxied_files`; what registers it refers to the artifact's version.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from trackkit.backend.store import artifacts, proxied_files
from trackkit.backend.store.blobstore import BlobStore
from trackkit.backend.store.database import Database
from trackkit.core.manifest import Entry, Manifest, is_artifact_name

PENDING: Final = "LOGGED_MODEL_PENDING"
READY: Final = "LOGGED_MODEL_READY"
FAILED: Final = "LOGGED_MODEL_UPLOAD_FAILED"
TYPE: Final = "model"
"""The type of artifacts that models become."""
_COLUMNS: Final = "model, project, name, type, status, message, run, created, updated, deleted, version"
_MANY: Final = 500


class ModelMetric(msgspec.Struct):
    """A value that a run measured of a model; time in microseconds since the epoch."""

    key: str
    value: float | None
    time: int
    step: int
    run: str
    dataset: str
    digest: str


class LoggedModel(msgspec.Struct):
    """A logged model; times in microseconds since the epoch, `run` the id of the run that made it."""

    model: str
    project: str
    name: str
    type: str
    status: str
    message: str
    run: str
    created: int
    updated: int
    deleted: int | None
    version: int | None
    tags: dict[str, str] = {}
    params: dict[str, str] = {}
    metrics: list[ModelMetric] = []
    registrations: list[tuple[str, int]] = []
    """Names and numbers of the versions of registered models that are this model."""


def create(db: Database, model: LoggedModel) -> None:
    """Make a model, within a transaction."""
    row = [getattr(model, column) for column in _COLUMNS.split(", ")]
    db.insert_many("logged_models", _COLUMNS.split(", "), [row])
    set_tags(db, model.model, model.tags)
    add_params(db, model.model, model.params)


def get(db: Database, model: str, *, deleted: bool = False) -> LoggedModel | None:
    """A model by its id; one that is deleted only if asked for."""
    found = load(db, [model])
    return found[0] if found and (deleted or found[0].deleted is None) else None


def load(db: Database, models: Sequence[str]) -> list[LoggedModel]:
    """Some models, in the order of their ids' list."""
    rows: dict[str, LoggedModel] = {}
    for start in range(0, len(models), _MANY):
        some = models[start : start + _MANY]
        marks = ", ".join("?" * len(some))
        for row in db.query(f"select {_COLUMNS} from logged_models where model in ({marks})", some):
            rows[row[0]] = LoggedModel(*row)
        some = [model for model in some if model in rows]
        marks = ", ".join("?" * len(some)) or "null"
        for table in ("tags", "params"):
            sql = f"select model, key, value from logged_model_{table} where model in ({marks}) order by model, key"
            for model, key, value in db.query(sql, some):
                getattr(rows[model], table)[key] = value
        sql = f"""select m.model, m.key, m.value, m.time, m.step, r.id, m.dataset, m.digest
                  from logged_model_metrics m join runs r on r.run = m.run where m.model in ({marks})
                  order by m.model, m.key, m.step, m.time"""
        for model, *metric in db.query(sql, some):
            rows[model].metrics.append(ModelMetric(*metric))
        sql = f"""select x.model, c.name, v.number from model_versions x join versions v on v.version = x.version
                  join collections c on c.collection = v.collection
                  where x.model in ({marks}) and v.deleted is null order by x.model, c.name, v.number"""
        for model, name, number in db.query(sql, some):
            rows[model].registrations.append((name, number))
    return [rows[model] for model in models if model in rows]


def search(db: Database, condition: str, parameters: Sequence[Any], order: str, limit: int, offset: int) -> list[str]:
    """The ids of the models that match a condition in SQL, in order."""
    sql = f"select model from logged_models where {condition} order by {order} limit ? offset ?"
    return [model for (model,) in db.query(sql, [*parameters, limit, offset])]


def set_tags(db: Database, model: str, tags: dict[str, str]) -> None:
    """Set tags of a model."""
    rows = [(model, key, value) for key, value in tags.items()]
    db.upsert_many("logged_model_tags", ["model", "key"], ["value"], rows)


def drop_tag(db: Database, model: str, key: str) -> bool:
    """Take a tag away; whether there was one."""
    return db.execute("delete from logged_model_tags where model = ? and key = ?", [model, key]) > 0


def add_params(db: Database, model: str, params: dict[str, str]) -> None:
    """Add parameters to a model."""
    rows = [(model, key, value) for key, value in params.items()]
    db.upsert_many("logged_model_params", ["model", "key"], ["value"], rows)


def add_metrics(db: Database, run: int, rows: Sequence[tuple[str, str, int, int, float, str, str]]) -> None:
    """Note what a run measured of models: model, key, step, time, value, and the dataset's name and digest.

    What is of no model that there is is left out.
    """
    if not rows:
        return
    named = list({row[0] for row in rows})
    marks = ", ".join("?" * len(named))
    known = {model for (model,) in db.query(f"select model from logged_models where model in ({marks})", named)}
    made = [
        (model, key, run, step, moment, dataset, digest, value)
        for model, key, step, moment, value, dataset, digest in rows
        if model in known
    ]
    keys = ["model", "key", "run", "step", "time", "dataset", "digest"]
    db.upsert_many("logged_model_metrics", keys, ["value"], made)


def set_status(db: Database, model: str, status: str) -> None:
    """Say how far a model is, within a transaction."""
    sql = "update logged_models set status = ?, updated = ? where model = ?"
    db.execute(sql, [status, _now(), model])


def delete(db: Database, model: str) -> None:
    """Delete a model, within a transaction; its files stay, as versions may be made of them."""
    db.execute("update logged_models set deleted = ?, updated = ? where model = ?", [_now(), _now(), model])


def expired(db: Database, before: int) -> list[str]:
    """The models deleted before a time."""
    return [model for (model,) in db.query("select model from logged_models where deleted < ?", [before])]


def forget(db: Database, models: Sequence[str]) -> None:
    """Take models away for good, within a transaction; versions of artifacts made of them keep their files."""
    for model in models:
        for (path,) in db.query("select path from proxied_files where path like ?", [f"%/models/{model}/artifacts/%"]):
            db.execute("delete from proxied_files where path = ?", [path])
        for table in ("logged_model_params", "logged_model_tags", "logged_model_metrics", "logged_models"):
            db.execute(f"delete from {table} where model = ?", [model])


def manifest(db: Database, folder: str) -> Manifest:
    """The files below a folder as an artifact has them."""
    start = len(folder) + 1
    return Manifest({file.path[start:]: Entry(file.size, file.digest) for file in proxied_files.below(db, folder)})


def publish(db: Database, blobs: BlobStore, row: LoggedModel, files: Manifest, run: int | None) -> None:
    """Have a model that is ready be a version of an artifact of its project, within a transaction.

    A model whose name no artifact may have, or that shares it with artifacts of another type, is none.
    """
    if not len(files) or not is_artifact_name(row.name):
        return
    now = _now()
    known = db.query("select type from collections where project = ? and name = ?", [row.project, row.name])
    if known and known[0][0] != TYPE:
        return
    collection = artifacts.ensure(db, row.project, row.name, TYPE, now)
    metadata = {"mlflow": {"model_id": row.model, "model_type": row.type, "params": row.params}}
    version, _ = artifacts.add(
        db, collection, digest=blobs.put_bytes(files.encode()), size=files.size, count=len(files), now=now, run=run,
        metadata=msgspec.json.encode(metadata).decode(),
    )  # fmt: skip
    artifacts.set_alias(db, version, artifacts.LATEST, f"model {row.model}")
    db.execute("update logged_models set version = ? where model = ?", [version, row.model])


def _now() -> int:
    return time.time_ns() // 1000

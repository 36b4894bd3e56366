"""Where the files of a version of a registered model come from, as clients name it, and where they can be had."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from trackkit.backend.server.mlflow.artifacts import checked, place_of
from trackkit.backend.server.mlflow.errors import absent, invalid
from trackkit.backend.server.mlflow.messages import model_uri, proxied_path
from trackkit.backend.server.mlflow.routing import Call
from trackkit.backend.store import experiments, logged_models, mlflow_runs, objects, registered_models
from trackkit.backend.store.database import Database
from trackkit.backend.store.registered_models import ModelVersion
from trackkit.core.manifest import Entry, Manifest

_LOGGED: Final = re.compile(r"models:/+(m-[0-9a-f]{32})/?")
_REGISTERED: Final = re.compile(r"models:/+([^/@:]+)(?:/(\d+)|@([\w-]+))/?")
_OF_RUN: Final = re.compile(r"runs:/+([^/]+)(?:/(.*))?")
_REMOTE: Final = re.compile(r"[a-z][a-z0-9+.-]+://.+|[\w-]+")


class Source(msgspec.Struct):
    """The files of a version: a manifest, or its digest where there is an artifact already."""

    manifest: Manifest
    digest: str = ""
    size: int = 0
    count: int = 0
    run: int | None = None
    run_id: str = ""
    model: str = ""
    origin: int | None = None
    """The artifact's version."""


def download_uri(row: ModelVersion) -> str:
    """Where any version can be had."""
    return f"mlflow-artifacts:/versions/{row.version}"


def resolve(call: Call, db: Database, uri: str, run_id: str, model_id: str) -> Source:
    """The files that a client means by a URI.

    Raises
    ------
    MlflowError
        404 if it names a model or version that is not there, 400 if it is a path of the client's machine.
    """
    found = _find(call, db, uri)
    if not found.digest and not len(found.manifest):
        # What is elsewhere, and what is yet to come, is referred to, not copied.
        found.manifest = Manifest({"source": Entry(0, ref=uri)})
    if not found.digest:
        found.size, found.count = found.manifest.size, len(found.manifest)
    if model_id and not found.model and logged_models.get(db, model_id) is not None:
        found.model = model_id
    maker = mlflow_runs.head(db, run_id or found.run_id) if run_id or found.run_id else None
    found.run = found.run if maker is None else maker.run
    return found


def _find(call: Call, db: Database, uri: str) -> Source:
    if logged := _LOGGED.fullmatch(uri):
        return _of_model(call, db, logged[1])
    if registered := _REGISTERED.fullmatch(uri):
        return _of_version(db, *registered.groups())
    if of_run := _OF_RUN.fullmatch(uri):
        row = mlflow_runs.head(db, of_run[1])
        if row is None or not call.identity.may_see(row.project):
            raise absent(f"Run with id={of_run[1]} not found")
        return Source(_of_run(call, db, row.run, checked(of_run[2] or "")), run_id=row.id)
    if uri.startswith("mlflow-artifacts:"):
        path = checked(proxied_path(uri))
        place = place_of(call, db, path)
        if place.run is not None:
            return Source(_of_run(call, db, place.run, place.path))
        return Source(logged_models.manifest(db, path))
    if not _REMOTE.fullmatch(uri) or uri.startswith("file:"):
        raise invalid(
            f"Invalid model version source: '{uri}'. To use a local path as a model version source, the run_id request "
            "parameter has to be specified and the local path has to be contained within the artifact directory of the "
            "run specified by the run_id."
        )
    return Source(Manifest({}))


def _of_model(call: Call, db: Database, id: str) -> Source:
    row = logged_models.get(db, id)
    if row is None or not call.identity.may_see(row.project):
        raise absent(f"Logged model with ID '{id}' not found.")
    if row.version is not None:
        sql = "select digest, size, count from versions where version = ?"
        digest, size, count = db.query(sql, [row.version])[0]
        return Source(Manifest({}), digest, size, count, None, row.run, row.model, row.version)
    of = experiments.find(db, row.project)
    manifest = logged_models.manifest(db, proxied_path(model_uri(id, of))) if of is not None else Manifest({})
    return Source(manifest, run_id=row.run, model=row.model)


def _of_version(db: Database, name: str, number: str | None, alias: str | None) -> Source:
    model = registered_models.get(db, name)
    chosen = int(number) if number else model.aliases.get(alias or "") if model is not None else None
    row = None if chosen is None else registered_models.find_version(db, name, chosen)
    if row is None:
        raise absent(f"Model Version (name={name}, version={number or alias}) not found")
    size, count = db.query("select size, count from versions where version = ?", [row.version])[0]
    return Source(Manifest({}), row.digest, size, count, None, row.run, origin=row.version)


def _of_run(call: Call, db: Database, run: int, folder: str) -> Manifest:
    """The files of a run below a folder, or one file; what lies in rows becomes blobs."""
    start = f"{folder}/" if folder else ""
    found: dict[str, Entry] = {}
    for row in objects.files(db, run):
        if not row.path.startswith(start) and row.path != folder:
            continue
        digest = row.digest
        if not digest:
            digest = call.services.storage.blobs.put_bytes(objects.inline(db, run, row.writer, row.seq) or b"")
        path = row.path[len(start) :] if row.path != folder else row.path.rpartition("/")[2]
        found[path] = Entry(row.size, digest)
    return Manifest(found)

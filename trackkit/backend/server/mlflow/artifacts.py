"""`/api/2.0/mlflow-artifacts/…` and `artifacts/list`: files, by the path that a client was told to put them under."""

from __future__ import annotations

import contextlib
import hashlib
import mimetypes
import os
import secrets
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from trackkit.backend.server import routing
from trackkit.backend.server.api import content
from trackkit.backend.server.mlflow.access import of_run, run_head
from trackkit.backend.server.mlflow.errors import MlflowError, absent, invalid
from trackkit.backend.server.mlflow.messages import FileInfo, artifact_uri
from trackkit.backend.server.mlflow.routing import NOTHING, Call, Message, Nothing, Procedure, Reply
from trackkit.backend.store import artifacts, experiments, mlflow_runs, objects, proxied_files
from trackkit.backend.store.blobstore import BlobStore, read_all
from trackkit.backend.store.database import Database
from trackkit.backend.store.proxied_files import INLINE_BYTES
from trackkit.core.manifest import Manifest, check_path

_WRITTEN_AT_ONCE: Final = 1 << 20
_FOLDER: Final = "artifacts"
_DECODED_AT_MOST: Final = 10
_VERSIONS: Final = "versions"
_TEXTS: Final = frozenset(
    "txt log err cfg conf cnf cf ini properties prop hocon toml yaml yml xml json js py py3 csv tsv md rst ipynb "
    "MLmodel MLproject".split()
)
"""Ends of names that MLflow's clients are told are plain text."""


class PathMessage(Message):
    path: str = ""


class ListMessage(Message):
    run_id: str = ""
    run_uuid: str = ""
    path: str = ""
    page_token: str = ""


class Files(Reply):
    files: list[FileInfo] | None = None


class RunFiles(Reply):
    root_uri: str
    files: list[FileInfo] | None = None
    next_page_token: str | None = None


class Place(msgspec.Struct):
    """Where a path leads: to a file of a run, of a version of an artifact, or to one that belongs to neither."""

    run: int | None
    path: str
    version: int | None = None


def checked(path: str) -> str:
    """A path that leads nowhere else than it says; empty for the folder of everything.

    It is decoded until there is nothing left to decode, as in the original: old clients name files with `%17` in them,
    and ask for them by what that means.

    Raises
    ------
    MlflowError
        400 if it is none.
    """
    for _ in range(_DECODED_AT_MOST):
        before, path = path, unquote(path)
        if path == before:
            break
    path = path.removesuffix("/")
    if not path:
        return ""
    try:
        return check_path(path)
    except ValueError:
        raise invalid("Invalid path") from None


def place_of(call: Call, db: Database, path: str) -> Place:
    """Where a path leads.

    Raises
    ------
    MlflowError
        403 if the asker may not see what is there.
    """
    parts = path.split("/")
    for position, part in enumerate(parts[:-1]):
        if parts[position + 1] == _FOLDER and (not position or parts[position - 1] != "models"):
            row = mlflow_runs.head(db, part)
            if row is not None:
                _check_may(call, row.project)
                return Place(row.run, "/".join(parts[position + 2 :]))
    if parts[0] == _VERSIONS and len(parts) > 1 and parts[1].isdecimal() and len(parts[1]) < 19:
        found = artifacts.get(db, int(parts[1]))
        if found is None:
            raise absent(f"No such artifact: '{path}'")
        _check_may(call, found.project)
        return Place(None, "/".join(parts[2:]), found.version)
    _check_may(call, _project_of(db, parts[0]))
    return Place(None, path)


def _entries(call: Call, db: Database, version: int) -> Manifest:
    """The files of a version."""
    row = artifacts.get(db, version)
    if row is None:
        raise absent(f"there is no version {version}")
    return Manifest.decode(read_all(call.services.storage.blobs, row.digest))


def _project_of(db: Database, part: str) -> str | None:
    """The project of an experiment whose folder a path begins with."""
    if not part.isdecimal() or len(part) > 19 or int(part) >= 2**63:
        return None
    return experiments.projects_of(db, [int(part)]).get(int(part))


def _check_may(call: Call, project: str | None) -> None:
    if call.identity.projects is not None and (project is None or not call.identity.may_see(project)):
        raise MlflowError("PERMISSION_DENIED", "your token is not good for what is under this path")


async def put(call: Call) -> Response:
    """Take a file as it comes, to a file of its own that becomes a blob once it is whole."""
    path = checked(call.path["path"])
    if not path:
        raise invalid("Invalid path")
    await run_in_threadpool(check_place, call, path)
    blobs = call.services.storage.blobs
    fresh = await run_in_threadpool(_spooled, blobs)
    try:
        size, digest, inline = await _receive(call, fresh)
        await run_in_threadpool(keep, call, path, fresh, size, digest, inline)
    except OSError as error:
        text = f"the file can't be kept: {error.strerror or error}"
        raise MlflowError("TEMPORARILY_UNAVAILABLE", text, {"retry-after": "10"}) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
    return Response(status_code=200)


def check_place(call: Call, path: str) -> None:
    """Refuse what can't be a file, or that the asker may not write."""
    with call.services.storage.reading() as db:
        place = place_of(call, db, path)
    _check_change(place)
    if place.run is not None and not place.path:
        raise invalid("Invalid path")


def _check_change(place: Place) -> None:
    if place.version is not None:
        raise MlflowError("PERMISSION_DENIED", "the files of a version never change")


def _spooled(blobs: BlobStore) -> Path:
    blobs.spool.mkdir(parents=True, exist_ok=True)
    return blobs.spool / f"mlflow-{secrets.token_hex(16)}"


async def _receive(call: Call, fresh: Path) -> tuple[int, str, bytes]:
    """Write the body to a file: its size, its digest, and the content itself, if that is small."""
    limit = call.services.config.max_blob_mb << 20
    checksum, size, gathered = hashlib.sha256(), 0, bytearray()
    file: Any = None
    try:
        async for part in call.request.stream():
            size += len(part)
            if limit and size > limit:
                text = f"the file is larger than the {limit:,} bytes this server takes"
                raise MlflowError("INVALID_PARAMETER_VALUE", text, {"connection": "close"}, 413)
            gathered += part
            if len(gathered) >= _WRITTEN_AT_ONCE:
                file = file or open(fresh, "xb")
                await run_in_threadpool(_append, file, checksum, bytes(gathered))
                gathered.clear()
        if file is None and size <= INLINE_BYTES:
            return size, hashlib.sha256(gathered).hexdigest(), bytes(gathered)
        file = file or open(fresh, "xb")
        await run_in_threadpool(_append, file, checksum, bytes(gathered))
        await run_in_threadpool(_flush, file)
        return size, checksum.hexdigest(), b""
    finally:
        if file is not None:
            file.close()


async def receive_to(call: Call, fresh: Path) -> str:
    """Write the body to a file; its digest."""
    limit, size, checksum = call.services.config.max_blob_mb << 20, 0, hashlib.sha256()
    with open(fresh, "xb") as file:
        async for part in call.request.stream():
            size += len(part)
            if limit and size > limit:
                text = f"the file is larger than the {limit:,} bytes this server takes"
                raise MlflowError("INVALID_PARAMETER_VALUE", text, {"connection": "close"}, 413)
            await run_in_threadpool(_append, file, checksum, part)
    return checksum.hexdigest()


def _append(file: Any, checksum: Any, part: bytes) -> None:
    checksum.update(part)
    file.write(part)


def _flush(file: Any) -> None:
    """Have the file survive a power cut: its sender may forget it."""
    file.flush()
    os.fsync(file.fileno())


def keep(call: Call, path: str, fresh: Path, size: int, digest: str, inline: bytes) -> None:
    """Have a path be a file that is whole; small files of runs lie in their row."""
    storage = call.services.storage
    with storage.reading() as db:
        place = place_of(call, db, path)
    is_small = size <= INLINE_BYTES and not fresh.exists()
    if is_small and place.run is None:
        storage.blobs.put_bytes(inline)
    elif not is_small:
        storage.blobs.keep(fresh, digest)
    with storage.changing() as db:
        if place.run is None:
            proxied_files.put(db, place.path, size, digest)
        elif is_small:
            proxied_files.put_of_run(db, place.run, place.path, size, "", inline)
        else:
            proxied_files.put_of_run(db, place.run, place.path, size, digest, None)


def show(call: Call) -> Response:
    path = checked(call.path["path"])
    with call.services.storage.reading() as db:
        place = place_of(call, db, path)
        if place.run is not None:
            return respond_with_file_of_run(call, db, place.run, place.path, path)
        if place.version is not None:
            entries = _entries(call, db, place.version)
            if place.path in entries and entries[place.path].digest:
                return presented_blob(call, entries[place.path].digest, path)
            raise absent(f"No such artifact: '{path}'")
        found = proxied_files.get(db, place.path)
        if found is not None:
            return presented_blob(call, found.digest, path)
        if not path or proxied_files.below(db, place.path):
            raise _is_folder(path)
    raise absent(f"No such artifact: '{path}'")


def respond_with_file_of_run(call: Call, db: Database, run: int, path: str, named: str) -> Response:
    """The content of a run's file.

    Raises
    ------
    MlflowError
        404 if there is none, 400 if it is a folder.
    """
    row = objects.file(db, run, path)
    if row is not None:
        return presented(content.respond(_native(call), db, run, row, inline=False), path)
    if not path or proxied_files.listing(proxied_files.of_run(db, run), path):
        raise _is_folder(named)
    raise absent(f"No such artifact: '{named}'")


def _is_folder(path: str) -> MlflowError:
    return invalid(f"Artifact path refers to a directory, not a file: '{path}'")


def _native(call: Call) -> routing.Call:
    return routing.Call(call.request, call.services, call.identity, call.path)


def presented(response: Response, path: str) -> Response:
    """An answer with a file's content, as a download of its kind; it is not worth compressing on the way."""
    name = path.rpartition("/")[2]
    is_text = (name.rpartition(".")[2] or name) in _TEXTS
    kind = "text/plain" if is_text else mimetypes.guess_type(name)[0] or "application/octet-stream"
    response.headers["content-type"] = kind
    response.headers["x-content-type-options"] = "nosniff"
    response.headers["content-encoding"] = "identity"
    return response


def presented_blob(call: Call, digest: str, path: str) -> Response:
    """An answer with a blob as the file of a path."""
    return presented(content.respond_with_blob(_native(call), digest, path, inline=False), path)


def delete(call: Call) -> Nothing:
    path = checked(call.path["path"])
    if not path:
        raise invalid("Invalid path")
    with call.services.storage.changing() as db:
        place = place_of(call, db, path)
        _check_change(place)
        if place.run is not None:
            proxied_files.delete_of_run(db, place.run, place.path)
        else:
            proxied_files.delete(db, place.path)
    return NOTHING


def list_files(call: Call) -> Files:
    path = checked(call.message.path)
    with call.services.storage.reading() as db:
        place = place_of(call, db, path) if path else Place(None, "")
        if not path:
            _check_may(call, None)
        if place.run is not None:
            files = proxied_files.of_run(db, place.run)
        elif place.version is not None:
            files = [(name, entry.size) for name, entry in _entries(call, db, place.version).items()]
        else:
            files = [(file.path, file.size) for file in proxied_files.below(db, place.path)]
    return Files(files=infos(files, place.path, ""))


def infos(files: list[tuple[str, int]], folder: str, before: str) -> list[FileInfo] | None:
    """What lies in a folder, each path with something before it."""
    return [
        FileInfo(path=before + one.name, is_dir=one.size is None, file_size=one.size or None)
        for one in proxied_files.listing(files, folder)
    ] or None


def list_of_run(call: Call) -> RunFiles:
    message: ListMessage = call.message
    path = checked(message.path)
    with call.services.storage.reading() as db:
        row = run_head(call, db, message.run_id)
        root = artifact_uri(row, of_run(call, db, row))
        files = proxied_files.of_run(db, row.run)
    return RunFiles(root_uri=root, files=infos(files, path, f"{path}/" if path else ""))


def no_presigned(call: Call) -> Response:
    raise MlflowError("NOT_IMPLEMENTED", "Multipart download is not supported for the current artifact repository")


def get_artifact(call: Call) -> Response:
    """A run's file for a browser."""
    message: ListMessage = call.message
    path = checked(message.path)
    with call.services.storage.reading() as db:
        row = run_head(call, db, message.run_id or message.run_uuid)
        return respond_with_file_of_run(call, db, row.run, path, path)


async def upload(call: Call) -> Response:
    """A file for a run from MLflow's own pages, which name it in the URL."""
    given: Request = call.request
    id, path = given.query_params.get("run_uuid", ""), checked(given.query_params.get("path", ""))
    if not id or not path:
        raise invalid("Request must specify run_uuid and path.")
    call.path = {"path": f"{id}/{_FOLDER}/{path}"}
    await run_in_threadpool(_check_run, call, id)
    return await put(call)


def _check_run(call: Call, id: str) -> None:
    with call.services.storage.reading() as db:
        run_head(call, db, id)


PROCEDURES = [Procedure("GET", "/artifacts/list", list_of_run, "read", ListMessage, ["run_id"])]
"""Beside the other procedures."""

AJAX_PROCEDURES = [Procedure("POST", "/upload-artifact", upload, "write", is_raw=True)]

PROXY_PROCEDURES = [
    Procedure("GET", "/artifacts", list_files, "read", PathMessage),
    Procedure("GET", "/artifacts/{path:path}", show, "read"),
    Procedure("PUT", "/artifacts/{path:path}", put, "write", is_raw=True),
    Procedure("DELETE", "/artifacts/{path:path}", delete, "write"),
    Procedure("GET", "/presigned/{path:path}", no_presigned, "read"),
]
"""Below `/api/2.0/mlflow-artifacts`."""

PAGE_PROCEDURES = [Procedure("GET", "/get-artifact", get_artifact, "read", ListMessage, ["path"])]
"""At the root."""

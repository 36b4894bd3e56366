"""Where a table that is asked for lies: under a key of a run, or in a version of an artifact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from trackkit.backend.server.api.artifacts import manifest_of, version_of
from trackkit.backend.server.api.media import run_named
from trackkit.backend.server.errors import ApiError, not_found
from trackkit.backend.server.routing import Call
from trackkit.backend.store import media
from trackkit.backend.store.blobstore import local_file
from trackkit.backend.store.database import Database
from trackkit.backend.store.objects import ObjectRow

MOST_STEPS: Final = 1000


class TableReference(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A table: of a run, under a key, the last one up to a step, or the very last; or a file of an artifact's version.

    The one is named by `run`, `key` and `step`, the other by `version`, an id, and `path`.
    """

    run: str = ""
    key: str = ""
    step: int | None = None
    version: str = ""
    path: str = ""


class Place(NamedTuple):
    """A table's Parquet files in their order, and which step's it is among which."""

    files: list[Path]
    step: int | None
    steps: list[int]
    log_mode: str


def place_of(call: Call, spec: TableReference) -> Place:
    """Where a table lies.

    Raises
    ------
    ApiError
        400 if the reference names no table, 404 if there is none that the asker may see.
    """
    if _is_of_version(spec):
        return Place(_version_files(call, spec), None, [], "IMMUTABLE")
    with call.services.storage.reading() as db:
        rows = _rows(call, db, spec)
        steps = media.steps(db, [run_named(call, db, spec.run)], spec.key, MOST_STEPS)
    noted = msgspec.json.decode(rows[-1].metadata)
    return Place(_run_files(call, rows), rows[-1].step or 0, steps, str(noted.get("log_mode", "IMMUTABLE")))


def files_of(call: Call, specs: Sequence[TableReference]) -> list[list[Path]]:
    """The Parquet files of tables; raises as `place_of`."""
    found = []
    for spec in specs:
        if _is_of_version(spec):
            found.append(_version_files(call, spec))
            continue
        with call.services.storage.reading() as db:
            rows = _rows(call, db, spec)
        found.append(_run_files(call, rows))
    return found


def _is_of_version(spec: TableReference) -> bool:
    in_run, in_version = bool(spec.run or spec.key), bool(spec.version or spec.path)
    if in_run == in_version or (in_version and spec.step is not None):
        raise ApiError(400, "the spec names a table by run and key, or by version and path of an artifact")
    return in_version


def _rows(call: Call, db: Database, spec: TableReference) -> list[ObjectRow]:
    """The parts of a table: one, or all increments up to a step."""
    step = None if spec.step is None else max(-(2**63), min(2**63 - 1, spec.step))
    number = run_named(call, db, spec.run)
    found = media.items(db, number, spec.key, kind="table", last=step)
    if not found:
        up_to = "" if spec.step is None else f" up to step {spec.step}"
        raise not_found(f"table {spec.key!r} in the run {spec.run!r}{up_to}")
    if msgspec.json.decode(found[-1].metadata).get("log_mode") == "INCREMENTAL":
        return [row for row in found if "increment" in msgspec.json.decode(row.metadata)]
    return found[-1:]


def _run_files(call: Call, rows: list[ObjectRow]) -> list[Path]:
    return [_file(call, row.digest, row.path) for row in rows]


def _version_files(call: Call, spec: TableReference) -> list[Path]:
    call.path["version"] = spec.version
    with call.services.storage.reading() as db:
        row = version_of(call, db)
    entry = manifest_of(call, row).get(spec.path)
    if entry is None:
        raise not_found(f"entry {spec.path!r} in {row.path}")
    if entry.ref:
        raise not_found(f"content of {spec.path!r} of {row.path}: it is a reference to {entry.ref}")
    return [_file(call, entry.digest, spec.path)]


def _file(call: Call, digest: str, path: str) -> Path:
    try:
        return local_file(call.services.storage.blobs, digest)
    except FileNotFoundError:
        raise not_found(f"content of {path!r}: its blob {digest} is missing from the store, or on its way") from None

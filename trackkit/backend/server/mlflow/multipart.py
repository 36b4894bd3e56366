"""`/mlflow-artifacts/mpu/…`: large files in several parts at once, each a file of its own until all are there.

A client asks for addresses, sends a part to each, with neither token nor MLflow's own headers, and then says that it is
done. So an address is a secret: it has 128 random bits, and is good for one file for a day.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import Any, Final

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from trackkit.backend.server.mlflow import artifacts
from trackkit.backend.server.mlflow.errors import MlflowError, absent, invalid, wrong
from trackkit.backend.server.mlflow.routing import NOTHING, Call, Message, Nothing, Procedure, Reply
from trackkit.core.manifest import check_path

MOST_PARTS: Final = 10_000
_PART = "/mpu/part/{id}/{number}"
_ID: Final = re.compile(r"[0-9a-f]{32}")
_COPIED_AT_ONCE: Final = 1 << 20


class CreateMessage(Message):
    path: str = ""
    num_parts: int = 1


class GivenPart(msgspec.Struct):
    part_number: int = 0
    etag: str = ""


class EndMessage(Message):
    path: str = ""
    upload_id: str = ""
    parts: list[GivenPart] = msgspec.field(default_factory=list)


class Credential(Reply):
    url: str
    part_number: int


class Created(Reply):
    upload_id: str
    credentials: list[Credential]


def create(call: Call) -> Created:
    message: CreateMessage = call.message
    if not 1 <= message.num_parts <= MOST_PARTS:
        raise wrong("num_parts", message.num_parts, f"a file has 1 to {MOST_PARTS:,} parts")
    path = _path(call, message.path)
    artifacts.check_place(call, path)
    id = secrets.token_hex(16)
    _head(call, id).parent.mkdir(parents=True, exist_ok=True)
    _head(call, id).write_text(path)
    root = f"{str(call.request.base_url).rstrip('/')}/api/2.0/mlflow-artifacts/mpu/part/{id}"
    return Created(
        upload_id=id,
        credentials=[
            Credential(url=f"{root}/{number}", part_number=number) for number in range(1, message.num_parts + 1)
        ],
    )


def _path(call: Call, named: str) -> str:
    """The file's path: the folder in the URL, and the name that it has on the client's machine."""
    name = named.replace("\\", "/").rpartition("/")[2]
    try:
        return check_path("/".join(filter(None, [artifacts.checked(call.path["folder"]), name])))
    except ValueError:
        raise invalid("Invalid path") from None


def _head(call: Call, id: str) -> Path:
    """The file that says what an upload is for."""
    if not _ID.fullmatch(id):
        raise absent(f"there is no upload {id!r}")
    return call.services.storage.blobs.spool / f"mlflow-{id}"


def _part(call: Call, id: str, number: int) -> Path:
    head = _head(call, id)
    return head.with_name(f"{head.name}-{number}")


async def put_part(call: Call) -> Response:
    """Take a part as it comes."""
    id, number = call.path["id"], call.path["number"]
    known = _ID.fullmatch(id) is not None and await run_in_threadpool(_head(call, id).is_file)
    if not known or not number.isdecimal() or not 1 <= int(number) <= MOST_PARTS:
        raise absent(f"there is no upload {id!r} with a part {number}")
    fresh = _part(call, id, int(number)).with_name(f"mlflow-{secrets.token_hex(16)}")
    try:
        digest = await artifacts.receive_to(call, fresh)
        await run_in_threadpool(os.replace, fresh, _part(call, id, int(number)))
    except OSError as error:
        text = f"the part can't be kept: {error.strerror or error}"
        raise MlflowError("TEMPORARILY_UNAVAILABLE", text, {"retry-after": "10"}) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
    return Response(headers={"etag": f'"{digest}"'})


def complete(call: Call) -> Nothing:
    """Have the parts be one file."""
    message: EndMessage = call.message
    path = _open(call, message)
    numbers = [part.part_number for part in message.parts]
    parts = [_part(call, message.upload_id, number) for number in numbers]
    if not parts or numbers != list(range(1, len(numbers) + 1)) or not all(part.is_file() for part in parts):
        raise invalid("not all parts of the upload are there, or they are named in another order")
    whole = parts[0].with_name(f"mlflow-{secrets.token_hex(16)}")
    checksum, size = hashlib.sha256(), 0
    try:
        with open(whole, "xb") as file:
            for part in parts:
                size += _append(file, checksum, part)
            file.flush()
            os.fsync(file.fileno())
        artifacts.keep(call, path, whole, size, checksum.hexdigest(), b"")
    finally:
        with contextlib.suppress(FileNotFoundError):
            whole.unlink()
    _forget(call, message.upload_id)
    return NOTHING


def _append(file: Any, checksum: Any, part: Path) -> int:
    size = 0
    with open(part, "rb") as source:
        while piece := source.read(_COPIED_AT_ONCE):
            checksum.update(piece)
            file.write(piece)
            size += len(piece)
    return size


def _open(call: Call, message: EndMessage) -> str:
    """What an upload is for, if it is for what the request says."""
    try:
        path = _head(call, message.upload_id).read_text()
    except FileNotFoundError:
        raise absent(f"there is no upload {message.upload_id!r}; it was ended, or is too old") from None
    if path != _path(call, message.path):
        raise invalid("the upload is for another file")
    artifacts.check_place(call, path)
    return path


def abort(call: Call) -> Nothing:
    _open(call, call.message)
    _forget(call, call.message.upload_id)
    return NOTHING


def _forget(call: Call, id: str) -> None:
    head = _head(call, id)
    for path in [*head.parent.glob(f"{head.name}-*"), head]:
        path.unlink(missing_ok=True)


PROCEDURES = [
    Procedure("POST", "/mpu/create/{folder:path}", create, "write", CreateMessage, ["path"]),
    Procedure("POST", "/mpu/complete/{folder:path}", complete, "write", EndMessage, ["path", "upload_id"]),
    Procedure("POST", "/mpu/abort/{folder:path}", abort, "write", EndMessage, ["path", "upload_id"]),
    Procedure("PUT", _PART, put_part, None, is_raw=True),
]
"""Below `/api/2.0/mlflow-artifacts`."""

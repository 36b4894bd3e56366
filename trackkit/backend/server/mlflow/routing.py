"""The procedures of MLflow's API: each declared once, as a row of a table, and found by method and path at once.

A procedure is asked on one hop to the pool of threads, with its token, body and transaction, since what its callers
notice is how long it takes: MLflow's client waits for each value that is logged.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, get_origin, get_type_hints

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from trackkit.backend.server.auth import ANYBODY, Identity
from trackkit.backend.server.config import is_loopback
from trackkit.backend.server.errors import ApiError
from trackkit.backend.server.mlflow.errors import MlflowError, invalid, missing, wrong
from trackkit.backend.server.routing import read_at_most
from trackkit.backend.server.services import Services
from trackkit.backend.store.artifacts import Protected, Refusal
from trackkit.backend.store.database import Busy
from trackkit.backend.store.filters import FilterError
from trackkit.backend.store.tokens import Scope

logger = logging.getLogger("trackkit.server")

MOST_BYTES: Final = 64 << 20
"""The largest body taken: a batch of logged parameters, or a dataset's profile, may have some megabytes."""

_HINT: Final = " See the API docs for more information about request parameters."
_NAMED = re.compile(r"\$\.(\w+)")


class Message(msgspec.Struct, kw_only=True):
    """What goes in; use a subclass. Fields that are not known are ignored, as protobuf does."""


class Reply(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What comes out; use a subclass. Fields that are not set are left out."""


class Nothing(Reply):
    """An empty answer."""


NOTHING: Final = Nothing()


@dataclass(slots=True)
class Call:
    """A request as a procedure gets it."""

    request: Request
    services: Services
    identity: Identity
    path: dict[str, str]
    message: Any = None


@dataclass(frozen=True)
class Procedure:
    """One method of one path.

    Parameters
    ----------
    answer
        Answers on a thread of the pool, with a `Reply` or a response; or on the event loop, if `is_raw`.
    scope
        What a token must be good for; None if nobody is asked.
    message
        The type of what goes in: a JSON body, or the parameters of the URL.
    required
        Fields that may be neither missing nor empty.
    """

    method: str
    path: str
    answer: Callable[[Call], Any]
    scope: Scope | None = "read"
    message: type[Message] | None = None
    required: Sequence[str] = ()
    is_raw: bool = False
    pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        made = re.sub(r"\\{(\w+):path\\}", r"(?P<\1>.*)", re.escape(self.path))
        made = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", made)
        object.__setattr__(self, "pattern", re.compile(made))


class Dispatcher:
    """Finds and asks the procedure that a request is for.

    Parameters
    ----------
    procedures
        All there are; those without parameters in their path are found first.
    services
        What they work with.
    prefix
        What comes before their paths in the URL.
    """

    def __init__(self, procedures: Sequence[Procedure], services: Services, prefix: str) -> None:
        self._services = services
        self._prefix = prefix
        self._plain = {(one.method, one.path): one for one in procedures if "{" not in one.path}
        self._others = [one for one in procedures if "{" in one.path]
        self._known = {path for _, path in self._plain}

    async def serve(self, request: Request) -> Response:
        """Answer a request."""
        try:
            return await self._answer(request)
        except MlflowError as error:
            return error.response()
        except ApiError as error:
            return MlflowError.of(error).response()
        except FilterError as error:
            return invalid(str(error)).response()
        except Protected as error:
            return MlflowError("PERMISSION_DENIED", str(error)).response()
        except Refusal as error:
            return invalid(str(error)).response()
        except Busy as error:
            return MlflowError("TEMPORARILY_UNAVAILABLE", str(error), {"retry-after": "1"}).response()
        except ClientDisconnect:
            return invalid("the connection ended in the middle of the body").response()
        except RecursionError:
            return invalid("what was sent is nested too deeply").response()
        except Exception as error:
            logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
            return MlflowError("INTERNAL_ERROR", "the server failed to answer this; its log says why").response()

    async def _answer(self, request: Request) -> Response:
        procedure, path = self._find(request.method, request.scope["path"].removeprefix(self._prefix))
        request.state.endpoint = procedure
        if procedure.is_raw:
            identity = await run_in_threadpool(self._identify, request, procedure)
            answer: Awaitable[Response] = procedure.answer(Call(request, self._services, identity, path))
            return await answer
        body = b""
        if request.method not in ("GET", "HEAD") and procedure.message is not None:
            _check_content_type(request)
            body = await read_at_most(request, MOST_BYTES)
        return await run_in_threadpool(self._ask, request, procedure, path, body)

    def _find(self, method: str, path: str) -> tuple[Procedure, dict[str, str]]:
        method = "GET" if method == "HEAD" else method
        plain = self._plain.get((method, path))
        if plain is not None:
            return plain, {}
        is_known = path in self._known
        for procedure in self._others:
            found = procedure.pattern.fullmatch(path)
            if found is not None:
                if procedure.method == method:
                    return procedure, found.groupdict()
                is_known = True
        if is_known:
            raise MlflowError("ENDPOINT_NOT_FOUND", f"{path} can't be asked with {method}", status=405)
        raise MlflowError("ENDPOINT_NOT_FOUND", f"there is no endpoint {method} {self._prefix}{path}")

    def _identify(self, request: Request, procedure: Procedure) -> Identity:
        if procedure.scope is None:
            return ANYBODY
        return self._services.authenticator.identify_client(request, procedure.scope)

    def _ask(self, request: Request, procedure: Procedure, path: dict[str, str], body: bytes) -> Response:
        identity = self._identify(request, procedure)
        message = None
        if procedure.message is not None:
            message = _parse(request, procedure, path, body)
        answer = procedure.answer(Call(request, self._services, identity, path, message))
        return answer if isinstance(answer, Response) else reply(request, answer)


def reply(request: Request, answer: Any) -> Response:
    """An answer as JSON."""
    content = msgspec.json.encode(answer)
    headers = {}
    if len(content) > 2000 and request.client is not None and is_loopback(request.client.host):
        headers["content-encoding"] = "identity"  # what stays on this machine is not worth compressing
    return Response(content, 200, headers, "application/json")


def _check_content_type(request: Request) -> None:
    given = request.headers.get("content-type", "")
    if not given:
        raise invalid("Bad Request. Content-Type header is missing.")
    if given.partition(";")[0].strip().lower() != "application/json":
        raise invalid("Bad Request. Content-Type must be one of ['application/json'].")


def _parse(request: Request, procedure: Procedure, path: dict[str, str], body: bytes) -> Message:
    type = procedure.message
    assert type is not None
    if body and not path:
        try:
            message = msgspec.json.decode(body, type=type, strict=False)
        except msgspec.MsgspecError:
            message = None  # which field is wrong, or merely null, takes a closer look
        if message is not None:
            _check_required(message, procedure.required)
            return message
    given = _given(request, type, body)
    given.update({name: value for name, value in path.items() if name in type.__struct_fields__})
    if "run_id" in type.__struct_fields__ and not given.get("run_id") and given.get("run_uuid"):
        given["run_id"] = given["run_uuid"]
    for name in procedure.required:
        if given.get(name) in (None, ""):
            raise missing(name)
    try:
        return msgspec.convert(given, type, strict=False)
    except msgspec.ValidationError as error:
        raise _explained(error, given) from None


def _check_required(message: Message, required: Sequence[str]) -> None:
    for name in required:
        if getattr(message, name) in (None, ""):
            other: str = getattr(message, "run_uuid", "") if name == "run_id" else ""
            if other:
                message.run_id = other  # type: ignore[attr-defined]
                continue
            raise missing(name)


def _given(request: Request, type: type[Message], body: bytes) -> dict[str, Any]:
    if request.method in ("GET", "HEAD"):
        hints = get_type_hints(type)
        found: dict[str, Any] = {}
        for name in request.query_params:
            values = request.query_params.getlist(name)
            found[name] = values if get_origin(hints.get(name)) is list else values[-1]
        return found
    try:
        decoded = msgspec.json.decode(body) if body.strip() else {}
        if isinstance(decoded, str):  # old clients encode twice
            decoded = msgspec.json.decode(decoded)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        decoded = {}  # as the original has it: what can't be read is empty, and lacks what is required
    if not isinstance(decoded, dict):
        raise invalid(f"the body must be a JSON object, not {type_name(decoded)}")
    return {name: value for name, value in decoded.items() if value is not None}


def type_name(value: Any) -> str:
    """What a JSON value is, as Python calls it."""
    return type(value).__name__


def _explained(error: msgspec.ValidationError, given: dict[str, Any]) -> MlflowError:
    found = _NAMED.search(str(error))
    if found is None:
        return invalid(f"the request is wrong: {error}")
    name = found[1]
    value = given.get(name)
    return wrong(name, value, f" Hint: Value was of type '{type_name(value)}'.{_HINT}")

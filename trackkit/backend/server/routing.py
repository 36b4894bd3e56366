"""Endpoints: each declared once, as a row of a table, from which routing, checking and documentation follow."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal, get_origin, get_type_hints

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trackkit.backend.server.auth import Identity
from trackkit.backend.server.errors import ApiError
from trackkit.backend.server.services import Services
from trackkit.backend.store.tokens import Scope

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

MOST_JSON_BYTES: Final = 4 << 20
"""The largest JSON body taken."""


class Query(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Parameters in a URL; use a subclass."""


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A JSON body; use a subclass."""


class Answer(msgspec.Struct, kw_only=True):
    """A JSON answer; use a subclass."""


@dataclass(slots=True)
class Call:
    """A request as a handler gets it: who sends it, and its parts, checked."""

    request: Request
    services: Services
    identity: Identity
    path: dict[str, str]
    query: Any = None
    body: Any = None


Handler = Callable[[Call], Any]
"""Answers a call on a thread of the pool: with an `Answer`, or a `Response` of its own."""
RawHandler = Callable[[Call], Awaitable[Response]]
"""Answers a call on the event loop, and reads its body by itself."""


@dataclass(frozen=True)
class Endpoint:
    """One method of one path.

    Parameters
    ----------
    scope
        What a token must be good for; None if nobody is asked.
    query, body, answer
        Types of what goes in and out.
    parts
        What the JSON objects are that parameters of the URL hold, by the parameters' names.
    takes, gives
        Media types other than JSON, of bodies that a raw handler reads and of answers that are a `Response`.
    errors
        Statuses it answers with besides those that any endpoint may.
    """

    method: Method
    path: str
    handler: Handler | None
    summary: str
    scope: Scope | None = "read"
    query: type[Query] | None = None
    body: type[Body] | None = None
    answer: type[Answer] | None = None
    raw: RawHandler | None = None
    parts: Mapping[str, type[msgspec.Struct]] = field(default_factory=dict)
    takes: str = ""
    gives: str = ""
    status: int = 200
    errors: Sequence[int] = field(default=())

    @property
    def parameters(self) -> list[str]:
        """The names in the path."""
        return [name.partition(":")[0] for name in re.findall(r"{([^}]+)}", self.path)]


def routes(endpoints: Sequence[Endpoint], services: Services, prefix: str) -> list[Route]:
    """The routes of a table of endpoints."""
    paths: dict[str, dict[str, Endpoint]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    return [
        Route(prefix + path, partial(_serve, services, by_method), methods=list(by_method))
        for path, by_method in paths.items()
    ]


async def _serve(services: Services, by_method: dict[str, Endpoint], request: Request) -> Response:
    endpoint = by_method["GET" if request.method == "HEAD" else request.method]
    request.state.endpoint = endpoint
    call = await run_in_threadpool(_admit, services, endpoint, request)
    if endpoint.raw is not None:
        return await endpoint.raw(call)
    if endpoint.body is not None:
        call.body = _parse_body(await _read_body(request), endpoint.body)
    assert endpoint.handler is not None
    answer = await run_in_threadpool(endpoint.handler, call)
    return answer if isinstance(answer, Response) else json_response(answer, endpoint.status)


def json_response(answer: Any, status: int = 200) -> Response:
    """An answer as JSON; 204 if there is nothing to say."""
    if answer is None:
        return Response(status_code=204)
    return Response(msgspec.json.encode(answer), status, media_type="application/json")


def _admit(services: Services, endpoint: Endpoint, request: Request) -> Call:
    from trackkit.backend.server.auth import ANYBODY

    identity = ANYBODY if endpoint.scope is None else services.authenticator.identify(request, endpoint.scope)
    query = None if endpoint.query is None else _parse_query(request, endpoint.query)
    return Call(request, services, identity, dict(request.path_params), query)


def _parse_query(request: Request, type: type[Query]) -> Query:
    hints = get_type_hints(type)
    given: dict[str, Any] = {}
    for name in request.query_params:
        values = request.query_params.getlist(name)
        given[name] = values if get_origin(hints.get(name)) is list else values[-1]
    try:
        return msgspec.convert(given, type, strict=False)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"the parameters of the URL are wrong: {error}") from None


async def _read_body(request: Request) -> bytes:
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, f"the body must be application/json, not {kind}")
    return await read_at_most(request, MOST_JSON_BYTES)


async def read_at_most(request: Request, limit: int) -> bytes:
    """The body of a request.

    Raises
    ------
    ApiError
        413 if it is larger; the rest is not read.
    """
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise ApiError(
                413, f"the body is larger than the {limit:,} bytes this server takes", {"connection": "close"}
            )
        parts.append(part)
    return b"".join(parts)


def _parse_body(body: bytes, type: type[Body]) -> Body:
    try:
        return msgspec.json.decode(body, type=type)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ApiError(400, f"the body is wrong: {error}") from None

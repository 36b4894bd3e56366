"""`/session` and `/tokens`: who may come in."""

from __future__ import annotations

import time
from typing import Final, Literal

import msgspec
from starlette.responses import Response

from trackkit.backend.server.api.values import maybe_seconds, seconds
from trackkit.backend.server.auth import COOKIE, address_of
from trackkit.backend.server.errors import ApiError, not_found
from trackkit.backend.server.routing import Answer, Body, Call, Endpoint, json_response
from trackkit.backend.store import tokens
from trackkit.version import __version__

OPEN_CSRF = "same-origin"
"""What pages of a server that asks for no token send in the header that other pages can't."""


MOST_DAYS: Final = 36_500


class SessionState(Answer):
    """Who the asker is to the server; `csrf` goes into the header `X-Trackkit-CSRF` of every change."""

    authenticated: bool
    auth_required: bool
    name: str
    scope: str
    projects: list[str] | None
    csrf: str
    version: str
    store: str


class LogIn(Body):
    token: str


class TokenSummary(msgspec.Struct):
    """A token, without its secret."""

    id: str
    name: str
    scope: str
    projects: list[str] | None
    created: float
    used: float | None
    expires: float | None


class Tokens(Answer):
    tokens: list[TokenSummary]


class NewToken(Body):
    """`projects` are those it is good for, None for all; `days` is how long."""

    name: str
    scope: Literal["read", "write", "admin"] = "write"
    projects: list[str] | None = None
    days: float | None = None


class CreatedToken(Answer):
    """A new token; `secret` is shown this once."""

    token: TokenSummary
    secret: str


def show_session(call: Call) -> SessionState:
    authenticator = call.services.authenticator
    identity = authenticator.find(call.request)
    required = authenticator.required
    if identity is None:
        return SessionState(
            authenticated=False, auth_required=True, name="", scope="", projects=None, csrf="",
            version=__version__, store="",
        )  # fmt: skip
    return SessionState(
        authenticated=True,
        auth_required=required,
        name=identity.name,
        scope=identity.scope,
        projects=identity.projects,
        csrf=identity.csrf or OPEN_CSRF,
        version=__version__,
        store=call.services.storage.name,
    )


def log_in(call: Call) -> Response:
    token = call.services.authenticator.check_token(call.body.token.strip(), address_of(call.request))
    with call.services.storage.changing() as db:
        session, secret = tokens.open_session(db, token)
    state = SessionState(
        authenticated=True, auth_required=call.services.authenticator.required, name=token.name, scope=token.scope,
        projects=token.projects, csrf=session.csrf, version=__version__, store=call.services.storage.name,
    )  # fmt: skip
    response = json_response(state)
    response.set_cookie(
        COOKIE,
        secret,
        max_age=round(tokens.SESSION_SECONDS),
        httponly=True,
        samesite="strict",
        secure=call.request.url.scheme == "https",
    )
    return response


def log_out(call: Call) -> Response:
    if call.identity.session:
        with call.services.storage.changing() as db:
            tokens.close_session(db, call.identity.session)
    response = Response(status_code=204)
    response.delete_cookie(COOKIE)
    return response


def list_tokens(call: Call) -> Tokens:
    with call.services.storage.reading() as db:
        return Tokens(tokens=[_summary(token) for token in tokens.all_tokens(db) if _may_give(call, token.projects)])


def _may_give(call: Call, projects: list[str] | None) -> bool:
    """Whether the asker's own token is good for all that a token for these projects would be good for."""
    own = call.identity.projects
    return own is None or (projects is not None and set(projects) <= set(own))


def create_token(call: Call) -> CreatedToken:
    new: NewToken = call.body
    if new.days is not None and not 0 < new.days <= MOST_DAYS:
        raise ApiError(400, f"a token is good for more than 0 and at most {MOST_DAYS:,} days, or for ever")
    if not _may_give(call, new.projects):
        raise ApiError(403, "your own token is good for some projects alone: name among them those the new one is for")
    expires = None if new.days is None else time.time() + new.days * 86400
    with call.services.storage.changing() as db:
        token, secret = tokens.create(db, new.name, new.scope, new.projects, expires)
    return CreatedToken(token=_summary(token), secret=secret)


def revoke_token(call: Call) -> None:
    id = call.path["id"]
    with call.services.storage.changing() as db:
        known = next((token for token in tokens.all_tokens(db) if token.id == id), None)
        if known is None or not _may_give(call, known.projects):
            raise not_found(f"token {id!r}")
        tokens.revoke(db, id)


def _summary(token: tokens.Token) -> TokenSummary:
    return TokenSummary(
        token.id, token.name, token.scope, token.projects, seconds(token.created), maybe_seconds(token.used),
        maybe_seconds(token.expires),
    )  # fmt: skip


ENDPOINTS = [
    Endpoint("GET", "/session", show_session, "Who the asker is to the server.", scope=None, answer=SessionState),
    Endpoint(
        "POST",
        "/session",
        log_in,
        "Open a browser session by showing a token.",
        scope=None,
        body=LogIn,
        answer=SessionState,
        errors=[401, 429],
    ),
    Endpoint("DELETE", "/session", log_out, "End the browser session.", status=204),
    Endpoint("GET", "/tokens", list_tokens, "The tokens, oldest first.", scope="admin", answer=Tokens),
    Endpoint(
        "POST",
        "/tokens",
        create_token,
        "Make a token.",
        scope="admin",
        body=NewToken,
        answer=CreatedToken,
        status=201,
    ),
    Endpoint(
        "DELETE",
        "/tokens/{id}",
        revoke_token,
        "End a token and the sessions it opened.",
        scope="admin",
        status=204,
        errors=[404],
    ),
]

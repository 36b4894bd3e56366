"""Who sends a request, and whether they may.

A request shows a token in its `Authorization` header, or a browser's cookie. A browser sends its cookie, and reaches
a server that asks for nothing, on behalf of any page it has open; so requests that change something must also
carry a header that only our own pages can send.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
import time
from collections import OrderedDict
from typing import Final
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request

from trackkit.backend.server.errors import ApiError
from trackkit.backend.server.storage import Storage
from trackkit.backend.store import tokens
from trackkit.backend.store.tokens import Scope, Token

COOKIE: Final = "trackkit_session"
CSRF_HEADER: Final = "x-trackkit-csrf"
_CHALLENGE: Final = {"www-authenticate": 'Basic realm="mlflow"'}
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Identity(msgspec.Struct, frozen=True):
    """Who sends a request, and what they may.

    Attributes
    ----------
    name
        The token's name; empty where the server asks for none.
    projects
        The projects they may see; None for all.
    """

    name: str
    scope: Scope
    projects: list[str] | None = None
    csrf: str = ""
    session: str = ""
    """The secret of the browser's session, if it is one."""

    def may_see(self, project: str) -> bool:
        """Whether runs of this project exist for them."""
        return self.projects is None or project in self.projects


ANYBODY: Final = Identity("", "admin")
"""Who sends a request to a server that asks for no token: somebody on this machine."""


class Throttle:
    """Slows down whoever guesses tokens: after some failures from one address, none is looked at for a while.

    Parameters
    ----------
    failures
        How many are forgiven.
    seconds
        How long each is remembered.
    """

    _ADDRESSES = 10_000
    _SECRETS = 10_000

    def __init__(self, failures: int = 10, seconds: float = 60.0) -> None:
        self._failures = failures
        self._seconds = seconds
        self._seen: OrderedDict[str, list[float]] = OrderedDict()
        self._good: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, address: str, secret: str) -> None:
        """Refuse, if there were too many failures and the secret was never found good.

        So one job with a wrong token doesn't lock out all others behind the same address.

        Raises
        ------
        ApiError
            429, with the seconds to wait.
        """
        with self._lock:
            if _digest(secret) in self._good:
                return
            recent = self._recent(address)
            if len(recent) >= self._failures:
                wait = max(1, round(recent[0] + self._seconds - time.monotonic()))
                text = f"too many attempts with a wrong token from {address}; try again in {wait} s"
                raise ApiError(429, text, {"retry-after": str(wait)})

    def succeed(self, secret: str) -> None:
        """Remember a secret that was found good."""
        with self._lock:
            self._good[_digest(secret)] = None
            self._good.move_to_end(_digest(secret))
            if len(self._good) > self._SECRETS:
                self._good.popitem(last=False)

    def fail(self, address: str, secret: str) -> None:
        """Count a failure."""
        with self._lock:
            self._good.pop(_digest(secret), None)
            self._seen[address] = [*self._recent(address), time.monotonic()]
            self._seen.move_to_end(address)
            if len(self._seen) > self._ADDRESSES:
                self._seen.popitem(last=False)

    def _recent(self, address: str) -> list[float]:
        since = time.monotonic() - self._seconds
        return [when for when in self._seen.get(address, ()) if when > since]


class Authenticator:
    """Tells who sends a request.

    Parameters
    ----------
    storage
        Where tokens and sessions are.
    required
        Whether a request without a token is refused.
    """

    def __init__(self, storage: Storage, *, required: bool) -> None:
        self.required = required
        self.throttle = Throttle()
        self._storage = storage

    def identify(self, request: Request, scope: Scope) -> Identity:
        """Who sends a request that needs a scope.

        Raises
        ------
        ApiError
            401 if they show no valid token, 403 if it is not good for this, 429 after too many wrong ones.
        """
        identity = self.find(request)
        if identity is None:
            raise ApiError(
                401,
                "this server asks for a token: run 'trackkit login URL', set TRACKKIT_TOKEN, or log in in the browser",
                {"www-authenticate": "Bearer"},
            )
        if tokens.SCOPES.index(identity.scope) < tokens.SCOPES.index(scope):
            raise ApiError(403, f"this needs a token with the scope {scope!r}, and yours has {identity.scope!r}")
        return identity

    def find(self, request: Request) -> Identity | None:
        """Who sends a request; None if they don't say and have to.

        Raises
        ------
        ApiError
            401 if their token is wrong, 403 if another page sent the request, 429 after too many wrong tokens.
        """
        bearer = _bearer(request)
        if bearer:
            token = self.check_token(bearer, address_of(request))
            return Identity(token.name, token.scope, token.projects)
        cookie = request.cookies.get(COOKIE, "")
        if cookie:
            with self._storage.reading() as db:
                session = tokens.find_session(db, cookie)
            if session is not None:
                self._refuse_foreign(request, session.csrf)
                return Identity(session.token.name, session.token.scope, session.token.projects, session.csrf, cookie)
        if self.required:
            return None
        self._refuse_foreign(request, None)
        return ANYBODY

    def identify_client(self, request: Request, scope: Scope) -> Identity:
        """Who sends a request that a program of another make sends: a token as such, or as a password.

        No session counts here, and no page of another site may send anything: browsers say where a request comes from,
        and remember passwords.

        Raises
        ------
        ApiError
            401 if they show no valid token, 403 if it is not good for this, 429 after too many wrong ones.
        """
        if request.method not in SAFE_METHODS and _is_foreign(request):
            raise ApiError(403, "a page of another site may not send this")
        secret = _bearer(request) or _password(request)
        if secret:
            try:
                token = self.check_token(secret, address_of(request))
            except ApiError as error:
                error.headers.update(_CHALLENGE if error.status == 401 else {})
                raise
            identity = Identity(token.name, token.scope, token.projects)
        elif self.required:
            text = "this server asks for a token: set MLFLOW_TRACKING_TOKEN, or a password"
            raise ApiError(401, text, dict(_CHALLENGE))
        else:
            identity = ANYBODY
        if tokens.SCOPES.index(identity.scope) < tokens.SCOPES.index(scope):
            raise ApiError(403, f"this needs a token with the scope {scope!r}, and yours has {identity.scope!r}")
        return identity

    def check_token(self, secret: str, address: str) -> Token:
        """The token of a secret.

        Raises
        ------
        ApiError
            401 if there is none, 429 after too many tries.
        """
        self.throttle.check(address, secret)
        with self._storage.reading() as db:
            token = tokens.find(db, secret)
        if token is None:
            self.throttle.fail(address, secret)
            raise ApiError(401, "this token is wrong, was revoked or has expired", {"www-authenticate": "Bearer"})
        self.throttle.succeed(secret)
        if tokens.is_use_worth_noting(token):
            with self._storage.changing() as db:
                tokens.note_use(db, token)
        return token

    def _refuse_foreign(self, request: Request, expected: str | None) -> None:
        """Refuse a change that some other page had the browser send; only ours can send the header."""
        if request.method in SAFE_METHODS:
            return
        given = request.headers.get(CSRF_HEADER, "")
        if not given or (expected is not None and not hmac.compare_digest(given, expected)):
            text = f"a request that changes something needs a token, or the header {CSRF_HEADER} from /api/v1/session"
            raise ApiError(403, text)


def address_of(request: Request) -> str:
    """Where a request comes from."""
    return request.client.host if request.client else ""


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="replace")).digest()


def _is_foreign(request: Request) -> bool:
    """Whether a browser says that the request comes from a page of another site."""
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return True
    origin = request.headers.get("origin", "")
    return bool(origin) and urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower()


def _password(request: Request) -> str:
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return ""
    try:
        return base64.b64decode(given.strip(), validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def _bearer(request: Request) -> str:
    kind, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if kind.lower() == "bearer" else ""

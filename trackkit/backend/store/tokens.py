"""Who may use a server: tokens for programs and people, and the browser sessions they open.

A token is 32 random bytes that only its holder has; the store keeps its SHA-256, which needs no slow hash, as
there is nothing to guess. A session ends with the token it was opened with.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from trackkit.backend.store.database import Database, Row

Scope = Literal["read", "write", "admin"]
SCOPES: Final[tuple[Scope, ...]] = ("read", "write", "admin")
"""Each may do what those before it may: look; log, edit and delete; give out tokens."""

PREFIX: Final = "tk_"
"""Begins every token, so that scanners for leaked secrets know one when they see it."""
SESSION_SECONDS: Final = 30 * 86400.0

SHORTEST_SECRET: Final = 20
"""Characters of a secret that was chosen elsewhere: fewer could be guessed."""

_USED_EVERY = 60_000_000
"""Microseconds between two notes of a token's use: reading should not have to write."""
_COLUMNS = "id, name, scope, projects, created, used, expires"


class Token(msgspec.Struct, frozen=True):
    """What is known of a token; times in microseconds since the epoch."""

    id: str
    name: str
    """Whose it is, or what for."""
    scope: Scope
    projects: list[str] | None
    """The projects it is good for; None for all."""
    created: int
    used: int | None
    expires: int | None

    def allows(self, scope: Scope) -> bool:
        """Whether the token may do what needs this scope."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


class Session(msgspec.Struct, frozen=True):
    """A browser that showed a token."""

    token: Token
    csrf: str
    """What the browser's own pages send along to show that they sent a request, and no other page."""


def create(
    db: Database,
    name: str,
    scope: Scope = "write",
    projects: Sequence[str] | None = None,
    expires: float | None = None,
    *,
    secret: str | None = None,
) -> tuple[Token, str]:
    """A new token, and the secret that is shown this once.

    Parameters
    ----------
    expires
        When it ends, in seconds since the epoch; None for never.
    secret
        The secret, where it was chosen elsewhere.
    """
    secret = secret or PREFIX + secrets.token_urlsafe(32)
    token = Token(
        secrets.token_hex(4),
        name,
        scope,
        None if projects is None else list(projects),
        _now(),
        None,
        None if expires is None else round(expires * 1e6),
    )
    columns = ["id", "digest", "name", "scope", "projects", "created", "used", "expires"]
    listed = None if token.projects is None else json.dumps(token.projects)
    row = (token.id, _digest(secret), name, scope, listed, token.created, None, token.expires)
    db.insert_many("tokens", columns, [row])
    return token, secret


def all_tokens(db: Database) -> list[Token]:
    """Every token, oldest first."""
    return [_token(row) for row in db.query(f"select {_COLUMNS} from tokens order by created, id")]


def any_admin(db: Database) -> bool:
    """Whether somebody can give out tokens."""
    sql = "select 1 from tokens where scope = 'admin' and (expires is null or expires > ?) limit 1"
    return bool(db.query(sql, [_now()]))


def find(db: Database, secret: str) -> Token | None:
    """The token of a secret; None if there is none, or no longer."""
    return _valid(db.query(f"select {_COLUMNS} from tokens where digest = ?", [_digest(secret)]))


def revoke(db: Database, id: str) -> bool:
    """End a token and its sessions; whether there was one."""
    db.execute("delete from sessions where token = ?", [id])
    return db.execute("delete from tokens where id = ?", [id]) > 0


def is_use_worth_noting(token: Token) -> bool:
    """Whether the token's last use that was noted is long ago."""
    return token.used is None or _now() - token.used > _USED_EVERY


def note_use(db: Database, token: Token) -> None:
    """Note that the token was used now."""
    db.execute("update tokens set used = ? where id = ?", [_now(), token.id])


def open_session(db: Database, token: Token) -> tuple[Session, str]:
    """A session for a browser that showed the token, and the secret for its cookie."""
    secret = secrets.token_urlsafe(32)
    expires = _now() + round(SESSION_SECONDS * 1e6)
    expires = expires if token.expires is None else min(expires, token.expires)
    session = Session(token, secrets.token_urlsafe(24))
    db.execute("delete from sessions where expires < ?", [_now()])
    columns = ["digest", "token", "csrf", "created", "expires"]
    db.insert_many("sessions", columns, [(_digest(secret), token.id, session.csrf, _now(), expires)])
    return session, secret


def find_session(db: Database, secret: str) -> Session | None:
    """The session of a cookie; None if there is none, or no longer."""
    found = db.query("select token, csrf from sessions where digest = ? and expires > ?", [_digest(secret), _now()])
    for id, csrf in found:
        token = _valid(db.query(f"select {_COLUMNS} from tokens where id = ?", [id]))
        return None if token is None else Session(token, csrf)
    return None


def close_session(db: Database, secret: str) -> None:
    """End the session of a cookie."""
    db.execute("delete from sessions where digest = ?", [_digest(secret)])


def _valid(rows: list[Row]) -> Token | None:
    token = _token(rows[0]) if rows else None
    return token if token is not None and (token.expires is None or token.expires > _now()) else None


def _token(row: Row) -> Token:
    id, name, scope, projects, *times = row
    listed: Any = None if projects is None else json.loads(projects)
    return Token(id, name, scope, listed, *times)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _now() -> int:
    return time.time_ns() // 1000

"""`trackkit login`, `logout` and `token`: who may use a server."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click
import msgspec
from rich.table import Table

from trackkit.backend.store import tokens
from trackkit.backend.store.database import Database
from trackkit.backend.store.sqlite import DATABASE_NAME, SQLiteDatabase
from trackkit.cli import output
from trackkit.cli.options import store_folder, store_options
from trackkit.core import credentials
from trackkit.query.moments import moment

if TYPE_CHECKING:
    from requests import PreparedRequest


@click.command()
@click.argument("url")
@click.option("--token", metavar="TOKEN", help="The token; asked for, or read from standard input, if not given.")
def login(url: str, token: str | None) -> None:
    """Keep the token for the server at URL, so that runs sent there are let in."""
    import requests

    secret = (token or _ask()).strip()
    if not secret:
        raise click.ClickException("no token was given")
    origins = _origins(url)
    origin = origins[0]
    try:
        answer = requests.get(f"{origin}/api/v1/session", auth=_shows(secret), timeout=10)
    except requests.RequestException as error:
        raise click.ClickException(f"{origin} can't be reached: {error}") from None
    if answer.status_code != 200:
        raise click.ClickException(f"{origin} does not take this token: {_reason(answer)}")
    state = answer.json()
    for each in origins:
        path = credentials.keep(each, secret)
    click.echo(f"logged in at {origin} as {state['name'] or 'anybody'} (scope {state['scope']}); kept in {path}")


def _origins(url: str) -> list[str]:
    try:
        return credentials.origins_of(url)
    except ValueError as error:
        raise click.ClickException(str(error)) from None


def _shows(secret: str) -> Callable[[PreparedRequest], PreparedRequest]:
    """Adds the token to a request; a header would give way to what ~/.netrc has for the host."""

    def authorize(request: PreparedRequest) -> PreparedRequest:
        request.headers["authorization"] = f"Bearer {secret}"
        return request

    return authorize


@click.command()
@click.argument("url")
def logout(url: str) -> None:
    """Forget the token for the server at URL. It stays valid until it is revoked there."""
    known = [credentials.forget(each) for each in _origins(url)]
    click.echo("forgotten" if any(known) else f"no token was kept for {url}")


@click.group()
def token() -> None:
    """Give out, list and revoke tokens of a server's store."""


@token.command()
@click.argument("name")
@click.option(
    "--scope", type=click.Choice(tokens.SCOPES), default="write", show_default=True, help="What it is good for."
)
@click.option("--project", "projects", multiple=True, help="A project it is good for; all if none is named.")
@click.option("--days", type=float, help="How long it is good for; for ever if not given.")
@store_options
def create(
    name: str, scope: tokens.Scope, projects: tuple[str, ...], days: float | None, location: str | None, as_json: bool
) -> None:
    """Make a token for NAME, a person or a machine, and print its secret this once."""
    expires = None if days is None else time.time() + days * 86400
    with _changing(location) as db:
        made, secret = tokens.create(db, name, scope, list(projects) or None, expires)
    if as_json:
        output.print_json({**msgspec.to_builtins(made), "secret": secret})
        return
    click.echo(secret)


@token.command(name="ls")
@store_options
def list_tokens(location: str | None, as_json: bool) -> None:
    """List the tokens, without their secrets."""
    with _changing(location) as db:
        found = tokens.all_tokens(db)
    if as_json:
        output.print_json(msgspec.to_builtins(found))
        return
    table = Table("id", "name", "scope", "projects", "created", "used", "expires", box=None)
    for each in found:
        times = (each.created, each.used, each.expires)
        ages = ("" if when is None else output.age(moment(when)) for when in times[:2])
        ends = "" if each.expires is None else moment(each.expires).strftime("%Y-%m-%d")
        projects = "all" if each.projects is None else ", ".join(each.projects)
        table.add_row(each.id, each.name, each.scope, projects, *ages, ends)
    output.console().print(table)


@token.command()
@click.argument("id")
@store_options
def revoke(id: str, location: str | None, as_json: bool) -> None:
    """End the token ID and the browser sessions it opened."""
    with _changing(location) as db:
        known = tokens.revoke(db, id)
    if not known:
        raise click.ClickException(f"there is no token {id!r}; 'trackkit token ls' lists them")
    if as_json:
        output.print_json({"revoked": id})
        return
    click.echo(f"revoked {id}")


@contextlib.contextmanager
def _changing(location: str | None) -> Iterator[Database]:
    with contextlib.closing(_open(location)) as db:
        db.migrate()
        with db.atomic():
            yield db


def _open(location: str | None) -> Database:
    if location is not None and location.startswith(("postgresql://", "postgres://")):
        from trackkit.backend.store.postgres import PostgresDatabase

        return PostgresDatabase(location)
    return SQLiteDatabase(store_folder(location) / DATABASE_NAME)


def _ask() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("token", hide_input=True))
    return sys.stdin.readline()


def _reason(answer: object) -> str:
    with contextlib.suppress(Exception):
        return str(answer.json()["error"]["message"])  # type: ignore[attr-defined]
    return f"it answered {getattr(answer, 'status_code', '?')}, which no trackkit server does"

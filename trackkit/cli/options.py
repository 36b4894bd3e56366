"""What commands have in common: the options that choose a store, and arguments that name runs."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from trackkit.backend.store.sqlite import DATABASE_NAME
from trackkit.cli import output
from trackkit.core.settings import load
from trackkit.query import Api

Function = TypeVar("Function", bound=Callable[..., Any])

COMPLETIONS = 50


def store_options(function: Function) -> Function:
    """The options every command has: `--dir` (parameter `location`) and `--json` (`as_json`)."""
    location = click.option(
        "-d",
        "--dir",
        "location",
        envvar="TRACKKIT_DIR",
        metavar="PATH",
        help="The store: its folder, or its database file.  [default: .trackkit]",
    )
    as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for other programs.")
    return location(as_json(function))


def run_argument(function: Function) -> Function:
    """The argument that names one run (parameter `name`)."""
    return click.argument("name", metavar="RUN", shell_complete=complete_run)(function)


def run_or_latest_argument(function: Function) -> Function:
    """The argument that names one run; without it the newest is meant (parameter `name`)."""
    return click.argument("name", metavar="[RUN]", required=False, shell_complete=complete_run)(function)


def runs_argument(function: Function) -> Function:
    """The argument that names runs (parameter `names`)."""
    return click.argument("names", metavar="RUN...", nargs=-1, shell_complete=complete_run)(function)


def open_api(location: str | None) -> Api:
    """The store that `--dir` or the settings name, opened.

    Raises
    ------
    click.ClickException
        If it is of a kind that can't be read, or a setting is wrong.
    """
    try:
        with output.progress("taking over what runs that died have left", quiet=False, of_bytes=True) as progress:
            return Api(location, progress=progress)
    except ValueError as error:
        raise click.ClickException(str(error)) from error


def store_folder(location: str | None, *, blobs_alone: bool = False) -> Path:
    """The folder of the store that `--dir` or the settings name, which may have journals alone.

    Parameters
    ----------
    blobs_alone
        Whether it may have files alone.

    Raises
    ------
    click.ClickException
        If there is no store.
    """
    path = Path(location or load().dir)
    folder = path.parent if path.is_file() else path
    kept = (folder / "journals").is_dir() or (blobs_alone and (folder / "blobs").is_dir())
    if not ((folder / DATABASE_NAME).is_file() or kept):
        raise click.ClickException(f"there is no store at {path}; name its folder with --dir or TRACKKIT_DIR")
    return folder


def complete_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The ids of runs that start as typed, newest first; a run's name is its description."""
    # Whatever is wrong with the store, a Tab key prints nothing.
    with contextlib.suppress(click.ClickException, sqlite3.Error, OSError, ValueError):
        path = Path(ctx.params.get("location") or load().dir)
        database = path if path.is_file() else path / DATABASE_NAME
        project, slash, start = incomplete.rpartition("/")
        sql = (
            "select id, name from runs where substr(id, 1, ?) = ? and (? = '' or project = ?) "
            "order by created desc limit ?"
        )
        with contextlib.closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute(sql, (len(start), start, project, project, COMPLETIONS)).fetchall()
        return [CompletionItem(f"{project}{slash}{id}", help=name) for id, name in rows]
    return []

"""`trackkit sql`: the store is a database, and can be asked as one."""

from __future__ import annotations

import contextlib
import csv
import sqlite3
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from trackkit.cli import output
from trackkit.cli.options import store_options
from trackkit.query.store import Store

TABLE_ROWS = 1000
"""A table in the terminal is measured before it is printed, so it has an end."""


@click.command()
@click.argument("query")
@click.option("-p", "--param", "params", multiple=True, nargs=2, metavar="NAME VALUE", help="A value for :NAME.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a header.")
@store_options
def sql(query: str, params: tuple[tuple[str, str], ...], as_csv: bool, location: str | None, as_json: bool) -> None:
    r"""Ask the store a QUERY, read-only. The view `history` (run, project, key, step, time, value) has every point.

    \b
    trackkit sql "select key, count(*), avg(value) from history group by key"
    """
    if as_csv and as_json:
        raise click.UsageError("choose one of --csv and --json")
    with contextlib.closing(open_read_only(Store(location).path)) as connection:
        cursor = connection.execute(query, dict(params))
        names = [column[0] for column in cursor.description or ()]
        if as_json:
            output.print_json([dict(zip(names, row, strict=True)) for row in cursor])
        elif as_csv:
            print_csv(names, cursor)
        else:
            print_table(names, cursor)


def open_read_only(database: Path) -> sqlite3.Connection:
    """A connection that can't change the store, with the functions that sqlite-utils' plugins register."""
    import sqlite_utils

    from trackkit.backend.store.plugin import prepare_connection

    connection = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
    sqlite_utils.Database(connection)  # runs the installed plugins on the connection
    prepare_connection(connection)
    return connection


def print_csv(names: list[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Print rows as CSV, as they come."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)


def print_table(names: list[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Print the first rows as a table."""
    table = output.table(*names)
    left_out = 0
    for number, row in enumerate(rows):
        if number < TABLE_ROWS:
            table.add_row(*(cell(value) for value in row))
        else:
            left_out += 1
    console = output.console()
    console.print(table)
    if left_out:
        console.print(f"and {left_out} more rows; --csv or --json prints all", style="dim")


def cell(value: Any) -> str:
    """A value of a row in a table."""
    return f"<{output.size(len(value))}>" if isinstance(value, bytes) else "" if value is None else str(value)

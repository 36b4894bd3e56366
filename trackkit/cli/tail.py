"""`trackkit tail`: a run as it goes on."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import click

from trackkit.cli import output
from trackkit.cli.options import open_api, run_or_latest_argument, store_options
from trackkit.cli.show import find
from trackkit.query import Run

Row = dict[str, Any]


@click.command()
@run_or_latest_argument
@click.option("--console", "of_console", is_flag=True, help="What the run prints, instead of its metrics.")
@click.option("-k", "--keys", help="Only these metrics, comma-separated.")
@click.option("-n", "--lines", default=10, show_default=True, type=click.IntRange(min=0), help="Begin with the last N.")
@click.option("--follow/--no-follow", default=True, show_default=True, help="Go on until the run ends.")
@click.option("--interval", default=1.0, show_default=True, type=click.FloatRange(min=0.05), help="Seconds to pause.")
@store_options
def tail(
    name: str | None,
    of_console: bool,
    keys: str | None,
    lines: int,
    follow: bool,
    interval: float,
    location: str | None,
    as_json: bool,
) -> None:
    """Follow RUN, or the newest run: a line for each step as it comes. Steps that go back are not shown."""
    run = find(open_api(location), name)
    states = watch(location, run, interval if follow else None)
    if of_console:
        for text in new_text(states, lines):
            if as_json:
                output.print_json_line({"text": text})
            else:
                click.echo(text, nl=False)
    else:
        for row in new_rows(states, keys.split(",") if keys else None, lines):
            if as_json:
                output.print_json_line(row)
            else:
                click.echo(line(row))
    if follow and not as_json:
        run.reload()
        click.echo(f"{run.project}/{run.id} {run.state} after {output.duration(run.duration)}", err=True)


def watch(location: str | None, run: Run, interval: float | None) -> Iterator[Run]:
    """The run again and again, and once more after it ended; once only if `interval` is None."""
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            # Opening the store notes runs that died since.
            current = open_api(location).run(f"{run.project}/{run.id}")
            yield current
            if interval is None or current.state != "running":
                return
            time.sleep(interval)


def new_rows(states: Iterator[Run], keys: list[str] | None, lines: int) -> Iterator[Row]:
    """Rows of the history as they are complete, beginning with the last `lines`."""
    following: int | None = None
    unfinished: Row | None = None
    for run in states:
        rows = run.scan_history(keys, min_step=following)
        found = list(rows) if following is not None else list(deque(rows, maxlen=lines + 1))
        if not found:
            continue
        # More may be logged to the newest step, until it stands still or the run ends.
        unfinished = found.pop() if run.state == "running" and found[-1] != unfinished else None
        if following is None:
            found = found[-lines:] if lines else []
            following = unfinished["_step"] if unfinished is not None else None
        if found:
            following = found[-1]["_step"] + 1
        yield from found


def new_text(states: Iterator[Run], lines: int) -> Iterator[str]:
    """What the run prints as it comes, beginning with the last `lines` lines."""
    seen: int | None = None
    for run in states:
        text = run.console(raw=True)
        if seen is None:
            yield "".join(run.console().splitlines(keepends=True)[-lines:] if lines else [])
        elif len(text) > seen:
            yield text[seen:]
        seen = len(text)


def line(row: Row) -> str:
    """A row of the history for people."""
    values = "  ".join(
        f"{output.printable(key)}={output.text(value)}" for key, value in row.items() if not key.startswith("_")
    )
    return f"{row['_step']:>8}  {values}"

"""`trackkit sync`: journals sent after the fact."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence

import click
import msgspec

from trackkit.cli import output
from trackkit.cli.options import store_folder, store_options
from trackkit.sync import Synced
from trackkit.sync import sync as send


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True))
@click.option("--to", metavar="URI", help="The sink; by default the database of the store the journals lie in.")
@click.option("--follow", is_flag=True, help="Keep up with runs that go on, until they end.")
@click.option("--clean", is_flag=True, help="Delete journals that all of their sinks have.")
@store_options
def sync(
    paths: tuple[str, ...], to: str | None, follow: bool, clean: bool, location: str | None, as_json: bool
) -> None:
    """Send journals to a sink: of a store's folder, of one run's, of one writer's. Sends nothing twice.

    Without PATHS, those of the store here. Exits with 1 if a journal could not be sent.
    """
    chosen = list(paths) or [str(store_folder(location))]
    with (
        stopped_by_interrupt() if follow else contextlib.nullcontext(threading.Event()) as stop,
        output.progress("sending", quiet=as_json, of_bytes=True) as progress,
    ):
        try:
            sent = send(chosen, to, follow=follow, clean=clean, progress=progress, stop=stop)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--to") from error
    if as_json:
        output.print_json([msgspec.to_builtins(each) for each in sent])
    else:
        print_sent(sent)
    if any(each.error for each in sent):
        raise click.exceptions.Exit(1)


@contextlib.contextmanager
def stopped_by_interrupt() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets in the block, so that what was sent until then is still told."""
    stop = threading.Event()
    before = signal.signal(signal.SIGINT, lambda number, frame: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def print_sent(sent: Sequence[Synced]) -> None:
    """Print what became of each journal."""
    for each in sent:
        what = f"{each.run}/{each.writer}: sent {output.size(each.sent)}"
        notes = [note for note, holds in (("still going", each.alive), ("deleted", each.deleted)) if holds]
        click.echo(", ".join([what, *notes]))
        for damage in each.damage:
            click.echo(f"  left out: {damage}", err=True)
        if each.error:
            click.echo(f"  not sent to its end: {each.error}", err=True)
    if not sent:
        click.echo("there are no journals: everything was delivered")

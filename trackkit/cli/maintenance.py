"""`trackkit doctor` and `gc`: looking after a store."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
from rich.text import Text

from trackkit.backend.store import maintenance
from trackkit.cli import output
from trackkit.cli.options import store_folder, store_options
from trackkit.core.settings import load


@click.command()
@click.option("--repair", is_flag=True, help="Put right what can be.")
@store_options
def doctor(repair: bool, location: str | None, as_json: bool) -> None:
    """Check the store: its database, journals of dead processes, its files. Exits with 1 if something stays wrong."""
    with output.progress("checking", quiet=as_json) as progress:
        report = maintenance.doctor(store_folder(location), repair, progress=progress)
    if as_json:
        output.print_json({**msgspec.to_builtins(report), "healthy": report.healthy})
    else:
        print_report(report, repair)
    if not report.healthy:
        raise click.exceptions.Exit(1)


@click.command()
@click.option("--dry-run", is_flag=True, help="Only tell what would go.")
@click.option("--store", metavar="URL", help="A server's PostgreSQL database, postgresql://…; --dir is its files then.")
@store_options
def gc(dry_run: bool, store: str | None, location: str | None, as_json: bool) -> None:
    """Free the space of runs deleted a week ago, of artifacts whose time is over, of files that neither a run nor an
    artifact refers to, of synced journals, of deleted rows. It can run beside servers and trainings.
    """
    if store is not None and not store.startswith(("postgresql://", "postgres://")):
        raise click.ClickException(f"--store names a PostgreSQL database, postgresql://…, not {store!r}")
    folder = store_folder(location, blobs_alone=True) if store is None else Path(location or load().dir)
    with output.progress("freeing", quiet=as_json) as progress:
        freed = maintenance.gc(folder, dry_run, store=store or "", progress=progress)
    if as_json:
        output.print_json(msgspec.to_builtins(freed))
        return
    counted: tuple[str, ...] = (output.count(freed.runs, "run"), output.count(freed.blobs, "file"))
    counted += (output.count(freed.versions, "version"),) if freed.versions else ()
    parts = (*counted, output.count(freed.journals, "journal"), output.size(freed.bytes))
    click.echo(f"{'would free' if dry_run else 'freed'} {', '.join(parts)}")


def print_report(report: maintenance.Report, repair: bool) -> None:
    """Print what `doctor` found, for people."""
    console = output.console()
    for finding in report.findings:
        mark = Text("repaired  ", "green") if finding.repaired else Text("wrong     ", "red")
        console.print(Text.assemble(mark, finding.text), soft_wrap=True)
    checked = ", ".join(
        output.count(number, noun if noun == "series" else noun.removesuffix("s"))
        for noun, number in report.checked.items()
    )
    console.print(f"checked {checked or 'no database'}: {'nothing is wrong' if report.healthy else 'see above'}")
    if not report.healthy and not repair:
        console.print("`trackkit doctor --repair` puts right what can be", style="dim")

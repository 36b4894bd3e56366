"""`trackkit import`: runs of other trackers."""

from __future__ import annotations

import click
import msgspec

from trackkit.cli import output
from trackkit.cli.options import store_options
from trackkit.core.settings import load


@click.group("import")
def import_() -> None:
    """Take over runs of other trackers. Repeated, an import brings what is new."""


@import_.command()
@click.argument("logdir", type=click.Path(exists=True, file_okay=False))
@click.option("--project", metavar="NAME", help="The runs' project; by default the folder's name.")
@click.option("--to", metavar="URI", default="sqlite:", help="The sink; by default the store here.")
@store_options
def tensorboard(logdir: str, project: str | None, to: str, location: str | None, as_json: bool) -> None:
    """TensorBoard's logs: each folder with event files becomes a run."""
    from trackkit.imports.tensorboard import import_tensorboard

    try:
        with output.progress("reading", quiet=as_json, of_bytes=True) as progress:
            root = location or load().dir
            found = import_tensorboard(logdir, project=project, to=to, root=root, progress=progress)
    except (ImportError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        output.print_json([msgspec.to_builtins(each) for each in found])
        return
    for each in found:
        click.echo(f"{each.run}  {each.name}: {each.records:,} records, {each.new:,} of them new")

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


@import_.command()
@click.argument("uri")
@click.option(
    "-e", "--experiment", "experiments", metavar="NAME", multiple=True, help="Only this experiment; repeatable."
)
@click.option("--to", "--sink", "to", metavar="URI", default="sqlite:", help="The sink; by default the store here.")
@click.option(
    "--artifacts",
    type=click.Path(exists=True, file_okay=False),
    help="The folder that mlflow-artifacts:/ stands for, where URI is a database.",
)
@click.option("--no-files", is_flag=True, help="Leave artifacts and models behind.")
@store_options
def mlflow(
    uri: str,
    experiments: tuple[str, ...],
    to: str,
    artifacts: str | None,
    no_files: bool,
    location: str | None,
    as_json: bool,
) -> None:
    """MLflow's runs, models and registry: of a server (http://HOST:PORT), of a folder (mlruns) or of a database
    (sqlite:///mlflow.db). Servers are reached as MLflow's own variables say. Exits with 1 if something was left out.
    """
    from trackkit.core.sink import SinkError, SinkRefused
    from trackkit.imports.mlflow import import_mlflow
    from trackkit.sinks.mlflow.client import Rejected

    try:
        with output.progress("importing", quiet=as_json) as progress:
            found = import_mlflow(
                uri,
                experiments=experiments or None,
                to=to,
                root=location or load().dir,
                artifacts=artifacts,
                with_files=not no_files,
                progress=progress,
            )
    except (ImportError, ValueError, SinkError, SinkRefused, Rejected) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        output.print_json([msgspec.to_builtins(each) for each in found])
    else:
        for each in found:
            click.echo(f"{each.project}/{each.run}  {each.name}: {each.records:,} records, {each.new:,} of them new")
            for problem in each.problems:
                click.echo(f"  {problem}", err=True)
        if not found:
            click.echo("there are no runs")
    if any(each.problems for each in found):
        raise click.exceptions.Exit(1)

"""`trackkit ls` and `trackkit rm`: many runs at once."""

from __future__ import annotations

from collections.abc import Sequence

import click

from trackkit.cli import output
from trackkit.cli.options import open_api, runs_argument, store_options
from trackkit.cli.rows import chosen, header, row, values
from trackkit.query import Api, Run


@click.command()
@click.argument("filter", required=False)
@click.option("-p", "--project", help="Only the runs of this project.")
@click.option("-o", "--order", default="-created", show_default=True, help="Keys to sort by, each with + or -.")
@click.option("-n", "--limit", default=20, show_default=True, type=click.IntRange(min=0), help="0 for all.")
@click.option("-c", "--columns", help="Keys to show, such as config.lr,summary.loss; by default those that differ.")
@click.option("-q", "--quiet", is_flag=True, help="Print ids alone.")
@click.option("--projects", is_flag=True, help="List the projects instead.")
@store_options
def ls(
    filter: str | None,
    project: str | None,
    order: str,
    limit: int,
    columns: str | None,
    quiet: bool,
    projects: bool,
    location: str | None,
    as_json: bool,
) -> None:
    r"""List the runs that FILTER fits.

    \b
    trackkit ls 'config.lr < 0.01 and state = "finished"' --order -summary.accuracy
    """
    api = open_api(location)
    if projects:
        list_projects(api, as_json)
        return
    found = api.runs(project, filters=filter, order=order, limit=limit or None)
    if quiet and as_json:
        output.print_json([run.id for run in found])
    elif quiet:
        for run in found:
            click.echo(run.id)
    elif as_json:
        output.print_json([row(run) for run in found])
    else:
        print_runs(list(found), columns.split(",") if columns else None)
        if limit and len(found) == limit:
            output.console().print(f"the first {limit}; --limit 0 lists all", style="dim")


@click.command()
@runs_argument
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@store_options
def rm(names: tuple[str, ...], yes: bool, location: str | None, as_json: bool) -> None:
    """Delete runs with all that was logged to them."""
    if not names:
        raise click.UsageError("name the runs to delete; `trackkit ls -q` lists ids")
    if as_json and not yes:
        raise click.UsageError("--json can't ask; add --yes")
    api = open_api(location)
    runs = [api.run(name) for name in dict.fromkeys(names)]
    for run in runs:
        if run.state == "running":
            raise click.ClickException(f"run {run.project}/{run.id} is still running; stop it first")
    if not yes:
        print_runs(runs, [])
        click.confirm(f"Delete {output.count(len(runs), 'run')} for good?", abort=True)
    with output.progress("deleting", quiet=as_json) as progress:
        for done, run in enumerate(runs, start=1):
            run.delete()
            progress(done, len(runs))
    if as_json:
        output.print_json({"deleted": [run.id for run in runs]})
    else:
        click.echo(f"deleted {output.count(len(runs), 'run')}; `trackkit gc` frees the space of their files")


def list_projects(api: Api, as_json: bool) -> None:
    """Print the projects of a store."""
    projects = api.projects()
    if as_json:
        output.print_json(
            [
                {"name": each.name, "runs": each.count, "running": each.running, "updated": each.updated}
                for each in projects
            ]
        )
        return
    table = output.table("project", "runs", "running", "last activity", right=("runs", "running"))
    for each in projects:
        table.add_row(output.printable(each.name), str(each.count), str(each.running), output.age(each.updated))
    output.console().print(table)


def print_runs(runs: Sequence[Run], columns: Sequence[str] | None) -> None:
    """Print runs as a table with the given columns, or with those that tell them apart."""
    rows = [values(run) for run in runs]
    keys = chosen(rows) if columns is None else [key.strip() for key in columns if key.strip()]
    named = ["name"] if any(run.name != run.id for run in runs) else []
    table = output.table("run", *named, "state", "created", "took", *map(header, keys), right=tuple(map(header, keys)))
    for run, entries in zip(runs, rows, strict=True):
        table.add_row(
            output.printable(f"{run.project}/{run.id}"),
            *(output.printable(run.name) for _ in named),
            output.state(run.state),
            output.age(run.created),
            output.duration(run.duration),
            *(output.text(entries.get(key)) for key in keys),
        )
    output.console().print(table if runs else "no run fits")

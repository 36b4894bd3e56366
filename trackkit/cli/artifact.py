"""`trackkit artifact`: versioned files, put into a store and got out of it."""

from __future__ import annotations

import contextlib
import datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from trackkit.cli import output
from trackkit.cli.options import open_api, store_options
from trackkit.core.artifact import Artifact, ArtifactRefused
from trackkit.core.sink import SinkError, SinkRefused


@click.group()
def artifact() -> None:
    """Put files into a store as versions of an artifact, and get them out again.

    An artifact is named PROJECT/NAME:ALIAS, PROJECT/NAME:v3, or by its digest; without an alias the latest version is
    meant. --dir may name a server, http://HOST:PORT, too.
    """


@artifact.command()
@click.argument("path", type=click.Path(exists=True))
@click.option("-n", "--name", required=True, metavar="PROJECT/NAME", help="What to call it.")
@click.option("-t", "--type", "type_", default="dataset", show_default=True, help="What it is: dataset, model, …")
@click.option("-a", "--alias", "aliases", multiple=True, help="What to call the version, besides latest.")
@click.option("--tag", "tags", multiple=True, help="A label to find it by.")
@click.option("--description", default="", help="For people.")
@click.option("--immutable", is_flag=True, help="The files will never change: link them instead of copying.")
@store_options
def put(
    path: str,
    name: str,
    type_: str,
    aliases: tuple[str, ...],
    tags: tuple[str, ...],
    description: str,
    immutable: bool,
    location: str | None,
    as_json: bool,
) -> None:
    """Make a version of a file or of a folder. The same files as the latest version's make none."""
    import trackkit

    project, _, own = name.rpartition("/")
    quiet = {"quiet": True, "console": "off", "system": False, "git": False, "code": False, "packages": False}
    place: dict[str, Any] = {"sink": location} if _is_server(location) else {"dir": location} if location else {}
    with _told():
        made = trackkit.Artifact(own, type_, description)
        with trackkit.init(
            project=project or None,
            job_type="artifact",
            name=f"put {own}",
            settings=quiet,
            reinit="create_new",
            **place,
        ) as run:
            with output.progress("staging", quiet=as_json):
                policy: Any = "immutable" if immutable else "mutable"
                if Path(path).is_dir():
                    made.add_dir(path, policy=policy)
                else:
                    made.add_file(path, policy=policy)
            run.log_artifact(made, aliases=aliases, tags=tags)
            with output.progress("sending", quiet=as_json):
                made.wait()
    _print(made, as_json)


@artifact.command()
@click.argument("name")
@click.option("-r", "--root", type=click.Path(), help="The folder.  [default: artifacts/NAME:vN]")
@click.option("--prefix", help="Only files whose path begins like this.")
@store_options
def get(name: str, root: str | None, prefix: str | None, location: str | None, as_json: bool) -> None:
    """Bring the files of a version below a folder. Those that are there and are right stay."""
    with _told():
        found = _find(name, location)
        with output.progress("downloading", quiet=as_json) as progress:
            entries = [entry for entry in found.files() if entry.path.startswith(prefix or "")]
            for done in range(0, len(entries), 256):
                found.bring([entry.path for entry in entries[done : done + 256]], root)
                progress(min(done + 256, len(entries)), len(entries))
        folder = found.folder(root)
    if as_json:
        output.print_json({"artifact": found.qualified_name, "folder": str(folder), "files": len(entries)})
    else:
        click.echo(f"{found.qualified_name}: {output.count(len(entries), 'file')} in {folder}")


@artifact.command()
@click.argument("name", required=False)
@click.option("-t", "--type", "type_", help="Only artifacts of this type.")
@click.option("-p", "--project", help="Only the artifacts of this project.")
@store_options
def ls(name: str | None, type_: str | None, project: str | None, location: str | None, as_json: bool) -> None:
    """List artifacts, or the versions of one."""
    with _told():
        api = open_api(location)
        found = api.versions(name) if name else api.collections(project, type_)
    rows = [msgspec.to_builtins(row) for row in found]
    if as_json:
        output.print_json(rows)
        return
    if name:
        table = output.table("version", "aliases", "files", "size", "created", "digest", right=("files", "size"))
        for row in rows:
            created = datetime.datetime.fromtimestamp(row["created"], datetime.UTC)
            aliases = ", ".join(row["aliases"])
            size = output.size(row["size"])
            table.add_row(
                f"v{row['number']}", aliases, f"{row['count']:,}", size, output.age(created), row["digest"][:12]
            )
    else:
        table = output.table("artifact", "type", "versions", "size", "changed", right=("versions", "size"))
        for row in rows:
            changed = datetime.datetime.fromtimestamp(row["updated"], datetime.UTC)
            path = f"{row['project']}/{row['name']}"
            table.add_row(path, row["type"], str(row["versions"]), output.size(row["size"]), output.age(changed))
    output.console().print(table if rows else "there are no artifacts")


@artifact.command()
@click.argument("name")
@click.option("--files", "most", default=20, show_default=True, help="Files to list; 0 for all.")
@store_options
def show(name: str, most: int, location: str | None, as_json: bool) -> None:
    """Show a version: aliases, metadata, files, and the runs that logged and used it."""
    with _told():
        found = _find(name, location)
        made, using = found.logged_by(), found.used_by()
        entries = found.files()
    if as_json:
        listed = [{"path": each.path, "size": each.size, "digest": each.digest, "ref": each.ref} for each in entries]
        runs = {"logged_by": made.path if made is not None else None, "used_by": [run.path for run in using]}
        output.print_json({**_facts(found), **runs, "files": listed})
        return
    console = output.console()
    console.print(f"{found.qualified_name}  {found.type}", style="bold")
    for label, value in _facts(found).items():
        if value not in ("", [], {}, None) and label not in ("name", "project", "type"):
            console.print(f"{label:12} {output.size(value) if label == 'size' else output.text(value)}")
    if made is not None:
        console.print(f"{'logged by':12} {made.path}")
    for run in using:
        console.print(f"{'used by':12} {run.path}")
    output.print_heading(console, output.count(len(entries), "file"))
    table = output.table("path", "size", right=("size",))
    for each in entries[: most or None]:
        table.add_row(each.path + (f"  → {each.ref}" if each.ref else ""), output.size(each.size))
    console.print(table)
    if most and len(entries) > most:
        console.print(f"the first {most}; --files 0 lists all", style="dim")


@artifact.command()
@click.argument("names", nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@click.option("--aliases", is_flag=True, help="Though they have aliases besides latest.")
@store_options
def rm(names: tuple[str, ...], yes: bool, aliases: bool, location: str | None, as_json: bool) -> None:
    """Delete versions. `trackkit gc` frees the space of files that no other version has."""
    if as_json and not yes:
        raise click.UsageError("--json can't ask; add --yes")
    with _told():
        found = [_find(name, location) for name in names]
        if not yes:
            shown = ", ".join(one.qualified_name for one in found)
            click.confirm(f"Delete {shown} for good?", abort=True)
        paths = [one.qualified_name for one in found]
        for one in found:
            one.delete(delete_aliases=aliases)
    if as_json:
        output.print_json({"deleted": paths})
    else:
        click.echo(f"deleted {output.count(len(paths), 'version')}; `trackkit gc` frees the space")


@artifact.command()
@click.argument("name")
@click.option("-r", "--root", type=click.Path(), help="The folder it was brought to.  [default: artifacts/NAME:vN]")
@store_options
def verify(name: str, root: str | None, location: str | None, as_json: bool) -> None:
    """Check that a folder has exactly the files of a version. Exits with 1 if not."""
    trouble = ""
    with _told():
        found = _find(name, location)
        try:
            found.verify(root)
        except ValueError as error:
            trouble = str(error)
    if as_json:
        output.print_json({"artifact": found.qualified_name, "verified": not trouble, "trouble": trouble})
    else:
        click.echo(trouble or f"{found.folder(root)} is {found.qualified_name}", err=bool(trouble))
    if trouble:
        raise click.exceptions.Exit(1)


@artifact.command()
@click.argument("name")
@click.argument("target", metavar="PROJECT/NAME")
@click.option("-a", "--alias", "aliases", multiple=True, help="What to call it there, such as production.")
@store_options
def link(name: str, target: str, aliases: tuple[str, ...], location: str | None, as_json: bool) -> None:
    """Make a version of another collection too, such as registry/NAME, and promote it there by an alias."""
    with _told():
        linked = _find(name, location).link(target, aliases)
    _print(linked, as_json)


@artifact.command()
@click.argument("name")
@click.argument("alias")
@click.option("--remove", is_flag=True, help="Take the alias away.")
@click.option("--protect/--unprotect", default=None, help="Whether runs may move the alias from now on.")
@store_options
def alias(name: str, alias: str, remove: bool, protect: bool | None, location: str | None, as_json: bool) -> None:
    """Call a version by an alias."""
    with _told():
        found = _find(name, location)
        if protect is not None:
            open_api(location).protect_alias(found, alias, protect)
            found = _find(name, location)
        else:
            kept = [one for one in found.aliases if one != alias]
            found.aliases = kept if remove else [*kept, alias]
            found.save()
    _print(found, as_json)


@artifact.command()
@click.argument("name", metavar="PROJECT/NAME")
@store_options
def history(name: str, location: str | None, as_json: bool) -> None:
    """Show who moved the aliases of an artifact, and when."""
    with _told():
        rows = [msgspec.to_builtins(row) for row in open_api(location).alias_history(name)]
    if as_json:
        output.print_json(rows)
        return
    table = output.table("when", "alias", "from", "to", "by")
    for row in rows:
        when = datetime.datetime.fromtimestamp(row["time"], datetime.UTC)
        numbers = [f"v{row[end]}" if row[end] is not None else "" for end in ("before", "after")]
        table.add_row(output.local(when), row["alias"], *numbers, row["actor"])
    output.console().print(table)


@artifact.command()
@click.argument("project", required=False)
@click.option("--max-bytes", type=click.IntRange(min=0), help="How much its artifacts may take; 0 for no limit.")
@click.option(
    "--rule", default="refuse", show_default=True, help="refuse, keep aliased, keep last N, keep best N by KEY"
)
@store_options
def budget(project: str | None, max_bytes: int | None, rule: str, location: str | None, as_json: bool) -> None:
    """Show how much projects may keep, or set it: what happens when a version would be too much."""
    if max_bytes is not None and project is None:
        raise click.UsageError("name the project whose budget is to be set")
    with _told():
        api = open_api(location)
        if max_bytes is not None and project is not None:
            api.set_budget(project, max_bytes, rule)
        rows = [msgspec.to_builtins(row) for row in api.budgets() if project in (None, row.project)]
    if as_json:
        output.print_json(rows)
        return
    table = output.table("project", "used", "budget", "rule", right=("used", "budget"))
    for row in rows:
        table.add_row(row["project"], output.size(row["used"]), output.size(row["bytes"]), row["rule"])
    output.console().print(table if rows else "no project has a budget")


def _print(found: Artifact, as_json: bool) -> None:
    if as_json:
        output.print_json(_facts(found))
    else:
        aliases = f" ({', '.join(found.aliases)})" if found.aliases else ""
        files = output.count(found.file_count, "file")
        click.echo(f"{found.qualified_name}{aliases}: {files}, {output.size(found.size)}")


def _facts(found: Artifact) -> dict[str, Any]:
    return {
        "name": found.name, "project": found.project, "type": found.type, "version": found.version,
        "digest": found.digest, "size": found.size, "count": found.file_count, "created": found.created_at,
        "aliases": found.aliases, "tags": found.tags, "description": found.description, "metadata": found.metadata,
        "source": found.source_name if found.source_name != found.name else "",
    }  # fmt: skip


@contextlib.contextmanager
def _told() -> Any:
    """Tell what a user can cause in a sentence."""
    try:
        yield
    except (ValueError, KeyError, ArtifactRefused, SinkError, SinkRefused, TypeError) as error:
        raise click.ClickException(str(error.args[0] if error.args else error)) from error


def _is_server(location: str | None) -> bool:
    return location is not None and location.startswith(("http://", "https://"))


def _find(name: str, location: str | None) -> Artifact:
    return open_api(location).artifact(name)

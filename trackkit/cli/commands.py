"""The table of commands. What a command needs is imported when it runs, so that `--help` is quick."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import click

from trackkit.version import __version__


class Entry(NamedTuple):
    """Where a command is, and its line in `trackkit --help`."""

    module: str
    help: str
    function: str = ""
    """What the command is called in the module, where Python has no such name."""


COMMANDS = {
    "ls": Entry("runs", "List the runs of a store, or its projects."),
    "show": Entry("show", "Show one run: state, config, summary, metrics."),
    "ui": Entry("server", "Open the dashboard on a store of this machine."),
    "serve": Entry("server", "Serve a store to a team."),
    "login": Entry("tokens", "Keep the token for a server."),
    "logout": Entry("tokens", "Forget the token for a server."),
    "token": Entry("tokens", "Give out, list and revoke tokens of a server's store."),
    "tail": Entry("tail", "Follow a run's metrics or console as they come."),
    "sql": Entry("sql", "Ask the store in SQL, read-only."),
    "export": Entry("export", "Write runs to Parquet, CSV, JSON lines, or to MLflow."),
    "artifact": Entry("artifact", "Put files into a store as versions, list them, get them out."),
    "sync": Entry("sync", "Send journals to a sink: offline runs, what was left."),
    "import": Entry("imports", "Take over runs of other trackers: TensorBoard, MLflow.", "import_"),
    "rm": Entry("runs", "Delete runs."),
    "gc": Entry("maintenance", "Free the space of what nothing refers to."),
    "doctor": Entry("maintenance", "Check a store and repair it."),
    "status": Entry("status", "What is running, unsent and how large."),
    "completion": Entry("completion", "Print the completion script of a shell."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and lines, and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = getattr(
            importlib.import_module(f"trackkit.cli.{entry.module}"), entry.function or cmd_name
        )
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"there is no command {args[0]!r}; the commands are {', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what a user can cause is told in a sentence, not in a traceback."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            if not _is_for_the_user(error):
                raise
            raise click.ClickException(f"{error}{_advice(error)}") from error


def _is_for_the_user(error: Exception) -> bool:
    import sqlite3

    from trackkit.backend.store.database import Busy, SchemaTooNew
    from trackkit.query import ArtifactNotFound, FilterError, RunNotFound

    return isinstance(error, (OSError, Busy, SchemaTooNew, FilterError, RunNotFound, ArtifactNotFound, sqlite3.Error))


def _advice(error: Exception) -> str:
    """What to do about a database that SQLite finds damaged."""
    import sqlite3

    damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return "; `trackkit doctor --repair` saves what can be read of it" if damaged else ""


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"trackkit {__version__}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Print it.")
def main() -> None:
    """See and keep the runs that trackkit recorded.

    The store is the folder .trackkit here unless --dir or TRACKKIT_DIR names another. A run is named by its id or by
    PROJECT/ID.
    """

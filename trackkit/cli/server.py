"""`trackkit ui` and `trackkit serve`: the dashboard, for one and for many."""

from __future__ import annotations

import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trackkit.core.settings import load

if TYPE_CHECKING:
    from trackkit.backend.server.config import ServerConfig

DEFAULT_PORT = 5757


@click.command()
@click.argument("path", required=False, type=click.Path())
@click.option(
    "--port", default=DEFAULT_PORT, show_default=True, help="Where to listen; the next free one if it is taken."
)
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def ui(path: str | None, port: int, no_browser: bool) -> None:
    """Open the dashboard on a store: the folder PATH, .trackkit unless given.

    It listens on this machine alone. Scripts that write to the store appear as they run.
    """
    launch = _import_launch()
    config = _config(path, None, port=port)
    if not config.root.is_dir():
        raise click.ClickException(
            f"there is no store at {config.root}; name the folder that runs were written to, or start one with "
            "trackkit.init()"
        )
    listener = launch.bind(config.host, port, exact=False)
    address = f"http://{config.host}:{listener.getsockname()[1]}"
    click.echo(f"the dashboard of {config.root} is at {address}  (Ctrl-C ends it)")
    if not no_browser:
        threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
    launch.run(config, listener, log_level="warning")


@click.command()
@click.argument("path", required=False, type=click.Path())
@click.option("--store", metavar="URL", help="A PostgreSQL database instead, postgresql://…; PATH is for files then.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on; 0.0.0.0 for all.")
@click.option("--port", default=DEFAULT_PORT, show_default=True, help="The port to listen on; 0 for any.")
@click.option("--auth", is_flag=True, help="Ask everybody for a token.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="How many processes.")
@click.option(
    "--allowed-host", "allowed_hosts", multiple=True, metavar="NAME", help="A further name the server is known by."
)
@click.option(
    "--embed-from", multiple=True, metavar="ORIGIN", help="A site whose pages may show the dashboard in a frame."
)
@click.option("--blobs", default="", metavar="URI", help="Where files are kept: s3://BUCKET/PREFIX, or a folder.")
@click.option("--max-batch-mb", default=64, show_default=True, help="The largest batch of records taken, MiB.")
@click.option("--max-blob-mb", default=0, help="The largest file taken, MiB.  [default: what the disk takes]")
@click.option("--log-json", is_flag=True, help="Log as lines of JSON.")
@click.option(
    "--log-level", default="info", show_default=True, type=click.Choice(["debug", "info", "warning", "error"])
)
def serve(path: str | None, store: str | None, workers: int, log_json: bool, log_level: str, **options: Any) -> None:
    """Serve a store to a team: the folder PATH, .trackkit unless given.

    Runs come in over HTTP: `trackkit.init(sink="http://HOST:PORT")`. On any address but this machine's own
    `--auth` is needed; the first start with it prints a token for the first administrator.
    """
    launch = _import_launch()
    from trackkit.backend.server.config import UnsafeBind, check_bind

    config = _config(path, store, **options)
    try:
        check_bind(config.host, auth=config.auth)
    except UnsafeBind as error:
        raise click.ClickException(str(error)) from None
    config.root.mkdir(parents=True, exist_ok=True)
    listener = launch.bind(config.host, config.port, exact=True)
    shown = "localhost" if config.host in ("0.0.0.0", "::") else config.host
    address = f"http://{shown}:{listener.getsockname()[1]}"
    if config.auth:
        _bootstrap(config, address)
    click.echo(f"trackkit serves {config.root if store is None else 'PostgreSQL'} at {address}")
    launch.run(config, listener, workers=workers, log_json=log_json, log_level=log_level)


def _config(path: str | None, store: str | None, **options: Any) -> ServerConfig:
    from trackkit.backend.server.config import ServerConfig
    from trackkit.backend.server.storage import is_postgres

    given = Path(path or load().dir).expanduser().absolute()
    root = given.parent if given.is_file() else given
    if store is not None and not is_postgres(store):
        raise click.ClickException(f"--store names a PostgreSQL database, postgresql://…, not {store!r}; PATH a folder")
    options["blobs"] = options.get("blobs") or load().blobs
    return ServerConfig(store=store or str(root), root=root, **options)


def _bootstrap(config: ServerConfig, address: str) -> None:
    """Give out a token for the first administrator, if nobody has one."""
    import os

    from trackkit.backend.server.storage import open_storage
    from trackkit.backend.store import tokens

    chosen = os.environ.get("TRACKKIT_ADMIN_TOKEN", "").strip()
    if 0 < len(chosen) < tokens.SHORTEST_SECRET:
        raise click.ClickException(
            f"the token in TRACKKIT_ADMIN_TOKEN has {len(chosen)} characters, which can be guessed: use at least "
            f"{tokens.SHORTEST_SECRET} random ones, as 'openssl rand -hex 32' gives"
        )
    storage = open_storage(config.store, config.root, config.blobs)
    try:
        with storage.changing() as db:
            if tokens.any_admin(db):
                return
            _, secret = tokens.create(db, "first administrator", "admin", secret=chosen or None)
    finally:
        storage.close()
    if chosen:
        click.echo("the token in TRACKKIT_ADMIN_TOKEN is the first administrator's")
        return
    click.echo(f"the first administrator's token, shown this once:\n\n    {secret}\n")
    click.echo(f"log in with it at {address}, and on machines that train with: trackkit login {address}")


def _import_launch() -> Any:
    try:
        from trackkit.backend.server import launch
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("trackkit"):
            raise
        raise click.ClickException(f"the server needs {error.name}: pip install 'trackkit[server]'") from None
    return launch

"""`trackkit completion`: the script that teaches a shell to complete commands, options and run ids."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from trackkit.cli.options import store_options
from trackkit.cli.output import print_json

VARIABLE = "_TRACKKIT_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@store_options
def completion(shell: str, location: str | None, as_json: bool) -> None:
    """Print the completion script of SHELL.

    bash: eval "$(trackkit completion bash)" in ~/.bashrc; zsh: the same in ~/.zshrc; fish:
    trackkit completion fish > ~/.config/fish/completions/trackkit.fish
    """
    made = get_completion_class(shell)
    if made is None:
        raise click.ClickException(f"click has no completion for {shell}")
    script = made(click.get_current_context().find_root().command, {}, "trackkit", VARIABLE).source()
    if as_json:
        print_json({"shell": shell, "script": script})
    else:
        click.echo(script)

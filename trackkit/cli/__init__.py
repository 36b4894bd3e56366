"""The command line: `trackkit COMMAND`, a file per noun, each loaded only when it is asked for."""

from trackkit.cli.commands import main

__all__ = ["main"]

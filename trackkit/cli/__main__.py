"""`python -m trackkit.cli` is the same as `trackkit`."""

from trackkit.cli.commands import main

main(prog_name="trackkit")

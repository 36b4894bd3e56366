"""`python -m trackkit`: the command line."""

from __future__ import annotations

from trackkit.cli import main

if __name__ == "__main__":
    main(prog_name="trackkit")

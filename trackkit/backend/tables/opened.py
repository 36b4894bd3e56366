"""The tables that were asked for last, kept open: opening one takes some tens of milliseconds."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from trackkit.backend.tables.relation import Relation
from trackkit.backend.tables.sandbox import Sandbox

KEPT: Final = 8

Files = Sequence[Path]
"""The Parquet files of one table."""


class OpenTables:
    """Tables by their files, each in a sandbox with these alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[tuple[Path, ...], ...], list[Relation]] = OrderedDict()

    def table(self, files: Files) -> Relation:
        """A table.

        Raises
        ------
        CannotRead
            If a file is no Parquet.
        """
        return self.tables([files])[0]

    def tables(self, sides: Sequence[Files]) -> list[Relation]:
        """Several tables in one sandbox, to be compared; raises as `table`."""
        name = tuple(tuple(files) for files in sides)
        with self._lock:
            found = self._open.pop(name, None)
            if found is None:
                sandbox = Sandbox(list(dict.fromkeys(path for files in sides for path in files)))
                found = [Relation(sandbox, files, f"t{number}") for number, files in enumerate(sides)]
            self._open[name] = found
            while len(self._open) > KEPT:
                self._open.popitem(last=False)  # a query that still runs there keeps it
            return found

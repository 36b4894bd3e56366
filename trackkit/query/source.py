"""Where runs are read from: what a folder and a server have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Protocol, TypeAlias

from trackkit.backend.store import gradients
from trackkit.backend.store.filters import Node
from trackkit.backend.store.history import History
from trackkit.backend.store.media import MediaKey
from trackkit.backend.store.objects import ObjectRow
from trackkit.backend.store.runs import AlertRow, Flat, ProjectRow, RunRow
from trackkit.backend.store.series import Points
from trackkit.core.sink import Catalogue

Handle: TypeAlias = int | str
"""What a source knows a run by: its number in a folder, its id on a server."""


class RunNotFound(KeyError):
    """There is no such run in the store."""

    def __str__(self) -> str:
        return str(self.args[0])


class Source(Protocol):
    """Runs in a folder or on a server; every method asks anew, and holds nothing between calls."""

    place: str
    """What people call it: the database's path, or the server's address."""
    name: str
    """What `Api` was given: the folder, or the server's address."""
    artifacts: Catalogue
    """The artifacts there."""

    def projects(self) -> list[ProjectRow]:
        """The projects, the one with the latest activity first."""
        ...

    def handles(self, filters: Node | None, order: str | Sequence[str], limit: int | None) -> list[Handle]:
        """The runs that match, in order."""
        ...

    def handle(self, row: RunRow) -> Handle:
        """The handle of a run."""
        ...

    def load(self, handles: Sequence[Handle]) -> list[RunRow]:
        """The runs of these handles; those deleted since are left out."""
        ...

    def find(self, path: str) -> RunRow | None:
        """The run named `project/id`, or by its id alone."""
        ...

    def keys(self, run: RunRow, kind: str) -> list[str]:
        """The keys a run logged: of kind `metric`, `system` or `text`."""
        ...

    def points(self, run: RunRow, key: str, kind: str, *, superseded: bool = False) -> Points | None:
        """Every number or text of a key in time order; None if it has none."""
        ...

    def history(self, run: RunRow, keys: Sequence[str] | None) -> History:
        """All rows of the history, of some keys or of all."""
        ...

    def scan(self, run: RunRow, keys: Sequence[str] | None, first: int, last: int, rows: int) -> Iterator[History]:
        """The rows of the history piece by piece."""
        ...

    def console(self, run: RunRow, stream: str | None, *, raw: bool) -> str:
        """What the run wrote, as it did or as a terminal shows it."""
        ...

    def alerts(self, run: RunRow) -> list[AlertRow]:
        """The run's alerts in the order they were given."""
        ...

    def accounting(self, run: RunRow) -> list[dict[str, float]]:
        """What tracking cost each writer."""
        ...

    def files(self, run: RunRow) -> list[ObjectRow]:
        """The newest file of each path, by path."""
        ...

    def media_keys(self, run: RunRow) -> list[MediaKey]:
        """The keys of the run's media."""
        ...

    def media(self, run: RunRow, key: str) -> list[ObjectRow]:
        """The media under a key, by step."""
        ...

    def watched_keys(self, run: RunRow) -> list[str]:
        """What the run watched of its models."""
        ...

    def watched(self, run: RunRow, key: str) -> gradients.Watched:
        """What was watched under a key, in every step."""
        ...

    def open(self, run: RunRow, file: ObjectRow) -> BinaryIO:
        """The content of a file.

        Raises
        ------
        FileNotFoundError
            If it is not in the store.
        """
        ...

    def open_blob(self, run: RunRow, digest: str, name: str) -> BinaryIO:
        """The content with a digest that the run names, which people know by `name`; raises as `open`."""
        ...

    def change(
        self,
        run: RunRow,
        described: dict[str, str],
        tags: Iterable[str] | None,
        config: tuple[Flat, Sequence[str]],
        summary: tuple[Flat, Sequence[str]],
    ) -> None:
        """Change a run, all of it or nothing: texts, tags, and entries to set and to remove.

        Raises
        ------
        RunNotFound
            If it is no longer there.
        """
        ...

    def delete(self, run: RunRow) -> None:
        """Take a run that has ended away."""
        ...

"""Console text read back: as it was written, or as a terminal would have shown it in the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from trackkit.backend.store.database import Database
from trackkit.core import terminal


def text(db: Database, run: int, stream: str | None = None) -> str:
    """Everything the run's writers wrote to a stream, or to both, in time order, as they wrote it."""
    return joined(_all(db, run, stream))


def screen(db: Database, run: int, stream: str | None = None) -> str:
    """What a terminal shows in the end: a progress bar is one line.

    Each writer has a screen of its own, as their progress bars would overwrite each other; the one that wrote
    first comes first.
    """
    return shown(_all(db, run, stream))


def joined(pieces: Iterable[LineRow]) -> str:
    """Pieces as they were written."""
    return "".join(piece.text for piece in pieces)


def shown(pieces: Iterable[LineRow]) -> str:
    """Pieces as a terminal shows them; see `screen`."""
    written: defaultdict[str, list[str]] = defaultdict(list)
    for piece in pieces:
        written[piece.writer].append(piece.text)
    screens = [terminal.collapse("".join(texts)) for texts in written.values()]
    ended = [screen if screen.endswith("\n") else f"{screen}\n" for screen in screens[:-1]]
    return "".join([*ended, *screens[-1:]])


class LineRow(NamedTuple):
    """A piece of console text; time in microseconds since the epoch."""

    time: int
    writer: str
    seq: int
    stream: str
    text: str

    def cursor(self) -> Cursor:
        """The place after it."""
        return Cursor(self.time, self.writer, self.seq)


class Cursor(NamedTuple):
    """A place in the run's console text: after a piece, in the order of time, writer and number."""

    time: int
    writer: str
    seq: int

    def __str__(self) -> str:
        return f"{self.time}.{self.seq}.{self.writer}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """The cursor written like this; None, the beginning, if nothing is.

        Raises
        ------
        ValueError
            If it is no cursor.
        """
        if not text:
            return None
        time, seq, writer = text.split(".", 2)
        if max(abs(int(time)), abs(int(seq))) >= 2**63:
            raise ValueError(f"{text!r} is no cursor")
        return cls(int(time), writer, int(seq))


def page(db: Database, run: int, after: Cursor | None, limit: int, stream: str | None = None) -> list[LineRow]:
    """The next pieces of what the run's writers wrote, in time order, as they wrote them.

    A writer whose records come late adds pieces before a cursor that is in use; who wants all reads anew.
    """
    chosen, parameters = _of_stream(stream)
    if after is not None:
        chosen += " and (time > ? or (time = ? and (writer > ? or (writer = ? and seq > ?))))"
        parameters = [*parameters, after.time, after.time, after.writer, after.writer, after.seq]
    sql = f"select time, writer, seq, stream, text from lines where run = ?{chosen} order by time, writer, seq limit ?"
    return [LineRow(*row) for row in db.query(sql, [run, *parameters, limit])]


def _all(db: Database, run: int, stream: str | None) -> Iterator[LineRow]:
    """The pieces of a stream, or of both, in time order."""
    chosen, parameters = _of_stream(stream)
    sql = f"select time, writer, seq, stream, text from lines where run = ?{chosen} order by time, writer, seq"
    return (LineRow(*row) for row in db.query(sql, [run, *parameters]))


def _of_stream(stream: str | None) -> tuple[str, list[Any]]:
    return ("", []) if stream is None else (" and stream = ?", [stream])

"""Console text read back: as it was written, or as a terminal would have shown it in the end."""

from __future__ import annotations

from collections import defaultdict

from trackkit.backend.store.database import Database
from trackkit.core import terminal


def text(db: Database, run: int, stream: str | None = None) -> str:
    """Everything the run's writers wrote to a stream, or to both, in time order, as they wrote it."""
    chosen, parameters = _of_stream(stream)
    sql = f"select text from lines where run = ?{chosen} order by time, writer, seq"
    return "".join(text for (text,) in db.query(sql, [run, *parameters]))


def screen(db: Database, run: int, stream: str | None = None) -> str:
    """What a terminal shows in the end: a progress bar is one line.

    Each writer has a screen of its own, as their progress bars would overwrite each other; the one that wrote
    first comes first.
    """
    chosen, parameters = _of_stream(stream)
    sql = f"select writer, text from lines where run = ?{chosen} order by time, seq"
    written: defaultdict[str, list[str]] = defaultdict(list)
    for writer, text in db.query(sql, [run, *parameters]):
        written[writer].append(text)
    screens = [terminal.collapse("".join(texts)) for texts in written.values()]
    ended = [screen if screen.endswith("\n") else f"{screen}\n" for screen in screens[:-1]]
    return "".join([*ended, *screens[-1:]])


def _of_stream(stream: str | None) -> tuple[str, list[str]]:
    return ("", []) if stream is None else (" and stream = ?", [stream])

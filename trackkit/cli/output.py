"""What commands print: tables and colours for people, JSON for programs, progress on stderr."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 500
"""Columns of a table that no terminal breaks."""
STATE_STYLES = {"running": "cyan", "finished": "green", "failed": "red", "crashed": "red", "killed": "yellow"}


def console() -> Console:
    """The terminal, as it is now. What a run says is never taken for markup."""
    made = Console(highlight=False, markup=False)
    if not made.is_terminal:
        made.width = PIPE_WIDTH
    return made


def print_json(value: Any) -> None:
    """Print a value as indented JSON; see `plain`."""
    click.echo(json.dumps(plain(value), indent=2, ensure_ascii=False))


def print_json_line(value: Any) -> None:
    """Print a value as one line of JSON, at once."""
    click.echo(json_line(value))


def json_line(value: Any) -> str:
    """A value as one line of JSON; see `plain`."""
    return json.dumps(plain(value), ensure_ascii=False)


def plain(value: Any) -> Any:
    """A value as JSON can hold it; NaN and the infinities, which it has no numbers for, become strings.

    Times become ISO 8601, bytes hex digits.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if hasattr(value, "item"):  # NumPy's scalars
        return plain(value.item())
    return value


def print_heading(console: Console, title: str) -> None:
    """Print the heading of a section, with a blank line before it."""
    console.print(f"\n{title}", style="bold")


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table with plain headers; columns in `right` are aligned right."""
    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def reading(key: str, value: float) -> str:
    """A reading of the machine in the unit its key names.

    Example
    -------
    >>> reading("process.rss_bytes", 1536), reading("cpu.percent", 99.25), reading("disk.read_bytes_per_second", 0)
    ('1.5 KiB', '99.2 %', '0 B/s')
    """
    if key.endswith("_bytes"):
        return size(value)
    if key.endswith("_bytes_per_second"):
        return f"{size(value)}/s"
    for end, unit in (("percent", "%"), ("celsius", "°C"), ("watts", "W"), ("mhz", "MHz")):
        if key.endswith(end):
            return f"{value:.1f} {unit}"
    return text(value)


def text(value: Any) -> str:
    """A config or summary value in few characters."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, (dict, list)):
        return json_line(value)
    return printable(str(value))


def printable(text: str) -> str:
    r"""Text with its control characters spelled out: whatever is in a run's names, the terminal must not obey it.

    Example
    -------
    >>> printable("net\n\x1b[2J")
    'net\\n\\x1b[2J'
    """
    return text if text.isprintable() else "".join(_spelled(character) for character in text)


def printable_lines(text: str) -> str:
    """The same for text of several lines, which stay lines."""
    return "\n".join(map(printable, text.expandtabs().split("\n")))


def _spelled(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]


def state(name: str) -> Text:
    """A run's state in its colour."""
    return Text(name, STATE_STYLES.get(name, ""))


def duration(seconds: float | None) -> str:
    """A length of time in its two largest units: `1.5s`, `2m 5s`, `3h 20m`, `4d 1h`.

    Example
    -------
    >>> duration(125)
    '2m 5s'
    """
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f}s"
    units = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    whole = round(seconds)
    for (large, length), (small, part) in itertools.pairwise(units):
        if whole >= length:
            return f"{whole // length}{large} {whole % length // part}{small}"
    return f"{whole}s"


def age(moment: datetime.datetime) -> str:
    """How long ago a time was."""
    return f"{duration((datetime.datetime.now(datetime.UTC) - moment).total_seconds())} ago"


def local(moment: datetime.datetime) -> str:
    """A time in the reader's time zone, to the second."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def size(count: float) -> str:
    """A number of bytes in the unit that fits.

    Example
    -------
    >>> size(1536)
    '1.5 KiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def count(number: int, noun: str) -> str:
    """A number with its noun, whose plural ends in s."""
    plural = noun if number == 1 or noun == "series" else f"{noun}s"
    return f"{number:,} {plural}"


@contextlib.contextmanager
def progress(description: str, *, quiet: bool, of_bytes: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr while the block runs; hands out a function that takes what is done and what there is.

    Nothing is drawn if `quiet`, where stderr is no terminal, or before the function is first called.
    """
    stderr = Console(stderr=True)
    if quiet or not stderr.is_terminal:
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn

    amount = DownloadColumn() if of_bytes else MofNCompleteColumn()
    bar = Progress(TextColumn("{task.description}"), BarColumn(), amount, console=stderr, transient=True)
    task = bar.add_task(description, total=None)

    def draw(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield draw
    finally:
        bar.stop()

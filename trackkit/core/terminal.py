"""What a terminal would show of text with carriage returns and escape sequences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

_MOVES = re.compile(r"[\r\b]|\x1b(?!\[[0-9;:]*m)")
_TOKEN = re.compile(
    r"(?P<text>[^\x1b\r\b\n]+)|(?P<control>[\r\b\n])"
    r"|\x1b\[(?P<arguments>[0-9;:?<=>!]*)[ -/]*(?P<command>[@-~])"
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[PX^_][^\x1b]*(?:\x1b\\)?|\x1b[ -/]*[0-~]?"
)
_RESET = "\x1b[0m"
_WIDEST = 500
"""Columns a cursor can be moved to, so that a stray movement doesn't make a row of gigabytes."""

_Cell: TypeAlias = str | tuple[str, str]


def collapse(text: str) -> str:
    r"""Console text as a terminal would show it.

    Carriage returns and backspaces overwrite, cursor movements and erasures by escape sequences take effect,
    colours stay, other escape sequences are left out. Takes time linear in the length of the text.

    Parameters
    ----------
    text
        The text of one stream, from its beginning or from the beginning of a line.

    Examples
    --------
    >>> collapse("  0%\r 50%\r100%\ndone\n")
    '100%\ndone\n'
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    moves = _MOVES.search(text)
    if moves is None:
        return text
    # All before the first line that needs a screen is shown as it is, but for a cursor that goes up into it.
    if "\x1b[" not in text and (start := text.rfind("\n", 0, moves.start()) + 1):
        return text[:start] + _Screen().draw(text[start:])
    return _Screen().draw(text)


class _Screen:
    """Rows without end that text is drawn on. A cell is a character, or a character with its colours."""

    def __init__(self) -> None:
        self._rows: list[list[_Cell]] = [[]]
        self._row = 0
        self._column = 0
        self._pen = ""
        self._coloured: set[int] = set()

    def draw(self, text: str) -> str:
        """The rows after the text was drawn."""
        for token in _TOKEN.finditer(text):
            if run := token["text"]:
                self._write(run)
            elif control := token["control"]:
                self._control(control)
            elif command := token["command"]:
                self._command(command, token["arguments"], token[0])
        return "\n".join(self._render())

    def _write(self, run: str) -> None:
        row, column = self._rows[self._row], self._column
        if len(row) < column:
            column = min(column, len(row) + _WIDEST)
            row.extend(" " * (column - len(row)))
        if self._pen:
            self._coloured.add(self._row)
            row[column : column + len(run)] = [(self._pen, character) for character in run]
        else:
            row[column : column + len(run)] = run
        self._column = column + len(run)

    def _control(self, control: str) -> None:
        if control == "\b":
            self._column = max(0, self._column - 1)
            return
        self._column = 0
        if control == "\n":
            self._row += 1
            if self._row == len(self._rows):
                self._rows.append([])

    def _command(self, command: str, arguments: str, sequence: str) -> None:
        if command == "m":
            self._colour(arguments, sequence)
            return
        first = arguments.split(";")[0]
        number = int(first) if first.isdecimal() and len(first) < 6 else 0
        if command in "AF":
            self._row = max(0, self._row - (number or 1))
        elif command in "BE":
            self._row = min(self._row + (number or 1), len(self._rows) - 1)
        elif command == "C":
            self._column = max(self._column, min(self._column + (number or 1), _WIDEST))
        elif command == "D":
            self._column = max(0, self._column - (number or 1))
        elif command == "G":
            self._column = max(0, min(number, _WIDEST) - 1)
        elif command == "K":
            self._erase_in_row(number)
        elif command == "J" and not number:
            self._erase_in_row(0)
            del self._rows[self._row + 1 :]
        if command in "EF":
            self._column = 0

    def _erase_in_row(self, which: int) -> None:
        row = self._rows[self._row]
        if which == 0:
            del row[self._column :]
        elif which == 2:
            row.clear()

    def _colour(self, arguments: str, sequence: str) -> None:
        if arguments in {"", "0", "00"}:
            self._pen = ""
        elif arguments.startswith(("0;", "00;")) or len(self._pen) > 100:
            self._pen = sequence
        else:
            self._pen += sequence

    def _render(self) -> Iterator[str]:
        for number, row in enumerate(self._rows):
            yield self._render_coloured(row) if number in self._coloured else "".join(row)  # type: ignore[arg-type]

    def _render_coloured(self, row: list[_Cell]) -> str:
        parts: list[str] = []
        pen = ""
        for cell in row:
            colours, character = cell if isinstance(cell, tuple) else ("", cell)
            if colours != pen:
                parts.append((_RESET if pen else "") + colours)
                pen = colours
            parts.append(character)
        if pen:
            parts.append(_RESET)
        return "".join(parts)

r"""Python's regular expressions as PostgreSQL's, so that a filter finds the same runs on either database.

The two differ in a few places: `\b` is a backspace to PostgreSQL, `.` there matches a line break, `$`
does not match before the last one, and groups have no names. What PostgreSQL has no word for (atomic
groups, conditions, flags within a pattern) is refused.
"""

from __future__ import annotations

import functools
import re
from typing import Final

from trackkit.backend.store.filters.nodes import FilterError

_TOKEN: Final = re.compile(
    r"""
    (?P<flags> \A\(\?[a-zA-Z]+\) )
    | (?P<class> \[\^?\]?(?:\\.|[^\]\\])*\] )
    | (?P<group> \(\?P<\w+>|\((?!\?) )
    | (?P<again> \(\?P=\w+\) )
    | (?P<known> \(\?(?:[:=!]|<[=!]) )
    | (?P<comment> \(\?\#[^)]*\) )
    | (?P<refused> \(\?|[*+?}]\+ )
    | (?P<upto> \{,(?=\d+\}) )
    | (?P<escape> \\(?:x[0-9a-fA-F]{2}|.) )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPES: Final = {r"\b": r"\y", r"\B": r"\Y"}
_SUPPORTED_FLAGS: Final = frozenset("imsu")


class PatternRefused(FilterError):
    """A regular expression that PostgreSQL can't search for; the message says why."""


@functools.lru_cache(maxsize=256)
def to_postgres(pattern: str) -> str:
    r"""The regular expression for PostgreSQL's `~` that finds what Python's `re.search` finds.

    Raises
    ------
    PatternRefused
        If it uses something that PostgreSQL has not.

    Examples
    --------
    >>> to_postgres(r"^resnet\d+\b")
    '^resnet\\d+\\y'
    """
    flags: frozenset[str] = frozenset()
    groups: dict[str, int] = {}
    opened = 0
    parts = []
    for found in _TOKEN.finditer(pattern):
        kind, text = str(found.lastgroup), found.group()
        if kind == "flags":
            flags = _flags(pattern, text)
        elif kind == "refused":
            raise _refused(pattern, text)
        elif kind == "group":
            opened += 1
            if text != "(":
                groups[text[4:-1]] = opened
            parts.append("(")
        elif kind == "again":
            parts.append(f"(?:\\{groups.get(text[4:-1], 0)})")
        elif kind != "comment":
            parts.append(_part(kind, text, flags))
    return ("(?i)" if "i" in flags else "") + "".join(parts)


def _part(kind: str, text: str, flags: frozenset[str]) -> str:
    """What stands for a piece of the pattern that opens no group and sets no flag."""
    match kind, text:
        case "class", _:
            return _class(text)
        case "upto", _:
            return "{0,"
        case "escape", _:
            return f"\\u00{text[2:]}" if text[1] == "x" else _ESCAPES.get(text, text)
        case "other", "." if "s" not in flags:
            return r"[^\n]"
        case "other", "^" if "m" in flags:
            return r"(?:^|(?<=\n))"
        case "other", "$":
            return r"(?=\n|\Z)" if "m" in flags else r"(?=\n?\Z)"
    return text


def _class(text: str) -> str:
    """A bracket expression: to Python a bracket in it is itself, to PostgreSQL it may open a class's name."""
    start = re.match(r"\[\^?\]?", text)
    assert start is not None
    inner = re.sub(r"\\x([0-9a-fA-F]{2})", r"\\u00\1", text[start.end() : -1])
    return start.group() + re.sub(r"(\\.)|\[", lambda found: found[1] or r"\[", inner, flags=re.DOTALL) + "]"


def _flags(pattern: str, text: str) -> frozenset[str]:
    flags = frozenset(text[2:-1])
    if not flags <= _SUPPORTED_FLAGS:
        raise _refused(pattern, text)
    return flags


def _refused(pattern: str, part: str) -> PatternRefused:
    return PatternRefused(
        f"PostgreSQL can't search for {pattern!r}: it has nothing like {part!r}; write the expression without it"
    )

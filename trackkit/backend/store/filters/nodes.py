"""What a filter is made of, and how it is written: `str(node)` is text that parses to an equal node."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["text", "time", "number", "tags", "entry", "bool"]
Order: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">=", "like", "matches", "has"]

FIELDS: dict[str, Kind] = {
    "id": "text",
    "name": "text",
    "project": "text",
    "group": "text",
    "job_type": "text",
    "notes": "text",
    "state": "text",
    "host": "text",
    "created": "time",
    "updated": "time",
    "ended": "time",
    "duration": "number",
    "exit_code": "number",
    "tags": "tags",
}

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}

BARE_SEGMENT = r"[\w/:@%+$#*\-]+"
_BARE_KEY = re.compile(rf"{BARE_SEGMENT}(\.{BARE_SEGMENT})*")
_BARE_COLUMN = re.compile(r"[^\W\d]\w*")
WORDS = (
    "and",
    "or",
    "not",
    "in",
    "is",
    "like",
    "matches",
    "has",
    "null",
    "none",
    "true",
    "false",
    "nan",
    "inf",
    "infinity",
)
"""What can't be a column's name without quotes."""


class FilterError(ValueError):
    """A filter that can't be understood; the message says what is wrong and where.

    Attributes
    ----------
    column
        Where in the expression, counted from 1; None if the filter was given as a dict.
    """

    def __init__(self, message: str, column: int | None = None) -> None:
        super().__init__(message)
        self.column = column


@dataclass(frozen=True, slots=True)
class Field:
    """A property of the run itself; `name` is one of `FIELDS`."""

    name: str

    @property
    def kind(self) -> Kind:
        return FIELDS[self.name]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Entry:
    """A config or summary entry; the keys of nested dicts are joined by "."."""

    table: Literal["config", "summary"]
    key: str

    @property
    def kind(self) -> Kind:
        return "entry"

    def __str__(self) -> str:
        return f"{self.table}.{self.key if _BARE_KEY.fullmatch(self.key) else _quoted(self.key)}"


@dataclass(frozen=True, slots=True)
class Span:
    """A length of time such as `7d`; where a time is expected, that far from now."""

    amount: float
    unit: str

    @property
    def seconds(self) -> float:
        return self.amount * UNITS[self.unit]

    def __str__(self) -> str:
        return f"{self.amount!r}{self.unit}"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table that was logged; `position` is its place there."""

    name: str
    kind: Kind
    position: int

    def __str__(self) -> str:
        bare = _BARE_COLUMN.fullmatch(self.name) and self.name.lower() not in WORDS
        return self.name if bare else "`" + self.name.replace("\\", "\\\\").replace("`", "\\`") + "`"


Target: TypeAlias = Field | Entry | Column
Value: TypeAlias = bool | int | float | str | Span


@dataclass(frozen=True, slots=True)
class Compare:
    """The target's value stands in this order to another; false where the target has none, except `!=`."""

    target: Target
    order: Order
    value: Value

    def __str__(self) -> str:
        return f"{self.target} {self.order} {_literal(self.value)}"


@dataclass(frozen=True, slots=True)
class Among:
    """The target's value, or one of the run's tags, is one of these."""

    target: Target
    values: tuple[Value, ...]

    def __str__(self) -> str:
        return f"{self.target} in ({', '.join(map(_literal, self.values))})"


@dataclass(frozen=True, slots=True)
class Missing:
    """The target has no value, or null."""

    target: Target

    def __str__(self) -> str:
        return f"{self.target} is null"


@dataclass(frozen=True, slots=True)
class NotANumber:
    """The entry's or the cell's value is NaN, which equals nothing."""

    target: Entry | Column

    def __str__(self) -> str:
        return f"{self.target} is nan"


@dataclass(frozen=True, slots=True)
class Not:
    part: Node

    def __str__(self) -> str:
        match self.part:
            case Among(target, values):
                return f"{target} not in ({', '.join(map(_literal, values))})"
            case Compare(target, "like", value):
                return f"{target} not like {_literal(value)}"
            case Missing(target):
                return f"{target} is not null"
            case NotANumber(target):
                return f"{target} is not nan"
        return f"not {_grouped(self.part)}"


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple[Node, ...]

    def __str__(self) -> str:
        return " and ".join(map(_grouped, self.parts))


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple[Node, ...]

    def __str__(self) -> str:
        return " or ".join(map(_grouped, self.parts))


Node: TypeAlias = Compare | Among | Missing | NotANumber | Not | And | Or


def every(parts: list[Node]) -> Node:
    """All of one or more parts."""
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def either(parts: list[Node]) -> Node:
    """Any of one or more parts."""
    return parts[0] if len(parts) == 1 else Or(tuple(parts))


def compare(target: Target, order: Order, value: Value) -> Node:
    """A comparison that makes sense for its target.

    Raises
    ------
    FilterError
        If the target has no such order, or the value is of the wrong type for it.
    """
    if isinstance(value, float) and math.isnan(value):
        if order not in ("=", "!="):
            raise FilterError(f"nan has no order; write '{target} is nan'")
        return NotANumber(_entry(target)) if order == "=" else Not(NotANumber(_entry(target)))
    _check_order(target, order)
    _check_value(target, order, value)
    return Compare(target, order, value)


def among(target: Target, values: list[Value]) -> Node:
    """A choice of values that makes sense for its target; raises as `compare`."""
    if not values:
        raise FilterError(f"'{target} in' needs at least one value")
    for value in values:
        if isinstance(value, float) and math.isnan(value):
            raise FilterError(f"nan equals nothing; write '{target} is nan'")
        _check_value(target, "=", value)
    return Among(target, tuple(values))


def is_nan(target: Target) -> Node:
    return NotANumber(_entry(target))


def time_of(text: str) -> float:
    """Seconds since the epoch of an ISO date or time; UTC unless it names an offset."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _entry(target: Target) -> Entry | Column:
    if isinstance(target, Field):
        raise FilterError(f"{target} is never nan; only config and summary entries can be")
    if target.kind not in ("entry", "number"):
        raise FilterError(f"{target} is never nan; it holds {target.kind}")
    return target


def _check_order(target: Target, order: Order) -> None:
    if (order == "has") != (target.kind == "tags"):
        if target.kind == "tags":
            raise FilterError(f"tags can't be compared with '{order}'; write 'tags has \"name\"' or 'tags in (...)'")
        raise FilterError(f"'has' is for tags, not for {target}")
    if target.kind == "bool" and order not in ("=", "!="):
        raise FilterError(f"{target} is true or false, which have no order; write '{target} = true'")
    if order in ("like", "matches") and target.kind in ("time", "number"):
        raise FilterError(f"'{order}' is for text, but {target} is a {target.kind}")


def _check_value(target: Target, order: Order, value: Value) -> None:
    wanted = _wanted(target, order, value)
    if wanted:
        raise FilterError(f"{target} is compared with {wanted}, not with {_literal(value)}")
    if order == "matches":
        try:
            re.compile(str(value))
        except re.error as error:
            raise FilterError(f"{_literal(value)} is no regular expression: {error}") from error
    if order == "like" and re.search(r"(?<!\\)(\\\\)*\\$", str(value)):
        raise FilterError("a pattern for 'like' can't end in a single backslash")


def _wanted(target: Target, order: Order, value: Value) -> str | None:
    """What the value should have been, or None if it is right."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match target.kind:
        case "text" | "tags":
            return None if isinstance(value, str) else "text in quotes"
        case "number":
            fits = is_number or (isinstance(value, Span) and target == Field("duration"))
            return None if fits else "a number"
        case "time":
            return None if isinstance(value, Span) or _is_time(value) else "a time like '2026-01-31 12:00' or -7d"
        case "bool":
            return None if isinstance(value, bool) else "true or false"
        case "entry":
            if order in ("like", "matches"):
                return None if isinstance(value, str) else "text in quotes"
            if isinstance(value, bool):
                return None if order in ("=", "!=") else "a number or text"
            return "a number, text, true or false" if isinstance(value, Span) else None


def _is_time(value: Value) -> bool:
    if not isinstance(value, str):
        return False
    try:
        time_of(value)
    except (ValueError, OverflowError):
        return False
    return True


def _grouped(node: Node) -> str:
    return f"({node})" if isinstance(node, And | Or) else str(node)


def _literal(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _quoted(value) if isinstance(value, str) else str(value)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)

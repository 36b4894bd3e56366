"""From text to nodes: a tokeniser and a recursive descent.

Filters of the rows of a table name columns instead, as words or in backticks.

either     := every ("or" every)*
every      := negation ("and" negation)*
negation   := "not" negation | "(" either ")" | condition
condition  := target (order value | ["not"] "in" "(" value, ... ")" | ["not"] ("like" | "matches" | "has") value
                      | "is" ["not"] ("null" | "nan"))
target     := a field's name | ("config" | "summary") "." key
value      := text in quotes | number | length of time | true | false | nan | inf
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Final, Literal, NoReturn, TypeAlias, TypeVar, cast

from trackkit.backend.store.filters.nodes import (
    BARE_SEGMENT,
    FIELDS,
    UNITS,
    Column,
    Entry,
    Field,
    FilterError,
    Missing,
    Node,
    Not,
    Order,
    Span,
    Target,
    Value,
    among,
    compare,
    either,
    every,
    is_nan,
)

MAX_DEPTH: Final = 20
"""Of parentheses and `not`s within each other; SQLite's own parser has a limit not far above."""

ALIASES = {
    "display_name": "name",
    "created_at": "created",
    "updated_at": "updated",
    "heartbeat_at": "updated",
    "jobtype": "job_type",
    "run_group": "group",
    "tag": "tags",
}

_TOKEN = re.compile(
    rf"""\s+
    | (?P<entry>(?:config|summary(?:_metrics)?)(?=\.))
    | (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)(?P<unit>{"|".join(UNITS)})?(?![\w.])
    | (?P<infinite>[+-]?(?:inf(?:inity)?|nan)\b)
    | (?P<word>[^\W\d]\w*)
    | (?P<sign>==|!=|<>|<=|>=|[=<>(),])
    | (?P<text>(?=["'`]))""",
    re.VERBOSE | re.IGNORECASE,
)
_SEGMENT = re.compile(BARE_SEGMENT)
_QUOTED = re.compile(r""""((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|`((?:[^`\\]|\\.)*)`""", re.DOTALL)
_ESCAPE = re.compile(r"""\\(u[0-9a-fA-F]{4}|.)""", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_ORDERS: dict[str, Order] = {
    "=": "=", "==": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=",
    "like": "like", "matches": "matches", "has": "has",
}  # fmt: skip

TokenKind: TypeAlias = Literal["target", "value", "word", "sign", "end"]
Result = TypeVar("Result")


class Token:
    """A piece of the expression: what it is, where it stands, and what it means."""

    __slots__ = ("column", "kind", "meaning", "text")

    def __init__(self, kind: TokenKind, column: int, text: str, meaning: Target | Value | str) -> None:
        self.kind = kind
        self.column = column
        self.text = text
        self.meaning = meaning


def parse(source: str, columns: Mapping[str, Column] | None = None) -> Node:
    """The filter that an expression means.

    Parameters
    ----------
    source
        The expression.
    columns
        The columns of a table by name; without them it is a filter of runs.

    Raises
    ------
    FilterError
        If it means none; the message points at the column.
    """
    return _Parser(source, columns).filter()


def parse_target(source: str) -> Field | Entry:
    """The field or entry that a text names, as `name` or `config.lr`; raises as `parse`."""
    target = _Parser(source).target()
    assert not isinstance(target, Column), "runs have no columns"
    return target


def _refuse(source: str, position: int, message: str) -> NoReturn:
    line_start = source.rfind("\n", 0, position) + 1
    line = source[line_start:].partition("\n")[0].replace("\t", " ")
    pointer = " " * (position - line_start) + "^"
    raise FilterError(f"{message} (column {position + 1} of the filter)\n  {line}\n  {pointer}", position + 1)


def _tokens(source: str, columns: Mapping[str, Column] | None = None) -> list[Token]:
    tokens: list[Token] = []
    position = 0
    while position < len(source):
        match = _TOKEN.match(source, position)
        if match is None:
            _refuse(source, position, f"{source[position]!r} means nothing here")
        token, end = _token(source, match) if columns is None else _column_token(source, match, columns)
        if token is not None:
            tokens.append(token)
        position = end
    tokens.append(Token("end", len(source), "", ""))
    return tokens


def _token(source: str, match: re.Match[str]) -> tuple[Token | None, int]:
    """The token at a match, None for blanks, and where the next begins."""
    start, end, text = match.start(), match.end(), match.group()
    match match.lastgroup:
        case "entry":
            table: Literal["config", "summary"] = "config" if text.lower() == "config" else "summary"
            key, end = _key(source, end, table)
            return Token("target", start, source[start:end], Entry(table, key)), end
        case "number":
            return Token("value", start, text, _number(text)), end
        case "unit":
            number, unit = match.group("number"), match.group("unit")
            return Token("value", start, text, Span(_number(number), unit.lower())), end
        case "infinite":
            return Token("value", start, text, float(text)), end
        case "word":
            return Token("word", start, text, text.lower()), end
        case "sign":
            return Token("sign", start, text, text), end
        case "text":
            string, end = _string(source, start)
            return Token("value", start, source[start:end], string), end
    return None, end


def _column_token(source: str, match: re.Match[str], columns: Mapping[str, Column]) -> tuple[Token | None, int]:
    """As `_token`, where columns are named: in backticks, whatever their names."""
    start, text = match.start(), match.group()
    if match.lastgroup == "entry":
        return Token("word", start, text, text.lower()), match.end()
    if match.lastgroup == "text" and source[start] == "`":
        name, end = _string(source, start)
        if name not in columns:
            _refuse(source, start, _no_column(name, columns))
        return Token("target", start, source[start:end], columns[name]), end
    return _token(source, match)


def _no_column(name: str, columns: Mapping[str, Column]) -> str:
    known = ", ".join(str(column) for column in list(columns.values())[:20])
    return f"there is no column {name!r}; there are {known}"


def _number(text: str) -> int | float:
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)


def _key(source: str, position: int, table: str) -> tuple[str, int]:
    """The key whose first "." stands at `position`, and where it ends."""
    segments: list[str] = []
    while source[position : position + 1] == ".":
        position += 1
        if source[position : position + 1] in ("'", '"', "`"):
            segment, position = _string(source, position)
        elif match := _SEGMENT.match(source, position):
            segment, position = match.group(), match.end()
        else:
            _refuse(source, position, f"a key is expected after '{table}.'; quote it if it has odd characters")
        segments.append(segment)
    return ".".join(segments), position


def _string(source: str, position: int) -> tuple[str, int]:
    match = _QUOTED.match(source, position)
    if match is None:
        _refuse(source, position, f"this text is not closed: a {source[position]} is missing")
    raw = next(group for group in match.groups() if group is not None)
    return _ESCAPE.sub(_unescape, raw), match.end()


def _unescape(match: re.Match[str]) -> str:
    code = match.group(1)
    if len(code) == 5:
        return cast(str, json.loads(f'"\\{code}"'))
    return _ESCAPES.get(code, code)


class _Parser:
    def __init__(self, source: str, columns: Mapping[str, Column] | None = None) -> None:
        self.source = source
        self.columns = columns
        self.tokens = _tokens(source, columns)
        self.next = 0
        self.depth = 0

    def filter(self) -> Node:
        if len(self.tokens) == 1:
            self._refuse("the filter is empty; write a condition such as 'config.lr < 0.01'")
        node = self._either()
        if self._token.kind != "end":
            self._expected("'and', 'or' or the end")
        return node

    def target(self) -> Target:
        target = self._target()
        if self._token.kind != "end":
            self._expected(f"nothing after {target}")
        return target

    def _either(self) -> Node:
        parts = [self._every()]
        while self._accept("or"):
            parts.append(self._every())
        return either(parts)

    def _every(self) -> Node:
        parts = [self._negation()]
        while self._accept("and"):
            parts.append(self._negation())
        return every(parts)

    def _negation(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self._refuse(f"the filter is nested more than {MAX_DEPTH} deep")
        node: Node
        if self._accept("not"):
            node = Not(self._negation())
        elif self._accept("("):
            node = self._either()
            if not self._accept(")"):
                self._expected("')'")
        else:
            node = self._condition()
        self.depth -= 1
        return node

    def _condition(self) -> Node:
        target = self._target()
        if self._accept("is"):
            negated = self._accept("not")
            return _negated_if(negated, self._property(target))
        at = self._token
        negated = self._accept("not")
        if self._accept("in"):
            values = self._values()
            return _negated_if(negated, self._checked(at, lambda: among(target, values)))
        word = str(self._token.meaning)
        if self._token.kind not in ("sign", "word") or word not in _ORDERS or (negated and not word.isalpha()):
            self._expected("'in', 'like', 'matches' or 'has'" if negated else f"a comparison after {target}")
        self.next += 1
        value = self._value(f"a value after '{word}'")
        return _negated_if(negated, self._checked(at, lambda: compare(target, _ORDERS[word], value)))

    def _target(self) -> Target:
        token = self._token
        if isinstance(token.meaning, Entry | Column):
            self.next += 1
            return token.meaning
        if token.kind != "word" or token.meaning in ("and", "or", "in", "is", "like"):
            self._expected("a condition such as 'config.lr < 0.01'")
        if self.columns is not None:
            if token.text not in self.columns:
                self._refuse(_no_column(token.text, self.columns))
            self.next += 1
            return self.columns[token.text]
        name = ALIASES.get(str(token.meaning), str(token.meaning))
        if name not in FIELDS:
            self._refuse(
                f"there is no field {token.text!r}; there are {', '.join(FIELDS)}, config.<key> and summary.<key>"
            )
        self.next += 1
        return Field(name)

    def _property(self, target: Target) -> Node:
        at = self._token
        if self._accept("null") or self._accept("none"):
            return Missing(target)
        if isinstance(at.meaning, float) and math.isnan(at.meaning):
            self.next += 1
            return self._checked(at, lambda: is_nan(target))
        self._expected("'null', 'not null', 'nan' or 'not nan'")

    def _values(self) -> list[Value]:
        if not self._accept("("):
            self._expected("'(' and a list of values")
        values = [self._value("a value")]
        while self._accept(","):
            values.append(self._value("a value"))
        if not self._accept(")"):
            self._expected("',' or ')'")
        return values

    def _value(self, expected: str) -> Value:
        token = self._token
        if token.kind == "word" and token.meaning in ("true", "false"):
            self.next += 1
            return token.meaning == "true"
        if token.kind == "word" and token.meaning in ("null", "none"):
            self._refuse("nothing equals null; write 'is null' or 'is not null'")
        if token.kind == "target":
            self._refuse(f"{expected} is expected, but {token.text} is another entry")
        if token.kind == "word" and token.meaning not in ("and", "or", "not"):
            self._refuse(f"text stands in quotes; write '{token.text}'")
        if token.kind != "value":
            self._expected(expected)
        self.next += 1
        return cast(Value, token.meaning)

    @property
    def _token(self) -> Token:
        return self.tokens[self.next]

    def _accept(self, word: str) -> bool:
        token = self._token
        if token.kind in ("word", "sign") and token.meaning == word:
            self.next += 1
            return True
        return False

    def _checked(self, at: Token, make: Callable[[], Result]) -> Result:
        try:
            return make()
        except FilterError as error:
            _refuse(self.source, at.column, str(error))

    def _expected(self, what: str) -> NoReturn:
        token = self._token
        found = "the filter ends" if token.kind == "end" else f"there is {token.text!r}"
        self._refuse(f"{what} is expected, but {found}")

    def _refuse(self, message: str) -> NoReturn:
        _refuse(self.source, self._token.column, message)


def _negated_if(negated: bool, node: Node) -> Node:
    return Not(node) if negated else node

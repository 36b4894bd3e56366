"""MLflow's filters and orders, read: comparisons joined by AND, and keys with a direction.

The grammar is that of `mlflow.utils.search_utils`: no OR, no parentheses but those of lists, no NOT. Errors are worded
as there, as clients' tests look at them. What an identifier means depends on what is searched, see `Grammar`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from trackkit.backend.store.filters import FilterError

Value = str | float | int | tuple[str, ...] | None

MOST_CONDITIONS: Final = 100
LONGEST: Final = 100_000
"""Characters of a filter."""

NUMBERS: Final = frozenset({">", ">=", "!=", "=", "<", "<="})
TEXTS: Final = frozenset({"!=", "=", "LIKE", "ILIKE"})
LISTS: Final = frozenset({"IN", "NOT IN"})
NULLS: Final = frozenset({"IS NULL", "IS NOT NULL"})

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<list>\([^()]*\)) |(?P<group>\(.*\)) |(?P<open>[()])
    |(?P<string>'[^']*') |(?P<op>>=|<=|!=|<>|==|=|>|<)
    |(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    |(?P<word>(?:`[^`]*`|"[^"]*"|[^\s()'"`<>=!,;])+)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_STRING = re.compile(r"""\s*(?:'([^']*)'|"([^"]*)")\s*""")
_ALIASES: Final = {
    "metrics": "metric", "param": "parameter", "params": "parameter", "parameters": "parameter", "tags": "tag",
    "attr": "attribute", "attributes": "attribute", "run": "attribute", "datasets": "dataset",
}  # fmt: skip
_ENTITIES: Final = ("metric", "parameter", "tag", "attribute", "dataset")


class Condition(msgspec.Struct, frozen=True):
    """A comparison: `entity` is one of metric, parameter, tag, attribute and dataset."""

    entity: str
    key: str
    comparator: str
    value: Value


class Ordering(msgspec.Struct, frozen=True):
    """A key of an order."""

    entity: str
    key: str
    ascending: bool


@dataclass(frozen=True)
class Grammar:
    """What may be compared where something is searched.

    Parameters
    ----------
    texts, numbers
        Attributes by what they are.
    entities
        What there is beside attributes.
    lists
        Attributes that may be compared with a list.
    orders
        Attributes to order by.
    aliases
        Other names of attributes.
    """

    texts: Sequence[str]
    numbers: Sequence[str]
    entities: Sequence[str]
    lists: Sequence[str]
    orders: Sequence[str]
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def attributes(self) -> list[str]:
        """All attributes that may be compared, their other names among them."""
        return [*self.texts, *self.numbers, *self.aliases]


RUNS: Final = Grammar(
    texts=("run_id", "run_name", "status", "artifact_uri", "user_id"),
    numbers=("start_time", "end_time"),
    entities=_ENTITIES,
    lists=("run_id",),
    orders=("run_id", "run_name", "status", "artifact_uri", "user_id", "start_time", "end_time"),
    aliases={"created": "start_time", "Created": "start_time", "run name": "run_name", "Run name": "run_name",
             "Run Name": "run_name"},
)  # fmt: skip
EXPERIMENTS: Final = Grammar(
    texts=("name", "experiment_id"),
    numbers=("creation_time", "last_update_time"),
    entities=("attribute", "tag"),
    lists=("experiment_id",),
    orders=("name", "experiment_id", "creation_time", "last_update_time"),
)
REGISTERED_MODELS: Final = Grammar(
    texts=("name",),
    numbers=(),
    entities=("attribute", "tag"),
    lists=(),
    orders=("name", "timestamp", "creation_timestamp", "last_updated_timestamp"),
)
MODEL_VERSIONS: Final = Grammar(
    texts=("name", "run_id", "source_path"),
    numbers=("version_number",),
    entities=("attribute", "tag"),
    lists=("run_id",),
    orders=("name", "version_number", "creation_timestamp", "last_updated_timestamp"),
)
LOGGED_MODELS: Final = Grammar(
    texts=("name", "model_id", "model_type", "status", "source_run_id"),
    numbers=("creation_timestamp", "creation_time", "last_updated_timestamp"),
    entities=("attribute", "metric", "parameter", "tag"),
    lists=("model_id", "name", "status", "model_type", "source_run_id"),
    orders=("name", "model_id", "creation_timestamp", "creation_time", "last_updated_timestamp"),
)


class _Token(msgspec.Struct):
    kind: str
    text: str


def parse(text: str, grammar: Grammar) -> list[Condition]:
    """The comparisons of a filter.

    Raises
    ------
    FilterError
        If it is none.

    Examples
    --------
    >>> parse("metrics.acc > 0.9 and tags.`a b` LIKE '%x%'", RUNS)[1]
    Condition(entity='tag', key='a b', comparator='LIKE', value='%x%')
    """
    if len(text) > LONGEST:
        raise FilterError(f"a filter has at most {LONGEST:,} characters, not {len(text):,}")
    tokens = _tokens(text)
    found, wrong, at = [], [], 0
    while at < len(tokens):
        size, made = _comparison(tokens, at)
        if made is not None:
            found.append(made)
            at += size
            continue
        if tokens[at].text.upper() != "AND":
            wrong.append(f"'{tokens[at].text}'" if grammar is RUNS else tokens[at].text)
        at += 1
    if wrong:
        raise FilterError(f"Invalid clause(s) in filter string: {', '.join(wrong)}")
    if len(found) > MOST_CONDITIONS:
        raise FilterError(f"a filter has at most {MOST_CONDITIONS} comparisons, not {len(found)}")
    return [_resolved(*each, grammar) for each in found]


def parse_order(text: str, grammar: Grammar) -> Ordering:
    """A key of an order.

    Raises
    ------
    FilterError
        If it is none.
    """
    tokens = _tokens(text)
    if text.count("`") % 2 or text.count('"') % 2 or len(tokens) not in (1, 2) or tokens[0].kind != "word":
        raise FilterError(f"Invalid order_by clause '{text}'. Could not be parsed.")
    direction = tokens[1].text.lower() if len(tokens) == 2 else "asc"
    if direction not in ("asc", "desc"):
        raise FilterError(f"Invalid ordering key in order_by clause '{text}'.")
    entity, key = _identifier(tokens[0].text, grammar, grammar.orders)
    return Ordering(entity, grammar.aliases.get(key, key), direction == "asc")


def _tokens(text: str) -> list[_Token]:
    return [
        _Token(str(found.lastgroup), found.group()) for found in _TOKEN.finditer(text) if found.lastgroup != "space"
    ]


Raw = tuple[str, str, _Token | None]


def _comparison(tokens: list[_Token], at: int) -> tuple[int, Raw | None]:
    """A comparison at a position, and how many tokens it takes."""
    rest = tokens[at : at + 4]
    if rest[0].kind != "word" or rest[0].text.upper() in ("AND", "OR", "NOT", "IN", "IS", "LIKE", "ILIKE"):
        return 0, None
    words = [token.text.upper() for token in rest]
    if words[1:4] == ["IS", "NOT", "NULL"]:
        return 4, (rest[0].text, "IS NOT NULL", None)
    if words[1:3] == ["IS", "NULL"]:
        return 3, (rest[0].text, "IS NULL", None)
    if words[1:3] == ["NOT", "IN"] and len(rest) == 4 and rest[3].kind == "list":
        return 4, (rest[0].text, "NOT IN", rest[3])
    if len(rest) < 3 or rest[2].kind not in ("string", "number", "word", "list"):
        return 0, None
    if rest[1].kind == "op" or words[1] in ("LIKE", "ILIKE") or (words[1] == "IN" and rest[2].kind == "list"):
        return 3, (rest[0].text, words[1], rest[2])
    return 0, None


def _identifier(text: str, grammar: Grammar, attributes: Sequence[str]) -> tuple[str, str]:
    """What an identifier names: an entity and a key."""
    before, dot, after = text.partition(".")
    entity, key = (before, after) if dot and not text.startswith(("`", '"')) else ("attribute", text)
    entity = _ALIASES.get(entity.strip("`"), entity.strip("`"))
    if entity not in grammar.entities:
        raise FilterError(f"Invalid entity type '{entity}'. Valid values are {list(grammar.entities)}")
    if len(key) > 1 and key[0] == key[-1] and key[0] in "`\"'":
        key = key[1:-1]
    if entity == "attribute" and key not in (*attributes, *grammar.aliases):
        raise FilterError(f"Invalid attribute key '{key}' specified. Valid keys are {sorted(attributes)}")
    if entity == "dataset" and key not in ("name", "digest", "context"):
        raise FilterError(f"Invalid dataset key '{key}' specified. Valid keys are ['context', 'digest', 'name']")
    return entity, key


def _resolved(name: str, comparator: str, token: _Token | None, grammar: Grammar) -> Condition:
    entity, key = _identifier(name, grammar, grammar.attributes)
    key = grammar.aliases.get(key, key) if entity == "attribute" else key
    if comparator in NULLS:
        if entity not in ("tag", "parameter"):
            text = f"IS NULL / IS NOT NULL is only supported for tags and params, not for '{entity}' '{key}'"
            raise FilterError(text)
        return Condition(entity, key, comparator, None)
    assert token is not None
    value = _value(entity, key, token, grammar)
    numeric = entity == "metric" or (entity == "attribute" and key in grammar.numbers)
    allowed = NUMBERS if numeric else TEXTS
    if entity == "dataset" or (entity == "attribute" and key in grammar.lists):
        allowed = allowed | LISTS
    if entity in ("tag", "parameter"):
        allowed = allowed | NULLS
    if comparator not in allowed:
        raise FilterError(f"Invalid comparator '{comparator}' not one of {sorted(allowed)}")
    return Condition(entity, key, comparator, value)


def _value(entity: str, key: str, token: _Token, grammar: Grammar) -> Value:
    if entity == "metric" or (entity == "attribute" and key in grammar.numbers):
        if token.kind != "number":
            what = "metric" if entity == "metric" else f"numeric attribute: {key}"
            raise FilterError(f"Expected numeric value type for {what}. Found {token.text}")
        return float(token.text) if entity == "metric" or re.search(r"[.eE]", token.text) else int(token.text)
    if token.kind == "list":
        if entity == "attribute" and key not in grammar.lists:
            raise FilterError(
                f"Only {sorted(grammar.lists)} attributes support comparison with a list of quoted string values."
            )
        if entity in ("tag", "parameter"):
            raise FilterError(f"Expected a quoted string value for {entity} (e.g. 'my-value'). Got value {token.text}")
        return _list(token.text)
    quoted = _STRING.fullmatch(token.text)
    if quoted is None:
        if entity in ("tag", "parameter") and token.kind == "number":
            raise FilterError(f"Expected a quoted string value for {entity} (e.g. 'my-value'). Got value {token.text}")
        if token.kind == "word":
            raise FilterError(
                "Parameter value is either not quoted or unidentified quote types used for string value "
                f"{token.text}. Use either single or double quotes."
            )
        raise FilterError(f"Expected a quoted string value for {entity}s. Got value {token.text}")
    return quoted[1] if quoted[1] is not None else quoted[2]


def _list(text: str) -> tuple[str, ...]:
    values, at = [], 0
    inner = text[1:-1]
    if not inner.strip():
        raise FilterError(
            "While parsing a list in the query, expected a non-empty list of string values, but got empty list"
        )
    while True:
        found = _STRING.match(inner, at)
        if found is None:
            raise FilterError(f"While parsing a list in the query, expected string value, got {text}")
        values.append(found[1] if found[1] is not None else found[2])
        at = found.end()
        if at == len(inner):
            return tuple(values)
        if inner[at] != ",":
            raise FilterError(f"While parsing a list in the query, expected string value, got {text}")
        at += 1

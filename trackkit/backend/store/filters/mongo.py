"""From W&B's filters, dicts in the manner of MongoDB, to the same nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from trackkit.backend.store.filters.nodes import (
    FIELDS,
    Entry,
    Field,
    FilterError,
    Missing,
    Node,
    Not,
    Order,
    Target,
    Value,
    among,
    compare,
    either,
    every,
)

NAMES = {
    "name": "id",
    "display_name": "name",
    "displayName": "name",
    "created_at": "created",
    "createdAt": "created",
    "updated_at": "updated",
    "updatedAt": "updated",
    "heartbeat_at": "updated",
    "heartbeatAt": "updated",
    "jobType": "job_type",
    "description": "notes",
    "exitcode": "exit_code",
    "tag": "tags",
}
"""W&B's names for the fields; what it calls a run's `name` is its id."""

_ORDERS: dict[str, Order] = {"$eq": "=", "$ne": "!=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


def translate(filters: Mapping[str, Any]) -> Node | None:
    """The filter that a dict in W&B's manner means; None if it is empty.

    Raises
    ------
    FilterError
        If it means none.
    """
    parts = [_item(key, value) for key, value in filters.items()]
    return every(parts) if parts else None


def _item(key: str, value: Any) -> Node:
    match key:
        case "$and":
            return every(_list(key, value))
        case "$or":
            return either(_list(key, value))
        case "$nor":
            return Not(either(_list(key, value)))
        case "$not":
            return Not(_nested(value))
    if key.startswith("$"):
        raise FilterError(f"{key} is not known here; $and, $or, $nor and $not are")
    target = _target(key)
    if isinstance(value, Mapping) and value and all(str(operator).startswith("$") for operator in value):
        return _operators(target, value)
    return _equal(target, value)


def _list(key: str, value: Any) -> list[Node]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise FilterError(f"{key} takes a list of one or more filters, not {value!r}")
    return [_nested(part) for part in value]


def _nested(value: Any) -> Node:
    node = translate(value) if isinstance(value, Mapping) else None
    if node is None:
        raise FilterError(f"a filter is a dict with at least one key, not {value!r}")
    return node


def _target(key: str) -> Target:
    table, _, below = key.partition(".")
    if below and table == "config":
        return Entry("config", below.removesuffix(".value"))
    if below and table in ("summary", "summary_metrics", "summaryMetrics"):
        return Entry("summary", below)
    name = NAMES.get(key, key)
    if name not in FIELDS:
        known = ", ".join(sorted({*FIELDS, *NAMES}))
        raise FilterError(f"there is no key {key!r}; there are {known}, config.<key> and summary_metrics.<key>")
    return Field(name)


def _operators(target: Target, operators: Mapping[str, Any]) -> Node:
    options = operators.get("$options", "")
    parts = [_operator(target, key, value, options) for key, value in operators.items() if key != "$options"]
    if not parts:
        raise FilterError("$options stands beside a $regex")
    return every(parts)


def _operator(target: Target, operator: str, value: Any, options: str) -> Node:
    if operator in _OPERATORS:
        return _OPERATORS[operator](target, value)
    if operator in _ORDERS:
        return compare(target, _ORDERS[operator], _value(value))
    if operator == "$regex":
        pattern = f"(?{options}){value}" if options else value
        if target.kind == "tags":
            raise FilterError("$regex can't be used on tags; use $in")
        return compare(target, "matches", pattern)
    known = ", ".join([*_ORDERS, *_OPERATORS, "$regex"])
    raise FilterError(f"{operator} is not known here; {known} are")


def _equal(target: Target, value: Any) -> Node:
    if value is None:
        return Missing(target)
    return compare(target, "has" if target.kind == "tags" else "=", _value(value))


def _unequal(target: Target, value: Any) -> Node:
    return (
        Not(_equal(target, value)) if value is None or target.kind == "tags" else compare(target, "!=", _value(value))
    )


def _among(target: Target, values: Any) -> Node:
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise FilterError(f"$in and $nin take a list of values, not {values!r}")
    given = [_value(value) for value in values if value is not None]
    parts: list[Node] = [among(target, given)] if given or not values else []
    return either([*parts, Missing(target)] if None in values else parts)


def _exists(target: Target, value: Any) -> Node:
    return Not(Missing(target)) if value else Missing(target)


def _negation(target: Target, value: Any) -> Node:
    return Not(_operators(target, value) if isinstance(value, Mapping) else _equal(target, value))


def _all_tags(target: Target, values: Any) -> Node:
    if target.kind != "tags" or not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise FilterError('$all is for tags: {"tags": {"$all": ["a", "b"]}}')
    return every([_equal(target, value) for value in values])


_OPERATORS: dict[str, Callable[[Target, Any], Node]] = {
    "$eq": _equal,
    "$ne": _unequal,
    "$in": _among,
    "$nin": lambda target, values: Not(_among(target, values)),
    "$exists": _exists,
    "$not": _negation,
    "$all": _all_tags,
}


def _value(value: Any) -> Value:
    if hasattr(value, "item") and not isinstance(value, str | int | float):
        value = value.item()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool | int | float | str):
        return value
    raise FilterError(f"a run's value can be compared with a number, text, true or false, not with {value!r}")

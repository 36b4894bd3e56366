"""Filters of runs: an expression such as `config.lr < 0.01 and tags has "baseline"`, or W&B's dicts.

`parse` makes either into nodes, `where` makes nodes into a condition in SQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trackkit.backend.store.filters.mongo import translate
from trackkit.backend.store.filters.nodes import (
    Among,
    And,
    Compare,
    Entry,
    Field,
    FilterError,
    Missing,
    Node,
    Not,
    NotANumber,
    Or,
    Span,
)
from trackkit.backend.store.filters.sql import where
from trackkit.backend.store.filters.syntax import parse as parse_expression

__all__ = [
    "Among",
    "And",
    "Compare",
    "Entry",
    "Field",
    "FilterError",
    "Missing",
    "Node",
    "Not",
    "NotANumber",
    "Or",
    "Span",
    "parse",
    "where",
]


def parse(filters: str | Mapping[str, Any] | None) -> Node | None:
    """The filter that an expression or a dict in W&B's manner means; None for every run.

    Raises
    ------
    FilterError
        If it means none; for an expression the message points at the column.

    Examples
    --------
    >>> print(parse("config.lr < 1e-2 and not state = 'failed'"))
    config.lr < 0.01 and not state = "failed"
    >>> print(parse({"summary_metrics.acc": {"$gte": 0.9}, "tags": {"$in": ["baseline"]}}))
    summary.acc >= 0.9 and tags in ("baseline")
    """
    if filters is None or (isinstance(filters, str) and not filters.strip()):
        return None
    return parse_expression(filters) if isinstance(filters, str) else translate(filters)

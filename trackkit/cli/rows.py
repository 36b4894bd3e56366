"""Runs as rows: what of a run fits a table, a line of JSON, a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trackkit.cli import output
from trackkit.query import Run

CHOSEN_CONFIG = 4
CHOSEN_SUMMARY = 4
"""How many keys a table of runs picks by itself."""


def row(run: Run) -> dict[str, Any]:
    """All of a run that fits a list, for JSON."""
    return {
        "id": run.id,
        "project": run.project,
        "name": run.name,
        "state": run.state,
        "group": run.group,
        "job_type": run.job_type,
        "notes": run.notes,
        "tags": run.tags,
        "created": run.created,
        "updated": run.updated,
        "ended": run.ended,
        "duration": run.duration,
        "exit_code": run.exit_code,
        "config": run.config,
        "summary": dict(run.summary),
    }


def values(run: Run) -> dict[str, Any]:
    """A run's config and summary by dotted key, with `config.` or `summary.` before it, and its plain fields."""
    entries = {f"config.{key}": value for key, value in flat(run.config)}
    entries |= {f"summary.{key}": value for key, value in flat(dict(run.summary))}
    entries |= {"group": run.group, "job_type": run.job_type, "notes": run.notes, "tags": ", ".join(run.tags)}
    return entries


def flat(nested: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """The entries of nested dicts under dotted keys."""
    entries: list[tuple[str, Any]] = []
    for key, value in nested.items():
        name = f"{before}{key}"
        entries += flat(value, f"{name}.") if isinstance(value, dict) and value else [(name, value)]
    return entries


def chosen(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The keys that tell runs apart: config that differs, and the numbers most of them end with."""
    keys = list(dict.fromkeys(key for entries in rows for key in entries))
    differing = [key for key in keys if key.startswith("config.") and differs(key, rows)]
    ends = [key for key in keys if key.startswith("summary.") and is_shared_number(key, rows)]
    return differing[:CHOSEN_CONFIG] + ends[:CHOSEN_SUMMARY]


def differs(key: str, rows: Sequence[dict[str, Any]]) -> bool:
    """Whether the rows have more than one value under the key."""
    return len({output.text(entries.get(key)) for entries in rows}) > 1


def is_shared_number(key: str, rows: Sequence[dict[str, Any]]) -> bool:
    """Whether at least half of the runs have a number under the key."""
    numbers = sum(isinstance(entries.get(key), (int, float)) for entries in rows)
    return 2 * numbers >= len(rows)


def header(key: str) -> str:
    """A column's name: the key without what it is a key of."""
    return output.printable(key.partition(".")[2] if key.startswith(("config.", "summary.")) else key)

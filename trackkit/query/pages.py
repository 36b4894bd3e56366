"""What notebooks show of runs: small pieces of HTML, in which nothing a run says is taken for markup."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LONGEST = 200
"""Characters of a value that are shown."""


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], note: str = "") -> str:
    """A table, with a note below it."""
    cells = "".join(f"<th>{_text(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    below = f"<p>{_text(note)}</p>" if note else ""
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>{below}"


def facts(title: str, facts: Mapping[str, Any], sections: Mapping[str, Mapping[str, Any]]) -> str:
    """A heading, a list of facts, and sections that can be unfolded."""
    listed = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in facts.items())
    folded = "".join(_folded(name, entries) for name, entries in sections.items() if entries)
    return f"<div><strong>{_text(title)}</strong><table>{listed}</table>{folded}</div>"


def _folded(name: str, entries: Mapping[str, Any]) -> str:
    listed = table(("key", "value"), entries.items())
    return f"<details><summary>{_text(name)} ({len(entries)})</summary>{listed}</details>"


def _text(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return html.escape(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")

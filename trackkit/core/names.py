"""What runs, writers and projects may be called."""

from __future__ import annotations

import re

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def is_run_id(text: str) -> bool:
    """Whether a run, or a writer, may have this id: it is part of paths and URLs."""
    return _ID.fullmatch(text) is not None


def is_project(text: str) -> bool:
    """Whether a project may be called this."""
    return 0 < len(text) <= 128 and "/" not in text and "\0" not in text

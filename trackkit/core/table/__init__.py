"""Tables: rows and columns of numbers, texts and media, however many."""

from __future__ import annotations

from trackkit.core.table.table import Table

__all__ = ["Table"]

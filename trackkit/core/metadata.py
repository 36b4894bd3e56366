"""Facts about an artifact, as JSON can hold them."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping, Set
from typing import Any

from trackkit.core.records import Json


def check_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Json]:
    """Metadata as JSON can hold it.

    Raises
    ------
    TypeError
        If something in it can't be.
    """
    if metadata is None:
        return {}
    try:
        text = json.dumps(dict(metadata), default=_plain)
        plain: dict[str, Json] = json.loads(text)
    except (TypeError, ValueError) as error:
        raise TypeError(f"metadata must be a dict of what JSON can hold: {error}") from None
    return plain


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Set):
        return sorted(value, key=str)
    if isinstance(value, (os.PathLike, datetime.date)):
        return os.fspath(value) if isinstance(value, os.PathLike) else value.isoformat()
    raise TypeError(f"a {type(value).__name__} is nothing JSON can hold")

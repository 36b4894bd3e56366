"""`Chart`: a small specification of a chart and the data it draws; made by the functions of `trackkit.plot`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from trackkit.core.media.snapshot import Media, Snapshot, named
from trackkit.core.records import Json

TYPES: Final = ("line", "scatter", "bar", "histogram", "line_series", "roc", "pr", "confusion_matrix", "vega")
MOST_ROWS: Final = 100_000


class Chart(Media):
    """A chart of data, drawn by the dashboard.

    Its content is a JSON object: `type`, `title`, `fields` (which column is x, y, …), `data` (columns of equal length),
    and for the type `vega` `spec`, a Vega-Lite specification. NaN and infinities are null.

    Parameters
    ----------
    type
        line, scatter, bar, histogram, line_series, roc, pr, confusion_matrix, or vega.
    data
        Columns by name.
    fields
        The role of columns: `{"x": "step", "y": "loss"}`.
    title
        Shown above.
    spec
        The Vega-Lite specification, or the name of one.
    options
        What else the type takes.

    Raises
    ------
    ValueError
        If columns differ in length, are too long, or a field names none.
    """

    kind = "chart"

    def __init__(
        self,
        type: str,
        data: Mapping[str, Sequence[Any]],
        fields: Mapping[str, str],
        title: str | None = None,
        spec: Json = None,
        options: Mapping[str, Json] | None = None,
    ) -> None:
        self.type = type
        self.title = title
        self.fields = dict(fields)
        self.data = {str(name): [_plain(value) for value in values] for name, values in data.items()}
        lengths = {len(values) for values in self.data.values()}
        if len(lengths) > 1:
            raise ValueError(f"the columns of a chart must be of one length, not of {sorted(lengths)}")
        if max(lengths, default=0) > MOST_ROWS:
            text = f"a chart of {max(lengths):,} rows is larger than the limit of {MOST_ROWS:,}"
            raise ValueError(f"{text}; log a trackkit.Table, or draw less")
        for role, column in self.fields.items():
            if column not in self.data:
                raise ValueError(f"the field {role!r} of a chart is {column!r}, which is none of {[*self.data]}")
        self._content = {
            "type": type,
            **named(title=title, spec=spec),
            "fields": self.fields,
            "data": self.data,
            **(options or {}),
        }

    def snapshot(self) -> Snapshot:
        rows = max(map(len, self.data.values()), default=0)
        noted = named(type=self.type, title=self.title, rows=rows)
        try:
            content = msgspec.json.encode(self._content)
        except TypeError as error:
            raise TypeError(f"a chart holds what JSON can't: {error}") from None
        return Snapshot("chart", "bytes", {"extension": "json"}, noted, [content])


def _plain(value: Any) -> Json:
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)

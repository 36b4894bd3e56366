"""Charts of columns: lines, points, bars, histograms, and Vega-Lite specifications."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from trackkit.core.media.chart import Chart
from trackkit.core.table import Table

_NAMED: Final = {
    "line": "line", "scatter": "scatter", "bar": "bar", "histogram": "histogram", "lineseries": "line_series",
    "line_series": "line_series", "area-under-curve": "line_series", "confusion_matrix": "confusion_matrix",
}  # fmt: skip
"""Specifications that are known by name, with or without W&B's `wandb/` before and a version after it."""


def line(
    table: Any, x: str, y: str, stroke: str | None = None, title: str | None = None, split_table: bool = False
) -> Chart:
    """A line through the points of two columns.

    Parameters
    ----------
    table
        A `Table`, or whatever makes one.
    x, y
        Columns of numbers.
    stroke
        A column that tells several lines apart.
    title
        Shown above.
    split_table
        Accepted for scripts written for W&B.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    return _of_table("line", table, {"x": x, "y": y, "stroke": stroke}, title)


def scatter(table: Any, x: str, y: str, title: str | None = None, split_table: bool = False) -> Chart:
    """Points of two columns; see `line`."""
    return _of_table("scatter", table, {"x": x, "y": y}, title)


def bar(table: Any, label: str, value: str, title: str | None = None, split_table: bool = False) -> Chart:
    """A bar per row, of a column of texts and one of numbers; see `line`."""
    return _of_table("bar", table, {"label": label, "value": value}, title)


def histogram(table: Any, value: str, title: str | None = None, split_table: bool = False) -> Chart:
    """How often the values of a column fall into bins, which the dashboard chooses; see `line`."""
    return _of_table("histogram", table, {"value": value}, title)


def line_series(
    xs: Any,
    ys: Any,
    keys: Sequence[str] | None = None,
    title: str | None = None,
    xname: str = "x",
    split_table: bool = False,
) -> Chart:
    """Several lines.

    Parameters
    ----------
    xs
        The x of all lines, or one sequence per line.
    ys
        A sequence per line.
    keys
        The lines' names.
    title, xname
        Shown above, and along the x axis.
    split_table
        Accepted for scripts written for W&B.

    Raises
    ------
    ValueError
        If there are not as many xs, ys and names.

    Examples
    --------
    >>> chart = line_series([0, 1], [[1.0, 0.5], [2.0, 1.0]], keys=["train", "val"])
    >>> chart.data["line"]
    ['train', 'train', 'val', 'val']
    """
    lines = [list(values) for values in ys]
    each_its_own = len(xs) > 0 and hasattr(xs[0], "__len__") and not isinstance(xs[0], str)
    places = [list(values) for values in xs] if each_its_own else [list(xs)] * len(lines)
    names = [str(key) for key in keys] if keys is not None else [f"line {number}" for number in range(len(lines))]
    if len(places) != len(lines) or len(names) != len(lines):
        raise ValueError(
            f"line_series() got {len(lines)} ys, {len(places)} xs and {len(names)} keys; it needs as many of each"
        )
    data: dict[str, list[Any]] = {xname: [], "y": [], "line": []}
    for name, x, y in zip(names, places, lines, strict=True):
        if len(x) != len(y):
            raise ValueError(f"the line {name!r} of line_series() has {len(x)} xs and {len(y)} ys")
        data[xname] += x
        data["y"] += y
        data["line"] += [name] * len(x)
    return Chart("line_series", data, {"x": xname, "y": "y", "stroke": "line"}, title)


def plot_table(
    vega_spec_name: Any,
    data_table: Any,
    fields: Mapping[str, str],
    string_fields: Mapping[str, str] | None = None,
    split_table: bool = False,
) -> Chart:
    """A chart of a table by a Vega-Lite specification.

    Parameters
    ----------
    vega_spec_name
        The specification, as a dict or as JSON; or the name of a kind of chart that is known here: line, scatter, bar,
        histogram, line_series, confusion_matrix.
    data_table
        A `Table`, or whatever makes one.
    fields
        Which column stands for which of the specification's fields.
    string_fields
        Texts for it, such as the title.
    split_table
        Accepted for scripts written for W&B.

    Raises
    ------
    ValueError
        If the name is not known, the JSON can't be read, or a column is missing.

    Examples
    --------
    >>> spec = {"mark": "point", "encoding": {"x": {"field": "${field:x}", "type": "quantitative"}}}
    >>> plot_table(spec, Table(columns=["lr"], data=[[0.1]]), {"x": "lr"}).type
    'vega'
    """
    texts = {str(key): str(value) for key, value in (string_fields or {}).items()}
    spec = vega_spec_name
    if isinstance(spec, str) and spec.lstrip().startswith("{"):
        try:
            spec = json.loads(spec)
        except ValueError as error:
            raise ValueError(f"the specification of plot_table() is no JSON: {error}") from None
    if isinstance(spec, str):
        name = next((part for part in reversed(spec.split("/")) if part in _NAMED), "")
        if not name:
            known = ", ".join(dict.fromkeys(_NAMED.values()))
            raise ValueError(
                f"plot_table() knows no chart {spec!r}; it knows {known}, and Vega-Lite specifications as dicts"
            )
        return _of_table(_NAMED[name], data_table, dict(fields), texts.get("title"), texts=texts)
    if not isinstance(spec, Mapping):
        raise TypeError(f"the specification of plot_table() must be a dict, JSON or a name, not {type(spec).__name__}")
    return _of_table("vega", data_table, dict(fields), texts.get("title"), spec=dict(spec), texts=texts)


def _of_table(
    type: str,
    table: Any,
    fields: Mapping[str, str | None],
    title: str | None,
    spec: dict[str, Any] | None = None,
    texts: dict[str, str] | None = None,
) -> Chart:
    found = table if isinstance(table, Table) else Table(dataframe=table)
    wanted = {role: column for role, column in fields.items() if column is not None}
    for role, column in wanted.items():
        if column not in found.columns:
            raise ValueError(f"the table has no column {column!r} for {role}; it has {', '.join(found.columns)}")
    columns = found.columns if type == "vega" else list(dict.fromkeys(wanted.values()))
    data = {column: found.get_column(column) for column in columns}
    return Chart(type, data, wanted, title or None, spec, {"texts": texts} if texts else None)

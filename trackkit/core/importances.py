"""How much each feature matters to a model, as a chart of the first ones and a table of all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from trackkit.core.media.chart import Chart
from trackkit.core.run import Run

MOST_BARS = 50
"""Features in a chart; the table has them all."""


def importance_chart(importances: Mapping[str, float], title: str, most: int = MOST_BARS) -> Chart:
    """A bar for each feature, those that matter most first.

    Parameters
    ----------
    importances
        By feature.
    title
        Shown above.
    most
        How many bars.

    Examples
    --------
    >>> importance_chart({"age": 0.25, "income": 0.75}, "gain").data["feature"]
    ['income', 'age']
    """
    first = sorted(importances.items(), key=lambda item: -abs(item[1]) if math.isfinite(item[1]) else 0.0)[:most]
    data: dict[str, Sequence[Any]] = {
        "feature": [name for name, _ in first],
        "importance": [value for _, value in first],
    }
    return Chart("bar", data, {"label": "feature", "value": "importance"}, title)


def log_importances(run: Run, by_type: Mapping[str, Mapping[str, float]], step: int, prefix: str = "") -> None:
    """Log importances of one or several types.

    Parameters
    ----------
    run
        The run.
    by_type
        Importances by feature, by what they measure: gain, split, weight, … A feature that is missing has 0.
    step
        The step to log them at.
    prefix
        Put before the keys `importance/<type>` and `importances`.
    """
    charts = {
        f"{prefix}importance/{name}": importance_chart(found, f"Importance by {name}")
        for name, found in by_type.items()
        if found
    }
    if not charts:
        return
    run.log(charts, step)
    run.log({f"{prefix}importances": _table(by_type)}, step)


def _table(by_type: Mapping[str, Mapping[str, float]]) -> Any:
    from trackkit.core.table import Table

    features = list(dict.fromkeys(feature for found in by_type.values() for feature in found))
    rows: Sequence[Sequence[Any]] = [
        [feature, *(float(found.get(feature, 0.0)) for found in by_type.values())] for feature in features
    ]
    return Table(columns=["feature", *by_type], data=rows)

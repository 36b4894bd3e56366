"""Interactive charts of data, to be logged like any other value.

>>> chart = line(Table(columns=["step", "loss"], data=[[0, 1.0], [1, 0.5]]), "step", "loss")
>>> chart.fields
{'x': 'step', 'y': 'loss'}
>>> run.log({"loss over steps": chart})  # doctest: +SKIP
"""

from __future__ import annotations

from trackkit.core.media.chart import Chart
from trackkit.core.table import Table
from trackkit.plot.charts import bar, histogram, line, line_series, plot_table, scatter
from trackkit.plot.classification import confusion_matrix, pr_curve, roc_curve

__all__ = [
    "Chart",
    "Table",
    "bar",
    "confusion_matrix",
    "histogram",
    "line",
    "line_series",
    "plot_table",
    "pr_curve",
    "roc_curve",
    "scatter",
]

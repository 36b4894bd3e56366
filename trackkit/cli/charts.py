"""Series drawn with characters: a sparkline of one line, a line chart of a few."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_BARS = "▁▂▃▄▅▆▇█"
_BRAILLE = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of a braille character's dot, by row and column: a character is 2 dots wide and 4 high."""


def sparkline(values: Floats, width: int = 24) -> str:
    """The values as bars of eight heights, at most `width` of them; a blank where nothing is finite.

    Parameters
    ----------
    values
        Any number of floats, in order; NaN and infinities are left out.
    width
        Characters.

    Example
    -------
    >>> sparkline(np.array([1.0, 2.0, 4.0, 8.0]))
    '▁▂▄█'
    """
    means = _buckets(values, min(width, len(values)))
    finite = means[np.isfinite(means)]
    if not len(finite):
        return ""
    heights = _scaled(means, float(finite.min()), float(finite.max()), len(_BARS) - 1)
    return "".join(" " if height < 0 else _BARS[height] for height in heights)


def line_chart(steps: Floats, values: Floats, width: int = 72, height: int = 12) -> list[str]:
    """A line chart in braille dots with its axes' ends written beside it.

    Parameters
    ----------
    steps, values
        Two columns of equal length; points whose value is not finite leave a gap.
    width, height
        Characters of the plot itself, without the labels.

    Returns
    -------
    list of str
        The chart's lines, top to bottom; empty if no value is finite.
    """
    seen = np.isfinite(values) & np.isfinite(steps)
    if not seen.any():
        return []
    steps, values = steps[seen], values[seen]
    bottom, top = float(values.min()), float(values.max())
    cells = _rasterise(steps, values, width, height)
    labels = {0: _number(top), height - 1: _number(bottom)}
    margin = max(len(label) for label in labels.values())
    lines = []
    for row in range(height):
        edge = "┤" if row in labels else "│"
        lines.append(f"{labels.get(row, ''):>{margin}} {edge}" + "".join(chr(_BRAILLE + cell) for cell in cells[row]))
    left, right = _number(float(steps.min())), _number(float(steps.max()))
    lines.append(f"{'':>{margin}} └{'─' * width}")
    lines.append(f"{'':>{margin}}  {left}{right:>{max(width - len(left), len(right) + 1)}}")
    return lines


def _rasterise(steps: Floats, values: Floats, width: int, height: int) -> NDArray[np.int64]:
    """The braille cells, row by row, that the line through the points passes."""
    columns = _scaled(steps, float(steps.min()), float(steps.max()), width * 2 - 1)
    rows = height * 4 - 1 - _scaled(values, float(values.min()), float(values.max()), height * 4 - 1)
    order = np.argsort(columns, kind="stable")
    columns, rows = columns[order], rows[order]
    cells = np.zeros((height, width), dtype=np.int64)
    before = int(rows[0])
    for column in range(int(columns[0]), int(columns[-1]) + 1):
        here = rows[columns == column]
        passed = here if len(here) else np.rint(np.interp([column], columns, rows)).astype(np.int64)
        low, high = int(passed.min()), int(passed.max())
        # A steep line is drawn through all rows between two columns.
        for row in range(min(low, before + 1), max(high, before - 1) + 1):
            cells[row // 4, column // 2] |= _DOTS[row % 4][column % 2]
        before = int(passed[-1])
    return cells


def _buckets(values: Floats, count: int) -> Floats:
    """The mean of the finite values in each of `count` equal stretches, NaN where there is none."""
    means = [part[np.isfinite(part)] for part in np.array_split(values, count)] if count else []
    return np.array([part.mean() if len(part) else np.nan for part in means], dtype=np.float64)


def _scaled(values: Floats, low: float, high: float, top: int) -> NDArray[np.int64]:
    """The values as whole numbers from 0 (`low`) to `top` (`high`); -1 where they are not finite."""
    span = high - low
    share = (values - low) / span if 0 < span < np.inf else np.zeros(len(values))
    return np.where(np.isfinite(values), np.rint(np.nan_to_num(share) * top), -1).astype(np.int64)


def _number(value: float) -> str:
    return f"{value:.4g}"

"""Charts of a regressor: what it gets wrong, and which samples pull at it."""

from __future__ import annotations

from typing import Any

import numpy as np

from trackkit.core.media.chart import Chart

MOST_POINTS = 5_000
"""Of more samples, as many at even distances are drawn."""


def residuals(predicted: Any, y: Any, predicted_test: Any = None, y_test: Any = None) -> Chart:
    """What is left of each target after the prediction, against the prediction."""
    parts = [("train", predicted, y)] + ([] if y_test is None else [("test", predicted_test, y_test)])
    data: dict[str, list[Any]] = {"predicted": [], "residual": [], "data": []}
    for name, values, targets in parts:
        guess, true = thinned(np.asarray(values, dtype=float).ravel(), np.asarray(targets, dtype=float).ravel())
        data["predicted"] += guess.tolist()
        data["residual"] += (true - guess).tolist()
        data["data"] += [name] * len(guess)
    return Chart("scatter", data, {"x": "predicted", "y": "residual", "stroke": "data"}, "Residuals")


def prediction_errors(predicted: Any, y: Any) -> Chart:
    """Each prediction against its target."""
    guess, true = thinned(np.asarray(predicted, dtype=float).ravel(), np.asarray(y, dtype=float).ravel())
    data = {"target": true.tolist(), "predicted": guess.tolist()}
    return Chart("scatter", data, {"x": "target", "y": "predicted"}, "Predictions")


def cooks_distances(predicted: Any, x: Any, y: Any) -> Any:
    """How far each sample pulls a least-squares fit: Cook's distance.

    R. D. Cook, "Detection of Influential Observation in Linear Regression", Technometrics 19 (1977), 15-18:
    :math:`e_i^2 h_i / (p s^2 (1 - h_i)^2)` with residuals :math:`e`, leverages :math:`h`, :math:`p` parameters and
    the mean squared error :math:`s^2`.

    Parameters
    ----------
    predicted
        A prediction for each sample.
    x
        Samples × features.
    y
        The targets.

    Returns
    -------
    ndarray
        A distance for each sample.
    """
    errors = np.asarray(y, dtype=float).ravel() - np.asarray(predicted, dtype=float).ravel()
    design = np.column_stack([np.ones(len(errors)), np.asarray(x, dtype=float)])
    basis, triangle = np.linalg.qr(design)
    diagonal = np.abs(np.diag(triangle))
    basis = basis[:, diagonal > 1e-10 * diagonal.max()]
    leverage = np.clip((basis**2).sum(axis=1), 0.0, 1 - 1e-9)
    count = basis.shape[1]
    variance = float(errors @ errors) / max(len(errors) - count, 1)
    distances = errors**2 * leverage / (count * max(variance, 1e-300) * (1 - leverage) ** 2)
    return distances


def outlier_candidates(distances: Any) -> Chart:
    """Cook's distance of each sample; those above 4 divided by the number of samples are worth a look."""
    threshold = 4 / max(len(distances), 1)
    indices, values = thinned(np.arange(len(distances)), np.asarray(distances))
    above = np.flatnonzero(np.asarray(distances) > threshold)[:MOST_POINTS]
    indices = np.union1d(indices, above)
    values = np.asarray(distances)[indices]
    kinds = ["candidate" if value > threshold else "sample" for value in values]
    data = {"sample": indices.tolist(), "distance": values.tolist(), "kind": kinds}
    return Chart("scatter", data, {"x": "sample", "y": "distance", "stroke": "kind"}, "Outlier candidates")


def thinned(*columns: Any) -> tuple[Any, ...]:
    """As many rows at even distances as a chart draws."""
    count = len(columns[0])
    if count <= MOST_POINTS:
        return columns
    chosen = np.linspace(0, count - 1, MOST_POINTS).astype(int)
    return tuple(column[chosen] for column in columns)

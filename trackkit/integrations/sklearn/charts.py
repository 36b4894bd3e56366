"""The charts that suit an estimator of some kind, of its predictions for some data."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from trackkit.core.media.chart import Chart
from trackkit.integrations.sklearn import classifier_charts, clusterer_charts, regressor_charts
from trackkit.integrations.sklearn.metrics import kind_of, probabilities_of, rows_of
from trackkit.plot.classification import pr_curve, roc_curve

MOST_CLASSES = 100


def charts_of(estimator: Any, x: Any, y: Any) -> dict[str, Chart]:
    """Charts of a fitted estimator's predictions.

    Parameters
    ----------
    estimator
        Fitted.
    x, y
        Samples, and true targets; None for a clusterer.

    Returns
    -------
    dict
        Of a classifier `confusion_matrix`, and as far as it gives probabilities `roc`, `precision_recall` and, of two
        classes, `calibration_curve`; of a regressor `residuals` and `predictions`; of a clusterer `silhouette`. What
        can't be drawn is left out.
    """
    found: dict[str, Chart] = {}
    for name, draw in _drawn(estimator, x, y):
        with contextlib.suppress(Exception):  # not for this estimator or these targets
            found[name] = draw()
    return found


def _drawn(estimator: Any, x: Any, y: Any) -> Iterator[tuple[str, Callable[[], Chart]]]:
    kind = kind_of(estimator)
    if kind == "classifier" and y is not None and np.ndim(y) == 1:
        classes = list(getattr(estimator, "classes_", ()))
        if len(classes) > MOST_CLASSES:
            return
        yield "confusion_matrix", lambda: classifier_charts.confusion_matrix(y, estimator.predict(x))
        probabilities = probabilities_of(estimator, x)
        if probabilities is None:
            return
        names = [str(one) for one in classes]
        codes = np.searchsorted(classes, y)
        yield "roc", lambda: roc_curve(codes, probabilities, names)
        yield "precision_recall", lambda: pr_curve(codes, probabilities, names)
        if len(classes) == 2:
            scores = {type(estimator).__name__: probabilities[:, 1]}
            yield "calibration_curve", lambda: classifier_charts.calibration(y, scores, pos_label=classes[1])
    elif kind == "regressor" and y is not None and np.ndim(y) == 1:
        predicted = estimator.predict(x)
        yield "residuals", lambda: regressor_charts.residuals(predicted, y)
        yield "predictions", lambda: regressor_charts.prediction_errors(predicted, y)
    elif kind == "clusterer":
        labels = getattr(estimator, "labels_", None)
        labels = estimator.predict(x) if labels is None or len(labels) != rows_of(x) else labels
        yield "silhouette", lambda: clusterer_charts.silhouette(x, labels)

"""How well a fitted estimator does on some data: the metrics that suit its kind."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import metrics
from sklearn.base import is_classifier, is_regressor

MOST_ROWS_TO_COMPARE = 5_000
"""Silhouettes take memory by the square of the rows; of larger data this many are drawn."""


def kind_of(estimator: Any) -> str:
    """`classifier`, `regressor`, `clusterer`, or an empty text."""
    if is_classifier(estimator):
        return "classifier"
    if is_regressor(estimator):
        return "regressor"
    return "clusterer" if hasattr(estimator, "labels_") or _kind_by_tag(estimator) == "clusterer" else ""


def _kind_by_tag(estimator: Any) -> str:
    try:
        from sklearn.utils import get_tags

        return str(get_tags(estimator).estimator_type or "")
    except Exception:
        return str(getattr(estimator, "_estimator_type", "") or "")


def measure(estimator: Any, x: Any, y: Any, *, pos_label: Any = None, sample_weight: Any = None) -> dict[str, float]:
    """The metrics of a fitted estimator on some data.

    Parameters
    ----------
    estimator
        Fitted.
    x
        Samples.
    y
        The true targets; None for a clusterer.
    pos_label
        The class that precision, recall and F1 are of; None for their mean over the classes, weighted by how
        often each is there.
    sample_weight
        A weight for each sample.

    Returns
    -------
    dict
        Of a classifier accuracy, precision, recall, f1, and, as far as it gives probabilities, log_loss and roc_auc;
        of a regressor mse, rmse, mae, r2; of a clusterer silhouette, calinski_harabasz, davies_bouldin and inertia; and
        score, where the estimator has one. What can't be computed is left out.
    """
    kind = kind_of(estimator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "classifier" and y is not None:
            found = _of_classifier(estimator, x, y, pos_label, sample_weight)
        elif kind == "regressor" and y is not None:
            found = _of_regressor(estimator, x, y, sample_weight)
        elif kind == "clusterer":
            found = _of_clusterer(estimator, x)
        else:
            found = {}
        if hasattr(estimator, "score") and (kind or y is None):
            weight = {} if sample_weight is None else {"sample_weight": sample_weight}
            _put(found, "score", lambda: estimator.score(x, y, **weight))
    return found


def rows_of(x: Any) -> int:
    """How many samples there are, in a sparse matrix too."""
    return int(x.shape[0]) if hasattr(x, "shape") else len(x)


def _put(found: dict[str, float], name: str, compute: Callable[[], Any]) -> None:
    try:
        value = compute()
        if value is not None:
            found[name] = float(value)
    except Exception:  # not for this estimator or these targets
        return


def _of_classifier(estimator: Any, x: Any, y: Any, pos_label: Any, weight: Any) -> dict[str, float]:
    found: dict[str, float] = {}
    predicted = estimator.predict(x)
    chosen: dict[str, Any] = {"average": "weighted"} if pos_label is None else {"pos_label": pos_label}
    chosen |= {"sample_weight": weight, "zero_division": 0}
    _put(found, "accuracy", lambda: metrics.accuracy_score(y, predicted, sample_weight=weight))
    _put(found, "precision", lambda: metrics.precision_score(y, predicted, **chosen))
    _put(found, "recall", lambda: metrics.recall_score(y, predicted, **chosen))
    _put(found, "f1", lambda: metrics.f1_score(y, predicted, **chosen))
    probabilities = probabilities_of(estimator, x)
    classes = getattr(estimator, "classes_", None)
    if probabilities is not None:
        _put(found, "log_loss", lambda: metrics.log_loss(y, probabilities, sample_weight=weight, labels=classes))
    scores = probabilities if probabilities is not None else _decisions(estimator, x)
    if scores is not None:
        _put(found, "roc_auc", lambda: _roc_auc(y, scores, classes, weight))
    return found


def _roc_auc(y: Any, scores: Any, classes: Any, weight: Any) -> float:
    if scores.ndim == 1 or scores.shape[1] == 2:
        return float(metrics.roc_auc_score(y, scores if scores.ndim == 1 else scores[:, 1], sample_weight=weight))
    return float(
        metrics.roc_auc_score(y, scores, average="weighted", multi_class="ovr", sample_weight=weight, labels=classes)
    )


def probabilities_of(estimator: Any, x: Any) -> Any:
    """What `predict_proba` gives, or None."""
    if not hasattr(estimator, "predict_proba"):
        return None
    try:
        found = np.asarray(estimator.predict_proba(x))
    except Exception:
        return None
    return found if found.ndim == 2 else None


def _decisions(estimator: Any, x: Any) -> Any:
    if not hasattr(estimator, "decision_function"):
        return None
    found = np.asarray(estimator.decision_function(x))
    return found if found.ndim == 1 else None  # of many classes they are no probabilities


def _of_regressor(estimator: Any, x: Any, y: Any, weight: Any) -> dict[str, float]:
    found: dict[str, float] = {}
    predicted = estimator.predict(x)
    _put(found, "mse", lambda: metrics.mean_squared_error(y, predicted, sample_weight=weight))
    if "mse" in found:
        found["rmse"] = found["mse"] ** 0.5
    _put(found, "mae", lambda: metrics.mean_absolute_error(y, predicted, sample_weight=weight))
    _put(found, "r2", lambda: metrics.r2_score(y, predicted, sample_weight=weight))
    return found


def _of_clusterer(estimator: Any, x: Any) -> dict[str, float]:
    found: dict[str, float] = {}
    labels = getattr(estimator, "labels_", None)
    if labels is None or len(labels) != rows_of(x):
        labels = estimator.predict(x) if hasattr(estimator, "predict") else None
    _put(found, "inertia", lambda: getattr(estimator, "inertia_", None))
    if labels is None or len(set(np.asarray(labels).tolist())) < 2:
        return found
    few = min(MOST_ROWS_TO_COMPARE, len(labels))
    _put(found, "silhouette", lambda: metrics.silhouette_score(x, labels, sample_size=few, random_state=0))
    _put(found, "calinski_harabasz", lambda: metrics.calinski_harabasz_score(x, labels))
    _put(found, "davies_bouldin", lambda: metrics.davies_bouldin_score(x, labels))
    found["clusters"] = float(len(set(np.asarray(labels).tolist()) - {-1}))
    return found

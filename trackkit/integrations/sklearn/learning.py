"""What an estimator tells of its own learning, iteration by iteration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_CURVES = ("loss_curve_", "validation_scores_", "train_score_", "validation_score_", "oob_improvement_", "oob_scores_",
           "loglike_", "cost_", "error_", "estimator_errors_", "lower_bounds_")  # fmt: skip
"""Fitted attributes that hold a value for each iteration."""
_FACTS = ("n_iter_", "n_estimators_", "best_loss_", "best_validation_score_", "n_features_in_", "n_outputs_",
          "oob_score_", "inertia_", "reconstruction_err_", "kl_divergence_", "stress_", "alpha_", "C_", "l1_ratio_",
          "lower_bound_", "n_components_", "max_features_", "refit_time_", "n_splits_")  # fmt: skip
"""Fitted attributes that are a single number."""


def last_step(estimator: Any) -> Any:
    """The estimator at a pipeline's end, or within a search the best one; others as they are."""
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif isinstance(getattr(estimator, "steps", None), list) and estimator.steps:
            estimator = estimator.steps[-1][1]
        else:
            return estimator


def curves(estimator: Any) -> dict[str, list[float]]:
    """The values that a fitted estimator keeps for each of its iterations: `learning/loss_curve` of `loss_curve_`."""
    found = {f"learning/{name.removesuffix('_')}": _numbers(getattr(estimator, name, None)) for name in _CURVES}
    return {key: values for key, values in found.items() if values}


def facts(estimator: Any) -> dict[str, float]:
    """The single numbers a fitted estimator tells of its learning: iterations, the penalty it chose."""
    found: dict[str, float] = {}
    for name in _FACTS:
        value = getattr(estimator, name, None)
        try:
            array = np.asarray(value, dtype=float)
        except (TypeError, ValueError):
            continue
        if value is not None and array.size and array.ndim < 2:
            found[name.removesuffix("_")] = float(array.max())
    return found


def _numbers(values: Any) -> list[float]:
    if values is None or isinstance(values, (str, dict)) or not isinstance(values, (Sequence, np.ndarray)):
        return []
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        return []
    return [float(value) for value in array] if array.ndim == 1 else []

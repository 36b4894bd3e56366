"""How much each feature matters to a fitted estimator, as it tells itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def importances_of(estimator: Any, feature_names: Sequence[str] | None = None) -> dict[str, dict[str, float]]:
    """By kind, the importance of each feature: `importance` of trees, `coefficient` of linear models.

    A pipeline's are those of its last step, by the names that the steps before it give. Of several classes or targets
    the mean of the coefficients' sizes is taken. Empty if the estimator tells nothing.

    Parameters
    ----------
    estimator
        Fitted.
    feature_names
        By default those the estimator knows, or `0`, `1`, …
    """
    last, names = _last_and_names(estimator)
    values, kind = getattr(last, "feature_importances_", None), "importance"
    if values is None:
        values, kind = getattr(last, "coef_", None), "coefficient"
    if values is None:
        return {}
    found = np.asarray(values.todense() if hasattr(values, "todense") else values, dtype=float)
    if found.ndim > 1:
        found = found[0] if found.shape[0] == 1 else np.abs(found).mean(axis=0)
    found = found.ravel()
    names = [str(name) for name in feature_names] if feature_names is not None else names
    if names is None or len(names) != len(found):
        names = [str(index) for index in range(len(found))]
    return {kind: dict(zip(names, found.tolist(), strict=True))}


def _last_and_names(estimator: Any) -> tuple[Any, list[str] | None]:
    estimator = getattr(estimator, "best_estimator_", estimator)
    if not (isinstance(getattr(estimator, "steps", None), list) and estimator.steps):
        names = getattr(estimator, "feature_names_in_", None)
        return estimator, None if names is None else [str(name) for name in names]
    try:
        names = [str(name) for name in estimator[:-1].get_feature_names_out()]
    except Exception:  # a step that does not name what it makes
        names = None
    return _last_and_names(estimator.steps[-1][1])[0], names

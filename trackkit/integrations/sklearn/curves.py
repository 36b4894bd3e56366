"""How an estimator's score grows with the data it is given."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.model_selection import learning_curve as learning

from trackkit.core.media.chart import Chart


def learning_curve(
    model: Any,
    x: Any,
    y: Any,
    cv: Any = None,
    shuffle: bool = False,
    random_state: Any = None,
    train_sizes: Any = None,
    n_jobs: int | None = 1,
    scoring: Any = None,
) -> Chart:
    """Scores of an estimator in training and in cross-validation, against the number of samples it was trained with.

    Parameters
    ----------
    model, x, y, cv, shuffle, random_state, n_jobs, scoring
        As of `sklearn.model_selection.learning_curve`.
    train_sizes
        Shares or numbers of samples; by default five from a tenth to all.
    """
    sizes, train, test = learning(
        model,
        x,
        y,
        cv=cv,
        n_jobs=n_jobs,
        train_sizes=np.linspace(0.1, 1.0, 5) if train_sizes is None else train_sizes,
        scoring=scoring,
        shuffle=shuffle,
        random_state=random_state,
    )[:3]
    data = {
        "samples": [*sizes.tolist(), *sizes.tolist()],
        "score": [*np.mean(train, axis=1).tolist(), *np.mean(test, axis=1).tolist()],
        "data": ["train"] * len(sizes) + ["test"] * len(sizes),
    }
    return Chart("line", data, {"x": "samples", "y": "score", "stroke": "data"}, "Learning curve")

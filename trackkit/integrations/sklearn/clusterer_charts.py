"""Charts of a clusterer: how many clusters there may be, and how well samples lie in theirs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.metrics import silhouette_samples

from trackkit.core.media.chart import Chart
from trackkit.integrations.sklearn.metrics import MOST_ROWS_TO_COMPARE
from trackkit.integrations.sklearn.regressor_charts import thinned

DEFAULT_RANGE = range(1, 10, 2)


def elbow_curve(
    clusterer: Any, x: Any, cluster_ranges: Sequence[int] | None = None, show_cluster_time: bool = True
) -> Chart:
    """How well clusterings of several numbers of clusters fit, each made by a clone of the clusterer.

    Raises
    ------
    TypeError
        If the clusterer has no `n_clusters`, or no score.
    """
    if "n_clusters" not in clusterer.get_params() or not hasattr(clusterer, "score"):
        raise TypeError(f"an elbow curve needs a clusterer with n_clusters and score, not {type(clusterer).__name__}")
    counts = sorted(cluster_ranges or DEFAULT_RANGE)
    data: dict[str, list[Any]] = {"clusters": [], "value": [], "what": []}
    for count in counts:
        began = time.perf_counter()
        made = clone(clusterer).set_params(n_clusters=count).fit(x)
        took = time.perf_counter() - began
        told = {"squared errors": abs(float(made.score(x)))} | ({"seconds": took} if show_cluster_time else {})
        for what, value in told.items():
            data["clusters"].append(count)
            data["value"].append(value)
            data["what"].append(what)
    return Chart("line", data, {"x": "clusters", "y": "value", "stroke": "what"}, "Elbow curve")


def silhouette(x: Any, cluster_labels: Any, labels: Sequence[str] | None = None, metric: str = "euclidean") -> Chart:
    """The silhouette of each sample, cluster by cluster, the best ones first.

    Of more than 5,000 samples, as many are drawn at random.

    Raises
    ------
    ValueError
        If there are fewer than two clusters.
    """
    assigned = np.asarray(cluster_labels)
    data = np.asarray(x)
    if len(assigned) > MOST_ROWS_TO_COMPARE:
        chosen = np.random.default_rng(0).choice(len(assigned), MOST_ROWS_TO_COMPARE, replace=False)
        assigned, data = assigned[chosen], data[chosen]
    values = silhouette_samples(data, assigned, metric=metric)
    order = np.lexsort((-values, assigned))
    places = np.arange(len(order))
    clusters = np.unique(assigned)
    names = {one: str(labels[index]) if labels is not None and index < len(labels) else str(one)
             for index, one in enumerate(clusters.tolist())}  # fmt: skip
    place, value, cluster = thinned(places, values[order], assigned[order])
    columns = {
        "sample": place.tolist(),
        "silhouette": value.tolist(),
        "cluster": [names[one] for one in cluster.tolist()],
    }
    title = f"Silhouettes, {values.mean():.3f} on average"
    return Chart("scatter", columns, {"x": "sample", "y": "silhouette", "stroke": "cluster"}, title)

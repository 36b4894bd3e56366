"""Plots of a fitted estimator, logged into the current run: all that suit it at once, or one at a time.

The functions take what W&B's of the same names take. Each logs its chart under the key its name says, without the
`plot_`, and returns it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trackkit.core import session
from trackkit.core.importances import importance_chart
from trackkit.core.media.chart import Chart
from trackkit.core.run import Run
from trackkit.integrations.sklearn import classifier_charts, clusterer_charts, curves, regressor_charts
from trackkit.integrations.sklearn.importances import importances_of
from trackkit.integrations.sklearn.metrics import measure, probabilities_of
from trackkit.plot.classification import pr_curve, roc_curve


def plot_classifier(
    model: Any,
    X_train: Any,  # noqa: N803
    X_test: Any,  # noqa: N803
    y_train: Any,
    y_test: Any,
    y_pred: Any,
    y_probas: Any,
    labels: Sequence[str] | None = None,
    is_binary: bool = False,
    model_name: str = "Classifier",
    feature_names: Sequence[str] | None = None,
    log_learning_curve: bool = False,
) -> dict[str, Chart]:
    """Log all plots of a classifier.

    Confusion matrix, ROC and precision-recall curves, class proportions, summary metrics, importances of features as
    far as it tells them, the calibration curve of one with two classes, and the learning curve if that is asked for.

    Parameters
    ----------
    model
        A fitted classifier.
    X_train, X_test
        Samples it was fitted to, and others.
    y_train, y_test
        Their true classes.
    y_pred
        The classes it predicts for `X_test`.
    y_probas
        The probabilities it gives for them, samples × classes; None if it gives none.
    labels
        Names of the classes.
    is_binary
        Whether there are two classes.
    model_name
        What it is called.
    feature_names
        Names of the features.
    log_learning_curve
        Fit clones of it to growing shares of the data; takes long.

    Returns
    -------
    dict
        The charts, by key.

    Raises
    ------
    RuntimeError
        If no run is going on.

    Examples
    --------
    >>> plot_classifier(model, X_train, X_test, y_train, y_test, y_pred, y_probas, labels)  # doctest: +SKIP
    """
    _run()
    found = {
        "class_proportions": plot_class_proportions(y_train, y_test, labels),
        "confusion_matrix": plot_confusion_matrix(y_test, y_pred, labels),
        "summary_metrics": plot_summary_metrics(model, X_train, y_train, X_test, y_test),
    }
    if y_probas is not None:
        found["roc"] = plot_roc(y_test, y_probas, labels)
        found["precision_recall"] = plot_precision_recall(y_test, y_probas, labels)
    if importances_of(model, feature_names):
        found["feature_importances"] = plot_feature_importances(model, feature_names)
    if is_binary and probabilities_of(model, X_test) is not None:
        found["calibration_curve"] = plot_calibration_curve(model, X_test, y_test, model_name)
    if log_learning_curve:
        found["learning_curve"] = plot_learning_curve(model, X_train, y_train)
    return found


def plot_regressor(
    model: Any,
    X_train: Any,  # noqa: N803
    X_test: Any,  # noqa: N803
    y_train: Any,
    y_test: Any,
    model_name: str = "Regressor",
    log_learning_curve: bool = True,
) -> dict[str, Chart]:
    """Log all plots of a regressor: summary metrics, learning curve, residuals, outlier candidates.

    Parameters
    ----------
    model
        A fitted regressor.
    X_train, X_test, y_train, y_test
        Samples and targets it was fitted to, and others.
    model_name
        What it is called.
    log_learning_curve
        Fit clones of it to growing shares of the data.

    Returns
    -------
    dict
        The charts, by key.
    """
    _run()
    found = {
        "summary_metrics": plot_summary_metrics(model, X_train, y_train, X_test, y_test),
        "residuals": plot_residuals(model, X_train, y_train, X_test, y_test),
        "outlier_candidates": plot_outlier_candidates(model, X_train, y_train),
    }
    if importances_of(model):
        found["feature_importances"] = plot_feature_importances(model)
    if log_learning_curve:
        found["learning_curve"] = plot_learning_curve(model, X_train, y_train)
    return found


def plot_clusterer(
    model: Any,
    X_train: Any,  # noqa: N803
    cluster_labels: Any,
    labels: Sequence[str] | None = None,
    model_name: str = "Clusterer",
) -> dict[str, Chart]:
    """Log all plots of a clusterer: the elbow curve of one with `n_clusters`, and silhouettes.

    Parameters
    ----------
    model
        A fitted clusterer.
    X_train
        The samples.
    cluster_labels
        The cluster of each.
    labels
        Names of the clusters.
    model_name
        What it is called.

    Returns
    -------
    dict
        The charts, by key.
    """
    _run()
    found = {"silhouette": plot_silhouette(model, X_train, cluster_labels, labels)}
    if "n_clusters" in model.get_params() and hasattr(model, "score"):
        found["elbow_curve"] = plot_elbow_curve(model, X_train)
    return found


def plot_roc(
    y_true: Any,
    y_probas: Any,
    labels: Sequence[str] | None = None,
    plot_micro: bool = True,
    plot_macro: bool = True,
    classes_to_plot: Sequence[Any] | None = None,
) -> Chart:
    """Log the ROC curve of each class; see `trackkit.plot.roc_curve`."""
    return _log("roc", roc_curve(y_true, y_probas, labels, classes_to_plot))


def plot_precision_recall(
    y_true: Any,
    y_probas: Any,
    labels: Sequence[str] | None = None,
    plot_micro: bool = True,
    classes_to_plot: Sequence[Any] | None = None,
) -> Chart:
    """Log the curve of precision and recall of each class; see `trackkit.plot.pr_curve`."""
    return _log("precision_recall", pr_curve(y_true, y_probas, labels, classes_to_plot))


def plot_confusion_matrix(
    y_true: Any,
    y_pred: Any,
    labels: Sequence[str] | None = None,
    true_labels: Sequence[Any] | None = None,
    pred_labels: Sequence[Any] | None = None,
    normalize: bool = False,
) -> Chart:
    """Log how often each class was taken for each.

    Parameters
    ----------
    y_true, y_pred
        True and predicted classes.
    labels
        Names of the classes, in their order.
    true_labels, pred_labels
        Only samples of these true classes, and only those taken for these.
    normalize
        Accepted for scripts written for W&B: the dashboard shows counts and shares.
    """
    true, predicted = classifier_charts.as_texts(y_true), classifier_charts.as_texts(y_pred)
    kept = np.ones(len(true), dtype=bool)
    if true_labels is not None:
        kept &= np.isin(true, [str(one) for one in true_labels])
    if pred_labels is not None:
        kept &= np.isin(predicted, [str(one) for one in pred_labels])
    return _log("confusion_matrix", classifier_charts.confusion_matrix(true[kept], predicted[kept], labels))


def plot_class_proportions(y_train: Any, y_test: Any = None, labels: Sequence[str] | None = None) -> Chart:
    """Log how often each class is there, in the data to train on and in that to test on."""
    return _log("class_proportions", classifier_charts.class_proportions(y_train, y_test, labels))


def plot_calibration_curve(
    clf: Any = None,
    X: Any = None,  # noqa: N803
    y: Any = None,
    clf_name: str = "Classifier",
) -> Chart:
    """Log how well a classifier of two classes knows how sure it is.

    Parameters
    ----------
    clf
        Fitted, and giving probabilities.
    X, y
        Samples and true classes; better not those it was fitted to.
    clf_name
        What it is called.

    Raises
    ------
    ValueError
        If there are not two classes, or it gives no probabilities.
    """
    found = probabilities_of(clf, X)
    if found is None:
        raise ValueError(f"a calibration curve needs predict_proba, which {type(clf).__name__} does not have")
    chart = classifier_charts.calibration(y, {clf_name: found[:, 1]}, pos_label=clf.classes_[1])
    return _log("calibration_curve", chart)


def plot_feature_importances(
    model: Any,
    feature_names: Sequence[str] | None = None,
    title: str = "Feature importance",
    max_num_features: int = 50,
) -> Chart:
    """Log how much each feature matters: importances of trees, coefficients of linear models.

    Raises
    ------
    ValueError
        If the estimator tells no importances.
    """
    found = importances_of(model, feature_names)
    if not found:
        name = type(model).__name__
        raise ValueError(
            f"{name} tells no importances: it has neither feature_importances_ nor coef_, or is not fitted"
        )
    return _log("feature_importances", importance_chart(next(iter(found.values())), title, max_num_features))


def plot_learning_curve(
    model: Any,
    X: Any,  # noqa: N803
    y: Any,
    cv: Any = None,
    shuffle: bool = False,
    random_state: Any = None,
    train_sizes: Any = None,
    n_jobs: int | None = 1,
    scoring: Any = None,
) -> Chart:
    """Log how the score grows with the number of samples; fits clones of the model.

    Takes what `sklearn.model_selection.learning_curve` takes.
    """
    chart = curves.learning_curve(model, X, y, cv, shuffle, random_state, train_sizes, n_jobs, scoring)
    return _log("learning_curve", chart)


def plot_summary_metrics(
    model: Any = None,
    X: Any = None,  # noqa: N803
    y: Any = None,
    X_test: Any = None,  # noqa: N803
    y_test: Any = None,
) -> Chart:
    """Log the metrics of the predictions for the test data, as a chart and as `summary_metrics/<metric>`."""
    found = measure(model, X if X_test is None else X_test, y if X_test is None else y_test)
    _run().log({f"summary_metrics/{name}": value for name, value in found.items()}, commit=False)
    data: dict[str, list[Any]] = {"metric": list(found), "value": list(found.values())}
    return _log("summary_metrics", Chart("bar", data, {"label": "metric", "value": "value"}, "Summary metrics"))


def plot_residuals(
    regressor: Any = None,
    X: Any = None,  # noqa: N803
    y: Any = None,
    X_test: Any = None,  # noqa: N803
    y_test: Any = None,
) -> Chart:
    """Log what is left of each target after the prediction; `X_test` and `y_test` as a second colour."""
    test = None if y_test is None else regressor.predict(X_test)
    return _log("residuals", regressor_charts.residuals(regressor.predict(X), y, test, y_test))


def plot_outlier_candidates(
    regressor: Any = None,
    X: Any = None,  # noqa: N803
    y: Any = None,
) -> Chart:
    """Log Cook's distance of each sample: how far it pulls the fit."""
    distances = regressor_charts.cooks_distances(regressor.predict(X), X, y)
    return _log("outlier_candidates", regressor_charts.outlier_candidates(distances))


def plot_elbow_curve(
    clusterer: Any = None,
    X: Any = None,  # noqa: N803
    cluster_ranges: Sequence[int] | None = None,
    n_jobs: int = 1,
    show_cluster_time: bool = True,
) -> Chart:
    """Log how well clusterings of several numbers of clusters fit, and what each took.

    Parameters
    ----------
    clusterer
        With `n_clusters`; clones of it are fitted.
    X
        The samples.
    cluster_ranges
        The numbers of clusters; by default 1, 3, 5, 7, 9.
    n_jobs
        Accepted for scripts written for W&B.
    show_cluster_time
        Draw the seconds each took, too.
    """
    return _log("elbow_curve", clusterer_charts.elbow_curve(clusterer, X, cluster_ranges, show_cluster_time))


def plot_silhouette(
    clusterer: Any = None,
    X: Any = None,  # noqa: N803
    cluster_labels: Any = None,
    labels: Sequence[str] | None = None,
    metric: str = "euclidean",
    kmeans: bool = True,
) -> Chart:
    """Log how well each sample lies in its cluster.

    Parameters
    ----------
    clusterer
        Fitted; asked for the clusters if they are not given.
    X
        The samples.
    cluster_labels
        The cluster of each.
    labels
        Names of the clusters.
    metric
        The distance.
    kmeans
        Accepted for scripts written for W&B.
    """
    assigned = clusterer.predict(X) if cluster_labels is None else cluster_labels
    return _log("silhouette", clusterer_charts.silhouette(X, assigned, labels, metric))


def _run() -> Run:
    run = session.current()
    if run is None:
        raise RuntimeError("a plot needs a run to be logged into; call trackkit.init() first")
    return run


def _log(key: str, chart: Chart) -> Chart:
    _run().log({key: chart}, commit=False)
    return chart

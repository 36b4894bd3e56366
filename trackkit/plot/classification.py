"""Charts of how well a classifier does. The curves are defined as scikit-learn defines them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trackkit.core.media.chart import Chart

MOST_POINTS: Final = 2000
"""Of a curve; a longer one is thinned out evenly, its ends stay."""

Floats = NDArray[np.float64]


def roc_curve(
    y_true: Any = None,
    y_probas: Any = None,
    labels: Sequence[str] | None = None,
    classes_to_plot: Sequence[Any] | None = None,
    title: str | None = None,
    split_table: bool = False,
) -> Chart:
    """Receiver operating characteristic: a curve per class against all others, with the area under it.

    Points that lie on a straight line between their neighbours are left out.

    Parameters
    ----------
    y_true
        The true class of each sample: numbers or texts.
    y_probas
        Samples × classes, the score of each class; or one score a sample, of the second of two classes.
    labels
        The classes' names, in the order of the columns.
    classes_to_plot
        Only these, as they are in `y_true`.
    title
        Shown above.
    split_table
        Accepted for scripts written for W&B.

    Raises
    ------
    ValueError
        If the shapes don't fit, there are fewer than two classes, or a score is NaN.

    Examples
    --------
    >>> chart = roc_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> chart.data["fpr"], chart.data["tpr"]
    ([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0])
    """
    data: dict[str, list[Any]] = {"fpr": [], "tpr": [], "class": []}
    areas = {}
    for name, positive, score in _one_against_rest(y_true, y_probas, labels, classes_to_plot, "roc_curve()"):
        false, true = roc_points(positive, score)
        areas[name] = float(np.sum(np.diff(false) * (true[1:] + true[:-1]) / 2))
        false, true = _thinned(false, true)
        data["fpr"] += false.tolist()
        data["tpr"] += true.tolist()
        data["class"] += [name] * len(false)
    return Chart("roc", data, {"x": "fpr", "y": "tpr", "stroke": "class"}, title or "ROC", None, {"areas": areas})


def pr_curve(
    y_true: Any = None,
    y_probas: Any = None,
    labels: Sequence[str] | None = None,
    classes_to_plot: Sequence[Any] | None = None,
    interp_size: int = 21,
    title: str | None = None,
    split_table: bool = False,
) -> Chart:
    """Precision against recall: a curve per class against all others, with its average precision.

    Parameters
    ----------
    y_true, y_probas, labels, classes_to_plot, title, split_table
        As `roc_curve`'s.
    interp_size
        Accepted for scripts written for W&B; the curve keeps its own points.

    Raises
    ------
    ValueError
        As `roc_curve`.
    """
    data: dict[str, list[Any]] = {"recall": [], "precision": [], "class": []}
    averages = {}
    for name, positive, score in _one_against_rest(y_true, y_probas, labels, classes_to_plot, "pr_curve()"):
        precision, recall = pr_points(positive, score)
        averages[name] = float(-np.sum(np.diff(recall) * precision[:-1]))
        precision, recall = _thinned(precision, recall)
        data["recall"] += recall.tolist()
        data["precision"] += precision.tolist()
        data["class"] += [name] * len(recall)
    fields = {"x": "recall", "y": "precision", "stroke": "class"}
    return Chart("pr", data, fields, title or "Precision and recall", None, {"averages": averages})


def confusion_matrix(
    probs: Any = None,
    y_true: Any = None,
    preds: Any = None,
    class_names: Sequence[str] | None = None,
    title: str | None = None,
    split_table: bool = False,
) -> Chart:
    """How often each class was taken for each.

    Parameters
    ----------
    probs
        Samples × classes, of which the largest is the prediction; or give `preds`.
    y_true, preds
        The true and the predicted class of each sample: whole numbers, or with `class_names` the names themselves.
    class_names
        The classes' names, by number.
    title, split_table
        As `roc_curve`'s.

    Raises
    ------
    ValueError
        If the shapes don't fit, or a class is none of those named.

    Examples
    --------
    >>> chart = confusion_matrix(y_true=[0, 1, 1], preds=[0, 0, 1], class_names=["cat", "dog"])
    >>> chart.data["count"]
    [1, 0, 1, 1]
    """
    if y_true is None or (probs is None) == (preds is None):
        raise ValueError("confusion_matrix() takes y_true, and either probs or preds")
    true = np.asarray(y_true).reshape(-1)
    guessed = np.asarray(preds).reshape(-1) if preds is not None else np.argmax(np.asarray(probs), axis=1)
    if len(true) != len(guessed) or not len(true):
        raise ValueError(f"confusion_matrix() got {len(true)} true classes and {len(guessed)} predictions")
    names, true, guessed = _numbered(true, guessed, class_names)
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (true, guessed), 1)
    data: dict[str, list[Any]] = {
        "actual": [name for name in names for _ in names],
        "predicted": names * len(names),
        "count": counts.reshape(-1).tolist(),
    }
    fields = {"actual": "actual", "predicted": "predicted", "value": "count"}
    return Chart("confusion_matrix", data, fields, title or "Confusion matrix", None, {"classes": names})


def roc_points(positive: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats]:
    """False and true positive rates at falling thresholds, from none to all."""
    false, true = _counts(positive, score)
    if len(true) > 2:
        bends = np.flatnonzero(np.r_[True, np.logical_or(np.diff(false, 2), np.diff(true, 2)), True])
        false, true = false[bends], true[bends]
    false, true = np.r_[0.0, false], np.r_[0.0, true]
    if not false[-1] or not true[-1]:
        raise ValueError("a ROC curve needs samples of the class, and of others")
    return false / false[-1], true / true[-1]


def pr_points(positive: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats]:
    """Precision and recall at rising thresholds, ending with precision 1 and recall 0."""
    false, true = _counts(positive, score)
    if not true[-1]:
        raise ValueError("a curve of precision and recall needs samples of the class")
    precision, recall = true / (true + false), true / true[-1]
    return np.r_[precision[::-1], 1.0], np.r_[recall[::-1], 0.0]


def _counts(positive: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats]:
    """False and true positives at each different score, from the highest down."""
    order = np.argsort(score, kind="mergesort")[::-1]
    ordered, hits = score[order], positive[order]
    ends = np.r_[np.flatnonzero(np.diff(ordered)), len(ordered) - 1]
    true = np.cumsum(hits, dtype=np.float64)[ends]
    return 1.0 + ends - true, true


def _one_against_rest(
    y_true: Any, y_probas: Any, labels: Sequence[str] | None, chosen: Sequence[Any] | None, what: str
) -> list[tuple[str, NDArray[np.bool_], Floats]]:
    if y_true is None or y_probas is None:
        raise ValueError(f"{what} takes y_true and y_probas")
    true, scores = np.asarray(y_true).reshape(-1), np.asarray(y_probas, np.float64)
    if scores.ndim == 2 and scores.shape[1] == 1:
        scores = scores[:, 0]
    if scores.ndim not in (1, 2) or len(scores) != len(true) or not len(true):
        raise ValueError(f"{what} got {len(true)} true classes and scores of shape {scores.shape}")
    if np.isnan(scores).any():
        raise ValueError(f"{what} got scores that are NaN")
    present = np.unique(true)
    if scores.ndim == 1:
        if len(present) != 2:
            raise ValueError(
                f"{what} got one score a sample and {len(present)} classes; it needs a score of each class"
            )
        columns: list[tuple[Any, Floats]] = [(present[1], scores)]
        names = [str(labels[1] if labels is not None and len(labels) == 2 else present[1])]
    else:
        count = scores.shape[1]
        classes = list(range(count)) if present.dtype.kind in "iu" and present.max() < count else present.tolist()
        if len(classes) != count:
            raise ValueError(f"{what} got scores of {count} classes, and {len(classes)} different true classes")
        if labels is not None and len(labels) != count:
            raise ValueError(f"{what} got {len(labels)} labels for {count} classes")
        columns = [(each, scores[:, number]) for number, each in enumerate(classes)]
        names = [str(each) for each in (labels if labels is not None else classes)]
    found = [
        (name, true == each, score)
        for name, (each, score) in zip(names, columns, strict=True)
        if (chosen is None or each in chosen or name in chosen) and each in present
    ]
    if not found or len(present) < 2:
        raise ValueError(f"{what} needs samples of at least two classes, and one to plot")
    return found


def _numbered(
    true: NDArray[Any], guessed: NDArray[Any], class_names: Sequence[str] | None
) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """The classes' names, and the samples' classes as numbers."""
    if true.dtype.kind in "iub" and guessed.dtype.kind in "iub":
        low, high = int(min(true.min(), guessed.min())), int(max(true.max(), guessed.max()))
        names = [str(name) for name in class_names] if class_names is not None else []
        if low < 0 or (class_names is not None and high >= len(names)):
            raise ValueError(f"confusion_matrix() got classes from {low} to {high}, and names for {len(names)}")
        names = names or [str(number) for number in range(high + 1)]
        if len(names) > 1000:
            raise ValueError(f"confusion_matrix() takes up to 1,000 classes, not {len(names):,}")
        return names, true.astype(np.int64), guessed.astype(np.int64)
    texts = [str(each) for each in true], [str(each) for each in guessed]
    names = [str(name) for name in class_names] if class_names is not None else sorted({*texts[0], *texts[1]})
    places = {name: number for number, name in enumerate(names)}
    unknown = next((each for part in texts for each in part if each not in places), None)
    if unknown is not None:
        raise ValueError(f"confusion_matrix() got the class {unknown!r}, which is none of {', '.join(names)}")
    return names, np.array([places[each] for each in texts[0]]), np.array([places[each] for each in texts[1]])


def _thinned(*columns: Floats) -> list[Floats]:
    count = len(columns[0])
    if count <= MOST_POINTS:
        return list(columns)
    chosen = np.linspace(0, count - 1, MOST_POINTS).round().astype(int)
    return [column[chosen] for column in columns]

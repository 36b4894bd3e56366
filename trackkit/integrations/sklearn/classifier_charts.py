"""Charts of a classifier: its classes, and how well it knows how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.calibration import calibration_curve

from trackkit.core.media.chart import Chart
from trackkit.plot.classification import confusion_matrix as matrix

BINS = 10


def confusion_matrix(y_true: Any, y_pred: Any, labels: Sequence[str] | None = None, title: str = "") -> Chart:
    """How often each class was taken for each; classes of any type."""
    classes, codes = np.unique(np.concatenate([as_texts(y_true), as_texts(y_pred)]), return_inverse=True)
    order = _order(classes.tolist())
    ranks = np.argsort(order)[codes]
    names = [str(classes[index]) for index in order] if labels is None or len(labels) != len(classes) else list(labels)
    true, predicted = ranks[: len(y_true)], ranks[len(y_true) :]
    return matrix(y_true=true.tolist(), preds=predicted.tolist(), class_names=names, title=title or "Confusion matrix")


def class_proportions(y_train: Any, y_test: Any = None, labels: Sequence[str] | None = None) -> Chart:
    """How often each class is there, in the data to train on and in that to test on."""
    parts = {"train": as_texts(y_train)} | ({} if y_test is None else {"test": as_texts(y_test)})
    classes = sorted({str(one) for values in parts.values() for one in values}, key=_number_first)
    names = dict(zip(classes, labels, strict=False)) if labels is not None and len(labels) == len(classes) else {}
    data: dict[str, list[Any]] = {"class": [], "count": []}
    for part, values in parts.items():
        for one in classes:
            name = names.get(one, one)
            data["class"].append(name if len(parts) == 1 else f"{name}, {part}")
            data["count"].append(int((values == one).sum()))
    return Chart("bar", data, {"label": "class", "value": "count"}, "Class proportions")


def calibration(
    y_true: Any, scores: Mapping[str, Any], pos_label: Any = None, title: str = "Calibration curve"
) -> Chart:
    """The share of the positive class among samples of about one score, against that score.

    Parameters
    ----------
    y_true
        The true classes, of two.
    scores
        By the name of a classifier, its probability of the positive class for each sample.
    pos_label
        The positive class; by default the greater one.
    title
        Shown above.

    Raises
    ------
    ValueError
        If there are not two classes.
    """
    if len(np.unique(as_texts(y_true))) != 2:
        raise ValueError("a calibration curve needs targets of two classes")
    xs: list[float] = [0.0, 1.0]
    ys: list[float] = [0.0, 1.0]
    keys = ["perfect", "perfect"]
    for name, score in scores.items():
        share, mean = calibration_curve(y_true, score, n_bins=BINS, pos_label=pos_label)
        xs, ys, keys = [*xs, *mean.tolist()], [*ys, *share.tolist()], [*keys, *[name] * len(mean)]
    data: dict[str, list[Any]] = {"predicted probability": xs, "share of positives": ys, "classifier": keys}
    fields = {"x": "predicted probability", "y": "share of positives", "stroke": "classifier"}
    return Chart("line", data, fields, title)


def as_texts(values: Any) -> Any:
    """Targets as an array of texts, so that classes of any type are told apart alike."""
    array = np.asarray(values)
    if array.dtype.kind == "f" and not (array % 1).any():
        array = array.astype(np.int64)
    return array.ravel().astype(str)


def _number_first(text: str) -> tuple[int, float, str]:
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text


def _order(classes: Sequence[str]) -> Any:
    return np.array(sorted(range(len(classes)), key=lambda index: _number_first(classes[index])))

"""Charts: the curves are scikit-learn's, the specification is what the dashboard reads."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets, linear_model, metrics, model_selection

import trackkit
from trackkit import plot


@pytest.fixture(scope="module")
def guesses() -> tuple[Any, Any]:
    """True classes, and scores of each, of a real classifier on real data."""
    x, y = datasets.load_digits(return_X_y=True)
    train, test, train_y, test_y = model_selection.train_test_split(x[y < 4], y[y < 4], random_state=0)
    noisy = test + np.random.default_rng(0).normal(0, 30, test.shape)
    return test_y, linear_model.LogisticRegression(max_iter=2000).fit(train, train_y).predict_proba(noisy)


def curve(chart: Any, x: str, y: str, name: str) -> tuple[list[float], list[float]]:
    rows = [place for place, each in enumerate(chart.data["class"]) if each == name]
    return [chart.data[x][row] for row in rows], [chart.data[y][row] for row in rows]


def content(chart: Any) -> Any:
    return json.loads(bytes(chart.snapshot().data()))


def test_a_roc_curve_is_scikit_learns(guesses: tuple[Any, Any]) -> None:
    true, scores = guesses

    chart = plot.roc_curve(true, scores, labels=["zero", "one", "two", "three"])

    for number, name in enumerate(["zero", "one", "two", "three"]):
        false_rate, true_rate, _ = metrics.roc_curve(true == number, scores[:, number])
        found = curve(chart, "fpr", "tpr", name)
        np.testing.assert_allclose(found, [false_rate, true_rate])
        np.testing.assert_allclose(
            content(chart)["areas"][name], metrics.roc_auc_score(true == number, scores[:, number])
        )


def test_a_curve_of_precision_and_recall_is_scikit_learns(guesses: tuple[Any, Any]) -> None:
    true, scores = guesses

    chart = plot.pr_curve(true, scores)

    for number in range(4):
        precision, recall, _ = metrics.precision_recall_curve(true == number, scores[:, number])
        found = curve(chart, "precision", "recall", str(number))
        np.testing.assert_allclose(found, [precision, recall])
        expected = metrics.average_precision_score(true == number, scores[:, number])
        np.testing.assert_allclose(content(chart)["averages"][str(number)], expected)


def test_a_confusion_matrix_is_scikit_learns(guesses: tuple[Any, Any]) -> None:
    true, scores = guesses

    chart = plot.confusion_matrix(probs=scores, y_true=true, class_names=["a", "b", "c", "d"])

    counts = np.array(chart.data["count"]).reshape(4, 4)
    np.testing.assert_array_equal(counts, metrics.confusion_matrix(true, scores.argmax(1)))
    assert chart.data["actual"][:5] == ["a", "a", "a", "a", "b"]


def test_tied_scores_are_one_threshold() -> None:
    true, scores = np.array([0, 1, 0, 1, 1, 0]), np.array([0.5, 0.5, 0.5, 0.9, 0.1, 0.1])

    chart = plot.roc_curve(true, scores)

    false_rate, true_rate, _ = metrics.roc_curve(true, scores)
    np.testing.assert_allclose([chart.data["fpr"], chart.data["tpr"]], [false_rate, true_rate])


def test_classes_may_be_names_and_chosen() -> None:
    chart = plot.roc_curve(
        ["b", "a", "b", "a"], [[0.1, 0.9], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7]], classes_to_plot=["b"]
    )

    assert set(chart.data["class"]) == {"b"}
    assert plot.confusion_matrix(y_true=["b", "a"], preds=["a", "a"]).data["count"] == [1, 0, 1, 0]


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    rng = np.random.default_rng(0)

    chart = plot.pr_curve(rng.integers(0, 2, 50_000), rng.random(50_000))

    assert len(chart.data["recall"]) == 2000
    assert (chart.data["recall"][0], chart.data["recall"][-1]) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y_true": [0, 1], "y_probas": [[0.5, 0.5]]}, "2 true classes"),
        ({"y_true": [0, 1], "y_probas": [0.5, float("nan")]}, "NaN"),
        ({"y_true": [0, 0], "y_probas": [0.5, 0.5]}, "classes"),
        ({"y_true": [0, 1], "y_probas": [[0.5, 0.5]] * 2, "labels": ["a"]}, "1 labels for 2"),
        ({"y_true": None, "y_probas": [1]}, "takes y_true"),
    ],
)
def test_what_makes_no_curve_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot.roc_curve(**arguments)


def test_charts_of_columns_hold_what_they_draw() -> None:
    table = trackkit.Table(columns=["x", "y", "name"], data=[[1, 2.0, "a"], [2, float("nan"), "b"]])

    assert content(plot.line(table, "x", "y", stroke="name", title="t")) == {
        "type": "line",
        "title": "t",
        "fields": {"x": "x", "y": "y", "stroke": "name"},
        "data": {"x": [1, 2], "y": [2.0, None], "name": ["a", "b"]},
    }
    assert plot.scatter(pd.DataFrame({"x": [1], "y": [2]}), "x", "y").type == "scatter"
    assert plot.bar(table, "name", "x").fields == {"label": "name", "value": "x"}
    assert plot.histogram(table, "x").data == {"x": [1, 2]}
    with pytest.raises(ValueError, match="no column 'z'"):
        plot.line(table, "x", "z")


def test_series_of_lines_share_an_x_or_have_their_own() -> None:
    shared = plot.line_series([0, 1], [[1, 2], [3, 4]], keys=["a", "b"], xname="epoch")
    own = plot.line_series([[0], [0, 1]], [[1], [3, 4]])

    assert shared.data == {"epoch": [0, 1, 0, 1], "y": [1, 2, 3, 4], "line": ["a", "a", "b", "b"]}
    assert own.data["x"] == [0, 0, 1]
    with pytest.raises(ValueError, match="2 xs and 1 ys"):
        plot.line_series([0, 1], [[1]])


def test_a_vega_lite_specification_is_kept_with_its_table() -> None:
    table = trackkit.Table(columns=["x", "y"], data=[[1, 2]])
    spec = {"mark": "point", "encoding": {"x": {"field": "${field:a}"}}}

    found = content(trackkit.plot_table(spec, table, {"a": "x"}, {"title": "t"}))

    assert found["spec"] == spec
    assert (found["fields"], found["texts"], found["data"]) == ({"a": "x"}, {"title": "t"}, {"x": [1], "y": [2]})
    assert trackkit.plot_table("wandb/line/v0", table, {"x": "x", "y": "y"}).type == "line"
    with pytest.raises(ValueError, match="knows no chart 'somebody/odd'"):
        trackkit.plot_table("somebody/odd", table, {})

"""Plots of scikit-learn's estimators show what scikit-learn computes, one at a time or all that suit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics
from sklearn.calibration import calibration_curve
from sklearn.cluster import DBSCAN, KMeans
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, learning_curve, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

import trackkit
from tests.frameworks.tracking import INIT, only
from trackkit.integrations import sklearn as tracked
from trackkit.integrations.sklearn import track

IRIS = load_iris()
X_train, X_test, y_train, y_test = train_test_split(IRIS.data, IRIS.target, random_state=0)
CANCER = load_breast_cancer(return_X_y=True)
DIABETES = load_diabetes(return_X_y=True)


def tree() -> DecisionTreeClassifier:
    return DecisionTreeClassifier(max_depth=2, random_state=0)


def chart(key: str) -> Any:
    (item,) = only().media(key)
    return item.json()


def points(content: Any, *columns: str) -> list[tuple[Any, ...]]:
    return list(zip(*(content["data"][column] for column in columns), strict=True))


def test_all_plots_of_a_classifier_are_logged_at_once(folder: Path) -> None:
    model = tree().fit(X_train, y_train)
    with trackkit.init(**INIT):
        tracked.plot_classifier(
            model, X_train, X_test, y_train, y_test, model.predict(X_test), model.predict_proba(X_test),
            labels=list(IRIS.target_names), feature_names=IRIS.feature_names, log_learning_curve=True,
        )  # fmt: skip
    assert set(only().media_keys()) == {
        "class_proportions", "confusion_matrix", "summary_metrics", "roc", "precision_recall", "feature_importances",
        "learning_curve",
    }  # fmt: skip
    assert only().summary["summary_metrics/accuracy"] == model.score(X_test, y_test)
    assert {item.step for key in only().media_keys() for item in only().media(key)} == {0}


def test_a_classifier_of_two_classes_has_a_calibration_curve(folder: Path) -> None:
    x, y = CANCER
    model = LogisticRegression(max_iter=50).fit(x / x.max(0), y)
    with trackkit.init(**INIT):
        tracked.plot_classifier(
            model, x / x.max(0), x / x.max(0), y, y, model.predict(x / x.max(0)), model.predict_proba(x / x.max(0)),
            is_binary=True, model_name="logistic",
        )  # fmt: skip
    share, mean = calibration_curve(y, model.predict_proba(x / x.max(0))[:, 1], n_bins=10)
    found = points(chart("calibration_curve"), "predicted probability", "share of positives", "classifier")
    assert [(a, b) for a, b, name in found if name == "logistic"] == list(zip(mean, share, strict=True))


def test_all_plots_of_a_regressor_are_logged_at_once(folder: Path) -> None:
    x, y = DIABETES
    model = LinearRegression().fit(x[:300], y[:300])
    with trackkit.init(**INIT):
        tracked.plot_regressor(model, x[:300], x[300:], y[:300], y[300:])
    assert set(only().media_keys()) == {
        "summary_metrics", "residuals", "outlier_candidates", "feature_importances", "learning_curve",
    }  # fmt: skip
    found = points(chart("residuals"), "predicted", "residual", "data")
    guess = model.predict(x[:300])
    assert found[:300] == [(*pair, "train") for pair in zip(guess, y[:300] - guess, strict=True)]
    assert len(found) == len(x)


def test_all_plots_of_a_clusterer_are_logged_at_once(folder: Path) -> None:
    model = KMeans(3, n_init=1, random_state=0)
    labels = model.fit_predict(X_train)
    with trackkit.init(**INIT):
        tracked.plot_clusterer(model, X_train, labels, labels=["a", "b", "c"])
    found = pd.DataFrame(chart("silhouette")["data"])
    values = metrics.silhouette_samples(X_train, labels)
    for index, name in enumerate("abc"):
        expected = sorted(values[labels == index], reverse=True)
        assert found[found["cluster"] == name]["silhouette"].tolist() == pytest.approx(expected)
    elbow = pd.DataFrame(chart("elbow_curve")["data"])
    errors = elbow[elbow["what"] == "squared errors"]["value"]
    assert elbow["clusters"].unique().tolist() == [1, 3, 5, 7, 9]
    assert errors.is_monotonic_decreasing


def test_a_clusterer_without_a_number_of_clusters_has_silhouettes_alone(folder: Path) -> None:
    model = DBSCAN(eps=0.9).fit(X_train)
    with trackkit.init(**INIT):
        tracked.plot_clusterer(model, X_train, model.labels_)
        with pytest.raises(TypeError, match="needs a clusterer with n_clusters"):
            tracked.plot_elbow_curve(model, X_train)
    assert set(only().media_keys()) == {"silhouette"}


def test_the_confusion_matrix_counts_as_scikit_learn_does(folder: Path) -> None:
    model = tree().fit(X_train, y_train)
    predicted = model.predict(X_test)
    with trackkit.init(**INIT):
        tracked.plot_confusion_matrix(IRIS.target_names[y_test], IRIS.target_names[predicted])
    found = chart("confusion_matrix")
    names = list(IRIS.target_names)
    expected = metrics.confusion_matrix(y_test, predicted)
    columns = list(found["fields"].values())
    counted = {tuple(row[:2]): row[2] for row in points(found, *columns)}
    for true in range(3):
        for guess in range(3):
            assert counted.get((names[true], names[guess]), 0) == expected[true, guess]


def test_the_confusion_matrix_can_be_of_some_classes(folder: Path) -> None:
    with trackkit.init(**INIT):
        tracked.plot_confusion_matrix([0, 0, 1, 2], [0, 1, 1, 2], true_labels=[0, 1], pred_labels=[0, 1])
    assert len(chart("confusion_matrix")["data"]["count" if "count" in chart("confusion_matrix")["data"] else "n"]) == 4


def test_class_proportions_are_counts(folder: Path) -> None:
    with trackkit.init(**INIT):
        tracked.plot_class_proportions(["cat", "dog", "cat"], ["dog"])
    assert points(chart("class_proportions"), "class", "count") == [
        ("cat, train", 2), ("dog, train", 1), ("cat, test", 0), ("dog, test", 1),
    ]  # fmt: skip


def test_importances_have_the_names_of_the_features(folder: Path) -> None:
    frame = pd.DataFrame(IRIS.data, columns=IRIS.feature_names)
    model = make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0)).fit(frame, IRIS.target)
    with trackkit.init(**INIT):
        tracked.plot_feature_importances(model)
        with pytest.raises(ValueError, match="KMeans tells no importances"):
            tracked.plot_feature_importances(KMeans(2, n_init=1).fit(X_train))
    found = dict(points(chart("feature_importances"), "feature", "importance"))
    assert found == dict(zip(IRIS.feature_names, model[-1].feature_importances_, strict=True))


def test_the_learning_curve_is_scikit_learn_s(folder: Path) -> None:
    sizes, train, test = learning_curve(tree(), IRIS.data, IRIS.target, cv=3, shuffle=True, random_state=0)[:3]
    with trackkit.init(**INIT):
        tracked.plot_learning_curve(tree(), IRIS.data, IRIS.target, cv=3, shuffle=True, random_state=0)
    found = points(chart("learning_curve"), "samples", "score", "data")
    assert found[:5] == [(size, score, "train") for size, score in zip(sizes, train.mean(1), strict=True)]
    assert found[5:] == [(size, score, "test") for size, score in zip(sizes, test.mean(1), strict=True)]


def test_cook_s_distance_is_what_leaving_a_sample_out_changes(folder: Path) -> None:
    """By its definition: the squared change of all predictions, over the parameters times the mean squared error."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 2))
    y = x @ [1.0, 2.0] + rng.normal(size=30)
    y[7] += 20
    model = LinearRegression().fit(x, y)
    expected = []
    error = ((y - model.predict(x)) ** 2).sum() / (30 - 3)
    for index in range(30):
        kept = np.arange(30) != index
        without = LinearRegression().fit(x[kept], y[kept])
        expected.append(((model.predict(x) - without.predict(x)) ** 2).sum() / (3 * error))
    with trackkit.init(**INIT):
        tracked.plot_outlier_candidates(model, x, y)
    found = points(chart("outlier_candidates"), "sample", "distance", "kind")
    assert [distance for _, distance, _ in found] == pytest.approx(expected)
    assert found[7][2] == "candidate"


def test_a_plot_needs_a_run_and_what_it_draws(folder: Path) -> None:
    model = LinearSVC().fit(*CANCER)
    with pytest.raises(RuntimeError, match=r"call trackkit\.init\(\) first"):
        tracked.plot_class_proportions([0, 1])
    with trackkit.init(**INIT), pytest.raises(ValueError, match="needs predict_proba, which LinearSVC does not have"):
        tracked.plot_calibration_curve(model, *CANCER)
    with trackkit.init(**INIT), pytest.raises(ValueError, match="targets of two classes"):
        tracked.plot_calibration_curve(tree().fit(X_train, y_train), X_train, y_train)


@pytest.mark.parametrize(
    ("estimator", "data", "expected"),
    [
        (tree(), CANCER, {"confusion_matrix", "roc", "precision_recall", "calibration_curve"}),
        (tree(), (X_train, y_train), {"confusion_matrix", "roc", "precision_recall"}),
        (tree(), (X_train, IRIS.target_names[y_train]), {"confusion_matrix", "roc", "precision_recall"}),
        (LinearSVC(), (X_train, y_train), {"confusion_matrix"}),
        (LinearRegression(), DIABETES, {"residuals", "predictions"}),
        (KMeans(3, n_init=1), (X_train, None), {"silhouette"}),
        (StandardScaler(), (X_train, None), set()),
    ],
)
def test_a_fit_has_the_charts_that_suit(folder: Path, estimator: Any, data: Any, expected: set[str]) -> None:
    track(estimator, **INIT).fit(*data)
    run = only()
    assert {key.removeprefix("training/") for key in run.media_keys() if key.startswith("training/")} == expected
    assert type(estimator).__name__ in run.media("estimator")[0].read().decode()
    assert ("importances" in run.media_keys()) == (
        hasattr(estimator, "coef_") or isinstance(estimator, (DecisionTreeClassifier, LinearSVC, LinearRegression))
    )


def test_charts_need_not_be_logged(folder: Path) -> None:
    track(tree(), log_plots=False, **INIT).fit(X_train, y_train)
    assert only().media_keys() == {}


def test_other_data_has_its_charts_too(folder: Path) -> None:
    track(tree(), **INIT).fit(X_train, y_train).evaluate(X_test, y_test, name="test")
    assert {"test/confusion_matrix", "test/roc", "test/precision_recall"} <= set(only().media_keys())


def test_all_results_of_a_search_are_in_a_table(folder: Path) -> None:
    grid = [{"max_depth": [1, None], "criterion": ["gini"]}, {"splitter": ["random"]}]
    search = track(GridSearchCV(tree(), grid, cv=2), max_tuning_runs=0, **INIT).fit(X_train, y_train)
    found = only().table("cv_results").pandas()
    assert found["mean_test_score"].tolist() == search.cv_results_["mean_test_score"].tolist()
    assert found["rank_test_score"].tolist() == search.cv_results_["rank_test_score"].tolist()
    assert found["param_splitter"].tolist()[-1] == "random"

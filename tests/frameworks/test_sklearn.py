"""scikit-learn's fits are logged, by an estimator around another one and by autolog, and so is what comes after."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn.metrics
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier, is_regressor
from sklearn.cluster import KMeans
from sklearn.datasets import load_diabetes, load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, cross_val_score, cross_validate, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

import trackkit
from tests.frameworks.tracking import BROKEN_INIT, FAULTS, INIT, break_tracking, only, recorded, values, versions
from trackkit.integrations.sklearn import autolog, track

X, Y = load_digits(return_X_y=True)
X, Y = X[:600], Y[:600]
X_train, X_test, y_train, y_test = train_test_split(X, Y, random_state=0)
DIABETES = load_diabetes(return_X_y=True)


@pytest.fixture(autouse=True)
def _autolog_ends() -> Iterator[None]:
    yield
    autolog(disable=True)


def tree(**named: Any) -> DecisionTreeClassifier:
    return DecisionTreeClassifier(random_state=0, max_depth=4, **named)


def test_a_classifier_s_metrics_are_scikit_learn_s(folder: Path) -> None:
    model = track(tree(), **INIT).fit(X_train, y_train)
    summary = only().summary
    predicted, probabilities = model.predict(X_train), model.predict_proba(X_train)
    weighted = {"average": "weighted"}
    assert summary["training/accuracy"] == sklearn.metrics.accuracy_score(y_train, predicted)
    assert summary["training/precision"] == sklearn.metrics.precision_score(y_train, predicted, **weighted)
    assert summary["training/recall"] == sklearn.metrics.recall_score(y_train, predicted, **weighted)
    assert summary["training/f1"] == sklearn.metrics.f1_score(y_train, predicted, **weighted)
    assert summary["training/log_loss"] == sklearn.metrics.log_loss(y_train, probabilities)
    area = sklearn.metrics.roc_auc_score(y_train, probabilities, multi_class="ovr", **weighted)
    assert summary["training/roc_auc"] == area
    assert summary["training/score"] == model.score(X_train, y_train)


def test_precision_and_recall_can_be_those_of_one_class(folder: Path) -> None:
    model = track(tree(), pos_label=1, **INIT).fit(X_train, y_train == 1)
    predicted = model.predict(X_train)
    assert only().summary["training/precision"] == sklearn.metrics.precision_score(y_train == 1, predicted)


def test_weights_of_samples_count_in_the_metrics(folder: Path) -> None:
    weight = np.linspace(0.1, 2, len(y_train))
    model = track(tree(), **INIT).fit(X_train, y_train, sample_weight=weight)
    expected = sklearn.metrics.accuracy_score(y_train, model.predict(X_train), sample_weight=weight)
    assert only().summary["training/accuracy"] == expected


def test_a_regressor_s_metrics_are_scikit_learn_s(folder: Path) -> None:
    x, y = DIABETES
    model = track(Ridge(), **INIT).fit(x, y)
    summary, predicted = only().summary, model.predict(x)
    assert summary["training/mse"] == sklearn.metrics.mean_squared_error(y, predicted)
    assert summary["training/rmse"] == summary["training/mse"] ** 0.5
    assert summary["training/mae"] == sklearn.metrics.mean_absolute_error(y, predicted)
    assert summary["training/r2"] == summary["training/score"] == sklearn.metrics.r2_score(y, predicted)


def test_a_clusterer_s_metrics_are_scikit_learn_s(folder: Path) -> None:
    model = track(KMeans(4, random_state=0, n_init=1), **INIT)
    labels = model.fit_predict(X)
    summary = only().summary
    assert summary["training/silhouette"] == pytest.approx(sklearn.metrics.silhouette_score(X, labels))
    assert summary["training/davies_bouldin"] == sklearn.metrics.davies_bouldin_score(X, labels)
    assert summary["training/calinski_harabasz"] == sklearn.metrics.calinski_harabasz_score(X, labels)
    assert summary["training/inertia"] == model.inertia_
    assert summary["training/clusters"] == 4


def test_all_parameters_and_facts_about_the_data_are_in_the_config(folder: Path) -> None:
    track(make_pipeline(StandardScaler(), tree()), **INIT).fit(X_train, y_train)
    config = only().config
    assert config["model"] == "sklearn.pipeline.Pipeline"
    assert config["last_step"] == "sklearn.tree.DecisionTreeClassifier"
    assert config["params"]["decisiontreeclassifier__max_depth"] == 4
    assert config["params"]["standardscaler"] == "sklearn.preprocessing.StandardScaler"
    data = config["data"]["train"]
    assert (data["rows"], data["columns"]) == X_train.shape
    assert sum(data["target"]["classes"].values()) == len(y_train)


def test_what_is_not_wanted_is_not_logged(folder: Path) -> None:
    model = track(
        tree(), log_training_metrics=False, log_datasets=False, log_post_training_metrics=False, prefix="a/", **INIT
    )
    model.fit(X_train, y_train).score(X_test, y_test)
    run = only()
    assert set(run.keys()) == {"a/fit_seconds"}
    assert "data" not in run.config


@pytest.mark.parametrize(
    ("estimator", "attribute"),
    [
        (MLPClassifier((8,), max_iter=6, early_stopping=True, random_state=0), "loss_curve_"),
        (MLPClassifier((8,), max_iter=6, early_stopping=True, random_state=0), "validation_scores_"),
        (GradientBoostingClassifier(n_estimators=4, max_depth=1), "train_score_"),
    ],
)
def test_an_estimator_s_iterations_are_steps(folder: Path, estimator: Any, attribute: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = track(make_pipeline(StandardScaler(), estimator), **INIT).fit(X_train, y_train)
    expected = dict(enumerate(getattr(model.steps[-1][1], attribute)))
    assert values(only(), f"learning/{attribute.removesuffix('_')}") == pytest.approx(expected)


def test_a_later_score_is_logged_by_the_name_of_its_data(folder: Path) -> None:
    model = track(tree(), **INIT).fit(X_train, y_train)
    assert only().state == "finished"
    score = model.score(X_test, y_test)
    model.score(X_test, y_test)
    run = only()
    assert run.summary["X_test/score"] == run.summary["X_test/score-2"] == score
    assert run.state == "finished"


def test_other_data_can_be_evaluated_in_full(folder: Path) -> None:
    model = track(tree(), **INIT).fit(X_train, y_train).evaluate(X_test, y_test, "held out")
    run = only()
    assert run.summary["held out/accuracy"] == model.score(X_test, y_test)
    assert set(run.config["data"]) == {"train", "held out"}
    with pytest.raises(RuntimeError, match="call fit"):
        track(tree()).evaluate(X_test, y_test)


def test_a_run_going_on_is_used_and_left_open(folder: Path) -> None:
    with trackkit.init(**INIT) as run:
        for depth in (1, 2):
            track(tree().set_params(max_depth=depth)).fit(X_train, y_train)
        assert run.state == "running"
    assert list(values(only(), "training/accuracy")) == [0, 1]


def test_every_fit_without_a_run_has_one_of_its_own(folder: Path) -> None:
    model = track(tree(), **INIT)
    model.fit(X_train, y_train)
    first = model.run
    model.set_params(estimator__max_depth=2).fit(X_train, y_train)
    assert model.run is not first
    assert [run.config["params"]["max_depth"] for run in recorded()] == [4, 2]


@pytest.mark.parametrize("search", ["grid", "random"])
def test_a_search_has_a_step_a_candidate_and_runs_for_the_best(folder: Path, search: str) -> None:
    grid = {"max_depth": [1, 2, 4, 6]}
    made = GridSearchCV(tree(), grid, cv=2) if search == "grid" else RandomizedSearchCV(tree(), grid, n_iter=4, cv=2)
    model = track(made, max_tuning_runs=2, **INIT).fit(X_train, y_train)

    parent, *children = recorded()
    found = model.cv_results_
    assert list(values(parent, "candidates/mean_test_score").values()) == found["mean_test_score"].tolist()
    assert parent.config["best_params"] == model.best_params_
    assert parent.summary["best_score"] == model.best_score_
    best = np.argsort(found["rank_test_score"], kind="stable")[:2].tolist()
    assert [child.config["candidate"] for child in children] == best
    for child in children:
        index = child.config["candidate"]
        assert child.group == child.config["search"] == parent.id
        assert child.config["params"]["max_depth"] == found["params"][index]["max_depth"]
        assert child.summary["mean_test_score"] == found["mean_test_score"][index]
        assert list(values(child, "split_test_score").values()) == [
            found[f"split{split}_test_score"][index] for split in (0, 1)
        ]
        assert child.state == "finished"


def test_a_search_by_several_scores_ranks_by_the_one_it_refits(folder: Path) -> None:
    search = GridSearchCV(tree(), {"max_depth": [1, 6]}, cv=2, scoring=["accuracy", "f1_macro"], refit="f1_macro")
    track(search, max_tuning_runs=None, **INIT).fit(X_train, y_train)
    parent, *children = recorded()
    assert set(values(parent, "candidates/mean_test_f1_macro")) == {0, 1}
    assert [child.config["params"]["max_depth"] for child in children] == [6, 1]


def test_a_tracked_estimator_can_be_searched_and_cloned(folder: Path) -> None:
    model = track(tree())
    with trackkit.init(**INIT):
        search = GridSearchCV(model, {"estimator__max_depth": [1, 5]}, cv=2).fit(X_train, y_train)
    assert search.best_params_ == {"estimator__max_depth": 5}
    assert clone(model).get_params()["estimator__max_depth"] == 4
    assert len(values(only(), "training/accuracy")) == 2 * 2 + 1


def test_a_tracked_estimator_in_workers_joins_the_run(folder: Path) -> None:
    with trackkit.init(**INIT) as run:
        model = track(tree(), run=run)
        GridSearchCV(model, {"estimator__max_depth": [1, 5]}, cv=2, n_jobs=2).fit(X_train, y_train)
    assert len(only().series("training/accuracy").value) == 2 * 2 + 1


def test_a_tracked_estimator_is_a_step_of_a_pipeline(folder: Path) -> None:
    with trackkit.init(**INIT):
        model = Pipeline([("reduce", track(PCA(8))), ("classify", track(KNeighborsClassifier(), prefix="knn/"))])
        assert model.fit(X_train, y_train).score(X_test, y_test) > 0.9
    assert "knn/training/accuracy" in only().summary


def test_it_is_of_the_kind_of_what_it_tracks(folder: Path) -> None:
    assert is_classifier(track(tree()))
    assert is_regressor(track(Ridge()))
    assert not is_classifier(track(KMeans(2)))
    assert not hasattr(track(LinearRegression()), "predict_proba")
    assert not hasattr(track(tree()), "transform")
    assert not hasattr(track(tree()), "fit_predict")
    with pytest.raises(NotFittedError):
        track(tree()).predict(X_test)


def test_a_fitted_one_can_be_pickled_and_predicts_the_same(folder: Path) -> None:
    model = track(tree(), **INIT).fit(X_train, y_train)
    copied = pickle.loads(pickle.dumps(model))
    assert copied.predict(X_test).tolist() == model.predict(X_test).tolist()


def test_the_fitted_estimator_is_logged(folder: Path) -> None:
    model = track(make_pipeline(StandardScaler(), tree()), log_model=True, **INIT).fit(X_train, y_train)
    (version,) = versions(only()).values()
    loaded = joblib.load(Path(version.download()) / "model.joblib")
    assert loaded.predict(X_test).tolist() == model.predict(X_test).tolist()
    assert version.metadata["params"]["decisiontreeclassifier__max_depth"] == 4
    assert version.metadata["training"]["accuracy"] == only().summary["training/accuracy"]


def test_a_class_is_not_taken_for_an_estimator() -> None:
    with pytest.raises(TypeError, match=r"takes an estimator such as SVC\(\)"):
        track(DecisionTreeClassifier)
    with pytest.raises(TypeError, match="max_tuning"):
        track(tree(), max_tuning=3)


class Failing(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Can't be fitted."""

    def fit(self, X: Any, y: Any) -> Failing:  # noqa: N803
        raise ZeroDivisionError("in the fit")


def test_an_exception_in_a_fit_fails_the_run(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        track(Failing(), **INIT).fit(X_train, y_train)
    assert only().state == "failed"
    assert "in the fit" in only().error


@pytest.mark.parametrize("how", FAULTS)
def test_a_fault_of_the_tracker_does_not_stop_a_fit(folder: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    expected = tree().fit(X_train, y_train).predict(X_test).tolist()
    break_tracking(monkeypatch, how)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = track(tree(), **BROKEN_INIT).fit(X_train, y_train)
        assert model.score(X_test, y_test) > 0
        autolog(**BROKEN_INIT)
        logged = tree().fit(X_train, y_train)
        assert sklearn.metrics.accuracy_score(y_test, logged.predict(X_test)) > 0
        GridSearchCV(tree(), {"max_depth": [1, 2]}, cv=2).fit(X_train, y_train)
        cross_val_score(tree(), X_train, y_train, cv=2)
    assert model.predict(X_test).tolist() == logged.predict(X_test).tolist() == expected


def test_autolog_logs_each_fit_of_the_whole_and_then_stops(folder: Path) -> None:
    autolog(**INIT)
    make_pipeline(StandardScaler(), tree()).fit(X_train, y_train)
    RandomForestClassifier(5, random_state=0, n_jobs=2).fit(X_train, y_train)
    KMeans(3, n_init=1, random_state=0).fit_predict(X_train)
    GridSearchCV(tree(), {"max_depth": [1, 2]}, cv=2).fit(X_train, y_train)
    autolog(disable=True)
    tree().fit(X_train, y_train)

    runs = recorded()
    assert [run.config["model"].rpartition(".")[2] for run in runs] == [
        "Pipeline", "RandomForestClassifier", "KMeans", "GridSearchCV", "DecisionTreeClassifier",
        "DecisionTreeClassifier",
    ]  # fmt: skip
    assert [run.job_type for run in runs[4:]] == ["candidate"] * 2
    assert {run.state for run in runs} == {"finished"}


def test_autolog_follows_predictions_to_the_metrics(folder: Path) -> None:
    autolog(**INIT)
    model = tree().fit(X_train, y_train)
    score = model.score(X_test, y_test)
    predicted = model.predict(X_test)
    sklearn.metrics.accuracy_score(y_test, predicted)
    sklearn.metrics.f1_score(y_test, predicted, average="macro")
    micro = sklearn.metrics.f1_score(y_test, predicted, average="micro")
    sklearn.metrics.accuracy_score(y_test, y_test)

    run = only()
    assert run.summary["X_test/score"] == run.summary["X_test/accuracy_score"] == score
    assert run.summary["X_test/f1_score-2"] == micro
    assert run.config["evaluations"]["X_test/f1_score-2"] == "f1_score(…, average='micro')"
    assert "X_test/accuracy_score-2" not in run.summary


def test_autolog_logs_a_cross_validation_s_folds(folder: Path) -> None:
    autolog(**INIT)
    scores = cross_val_score(tree(), X, Y, cv=3)
    told = cross_validate(tree(), X, Y, cv=3, return_train_score=True)
    first, second = recorded()
    assert list(values(first, "folds/test_score").values()) == scores.tolist()
    assert first.summary["test_score_mean"] == pytest.approx(scores.mean())
    assert list(values(second, "folds/train_score").values()) == told["train_score"].tolist()


def test_autolog_keeps_what_is_conditional_conditional(folder: Path) -> None:
    autolog(**INIT)
    assert not hasattr(make_pipeline(StandardScaler()), "fit_predict")
    assert not hasattr(make_pipeline(StandardScaler()), "predict")
    make_pipeline(StandardScaler(), KMeans(2, n_init=1)).fit_predict(X_train)
    make_pipeline(StandardScaler(), PCA(2)).fit_transform(X_train)
    assert len(recorded()) == 2


def test_autolog_puts_everything_back() -> None:
    before = (DecisionTreeClassifier.fit, Pipeline.fit, sklearn.metrics.accuracy_score, ClassifierMixin.score)
    autolog(**INIT)
    assert DecisionTreeClassifier.fit is not before[0]
    autolog(disable=True)
    assert (DecisionTreeClassifier.fit, Pipeline.fit, sklearn.metrics.accuracy_score, ClassifierMixin.score) == before


def test_autolog_can_take_other_classes_in_and_leave_some_out(folder: Path) -> None:
    autolog(include=[Failing], exclude=[PCA], **INIT)
    PCA(2).fit(X)
    with pytest.raises(ZeroDivisionError):
        Failing().fit(X, Y)
    assert only().config["model"].endswith("Failing")


def test_wrong_arguments_are_told_by_scikit_learn_itself(folder: Path) -> None:
    autolog(**INIT)
    with pytest.raises(TypeError, match="nonsense"):
        tree().fit(X, Y, nonsense=1)


def checks() -> list[Any]:
    """scikit-learn's checks of four kinds of estimators, without those for array libraries that are not installed."""
    init: dict[str, Any] = {"mode": "disabled"}
    tracked = [
        track(LogisticRegression(max_iter=50), **init),
        track(LinearRegression(), **init),
        track(KMeans(2, n_init=1, random_state=0), **init),
        track(StandardScaler(), **init),
    ]
    found = parametrize_with_checks(tracked).args[1]
    return [values for values in found if "array_api" not in repr(values)]


@pytest.mark.parametrize(("estimator", "check"), checks(), ids=lambda value: type(value).__name__)
def test_it_passes_scikit_learn_s_own_checks(estimator: Any, check: Any, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)

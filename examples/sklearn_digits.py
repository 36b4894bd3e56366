"""Estimators of scikit-learn learn its handwritten digits: one that is tracked, then a search that `autolog` logs."""

from __future__ import annotations

from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import trackkit


def main() -> None:
    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(images, labels, test_size=0.25, random_state=0)

    network = MLPClassifier((64,), max_iter=200, early_stopping=True, random_state=0)
    model = trackkit.sklearn.track(make_pipeline(StandardScaler(), network), project="digits", name="network")
    model.fit(train_x, train_y).evaluate(test_x, test_y, name="test")

    trackkit.sklearn.autolog(project="digits", max_tuning_runs=3)
    search = GridSearchCV(SVC(), {"C": [0.1, 1, 10], "gamma": ["scale", 0.001]}, cv=3)
    search.fit(train_x, train_y)
    accuracy = accuracy_score(test_y, search.predict(test_x))
    print(
        f"the network reads {model.score(test_x, test_y):.1%} of the test images, {search.best_params_} {accuracy:.1%}"
    )


if __name__ == "__main__":
    main()

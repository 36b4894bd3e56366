"""Boosted trees of LightGBM learn scikit-learn's handwritten digits, and stop when they learn no more."""

from __future__ import annotations

import lightgbm
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from trackkit.integrations.lightgbm import TrackkitCallback

PARAMS = {
    "objective": "multiclass",
    "num_class": 10,
    "num_leaves": 8,
    "metric": ["multi_logloss", "multi_error"],
    "num_threads": 1,
    "verbose": -1,
}


def main() -> None:
    images, labels = load_digits(return_X_y=True)
    train_x, valid_x, train_y, valid_y = train_test_split(images, labels, test_size=0.25, random_state=0)
    train = lightgbm.Dataset(train_x, train_y)
    valid = lightgbm.Dataset(valid_x, valid_y, reference=train)
    tracking = TrackkitCallback(project="digits", name="LightGBM", checkpoint="digits.txt", tags=["example"])
    booster = lightgbm.train(
        PARAMS,
        train,
        200,
        valid_sets=[train, valid],
        valid_names=["train", "valid"],
        callbacks=[lightgbm.early_stopping(10, verbose=False), tracking],
    )
    wrong = (booster.predict(valid_x).argmax(axis=1) != valid_y).mean()
    print(f"{wrong:.1%} of {len(valid_y)} images are mistaken after {booster.best_iteration} rounds of {tracking.run}")


if __name__ == "__main__":
    main()

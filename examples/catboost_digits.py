"""Boosted trees of CatBoost learn scikit-learn's handwritten digits."""

from __future__ import annotations

import catboost
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from trackkit.integrations.catboost import TrackkitCallback


def main() -> None:
    images, labels = load_digits(return_X_y=True)
    train_x, valid_x, train_y, valid_y = train_test_split(images, labels, test_size=0.25, random_state=0)
    model = catboost.CatBoostClassifier(
        iterations=100, depth=3, loss_function="MultiClass", custom_metric="Accuracy", thread_count=1, verbose=False
    )
    tracking = TrackkitCallback(project="digits", name="CatBoost", tags=["example"])
    model.fit(train_x, train_y, eval_set=(valid_x, valid_y), callbacks=[tracking])
    print(f"{model.score(valid_x, valid_y):.1%} of {len(valid_y)} images are read after {tracking.run}")


if __name__ == "__main__":
    main()

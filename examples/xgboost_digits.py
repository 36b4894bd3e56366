"""Boosted trees learn scikit-learn's handwritten digits: a training that stops early, then one that goes on from it."""

from __future__ import annotations

import xgboost
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from trackkit.integrations.xgboost import TrackkitCallback

PARAMS = {
    "objective": "multi:softprob",
    "num_class": 10,
    "max_depth": 3,
    "eta": 0.3,
    "eval_metric": ["merror", "mlogloss"],
    "nthread": 1,
}


def main() -> None:
    images, labels = load_digits(return_X_y=True)
    train_x, valid_x, train_y, valid_y = train_test_split(images, labels, test_size=0.25, random_state=0)
    train, valid = xgboost.DMatrix(train_x, train_y), xgboost.DMatrix(valid_x, valid_y)
    evals = [(train, "train"), (valid, "valid")]

    first = TrackkitCallback(project="digits", name="boosted trees", tags=["example"])
    booster = xgboost.train(PARAMS, train, 60, evals=evals, callbacks=[first], verbose_eval=False)
    booster.save_model("digits.ubj")

    # The file knows the run: the next 40 rounds are its rounds 60 to 99.
    again = TrackkitCallback()
    booster = xgboost.train(
        PARAMS, train, 40, evals=evals, callbacks=[again], verbose_eval=False, xgb_model="digits.ubj"
    )
    wrong = (booster.predict(valid).argmax(axis=1) != valid_y).mean()
    print(
        f"{wrong:.1%} of {len(valid_y)} images are mistaken after {booster.num_boosted_rounds()} rounds of {again.run}"
    )


if __name__ == "__main__":
    main()

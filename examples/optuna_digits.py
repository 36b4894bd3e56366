"""A search for the best support vector machine on scikit-learn's digits: `python examples/optuna_digits.py`.

Needs `pip install 'trackkit[optuna,sklearn]' plotly`. Each trial is a run, a child of the study's.
"""

from __future__ import annotations

import optuna
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.svm import SVC

import trackkit
from trackkit.integrations.optuna import TrackkitCallback

CALLBACK = TrackkitCallback("accuracy", as_multirun=True, project="digits", name="search")


@CALLBACK.track_in_trial()
def objective(trial: optuna.Trial) -> float:
    images, digits = load_digits(return_X_y=True)
    kernel = trial.suggest_categorical("kernel", ["rbf", "poly"])
    strength = trial.suggest_float("C", 1e-2, 1e2, log=True)
    scores = cross_val_score(SVC(C=strength, kernel=kernel), images[:800], digits[:800], cv=3)
    for fold, score in enumerate(scores):
        trackkit.log({"fold/accuracy": score}, step=fold)  # into the trial's run
    return float(scores.mean())


def main() -> None:
    study = optuna.create_study(direction="maximize", study_name="digits", sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=15, callbacks=[CALLBACK])
    print(f"best accuracy {study.best_value:.3f} with {study.best_params}; see it with: trackkit ui")


if __name__ == "__main__":
    main()

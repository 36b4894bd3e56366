"""What is logged of a fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Options:
    """What is logged of a fit; the parameters of `track` and `autolog`.

    Attributes
    ----------
    log_training_metrics
        Metrics of the predictions for the data that was fitted.
    log_post_training_metrics
        What `score` gives later on, and with `autolog` the functions of `sklearn.metrics`.
    log_plots
        Charts of the predictions, importances of features, and a picture of the estimator in HTML.
    log_datasets
        Facts about the data, never the data.
    log_model
        The fitted estimator, as an artifact `model-<run id>` with a file `model.joblib`. Load it only if you trust it.
    max_tuning_runs
        How many of a search's candidates get a run of their own, best ones first; None for all.
    pos_label
        The class that precision, recall and F1 are of; by default their mean over the classes, weighted by how
        often each is there.
    prefix
        Put before every key.
    """

    log_training_metrics: bool = True
    log_post_training_metrics: bool = True
    log_plots: bool = True
    log_datasets: bool = True
    log_model: bool = False
    max_tuning_runs: int | None = 5
    pos_label: Any = None
    prefix: str = ""

    @classmethod
    def parted(cls, given: Mapping[str, Any]) -> tuple[Options, dict[str, Any]]:
        """The options among what was given, and the rest."""
        names = {field.name for field in fields(cls)}
        chosen = {name: value for name, value in given.items() if name in names}
        return cls(**chosen), {name: value for name, value in given.items() if name not in names}

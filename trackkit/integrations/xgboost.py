"""XGBoost: a callback for `xgb.train`, `xgb.cv` and the scikit-learn API, and `autolog`."""

from __future__ import annotations

import inspect
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from trackkit.core import adapter, calls, dataset
from trackkit.core.adapter import Attachment, guarded, log_checkpoint
from trackkit.core.goals import Best, goal_of
from trackkit.core.importances import log_importances
from trackkit.core.patches import Patches
from trackkit.core.run import Run

try:
    import xgboost
except ImportError as error:
    raise ImportError("trackkit.xgboost needs XGBoost: pip install 'trackkit[xgboost]'") from error

RUN_ATTRIBUTE = "trackkit_run"
"""The booster's attribute that holds the run's id, in the model and in every checkpoint of it."""
IMPORTANCE_TYPES = ("weight", "gain", "cover", "total_gain", "total_cover")
_MOST_VALUES = 2_000_000
"""Up to this many values a DMatrix is copied to make a digest of it."""


def _rank() -> int:
    return int(xgboost.collective.get_rank()) if xgboost.collective.is_distributed() else adapter.rank()


class TrackkitCallback(xgboost.callback.TrainingCallback):  # type: ignore[misc]
    """Logs a training of XGBoost.

    Every round is a step: `<data>/<metric>` of each evaluation set. The booster's whole configuration goes to the
    config, its best round and score to the summary. Of `xgb.cv` the mean over the folds is logged as
    `<data>/<metric>` and the deviation as `<data>/<metric>-std`.

    The run's id is put into the booster, so that a training that goes on from a saved model (`xgb_model=`) continues
    its run, at the round the model was saved at.

    Parameters
    ----------
    run
        The run to log into; by default the one that is going on, or else a new one, which ends with the training.
    log_feature_importance
        Log how much each feature matters when the training is over, as `importance/<type>` and as a table of all.
    importance_type
        What matters: weight, gain, cover, total_gain, total_cover; one of them or several.
    define_metric
        Have the summary keep the best value of each metric: the least, or the greatest where more is better.
    prefix
        Put before every metric's key.
    log_model
        Log the model as an artifact `model-<run id>` when the training is over, and every `checkpoint_every` rounds;
        the best of them by the last metric of the last evaluation set has the alias `best`.
    checkpoint_every
        Rounds from one checkpoint to the next; 0 for none.
    model_format
        `ubj` or `json`.
    resume
        Continue the run a model given as `xgb_model` was trained in.
    all_ranks
        Whether every worker of a distributed training writes, or the first alone.
    **init
        What `trackkit.init` is called with if a run has to be started: project, name, config, …

    Raises
    ------
    TypeError
        If an option is unknown.
    ValueError
        If a type of importance is.

    Examples
    --------
    >>> import xgboost
    >>> booster = xgboost.train(  # doctest: +SKIP
    ...     {"objective": "binary:logistic"},
    ...     train,
    ...     100,
    ...     evals=[(valid, "valid")],
    ...     callbacks=[TrackkitCallback(project="trees")],
    ... )
    """

    def __init__(
        self,
        run: Run | None = None,
        *,
        log_feature_importance: bool = True,
        importance_type: str | Sequence[str] = "gain",
        define_metric: bool = True,
        log_model: bool = False,
        checkpoint_every: int = 0,
        model_format: Literal["ubj", "json"] = "ubj",
        prefix: str = "",
        resume: bool = True,
        all_ranks: bool = False,
        **init: Any,
    ) -> None:
        super().__init__()
        types = [importance_type] if isinstance(importance_type, str) else list(importance_type)
        for name in types:
            if name not in IMPORTANCE_TYPES:
                raise ValueError(f"importance_type must be of {', '.join(IMPORTANCE_TYPES)}, not {name!r}")
        if model_format not in ("ubj", "json"):
            raise ValueError(f"model_format must be 'ubj' or 'json', not {model_format!r}")
        self._logs_model = log_model
        self._every = checkpoint_every if log_model else 0
        self._format = model_format
        self._score: tuple[str, float] | None = None
        """The last metric of the last evaluation set, and its last value."""
        self._best = Best("minimize")
        self._importance_types = types if log_feature_importance else []
        self.attachment = Attachment(run, all_ranks=all_ranks, rank=_rank, **init)
        self._define_metric = define_metric
        self._prefix = prefix
        self._resume = resume
        self._first_step = 0
        self._logged_step = -1
        self._keys: dict[tuple[str, str], str] = {}
        self._log: Callable[[dict[str, float], int], None] = _nothing
        """The run's `log`, found once: finding the run takes longer than logging."""
        self._settle: Callable[[], object] = _nothing

    @property
    def run(self) -> Run:
        """The run that is logged into."""
        return self.attachment.run

    @guarded(returns=lambda self, model: model)
    def before_training(self, model: Any) -> Any:
        """Find the run, and note how the booster is set up."""
        if self.attachment.owned:
            self.attachment = self.attachment.another()
        self._keys, self._score, self._logged_step = {}, None, -1
        self._first_step = model.num_boosted_rounds()
        booster = _booster(model)
        known = booster.attr(RUN_ATTRIBUTE)
        if known and self._resume and self._first_step:
            self.attachment.resume(known, self._first_step - 1)
        run = self.run
        self._log = run.log
        self._log_config(run, booster)
        model.set_attr(**{RUN_ATTRIBUTE: run.id})
        frame = sys._getframe(1)
        trains = calls.caller(frame, "train", "xgboost") or calls.caller(frame, "cv", "xgboost")
        self._settle = self.attachment.expect(trains, "XGBoost's training")
        return model

    @guarded(returns=lambda self, *arguments: False)
    def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Mapping[str, Sequence[Any]]]) -> bool:
        """Log the round's evaluation."""
        values: dict[str, float] = {}
        for data, metrics in evals_log.items():
            for metric, history in metrics.items():
                key = self._keys.get((data, metric)) or self._define(data, metric)
                last = history[-1]
                if isinstance(last, tuple):
                    values[key], values[f"{key}-std"] = last
                else:
                    values[key] = last
                self._score = key, values[key]
        values[f"{self._prefix}epoch"] = epoch
        self._log(values, self._first_step + epoch)
        if self._every and not (epoch + 1) % self._every:
            self._log_model(self.run, model, self._first_step + epoch)
        return False

    @guarded(returns=lambda self, model: model)
    def after_training(self, model: Any) -> Any:
        """Note the best round, and finish the run if it was started here."""
        self._settle()
        try:
            self._log_outcome(self.run, model)
            self._log_importances(self.run, model)
            if self._logs_model:
                self._log_model(self.run, model, model.num_boosted_rounds() - 1)
        finally:
            self.attachment.finish()
        return model

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_log": _nothing, "_settle": _nothing}

    @guarded()
    def fail(self, error: BaseException) -> None:
        """The training ended by an exception."""
        self._settle()
        self.attachment.fail(error)

    def _log_config(self, run: Run, booster: Any) -> None:
        whole = json.loads(booster.save_config())
        entries = {
            "model": "xgboost.Booster",
            "params": {**_settings(whole), **self._further_params()},
            "xgboost": whole,
            "features": {"count": booster.num_features(), "names": booster.feature_names},
        }
        run.config.update(entries)

    def _further_params(self) -> dict[str, Any]:
        return {}

    def _define(self, data: str, metric: str) -> str:
        key = self._keys[data, metric] = f"{self._prefix}{data}/{metric}"
        self._best = Best(goal_of(metric))  # the last one that is defined is the last one that is evaluated
        if self._define_metric:
            goal = goal_of(metric)
            self.run.define_metric(key, summary=["last", "max" if goal == "maximize" else "min"], goal=goal)
        return key

    @guarded()
    def _log_importances(self, run: Run, model: Any) -> None:
        if not isinstance(model, xgboost.Booster):  # folds differ
            return
        names = self._importance_types
        if json.loads(model.save_config())["learner"]["learner_train_param"]["booster"] == "gblinear":
            names = ["weight"] if names else []  # of a linear model there are but coefficients
        found = {name: _scores(model.get_score(importance_type=name)) for name in names}
        log_importances(run, found, model.num_boosted_rounds() - 1, self._prefix)

    @guarded()
    def _log_model(self, run: Run, model: Any, step: int) -> None:
        if not isinstance(model, xgboost.Booster) or step == self._logged_step:  # folds make no model
            return
        self._logged_step = step
        metadata: dict[str, Any] = {"step": step, "rounds": model.num_boosted_rounds()}
        aliases = [f"round_{model.num_boosted_rounds()}"]
        if self._score is not None:
            metadata |= {"monitor": self._score[0], "score": self._score[1], "mode": self._best.goal}
            aliases += ["best"] if self._best.improves(self._score[1]) else []
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, f"model.{self._format}")
            model.save_model(path)
            log_checkpoint(run, path, aliases=aliases, metadata=metadata)

    def _log_outcome(self, run: Run, model: Any) -> None:
        found: dict[str, Any] = {"rounds": model.num_boosted_rounds()}
        if model.attr("best_iteration") is not None:
            score = model.attr("best_score").strip("()").partition(",")[0]  # of `cv` mean and deviation, before 3.0
            found |= {"best_iteration": int(model.attr("best_iteration")), "best_score": float(score)}
            found["stopped_iteration"] = found["rounds"] - 1
        run.summary.update({f"{self._prefix}{key}": value for key, value in found.items()})


def _scores(found: Mapping[str, Any]) -> dict[str, float]:
    """Importances by feature; of a linear model with several classes the mean of the coefficients' sizes."""
    return {
        feature: sum(map(abs, value)) / len(value) if isinstance(value, list) else float(value)
        for feature, value in found.items()
    }


def _nothing(*arguments: Any) -> None:
    """Until a training begins, there is nothing to settle."""


def _booster(model: Any) -> Any:
    """The booster, or that of the first fold of `xgb.cv`."""
    return model.cvfolds[0].bst if hasattr(model, "cvfolds") else model


def _settings(whole: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters people set, of the booster's configuration, as numbers where they are numbers."""
    learner = whole.get("learner", {})
    gradient = learner.get("gradient_booster", {})
    found: dict[str, Any] = {}
    for part in (
        learner.get("generic_param"),
        learner.get("learner_train_param"),
        gradient.get("gbtree", gradient).get("gbtree_train_param"),
        gradient.get("gbtree", gradient).get("tree_train_param"),
        gradient.get("gblinear_train_param"),
        gradient.get("dart_train_param"),
    ):
        found |= {key: _plain(value) for key, value in (part or {}).items()}
    found["eval_metric"] = [metric["name"] for metric in learner.get("metrics", [])]
    classes = int(learner.get("learner_model_param", {}).get("num_class", 0))
    return found | ({"num_class": classes} if classes else {})


def _plain(text: Any) -> Any:
    """A number as it was set: XGBoost writes the digits of the 32-bit float it made of it."""
    try:
        number = float(text)
    except (TypeError, ValueError):
        return text
    return int(number) if number.is_integer() and abs(number) < 2**53 else float(f"{number:.7g}")


class _AutologCallback(TrackkitCallback):
    """A callback that also knows what `train` was called with."""

    def __init__(self, arguments: Mapping[str, Any], *, log_datasets: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self._arguments = arguments
        self._log_datasets = log_datasets

    def _further_params(self) -> dict[str, Any]:
        arguments = self._arguments
        named = ("num_boost_round", "early_stopping_rounds", "maximize", "nfold", "stratified", "seed", "shuffle")
        found = dict(arguments.get("params") or {})
        return found | {name: arguments[name] for name in named if arguments.get(name) is not None}

    def _log_config(self, run: Run, booster: Any) -> None:
        super()._log_config(run, booster)
        if self._log_datasets:
            sets = {"train": self._arguments["dtrain"]}
            sets |= {name: data for data, name in self._arguments.get("evals") or () if data is not sets["train"]}
            run.config["data"] = {name: _facts(data) for name, data in sets.items()}


def _facts(data: Any) -> dict[str, Any]:
    """What there is to say about a DMatrix."""
    found: dict[str, Any] = {}
    if type(data) is xgboost.DMatrix and data.num_nonmissing() <= _MOST_VALUES:
        found |= dataset.facts(data.get_data())
    labels = data.get_label()
    if len(labels):
        found["target"] = dataset.target_facts(labels)
    found |= {"type": f"xgboost.{type(data).__name__}", "rows": data.num_row(), "columns": data.num_col()}
    return found | ({"names": list(data.feature_names)[: dataset.MAX_NAMES]} if data.feature_names else {})


_patches = Patches()


def autolog(disable: bool = False, **options: Any) -> None:
    """Log every training from now on: `xgb.train`, `xgb.cv` and `fit` of the scikit-learn API.

    A training that has a `TrackkitCallback` already is logged by that one alone.

    Parameters
    ----------
    disable
        Stop it.
    **options
        Those of `TrackkitCallback`, and `log_datasets=True`: facts about the data in the config, never the data.

    Examples
    --------
    >>> autolog(project="trees")
    >>> autolog(disable=True)
    """
    _patches.remove()
    if disable:
        return
    _AutologCallback({}, **options)  # wrong options are told here, not in a training

    def tracked(original: Any, *arguments: Any, **named: Any) -> Any:
        return _tracked(original, options, *arguments, **named)

    for module in (xgboost, xgboost.training, xgboost.sklearn):
        _patches.put(module, "train", tracked)
    for module in (xgboost, xgboost.training):
        _patches.put(module, "cv", tracked)


def _tracked(original: Any, options: Mapping[str, Any], *arguments: Any, **named: Any) -> Any:
    try:
        given = inspect.signature(original).bind(*arguments, **named).arguments
        callbacks = list(given.get("callbacks") or ())
        if any(isinstance(callback, TrackkitCallback) for callback in callbacks):
            return original(*arguments, **named)
        callback = _AutologCallback(given, **options)
    except TypeError:
        return original(*arguments, **named)  # which says what is wrong with the arguments
    given["callbacks"] = [*callbacks, callback]
    try:
        return original(**given)
    except BaseException as error:
        callback.fail(error)
        raise

"""CatBoost: a callback for `fit`, `log_training` for a model that is trained already, and `autolog`."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trackkit.core import dataset
from trackkit.core.adapter import Attachment, guarded, log_checkpoint
from trackkit.core.goals import goal_of
from trackkit.core.importances import log_importances
from trackkit.core.patches import Patches
from trackkit.core.run import Run

try:
    import catboost
except ImportError as error:
    raise ImportError("trackkit.catboost needs CatBoost: pip install 'trackkit[catboost]'") from error

RUN_METADATA = "trackkit_run"
"""The entry of a model's metadata that holds the run's id; it is saved with the model."""


_RANKING = ("YetiRank", "PairLogit", "QueryRMSE", "QuerySoftMax", "QueryCrossEntropy", "StochasticRank", "LambdaMart")


class TrackkitCallback:
    """Logs a training of CatBoost.

    Every iteration is a step: `<data>/<metric>` of what CatBoost evaluates. All parameters, also those that CatBoost
    chose by itself, go to the config, the best iteration and scores to the summary.

    The run's id is put into the model's metadata, so that a training that goes on from a saved model (`init_model=`)
    continues its run; and beside a snapshot (`save_snapshot=True`), so that one that goes on from that does.

    Parameters
    ----------
    run
        The run to log into; by default the one that is going on, or else a new one, which ends with the training.
    metric_period
        Iterations from one that is logged to the next.
    define_metric
        Have the summary keep the best value of each metric: the least, or the greatest where more is better.
    log_feature_importance
        Log how much each feature matters when the training is over, as `importance/prediction_values_change` and as a
        table of all.
    log_model
        Log the model as an artifact `model-<run id>` when the training is over.
    resume
        Continue the run a model given as `init_model` was trained in.
    prefix
        Put before every metric's key.
    all_ranks
        Whether every process of a distributed job writes, or the first alone.
    **init
        What `trackkit.init` is called with if a run has to be started: project, name, config, …

    Raises
    ------
    TypeError
        If an option is unknown.
    ValueError
        If `metric_period` is no positive number.

    Examples
    --------
    >>> model = catboost.CatBoostClassifier(iterations=100)
    >>> model.fit(x, y, eval_set=(x2, y2), callbacks=[TrackkitCallback(project="trees")])  # doctest: +SKIP
    """

    def __init__(
        self,
        run: Run | None = None,
        *,
        metric_period: int = 1,
        define_metric: bool = True,
        log_feature_importance: bool = True,
        log_model: bool = False,
        resume: bool = True,
        prefix: str = "",
        all_ranks: bool = False,
        **init: Any,
    ) -> None:
        if metric_period < 1:
            raise ValueError(f"metric_period must be at least 1, not {metric_period!r}")
        self.attachment = Attachment(run, all_ranks=all_ranks, **init)
        self._period = metric_period
        self._define_metric = define_metric
        self._log_feature_importance = log_feature_importance
        self._logs_model = log_model
        self._resume = resume
        self._prefix = prefix
        self._keys: dict[tuple[str, str], str] = {}
        self._first_step = 0
        self._model: Any = None
        self._given: Mapping[str, Any] = {}
        self._put: Callable[[dict[str, float], int], None] = _nothing
        """The run's `log`, found once: finding the run takes longer than logging."""
        self._begun = False

    @property
    def run(self) -> Run:
        """The run that is logged into."""
        return self.attachment.run

    @guarded(returns=lambda self, info: True)
    def after_iteration(self, info: Any) -> bool:
        """Log an iteration; CatBoost calls this."""
        if not self._begun:
            self._begin(info.iteration - 1)
        if not info.iteration % self._period or info.iteration == 1:
            self._log(info.metrics, info.iteration - 1)
        return True

    def expect(self, model: Any, given: Mapping[str, Any]) -> None:
        """Note what is about to be trained, and what `fit` was given for it."""
        self._model, self._given, self._begun = model, given, False

    def _begin(self, done: int) -> None:
        if self.attachment.owned:
            self.attachment = self.attachment.another()
        self._keys = {}
        self._begun = True
        self._first_step = self._find_run(done)
        run = self.run
        self._put = run.log
        run.config.update(self._entries())

    @guarded()
    def log_trained(self, model: Any) -> Run | None:
        """Log all iterations of a model that is trained already."""
        self.expect(model, {})
        self._begin(0)
        results = model.get_evals_result() or {}
        longest = max((len(history) for scores in results.values() for history in scores.values()), default=0)
        for iteration in range(longest):
            self._log(
                {
                    data: {
                        metric: history[iteration : iteration + 1]
                        for metric, history in scores.items()
                        if iteration < len(history)
                    }
                    for data, scores in results.items()
                },
                iteration,
            )
        self.over()
        return self.run

    def _find_run(self, done: int) -> int:
        """Continue the run of the snapshot or model that the training goes on from; the step of its first iteration."""
        mark = _mark_beside_snapshot(self._model, self._given)
        known = _read(mark) if mark is not None and done else ""
        if known:
            self.attachment.resume(known, done - 1)
        first = 0
        model = _initial_model(self._given)
        if model is not None:
            first = int(model.tree_count_)
            known = model.get_metadata()[RUN_METADATA] if RUN_METADATA in model.get_metadata().keys() else ""
            if known and self._resume:
                self.attachment.resume(known, first - 1)
        if mark is not None:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.write_text(json.dumps({"run": self.run.id}))
        return first

    def _entries(self) -> dict[str, Any]:
        return {"model": f"catboost.{type(self._model).__name__}", "params": self._model.get_params()}

    def _log(self, metrics: Mapping[str, Mapping[str, Any]], iteration: int) -> None:
        values: dict[str, float] = {}
        for data, scores in metrics.items():
            for metric, history in scores.items():
                values[self._key(data, metric)] = history[-1]
        values[f"{self._prefix}epoch"] = self._first_step + iteration
        self._put(values, self._first_step + iteration)

    def _key(self, data: str, metric: str) -> str:
        key = self._keys.get((data, metric))
        if key is None:
            key = self._keys[data, metric] = f"{self._prefix}{data}/{metric}"
            if self._define_metric:
                goal = goal_of(metric)
                self.run.define_metric(key, summary=["last", "max" if goal == "maximize" else "min"], goal=goal)
        return key

    @guarded()
    def over(self) -> None:
        """The training is over."""
        try:
            _log_outcome(self.run, self._model, self._prefix)
            if self._log_feature_importance:
                self._log_importances(self._model)
            if self._logs_model:
                self._log_model(self._model)
        finally:
            self._forget()
            self.attachment.finish()

    @guarded()
    def _log_model(self, model: Any) -> None:
        rounds = int(model.tree_count_)
        metadata = {"step": rounds - 1, "rounds": rounds, "best_score": model.get_best_score()}
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.cbm")
            model.save_model(path)
            log_checkpoint(self.run, path, aliases=[f"round_{rounds}", "best"], metadata=metadata)

    @guarded()
    def _log_importances(self, model: Any) -> None:
        if model.get_all_params().get("loss_function", "").startswith(_RANKING):
            return  # CatBoost needs the data for those
        found = dict(zip(model.feature_names_, map(float, model.get_feature_importance()), strict=True))
        step = max(int(model.tree_count_), 1) - 1
        log_importances(self.run, {"prediction_values_change": found}, step, self._prefix)

    @guarded()
    def fail(self, error: BaseException) -> None:
        """The training ended by an exception."""
        self._forget()
        self.attachment.fail(error)

    def _forget(self) -> None:
        self._model, self._given = None, {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None, "_given": {}, "_put": _nothing}


def _nothing(values: dict[str, float], step: int) -> None:
    """Until a training begins, there is nowhere to log to."""


def _log_outcome(run: Run, model: Any, prefix: str) -> None:
    """Put what a trained model knows of its training into the run, and the run's id into the model."""
    found: dict[str, Any] = {"rounds": int(model.tree_count_)}
    if model.get_best_iteration() is not None:
        found["best_iteration"] = int(model.get_best_iteration())
    for data, scores in (model.get_best_score() or {}).items():
        found |= {f"best/{data}/{metric}": float(value) for metric, value in scores.items()}
    run.summary.update({f"{prefix}{key}": value for key, value in found.items()})
    names = list(model.feature_names_ or [])
    run.config.update(
        {
            "params": {**run.config.get("params", {}), **model.get_all_params()},
            "features": {"count": len(names), "names": names[: dataset.MAX_NAMES]},
        }
    )
    model.get_metadata()[RUN_METADATA] = run.id


def log_training(model: Any, run: Run | None = None, *, prefix: str = "", **init: Any) -> Run | None:
    """Log the training of a model after it is over, iteration by iteration.

    For trainings on a GPU, of which CatBoost tells no callback.

    Parameters
    ----------
    model
        A trained `CatBoost`, `CatBoostClassifier`, …
    run
        The run to log into; by default the one that is going on, or else a new one, which ends with this call.
    prefix
        Put before every metric's key.
    **init
        What `trackkit.init` is called with if a run has to be started.

    Returns
    -------
    Run or None
        The run that was logged into; None if tracking failed.

    Raises
    ------
    ValueError
        If the model is not trained.

    Examples
    --------
    >>> model = catboost.CatBoostClassifier(task_type="GPU").fit(x, y)  # doctest: +SKIP
    >>> log_training(model, project="trees")  # doctest: +SKIP
    """
    if not model.is_fitted():
        raise ValueError("log_training() takes a trained model; call its fit() first")
    return TrackkitCallback(run, prefix=prefix, **init).log_trained(model)


def _initial_model(given: Mapping[str, Any]) -> Any:
    """The model that the training goes on from, or None."""
    found = given.get("init_model")
    if isinstance(found, (str, os.PathLike)):
        return catboost.CatBoost().load_model(os.fspath(found))
    return found


def _mark_beside_snapshot(model: Any, given: Mapping[str, Any]) -> Path | None:
    """The file that names the run of the training's snapshot; None if it makes none."""
    params = model.get_params()
    if not (given.get("save_snapshot") or params.get("save_snapshot")):
        return None
    name = given.get("snapshot_file") or params.get("snapshot_file") or "experiment.cbsnapshot"
    return Path(params.get("train_dir") or "catboost_info") / f"{name}.trackkit"


def _read(path: Path) -> str:
    return str(json.loads(path.read_text())["run"]) if path.exists() else ""


class _AutologCallback(TrackkitCallback):
    """A callback that also describes the data."""

    def __init__(self, *, log_datasets: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self._log_datasets = log_datasets

    def _entries(self) -> dict[str, Any]:
        found, given = super()._entries(), self._given
        if self._log_datasets and given:
            sets = {"learn": _facts(given.get("X"), given.get("y"))}
            held = given.get("eval_set")
            held = held if isinstance(held, list) else [] if held is None else [held]
            for index, one in enumerate(held):
                name = "validation" if len(held) == 1 else f"validation_{index}"
                sets[name] = _facts(*one) if isinstance(one, tuple) else _facts(one)
            found["data"] = sets
        return found


def _facts(data: Any, target: Any = None) -> dict[str, Any]:
    """What there is to say about a data set as `fit` takes it."""
    if not isinstance(data, catboost.Pool):
        return dataset.facts(data, target)
    label = data.get_label() if data.has_label() else None
    found = {"type": "catboost.Pool", "rows": data.num_row(), "columns": data.num_col()}
    found["names"] = list(data.get_feature_names() or [])[: dataset.MAX_NAMES]
    return found if label is None else found | {"target": dataset.target_facts(label)}


_automatic: dict[str, Any] | None = None
"""The options of `autolog`; None while it is off."""


def autolog(disable: bool = False, **options: Any) -> None:
    """Log every `fit` of a CatBoost model from now on; of one on a GPU, after it is over.

    A `fit` that has a `TrackkitCallback` already is logged by that one alone.

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
    global _automatic
    if not disable:
        _AutologCallback(**options)  # wrong options are told here, not in a training
    _automatic = None if disable else options


def _fit(original: Callable[..., Any], model: Any, *arguments: Any, **named: Any) -> Any:
    """Fit, and tell our callbacks what they are to log, that it is over, and of an exception; CatBoost does not."""
    names = original.__code__.co_varnames[1 : original.__code__.co_argcount]
    given = {**dict(zip(names, arguments, strict=False)), **named}
    found = given.get("callbacks")
    callbacks = list(found) if isinstance(found, (list, tuple)) else [] if found is None else [found]
    ours = [callback for callback in callbacks if isinstance(callback, TrackkitCallback)]
    on_gpu = str(model.get_params().get("task_type", "")).upper() == "GPU"
    if not ours and _automatic is not None:
        ours = [_AutologCallback(**_automatic)]
        if not on_gpu:
            given["callbacks"] = [*callbacks, *ours]
    if not ours:
        return original(model, *arguments, **named)
    for callback in ours:
        callback.expect(model, given)
    try:
        result = original(model, **given)
    except BaseException as error:
        for callback in ours:
            callback.fail(error)
        raise
    for callback in ours:
        callback.log_trained(model) if on_gpu else callback.over()
    return result


Patches().put(catboost.CatBoost, "_fit", _fit)

"""LightGBM: a callback for `lgb.train`, `lgb.cv` and the scikit-learn API, and `autolog`."""

from __future__ import annotations

import functools
import inspect
import json
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from trackkit.core import calls, dataset
from trackkit.core.adapter import Attachment, guarded, log_checkpoint
from trackkit.core.goals import Best, Goal
from trackkit.core.importances import log_importances
from trackkit.core.patches import Patches
from trackkit.core.run import Run

try:
    import lightgbm
except ImportError as error:
    raise ImportError("trackkit.lightgbm needs LightGBM: pip install 'trackkit[lightgbm]'") from error

_MARK = "trackkit:"
"""Begins the line of a checkpoint that names its run; LightGBM reads over it."""


class TrackkitCallback:
    """Logs a training of LightGBM.

    Every round is a step: `<data>/<metric>` of each validation set. The parameters go to the config, the best round and
    score to the summary. Of `lgb.cv` the mean over the folds is logged as `<data>/<metric>` and the deviation as
    `<data>/<metric>-std`.

    Parameters
    ----------
    run
        The run to log into; by default the one that is going on, or else a new one, which ends with the training.
    log_params
        Put the parameters into the config.
    define_metric
        Have the summary keep the best value of each metric, as LightGBM says what is better.
    log_feature_importance
        Log how much each feature matters when the training is over: `importance/split`, how often it is split by, and
        `importance/gain`, what that gains; and a table of both.
    checkpoint
        A file to save the booster to, which knows its run. A training that is given it as `init_model` continues its
        run at the round it was saved at.
    checkpoint_every
        Rounds from one such save to the next.
    log_model
        Log the model as an artifact `model-<run id>` when the training is over, and whenever a checkpoint is saved; the
        best of them by the last metric of the last validation set has the alias `best`.
    prefix
        Put before every metric's key.
    all_ranks
        Whether every worker of a distributed training writes, or the first alone.
    **init
        What `trackkit.init` is called with if a run has to be started: project, name, config, …

    Raises
    ------
    TypeError
        If an option is unknown.
    ValueError
        If `checkpoint_every` is no positive number.

    Examples
    --------
    >>> import lightgbm
    >>> booster = lightgbm.train(  # doctest: +SKIP
    ...     {"objective": "binary"}, train, 100, valid_sets=[valid], callbacks=[TrackkitCallback(project="trees")]
    ... )
    """

    def __init__(
        self,
        run: Run | None = None,
        *,
        log_params: bool = True,
        define_metric: bool = True,
        log_feature_importance: bool = True,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 10,
        log_model: bool = False,
        prefix: str = "",
        all_ranks: bool = False,
        **init: Any,
    ) -> None:
        if checkpoint_every < 1:
            raise ValueError(f"checkpoint_every must be at least 1, not {checkpoint_every!r}")
        self.attachment = Attachment(run, all_ranks=all_ranks, **init)
        self.order = 20  # before early stopping, which lets no further callback see its round
        self.before_iteration = False
        self._log_params = log_params
        self._define_metric = define_metric
        self._log_feature_importance = log_feature_importance
        self._checkpoint = None if checkpoint is None else Path(checkpoint)
        self._every = checkpoint_every
        self._logs_model = log_model
        self._best = Best("minimize")
        self._prefix = prefix
        self._keys: dict[tuple[str, str], str] = {}
        self._training: _Training | None = None

    @property
    def run(self) -> Run:
        """The run that is logged into."""
        return self.attachment.run

    def __call__(self, env: Any) -> None:
        """Log a round; LightGBM calls this."""
        self._round(env)

    @guarded()
    def _round(self, env: Any) -> None:
        if self._training is None:
            self._begin(env)
        training = self._training
        assert training is not None
        run = training.run
        values: dict[str, float] = {}
        for data, metric, value, maximize, deviation in _evaluated(env.evaluation_result_list):
            key = self._keys.get((data, metric)) or self._define(data, metric, maximize)
            values[key] = value
            training.score = key, value
            if deviation is not None:
                values[f"{key}-std"] = deviation
        values[f"{self._prefix}epoch"] = env.iteration
        run.log(values, env.iteration)
        training.last = env.iteration
        rounds = env.iteration + 1 - env.begin_iteration
        if self._checkpoint is not None and not rounds % self._every and isinstance(env.model, lightgbm.Booster):
            _save(env.model, self._checkpoint, run.id)
            if self._logs_model:
                self._log_model(training)
        if not training.is_watched and training.is_complete:
            self._over()

    def _begin(self, env: Any) -> None:
        if self.attachment.owned:
            self.attachment = self.attachment.another()
        self._keys = {}
        frame = sys._getframe(1)
        trains = calls.caller(frame, "train", "lightgbm") or calls.caller(frame, "cv", "lightgbm")
        worker = _worker(env.params)
        if worker is not None:
            self.attachment.rank = functools.partial(int, worker)
        known = _run_of(trains)
        if known and env.begin_iteration:
            self.attachment.resume(known, env.begin_iteration - 1)
        run = self.run
        self._training = _Training(env, run)
        if self._log_params:
            run.config.update(self._entries(env))
        if trains is not None:
            calls.when_over(trains, self._over)
        self._training.is_watched = trains is not None

    def _entries(self, env: Any) -> dict[str, Any]:
        model = env.model if isinstance(env.model, lightgbm.Booster) else env.model.boosters[0]
        names = model.feature_name()
        return {
            "model": "lightgbm.Booster",
            "params": dict(env.params),
            "features": {"count": len(names), "names": names[: dataset.MAX_NAMES]},
        }

    def _define(self, data: str, metric: str, maximize: bool) -> str:
        key = self._keys[data, metric] = f"{self._prefix}{data}/{metric}"
        goal: Goal = "maximize" if maximize else "minimize"
        self._best = Best(goal)  # the last one that is defined is the last one that is evaluated
        if self._define_metric:
            self.run.define_metric(key, summary=["last", "max" if maximize else "min"], goal=goal)
        return key

    @guarded()
    def _over(self) -> None:
        """The function that trains is over."""
        training, self._training = self._training, None
        if training is None:
            return
        if training.is_complete:
            try:
                self._log_outcome(training)
                if self._log_feature_importance:
                    self._log_importances(training)
                if self._logs_model:
                    self._log_model(training)
            finally:
                self.attachment.finish()
        else:
            ended = "LightGBM's training was ended by an exception before its last round"
            self.attachment.fail(RuntimeError(ended))

    @guarded()
    def _log_importances(self, training: _Training) -> None:
        model = training.model
        if not isinstance(model, lightgbm.Booster):  # folds differ
            return
        names = model.feature_name()
        found = {
            kind: dict(zip(names, map(float, model.feature_importance(kind)), strict=True))
            for kind in ("split", "gain")
        }
        log_importances(self.run, found, training.last, self._prefix)

    @guarded()
    def _log_model(self, training: _Training) -> None:
        model = training.model
        if not isinstance(model, lightgbm.Booster) or training.logged == training.last:  # folds make no model
            return
        training.logged = training.last
        metadata: dict[str, Any] = {"step": training.last, "rounds": training.last + 1}
        aliases = [f"round_{training.last + 1}"]
        if training.score is not None:
            metadata |= {"monitor": training.score[0], "score": training.score[1], "mode": self._best.goal}
            aliases += ["best"] if self._best.improves(training.score[1]) else []
        if training.best_iteration > 0:
            metadata["best_iteration"] = training.best_iteration - 1
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.txt"
            _save(model, path, training.run.id)
            log_checkpoint(training.run, path, aliases=aliases, metadata=metadata)

    def _log_outcome(self, training: _Training) -> None:
        found: dict[str, Any] = {"rounds": training.last + 1}
        if training.best_iteration > 0:
            found |= {"best_iteration": training.best_iteration - 1, "stopped_iteration": training.last}
        for data, metrics in training.best_score.items():
            found |= {f"best/{data}/{metric}": value for metric, value in metrics.items()}
        self.run.summary.update({f"{self._prefix}{key}": value for key, value in found.items()})

    @guarded()
    def fail(self, error: BaseException) -> None:
        """The training ended by an exception."""
        self._training = None
        self.attachment.fail(error)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_training": None}


class _Training:
    """A training in progress."""

    def __init__(self, env: Any, run: Run) -> None:
        self.run = run  # found once: finding it takes longer than logging
        self.model = env.model
        self._end = env.end_iteration
        self.last = env.iteration
        self.logged = -1
        self.score: tuple[str, float] | None = None
        """The last metric of the last validation set, and its last value."""
        self.is_watched = False

    @property
    def best_iteration(self) -> int:
        """Counted from 1; 0 if no early stopping found one."""
        return int(getattr(self.model, "best_iteration", 0) or 0)

    @property
    def best_score(self) -> dict[str, dict[str, float]]:
        """By data and metric, of the best round."""
        found = getattr(self.model, "best_score", None) if self.best_iteration > 0 else None
        return {str(data): dict(scores) for data, scores in found.items()} if isinstance(found, Mapping) else {}

    @property
    def is_complete(self) -> bool:
        """Whether it came to its last round, or stopped early."""
        return self.last >= self._end - 1 or self.best_iteration > 0


def _worker(params: Mapping[str, Any]) -> int | None:
    """Which of the machines of a distributed training this process is; None where there is but one."""
    machines = [one.strip() for one in str(params.get("machines") or "").split(",") if one.strip()]
    if len(machines) < 2:
        return None
    port = str(params.get("local_listen_port", 12400))
    mine = [index for index, machine in enumerate(machines) if machine.rpartition(":")[2] == port]
    if len(mine) > 1:  # the same port on each machine
        name = socket.gethostname()
        here = {name, socket.getfqdn(), *socket.gethostbyname_ex(name)[2]}
        mine = [index for index in mine if machines[index].rpartition(":")[0] in here] or mine
    return mine[0] if mine else None


def _evaluated(results: Any) -> Iterator[tuple[str, str, float, bool, float | None]]:
    """Data, metric, value, whether more is better, and the deviation over folds; as all versions of LightGBM say it."""
    for result in results or ():
        data, metric, value, maximize, *rest = (
            (result.dataset_name, result.metric_name, result.metric_value, result.maximize, result.metric_std_dev)
            if hasattr(result, "metric_std_dev")
            else result
        )
        if data == "cv_agg":  # before 4.7
            data, _, metric = metric.partition(" ")
        yield data, metric, float(value), bool(maximize), float(rest[0]) if rest and rest[0] is not None else None


def _save(model: Any, path: Path, run: str) -> None:
    """Save a booster, with a line that names its run."""
    text = model.model_to_string(num_iteration=-1).rstrip("\n")
    head, _, last = text.rpartition("\n")  # the last line is LightGBM's own, and has to stay the last
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(f"{head}\n{_MARK}{json.dumps({'run': run})}\n{last}\n")
    os.replace(partial, path)


def _run_of(frame: FrameType | None) -> str:
    """The run of the model that the function that trains goes on from."""
    given = None if frame is None else frame.f_locals.get("init_model")
    if not isinstance(given, (str, os.PathLike)):
        return ""
    with open(given, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 65_536))
        for line in reversed(file.read().decode("utf-8", "replace").splitlines()):
            if line.startswith(_MARK):
                return str(json.loads(line.removeprefix(_MARK))["run"])
    return ""


class _AutologCallback(TrackkitCallback):
    """A callback that also knows what `train` was called with."""

    def __init__(self, arguments: Mapping[str, Any], *, log_datasets: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self._arguments = arguments
        self._log_datasets = log_datasets

    def _entries(self, env: Any) -> dict[str, Any]:
        arguments = self._arguments
        named = ("num_boost_round", "nfold", "stratified", "shuffle", "seed")
        found = super()._entries(env)
        found["params"] |= {name: arguments[name] for name in named if arguments.get(name) is not None}
        if self._log_datasets:
            train = arguments["train_set"]
            sets = {"train": train}
            names = arguments.get("valid_names") or []
            valid = arguments.get("valid_sets") or []
            for index, one in enumerate(valid if isinstance(valid, (list, tuple)) else [valid]):
                if one is not train:
                    sets[names[index] if index < len(names) else f"valid_{index}"] = one
            found["data"] = {name: _facts(one) for name, one in sets.items()}
        return found


def _facts(data: Any) -> dict[str, Any]:
    """What there is to say about a Dataset."""
    content = data.data if not isinstance(data.data, (str, os.PathLike)) else None
    found = dataset.facts(content) if content is not None else {}
    label = data.get_label()
    if label is not None:
        found["target"] = dataset.target_facts(label)
    return found | {"type": "lightgbm.Dataset", "rows": data.num_data(), "columns": data.num_feature()}


_patches = Patches()


def autolog(disable: bool = False, **options: Any) -> None:
    """Log every training from now on: `lgb.train`, `lgb.cv` and `fit` of the scikit-learn API.

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

    for module in (lightgbm, lightgbm.engine, lightgbm.sklearn):
        _patches.put(module, "train", tracked)
    for module in (lightgbm, lightgbm.engine):
        _patches.put(module, "cv", tracked)


def _tracked(original: Callable[..., Any], options: Mapping[str, Any], *arguments: Any, **named: Any) -> Any:
    try:
        given = inspect.signature(original).bind(*arguments, **named).arguments
    except TypeError:
        return original(*arguments, **named)  # which says what is wrong with the arguments
    callbacks = list(given.get("callbacks") or ())
    if any(isinstance(callback, TrackkitCallback) for callback in callbacks):
        return original(*arguments, **named)
    callback = _AutologCallback(given, **options)
    try:
        return original(**{**given, "callbacks": [*callbacks, callback]})
    except BaseException as error:
        callback.fail(error)
        raise

"""Optuna: a callback for `study.optimize`, and a decorator that gives each trial a run of its own."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

from trackkit.core import calls, session
from trackkit.core.adapter import Attachment, guarded, report
from trackkit.core.importances import log_importances
from trackkit.core.lifecycle import describe_exception
from trackkit.core.run import Run

try:
    import optuna
    from optuna.trial import TrialState
except ImportError as error:
    raise ImportError("trackkit.integrations.optuna needs Optuna: pip install 'trackkit[optuna]'") from error

ATTRIBUTE = "trackkit"
"""The study's user attribute that says which run it belongs to."""
PLOTS = (
    "optimization_history", "intermediate_values", "parallel_coordinate", "slice", "contour", "edf",
    "param_importances", "timeline", "rank", "pareto_front",
)  # fmt: skip
"""What `plots` may name: functions `plot_<name>` of `optuna.visualization`."""
_OF_ONE_OBJECTIVE = ("optimization_history", "parallel_coordinate", "slice", "contour", "edf", "rank")
_FEWEST = 2
"""Completed trials that importances, and most plots, need."""
_MOST_CONTOUR = 6
"""Parameters above which a contour plot, a picture for each pair, is left out unless it was named."""
Objective = Callable[..., Any]


class TrackkitCallback:
    """Logs a study.

    Every trial is a step of the study's run: its values, the best until then, its numeric parameters, its duration.
    When `optimize` is over, the best trial goes to the summary, and all trials, the importances of the parameters and
    Optuna's plots are logged. With `as_multirun` each trial is a run besides, a child of the study's.

    The run's id is kept in the study, so that one that is loaded from its storage continues its run, also from several
    processes at once.

    Parameters
    ----------
    metric_name
        What the objective returns, or a name for each of several values; by default the study's `metric_names`, or
        `value`. Of one name and several values it becomes `value_0`, `value_1`.
    as_multirun
        Make each trial a run, in a group named after the study's run.
    run
        The run to log into; by default the one that is going on, or else a new one, which ends with `optimize`.
    importances
        Log how much each parameter matters to each value.
    plots
        Log Optuna's plots, if Plotly is installed: True for all that suit the study, or some of `PLOTS`.
    trials
        Log a table of all trials.
    trial_options
        What a trial's run is started with besides: tags, notes, config.
    prefix
        Put before every metric's key.
    resume
        Continue the run a study belongs to.
    **init
        What `trackkit.init` is called with if a run has to be started: project, name, config, …

    Raises
    ------
    TypeError
        If `trackkit.init` has no such parameter.
    ValueError
        If there is no such plot.

    Examples
    --------
    >>> callback = TrackkitCallback("accuracy", project="digits")
    >>> study.optimize(objective, n_trials=20, callbacks=[callback])  # doctest: +SKIP
    """

    def __init__(
        self,
        metric_name: str | Sequence[str] = "value",
        as_multirun: bool = False,
        *,
        run: Run | None = None,
        importances: bool = True,
        plots: bool | Sequence[str] = True,
        trials: bool = True,
        trial_options: Mapping[str, Any] | None = None,
        prefix: str = "",
        resume: bool = True,
        **init: Any,
    ) -> None:
        named = () if isinstance(plots, bool) else tuple(plots)
        for name in named:
            if name not in PLOTS:
                raise ValueError(f"plots may name {', '.join(PLOTS)}, not {name!r}")
        for name in trial_options or {}:
            if name not in session.PARAMETERS:
                raise TypeError(f"trial_options may have parameters of trackkit.init, of which {name!r} is none")
        self.attachment = Attachment(run, **init)
        self._name = {"name": init["name"]} if init.get("name") else {}
        self._metric_name = metric_name
        self._as_multirun = as_multirun
        self._plots: bool | tuple[str, ...] = plots if isinstance(plots, bool) else named
        self._importances, self._trials = importances, trials
        self._trial_options = dict(trial_options or {})
        self._prefix = prefix
        self._resume = resume
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.RLock()
        self._study: Any = None
        self._children: dict[int, Run] = {}
        self._space: dict[str, Any] = {}
        self._names: list[str] = []

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_lock", "_study", "_children", "_space", "_names")
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    @property
    def run(self) -> Run:
        """The study's run."""
        return self.attachment.run

    def run_of(self, trial: Any) -> Run:
        """The run of a trial that `track_in_trial` tracks; the study's, without `as_multirun`."""
        return self._children.get(trial.number) or self.run

    # Trials.

    @guarded()
    def __call__(self, study: Any, trial: Any) -> None:
        """Log a trial that is over; `optimize` calls it."""
        with self._lock:
            run = self._begin(study, trial)
            run.log(self._values(study, trial), trial.number)
            if self._as_multirun:
                self._finish_child(study, trial)

    def track_in_trial(self) -> Callable[[Objective], Objective]:
        """Decorate an objective, so that what it logs goes into the trial's run.

        With `as_multirun` the trial's run is the current one while the objective runs, for `trackkit.log` and for
        adapters of frameworks; in threads (`n_jobs`), where there is but one current run, ask `run_of(trial)` for it.
        Without `as_multirun` all of it goes into the study's run. The state of the run tells of the objective's
        exception.

        Examples
        --------
        >>> callback = TrackkitCallback(as_multirun=True)
        >>> @callback.track_in_trial()
        ... def objective(trial):
        ...     x = trial.suggest_float("x", -1, 1)
        ...     trackkit.log({"square": x * x})
        ...     return x * x
        """

        def decorate(objective: Objective) -> Objective:
            @functools.wraps(objective)
            def call(trial: Any, *arguments: Any, **named: Any) -> Any:
                with self._tracked(trial, calls.caller(sys._getframe(1), "optimize", "optuna") is not None):
                    return objective(trial, *arguments, **named)

            return call

        return decorate

    @contextlib.contextmanager
    def _tracked(self, trial: Any, sequential: bool) -> Iterator[None]:
        child = self._begin_trial(trial)
        try:
            with contextlib.nullcontext() if child is None or not sequential else session.current_for(child):
                yield
        except optuna.TrialPruned:
            raise
        except BaseException as error:
            self._note(trial, error)
            raise

    @guarded()
    def _begin_trial(self, trial: Any) -> Run | None:
        with self._lock:
            self._begin(trial.study, trial)
            return self._child(trial) if self._as_multirun else None

    @guarded()
    def _note(self, trial: Any, error: BaseException) -> None:
        with self._lock:
            child = self._children.get(trial.number)
            if child is not None:
                child.end(*describe_exception(type(error), error, error.__traceback__))

    def _child(self, trial: Any) -> Run:
        options = {"name": f"{self.run.name} #{trial.number}", "job_type": "trial", **self._trial_options}
        config = {**dict(options.pop("config", None) or {}), "trial": trial.number, "params": dict(trial.params)}
        child = session.beside(self.run, **{**options, "config": config})
        self._children[trial.number] = child
        return child

    def _finish_child(self, study: Any, trial: Any) -> None:
        child = self._children.pop(trial.number, None)
        if child is None:
            child = self._child(trial)
            del self._children[trial.number]
        child.config.update({"params": trial.params, **_facts(trial)})
        for step, value in trial.intermediate_values.items():
            child.log({f"{self._prefix}intermediate": value}, step)
        values = self._values(study, trial)
        child.summary.update({key: values[key] for key in self._keys(study) if key in values})
        if trial.state is TrialState.PRUNED:
            child.tags = (*child.tags, "pruned")
        child.finish(1 if trial.state is TrialState.FAIL else 0)

    def _values(self, study: Any, trial: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if trial.state is TrialState.COMPLETE:
            found |= dict(zip(self._keys(study), trial.values, strict=True))
            if len(study.directions) == 1:
                found[f"{self._prefix}best/{self._names[0]}"] = study.best_value
        found |= {
            f"{self._prefix}params/{name}": value
            for name, value in trial.params.items()
            if isinstance(value, (int, float))
        }
        if trial.duration is not None:
            found[f"{self._prefix}duration"] = trial.duration.total_seconds()
        return found

    def _keys(self, study: Any) -> list[str]:
        return [f"{self._prefix}{name}" for name in self._names or self._named(study)]

    def _named(self, study: Any) -> list[str]:
        given, count = self._metric_name, len(study.directions)
        if not isinstance(given, str):
            if len(given) != count:
                raise ValueError(f"metric_name has {len(given)} names, but the study has {count} directions")
            return list(given)
        if given == "value" and study.metric_names:
            return list(study.metric_names)
        return [given] if count == 1 else [f"{given}_{place}" for place in range(count)]

    # The study.

    def _begin(self, study: Any, trial: Any) -> Run:
        """The study's run, told of the study before its first trial, and of every parameter that is new."""
        first = study is not self._study or not self.attachment.started
        if first:
            self._study, self._space = study, {}
            self._find_run(study)
        run = self.attachment.run
        if first:
            self._names = self._named(study)
            self._describe(run, study)
        new = {name: _range(one) for name, one in trial.distributions.items() if name not in self._space}
        if new:
            self._space |= new
            run.config["search_space"] = self._space
        if calls.caller(sys._getframe(1), "_optimize_sequential", "optuna") is not None:
            self._listen(study)
        return run

    def _find_run(self, study: Any) -> None:
        known = study.user_attrs.get(ATTRIBUTE)
        if known and self._resume:
            self.attachment.join(known["run"])
        run = self.attachment.begin(**self._name or {"name": study.study_name})
        if not known or not self._resume:
            study.set_user_attr(ATTRIBUTE, {"run": run.id, "project": run.project})

    def _describe(self, run: Run, study: Any) -> None:
        attributes = {name: value for name, value in study.user_attrs.items() if name != ATTRIBUTE}
        run.config["study"] = {
            "name": study.study_name,
            "directions": [direction.name.lower() for direction in study.directions],
            "sampler": type(study.sampler).__name__,
            "pruner": type(study.pruner).__name__,
            "storage": type(study._storage).__name__,
            "user_attrs": attributes,
            "optuna": optuna.__version__,
        }
        for key, direction in zip(self._keys(study), study.directions, strict=True):
            least = direction.name == "MINIMIZE"
            goal: Any = "minimize" if least else "maximize"
            run.define_metric(key, summary=["last", "min" if least else "max"], goal=goal)

    def _listen(self, study: Any) -> None:
        known = study._thread_local
        if not isinstance(known, _Flags):
            study._thread_local = _Flags(functools.partial(self._over, study))
            study._thread_local.in_optimize_loop = True
            study._thread_local.cached_all_trials = getattr(known, "cached_all_trials", None)

    @guarded()
    def _over(self, study: Any, error: BaseException | None) -> None:
        """`optimize` has returned, or raised."""
        study._thread_local = optuna.study.study._ThreadLocalStudyAttribute()
        self.finish(study, error)

    def finish(self, study: Any, error: BaseException | None = None) -> None:
        """Log what the study came to, and finish the run if it was started here.

        It happens by itself after `study.optimize`; a loop of `ask` and `tell` calls the callback with each trial that
        `tell` returns, and this at its end.

        Parameters
        ----------
        study
            The study.
        error
            The exception that ended it, if one did.
        """
        try:
            with self._lock:
                for child in self._children.values():
                    child.finish(1)
                self._children.clear()
                self._log_outcome(study)
        finally:
            if error is None:
                self.attachment.finish()
            else:
                self.attachment.fail(error)

    @guarded()
    def _log_outcome(self, study: Any) -> None:
        run = self.attachment.run
        if run.state != "running":
            return
        trials = study.get_trials(deepcopy=False)
        complete = [one for one in trials if one.state is TrialState.COMPLETE]
        found: dict[str, Any] = {"trials": len(trials)}
        for state in TrialState:
            found[f"trials_{state.name.lower()}"] = sum(one.state is state for one in trials)
        if complete and len(study.directions) == 1:
            best = study.best_trial
            found |= {"best_trial": best.number, "best_value": best.value, "best_params": best.params}
        elif complete:
            front = [{"trial": one.number, "values": one.values, "params": one.params} for one in study.best_trials]
            found["best_trials"] = front
        run.summary.update({f"{self._prefix}{key}": value for key, value in found.items()})
        step = max((one.number for one in trials), default=0)
        if self._trials:
            self._log_trials(run, study, trials, step)
        if len(complete) >= _FEWEST:
            if self._importances:
                self._log_importances(run, study, step)
            self._log_plots(run, study, step)

    @guarded()
    def _log_trials(self, run: Run, study: Any, trials: Sequence[Any], step: int) -> None:
        import trackkit

        params = list(dict.fromkeys(name for one in trials for name in one.params))
        attributes = list(dict.fromkeys(name for one in trials for name in one.user_attrs))
        columns = ["trial", "state", *self._named(study), *params, *attributes, "seconds"]
        rows = [
            [
                one.number,
                one.state.name.lower(),
                *(one.values or [None] * len(study.directions)),
                *(one.params.get(name) for name in params),
                *(_cell(one.user_attrs.get(name)) for name in attributes),
                one.duration.total_seconds() if one.duration else None,
            ]
            for one in trials
        ]
        table = trackkit.Table(columns=columns, data=rows, allow_mixed_types=True)
        run.log({f"{self._prefix}trials": table}, step)

    @guarded()
    def _log_importances(self, run: Run, study: Any, step: int) -> None:
        found: dict[str, Mapping[str, float]] = {}
        for place, name in enumerate(self._named(study)):
            target = None if len(study.directions) == 1 else functools.partial(_value, place)
            try:
                found[name] = optuna.importance.get_param_importances(study, target=target)
            except (ImportError, ValueError, RuntimeError):  # no scikit-learn; no parameter that all trials have
                continue
        log_importances(run, found, step, self._prefix)

    @guarded()
    def _log_plots(self, run: Run, study: Any, step: int) -> None:
        if not self._plots or not optuna.visualization.is_available():
            return
        import trackkit

        for name in PLOTS if isinstance(self._plots, bool) else self._plots:
            if self._plots is True and not _suits(name, study):
                continue
            try:
                for key, figure in self._drawn(name, study):
                    run.log({f"{self._prefix}plots/{key}": trackkit.Plotly(figure)}, step)
            except (ImportError, ValueError, RuntimeError) as error:
                if self._plots is not True:  # it was asked for
                    report(f"optuna.visualization.plot_{name}", error)

    def _drawn(self, name: str, study: Any) -> Iterator[tuple[str, Any]]:
        plot, names = getattr(optuna.visualization, f"plot_{name}"), self._named(study)
        if len(names) == 1 or name not in (*_OF_ONE_OBJECTIVE, "param_importances"):
            yield name, plot(study)
            return
        for place, one in enumerate(names):
            yield f"{name}/{one}", plot(study, target=functools.partial(_value, place), target_name=one)


def _value(place: int, trial: Any) -> float:
    return float(trial.values[place])


def _suits(name: str, study: Any) -> bool:
    if name == "pareto_front":
        return len(study.directions) in (2, 3)
    if name == "intermediate_values":
        return any(one.intermediate_values for one in study.get_trials(deepcopy=False))
    if name == "contour":
        return 1 < len({param for one in study.get_trials(deepcopy=False) for param in one.params}) <= _MOST_CONTOUR
    return True


class _Flags(optuna.study.study._ThreadLocalStudyAttribute):  # type: ignore[misc]
    """A study's flags, which tell when `optimize` is over: Optuna has no callback for it."""

    def __init__(self, over: Callable[[BaseException | None], None]) -> None:
        self.over = over

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "in_optimize_loop" and not value:
            self.over(_passing(sys._getframe(1)))


def _passing(frame: FrameType) -> BaseException | None:
    """The exception that leaves a call; not one that was being handled before it."""
    error = sys.exc_info()[1]
    trace = None if error is None else error.__traceback__
    while trace is not None:
        if trace.tb_frame is frame:
            return error
        trace = trace.tb_next
    return None


def _range(distribution: Any) -> dict[str, Any]:
    """What a parameter may be, as Optuna keeps it: low, high, step, log, choices."""
    kind = type(distribution).__name__.removesuffix("Distribution").lower()
    return {"type": kind, **{name: value for name, value in distribution._asdict().items() if value is not None}}


def _facts(trial: Any) -> dict[str, Any]:
    return {
        "state": trial.state.name.lower(),
        "user_attrs": trial.user_attrs,
        "distributions": {name: _range(one) for name, one in trial.distributions.items()},
    }


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)

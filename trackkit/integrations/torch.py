"""A loop of plain PyTorch: which run a checkpoint belongs to, and its step, beside what torch saves."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from trackkit.core import adapter
from trackkit.core.adapter import Attachment, guarded, log_checkpoint
from trackkit.core.goals import Best, Goal, goal_of
from trackkit.core.model import batch_size, learning_rates, loader_facts, model_facts, optimizer_facts, scheduler_facts
from trackkit.core.pace import Pace
from trackkit.core.run import Run

try:
    import torch
    import torch.distributed
except ImportError as error:
    raise ImportError("trackkit.integrations.torch needs PyTorch: pip install 'trackkit[torch]'") from error

KEY = "trackkit"
"""The entry of a checkpoint that says which run it belongs to, and its last step."""
_WATCH = ("gradients", "parameters", "all")


class TrackkitTracker:
    """What a training loop of one's own needs of a tracker.

    It is made in every process of the job; the first one writes. The run going on in the process is used and left
    open. Else one is started when there is something to record, which ends with `finish`, or with the `with` block: as
    failed, if by an exception. The tracker goes into a checkpoint like a model or an optimizer, by `state_dict` and
    `load_state_dict`, also with `torch.distributed.checkpoint`; loading it continues the run at its step.

    Parameters
    ----------
    model
        The module, for the config, checkpoints and `watch`; also in DistributedDataParallel, or compiled.
    optimizers
        An optimizer, or several: settings go into the config, learning rates beside what is logged.
    schedulers
        A learning rate schedule, or several, for the config.
    loaders
        Data loaders by name, for the config.
    watch
        What `run.watch` records of the model: gradients, parameters, all; False for nothing.
    watch_freq
        At every how many steps of the optimizer.
    run
        The run to log into.
    all_ranks
        Let every process write, not the first alone, each as a writer of the same run.
    **init
        What `trackkit.init` is called with if a run has to be started: project, name, config, …

    Raises
    ------
    ValueError
        If `watch` is none of these, or needs a model that is not given.
    TypeError
        If `trackkit.init` has no such parameter.

    Examples
    --------
    >>> with TrackkitTracker(model, optimizer, project="digits") as tracker:  # doctest: +SKIP
    ...     for images, digits in tracker.batches(loader):
    ...         loss = step(images, digits)
    ...         tracker.log({"loss": loss})
    ...     tracker.save("last.pt", {"model": model, "optimizer": optimizer})
    """

    def __init__(
        self,
        model: Any = None,
        optimizers: Any = None,
        schedulers: Any = None,
        loaders: Mapping[str, Any] | None = None,
        *,
        watch: Literal["gradients", "parameters", "all"] | bool = False,
        watch_freq: int = 100,
        run: Run | None = None,
        all_ranks: bool = False,
        **init: Any,
    ) -> None:
        if watch not in (True, False, *_WATCH):
            raise ValueError(f"watch is 'gradients', 'parameters', 'all' or False, not {watch!r}")
        if watch and model is None:
            raise ValueError("watch needs the model: TrackkitTracker(model, watch=…)")
        if "id" in init:
            init.setdefault("resume", "allow")
        self.model = model
        self.optimizers, self.schedulers, self.loaders = _list(optimizers), _list(schedulers), dict(loaders or {})
        self.attachment = Attachment(run, all_ranks=all_ranks, **init)
        self.step = 0
        """Steps that were logged: the next one's number, counted from 0."""
        self._watch: Any = "gradients" if watch is True else watch or None
        self._watch_freq = watch_freq
        self._all_ranks = all_ranks
        self._described = False
        self._pace: Pace | None = None
        self._bests: dict[str, Best] = {}

    @property
    def run(self) -> Run:
        """The run; in processes that do not write, one that records nothing."""
        run = self.attachment.run
        if not self._described:
            self._described = True
            self._describe(run)
        return run

    @guarded()
    def _describe(self, run: Run) -> None:
        facts: dict[str, Any] = {
            "optimizer": _single([optimizer_facts(one) for one in self.optimizers]),
            "scheduler": _single([scheduler_facts(one) for one in self.schedulers]),
            "data": {name: loader_facts(loader) for name, loader in self.loaders.items()},
            "torch": {"version": str(torch.__version__), "processes": _world_size()},
        }
        if self.model is not None:
            facts["model"] = model_facts(_unwrapped(self.model))
        run.config.update({key: value for key, value in facts.items() if value})
        if self._watch:
            run.watch(self.model, log=self._watch, every=self._watch_freq)

    def begin(self) -> Run:
        """Start the run now; with `all_ranks` every process has to call it, and they join one run.

        Returns
        -------
        Run
            The run.
        """
        if self._all_ranks and _world_size() > 1 and not self.attachment.started:
            ids = [self.run.id if adapter.rank() == 0 else None]
            torch.distributed.broadcast_object_list(ids, src=0)
            self.attachment.prepare(id=ids[0], resume="allow")
        return self.run

    # The loop.

    def batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        """The loader's batches; `log` tells how fast they are worked on, and how long they were waited for.

        Parameters
        ----------
        loader
            Any iterable.

        Yields
        ------
        batch
            As they come.
        """
        pace = self._pace = self._pace or Pace()
        pace.pause()
        for batch in loader:
            pace.waited()
            yield batch
            pace.count(batch_size(batch))

    @guarded()
    def log(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Log a step of the training, with the learning rates in force and the pace.

        Tensors are handed over as they are, without waiting for a GPU: leave out `.item()`.

        Parameters
        ----------
        values
            Metrics and media, by name.
        step
            Its number; by default one more than the last.
        """
        number = self.step if step is None else step
        rates = self._pace.rates() if self._pace is not None else {}
        self.run.log({**learning_rates(self.optimizers), **rates, **values}, number)
        self.step = number + 1

    # Checkpoints.

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the run; nothing in a process that does not write."""
        if not self.attachment.writes:
            return {}
        run = self.run
        return {"run": run.id, "project": run.project, "step": self.step - 1}

    @guarded()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue a checkpoint's run after its step; what the run logged after the checkpoint is superseded.

        Where another run is going on, that one is left alone, but steps are counted on all the same.
        """
        if not state:
            return
        self.attachment.resume(str(state["run"]), int(state["step"]))
        self.step = int(state["step"]) + 1

    def save(
        self,
        path: str | os.PathLike[str],
        state: Mapping[str, Any],
        *,
        score: float | None = None,
        monitor: str = "score",
        mode: Literal["min", "max"] | None = None,
        aliases: Iterable[str] = (),
        log_model: bool = True,
        **metadata: Any,
    ) -> None:
        """Save a checkpoint by `torch.save`, in the first process, and log it as a version of an artifact.

        Parameters
        ----------
        path
            The file; it is replaced at once, so that a crash leaves the old or the new one.
        state
            By name, whatever torch can save; of what has a `state_dict`, that. The entry `trackkit` is added.
        score
            How good it is; the best until now has the alias `best`.
        monitor
            What the score is.
        mode
            Whether less or more of it is better; by default as the monitor's name says.
        aliases
            Further ones, besides `latest`, `best` and `step_<n>`.
        log_model
            Whether to log it.
        **metadata
            Of the artifact's version, such as `epoch=3`.

        Raises
        ------
        OSError
            If the file can't be written. A fault of tracking is but a warning.
        """
        if adapter.rank() != 0:
            return
        content = {name: _state_of(thing) for name, thing in state.items()}
        content[KEY] = self.state_dict()
        target = Path(path)
        part = target.with_name(f"{target.name}.part")
        torch.save(content, part)
        os.replace(part, target)
        if log_model:
            goal: Goal = goal_of(monitor) if mode is None else "maximize" if mode == "max" else "minimize"
            self._log_checkpoint(target, score, monitor, goal, list(aliases), metadata)

    @guarded()
    def _log_checkpoint(
        self, path: Path, score: Any, monitor: str, goal: Goal, aliases: list[str], metadata: dict[str, Any]
    ) -> None:
        best = self._bests.setdefault(monitor, Best(goal))
        score = float(score) if score is not None else None
        facts: dict[str, Any] = {"step": self.step - 1, "original_filename": path.name, **metadata}
        if score is not None:
            facts |= {"score": score, "monitor": monitor, "mode": "max" if goal == "maximize" else "min"}
        found = [f"step_{self.step - 1}", *(["best"] if best.improves(score) else []), *aliases]
        log_checkpoint(self.run, path, filename="model.pt", aliases=found, metadata=facts)

    def load(
        self, path: str | os.PathLike[str], state: Mapping[str, Any] | None = None, **options: Any
    ) -> dict[str, Any]:
        """Load a checkpoint by `torch.load`, and continue its run.

        Parameters
        ----------
        path
            The file.
        state
            By name, what to load the checkpoint's states into; to be given before anything is logged.
        **options
            Of `torch.load`, such as `map_location`.

        Returns
        -------
        dict
            The checkpoint, without the tracker's entry.

        Raises
        ------
        KeyError
            If the checkpoint lacks what `state` names.
        """
        content = torch.load(path, **options)
        mark = content.pop(KEY, None)
        for name, thing in (state or {}).items():
            if name not in content:
                raise KeyError(f"the checkpoint {os.fspath(path)!r} has no {name!r}, only {', '.join(content)}")
            _unwrapped(thing).load_state_dict(content[name])
        if mark is not None:
            self.load_state_dict(mark)
        return dict(content)

    # The end.

    @guarded()
    def finish(self) -> None:
        """Finish the run, if it was started here."""
        self.attachment.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(error)

    @guarded()
    def _leave(self, error: BaseException | None) -> None:
        if error is None:
            self.attachment.finish()
        else:
            self.attachment.fail(error)


def _list(given: Any) -> list[Any]:
    if given is None:
        return []
    return list(given) if isinstance(given, (list, tuple)) else [given]


def _single(found: list[Any]) -> Any:
    return found[0] if len(found) == 1 else found


def _world_size() -> int:
    distributed = torch.distributed
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def _unwrapped(thing: Any) -> Any:
    """A module out of DistributedDataParallel and `torch.compile`."""
    if isinstance(thing, torch.nn.parallel.DistributedDataParallel):
        return _unwrapped(thing.module)
    return _unwrapped(thing._orig_mod) if hasattr(thing, "_orig_mod") else thing


def _state_of(thing: Any) -> Any:
    inner = _unwrapped(thing)
    return inner.state_dict() if hasattr(inner, "state_dict") else inner

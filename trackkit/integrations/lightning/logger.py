"""The logger for Lightning's Trainer and for Fabric."""

from __future__ import annotations

import os
import sys
import weakref
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from trackkit.core import session
from trackkit.core.adapter import Attachment, guarded, log_checkpoint
from trackkit.core.config import as_mapping
from trackkit.core.run import Run
from trackkit.integrations.lightning import checkpoint as checkpoints
from trackkit.integrations.lightning.events import TrainerEvents
from trackkit.integrations.lightning.packages import Logger

_FRAMES = 4
_JOIN = "-"
_SETTINGS = ("monitor", "mode", "save_last", "save_top_k", "save_weights_only", "_every_n_train_steps")


class TrackkitLogger(Logger):  # type: ignore[misc]
    """Logs what Lightning's Trainer or Fabric logs, and what happens in a Trainer besides.

    The run going on in the process is used and left open. Else one is started when training begins; it ends as failed
    by an exception, and otherwise with the process or with the next training's run, so that a test after the training
    goes into it. A run is found again by the checkpoints it wrote: `fit(ckpt_path=…)` continues it.

    Parameters
    ----------
    name
        The run's name for people.
    save_dir
        The folder for the checkpoints of a `ModelCheckpoint` that has none of its own; by default the Trainer's.
    version, id
        The run's id. A run of that id is continued.
    offline
        Keep the journal alone, for `trackkit sync`.
    dir
        The store's folder, `.trackkit` by default.
    project
        The project the run belongs to.
    log_model
        Checkpoints as versions of an artifact, each when it is made: True, those that are the best or the last then;
        `"all"`, every one; False, none.
    experiment
        The run to log into.
    prefix
        Put before every key, joined by `-`.
    checkpoint_name
        The artifact's name, by default `model-` and the run's id.
    add_file_policy
        `mutable` copies a checkpoint's file; `immutable` links it, for files that are never written to again.
    watch
        `gradients`, `parameters` or `all`: what `run.watch` records of the model.
    watch_freq
        At every how many steps.
    log_config
        Put settings of trainer, model, optimizers, schedules, data and callbacks into the config.
    log_grad_norm
        Log the norm of all gradients with the step's metrics. Not where a strategy shards them.
    all_ranks
        Let every process write, not the first alone; each is a writer of the same run.
    **init
        Further parameters of `trackkit.init`, such as `tags`, `notes`, `group`, `config`, `settings`.

    Examples
    --------
    >>> trainer = Trainer(logger=TrackkitLogger(project="digits", log_model=True))  # doctest: +SKIP
    >>> trainer.fit(model)  # doctest: +SKIP
    """

    def __init__(
        self,
        name: str | None = None,
        save_dir: str | os.PathLike[str] | None = None,
        version: str | None = None,
        offline: bool = False,
        dir: str | os.PathLike[str] | None = None,
        id: str | None = None,
        project: str | None = None,
        log_model: bool | Literal["all"] = False,
        experiment: Run | None = None,
        prefix: str = "",
        checkpoint_name: str | None = None,
        add_file_policy: Literal["mutable", "immutable"] = "mutable",
        *,
        watch: Literal["gradients", "parameters", "all"] | bool = False,
        watch_freq: int = 100,
        log_config: bool = True,
        log_grad_norm: bool = True,
        all_ranks: bool = False,
        **init: Any,
    ) -> None:
        super().__init__()
        if log_model not in (True, False, "all"):
            raise ValueError(f"log_model is True, False or 'all', not {log_model!r}")
        if watch not in (True, False, "gradients", "parameters", "all"):
            raise ValueError(f"watch is 'gradients', 'parameters', 'all' or False, not {watch!r}")
        if add_file_policy not in ("mutable", "immutable"):
            raise ValueError(f"add_file_policy is 'mutable' or 'immutable', not {add_file_policy!r}")
        given = {"name": name, "project": project, "dir": dir, "id": version or id}
        if version or id:
            given["resume"] = "allow"
        if offline:
            given["mode"] = "offline"
        init = {**{key: value for key, value in given.items() if value is not None}, **init}
        self.attachment = Attachment(experiment, all_ranks=all_ranks, **init)
        self.log_config, self.log_grad_norm = log_config, log_grad_norm
        self._save_dir = None if save_dir is None else os.fspath(save_dir)
        self._project = project
        self._prefix = prefix
        self._log_model = log_model
        self._checkpoint_name, self._policy = checkpoint_name or "", add_file_policy
        self._watch: Any = "gradients" if watch is True else watch or None
        self._watch_freq = watch_freq
        self._all_ranks = all_ranks
        self._logged: dict[str, int] = {}
        self._bound: weakref.ref[Any] | None = None
        self._error: BaseException | None = None
        self._last_step = -1
        self._epoch_step: int | None = None

    # The run.

    @property
    def experiment(self) -> Run:
        """The run; in processes that do not write, one that records nothing."""
        trainer, path = _asking(self, sys._getframe(1))
        if trainer is not None:
            self._bind(trainer, path)
        return self.attachment.run

    def _bind(self, trainer: Any, path: Any = None) -> None:
        """Serve a Trainer: find the run its checkpoint belongs to, or begin one, and hear what happens in it."""
        if self._bound is not None and self._bound() is trainer:
            return
        self._bound = weakref.ref(trainer)
        if not any(isinstance(one, TrainerEvents) and one.serves(self) for one in trainer.callbacks):
            trainer.callbacks.insert(0, TrainerEvents(self))
        if path and trainer.state.fn == "fit" and trainer.is_global_zero and self.attachment.id is None:
            self._join_run_of(path)
        run_id = self.attachment.begin().id if not self._all_ranks or trainer.is_global_zero else None
        if self._all_ranks and trainer.world_size > 1:
            self.attachment.begin(id=trainer.strategy.broadcast(run_id), resume="allow")

    @guarded()
    def _join_run_of(self, path: str | os.PathLike[str]) -> None:
        run_id = checkpoints.run_of(path)
        if run_id is not None:
            self.attachment.join(run_id)

    @property
    def name(self) -> str | None:
        """The run's project."""
        known = self.attachment.started or not self.attachment.writes
        return self.attachment.run.project if known else self._project

    @property
    def version(self) -> str | None:
        """The run's id, if it is known yet."""
        return self.attachment.id

    @property
    def save_dir(self) -> str | None:
        """The folder that checkpoints go to."""
        return self._save_dir

    # What Lightning logs.

    @guarded()
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log metrics at a step; without one the run counts."""
        run = self.attachment.run
        if step is not None and step == self._epoch_step and "epoch" in metrics:  # Lightning adds it to every call
            metrics = {key: value for key, value in metrics.items() if key != "epoch"}
        elif "epoch" in metrics:
            self._epoch_step = step
        if self._prefix:
            metrics = {self.key(key): value for key, value in metrics.items()}
        self._last_step = run.step if step is None else step
        run.log(metrics, step)

    @guarded()
    def log_hyperparams(self, params: Mapping[str, Any] | Namespace, *arguments: Any, **named: Any) -> None:
        """Put hyperparameters into the config, where the plan of a LightningModule or of a script left them."""
        self.attachment.run.config.update(dict(as_mapping(params)))

    @guarded()
    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Called by the Trainer when its model is there."""
        trainer = getattr(model, "_trainer", None)
        if trainer is not None and any(one is self for one in trainer.loggers):
            self._bind(trainer)

    @guarded()
    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Log new checkpoints as versions of the artifact, if `log_model` says so."""
        if self._log_model:
            every = self._log_model == "all" or getattr(checkpoint_callback, "save_top_k", 0) == -1
            for path, score in _kept(checkpoint_callback, every=every).items():
                self._log_checkpoint(checkpoint_callback, path, score)

    def _log_checkpoint(self, callback: Any, path: str, score: Any) -> None:
        changed = os.stat(path).st_mtime_ns
        if self._logged.get(path) == changed:
            return
        self._logged[path] = changed
        trainer = self._bound() if self._bound is not None else None
        kind = callback.__class__.__name__  # a weak proxy has a type of its own
        metadata: dict[str, Any] = {
            "score": score.item() if hasattr(score, "item") else score,
            "monitor": getattr(callback, "monitor", None),
            "mode": getattr(callback, "mode", None),
            "original_filename": Path(path).name,
            kind: {name: getattr(callback, name) for name in _SETTINGS if hasattr(callback, name)},
        }
        aliases = ["best"] if path == callback.best_model_path else []
        if trainer is not None:
            metadata |= {"epoch": trainer.current_epoch, "step": trainer.global_step}
            aliases.append(f"epoch_{trainer.current_epoch}")
        log_checkpoint(
            self.attachment.run,
            path,
            name=self._checkpoint_name,
            filename="model.ckpt",
            aliases=aliases,
            metadata=metadata,
            policy=self._policy,
        )

    @guarded()
    def finalize(self, status: str) -> None:
        """Called at the end of every fit, validate, test and predict; ends the run if that failed."""
        self._bound = None
        if status == "failed":
            self.attachment.fail(self._error)
        else:
            self.attachment.rest()
        self._error = None

    def failed_by(self, error: BaseException) -> None:
        """Remember what ends the training, for `finalize`, which is not told."""
        self._error = SystemExit(143) if type(error).__name__ == "SIGTERMException" else error

    # Fabric has no checkpoint hooks; its state may hold the logger.

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint of Fabric's keeps of the run: `fabric.save(path, {"model": model, "logger": logger})`."""
        run = self.attachment.run
        return {"run": run.id, "project": run.project, "step": self._last_step}

    @guarded()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the run a checkpoint of Fabric's belongs to; steps after the checkpoint's are superseded."""
        self.attachment.resume(state["run"], state["step"])
        self._last_step = state["step"]

    def __getstate__(self) -> dict[str, Any]:
        # Before processes are spawned: what the first of them starts the others, and this one, would never know.
        if self.attachment.writes:
            self._begin()
        return {**self.__dict__, "_bound": None, "_error": None}

    @guarded()
    def _begin(self) -> None:
        self.attachment.begin()

    # What a script says.

    def key(self, name: str) -> str:
        """A metric's key, with the prefix."""
        return f"{self._prefix}{_JOIN}{name}" if self._prefix else name

    def log_own(self, values: dict[str, Any], step: int) -> None:
        """Log what the Trainer does not, beside what it logs at a step."""
        if self._prefix:
            values = {self.key(key): value for key, value in values.items()}
        self.attachment.run.log(values, step)

    def watch(
        self,
        model: Any,
        log: Literal["gradients", "parameters", "all"] | None = "gradients",
        log_freq: int = 100,
        log_graph: bool = False,
        **further: Any,
    ) -> None:
        """Record gradients or parameters of a model; see `Run.watch`."""
        self.attachment.run.watch(model, log=log, every=log_freq, graph=log_graph, **further)

    def watch_as_asked(self, model: Any) -> None:
        """Watch the model as the logger was told to."""
        if self._watch:
            self.attachment.run.watch(model, log=self._watch, every=self._watch_freq)

    def unwatch(self, model: Any) -> None:
        """End what `watch_as_asked` began."""
        if self._watch:
            self.attachment.run.unwatch(model)

    def log_table(
        self,
        key: str,
        columns: Sequence[str] | None = None,
        data: Sequence[Sequence[Any]] | None = None,
        dataframe: Any = None,
        step: int | None = None,
    ) -> None:
        """Log a table, of columns and rows or of a data frame; cells may be text, numbers and media."""
        import trackkit

        self.log_metrics({key: trackkit.Table(columns=columns, data=data, dataframe=dataframe)}, step)

    log_text = log_table

    def log_image(self, key: str, images: list[Any], step: int | None = None, **each: Sequence[Any]) -> None:
        """Log images: tensors, arrays, PIL images, paths. `each` are lists, such as `caption`, an entry an image."""
        import trackkit

        self._log_media(trackkit.Image, key, images, step, each)

    def log_audio(self, key: str, audios: list[Any], step: int | None = None, **each: Sequence[Any]) -> None:
        """Log audio: arrays or paths. `each` are lists, such as `sample_rate`, an entry a sound."""
        import trackkit

        self._log_media(trackkit.Audio, key, audios, step, each)

    def log_video(self, key: str, videos: list[Any], step: int | None = None, **each: Sequence[Any]) -> None:
        """Log videos: arrays or paths. `each` are lists, such as `fps`, an entry a video."""
        import trackkit

        self._log_media(trackkit.Video, key, videos, step, each)

    def log_html(self, key: str, pages: list[Any], step: int | None = None, **each: Sequence[Any]) -> None:
        """Log HTML: text or paths."""
        import trackkit

        self._log_media(trackkit.Html, key, pages, step, each)

    def _log_media(
        self, kind: Any, key: str, items: list[Any], step: int | None, each: Mapping[str, Sequence[Any]]
    ) -> None:
        if not isinstance(items, list):
            raise TypeError(f"expected a list of {kind.__name__} data for {key!r}, not {type(items).__name__}")
        for name, values in each.items():
            if len(values) != len(items):
                raise ValueError(f"{name} has {len(values)} entries, but {key!r} has {len(items)} items")
        made = [kind(item, **{name: values[at] for name, values in each.items()}) for at, item in enumerate(items)]
        self.log_metrics({key: made}, step)

    def use_artifact(self, artifact: str, artifact_type: str | None = None) -> Any:
        """A version of an artifact, which the run uses from now on."""
        return self.attachment.run.use_artifact(artifact, type=artifact_type)

    @staticmethod
    def download_artifact(
        artifact: str,
        save_dir: str | os.PathLike[str] | None = None,
        artifact_type: str | None = None,
        use_artifact: bool = True,
    ) -> str:
        """Download a version of an artifact, for instance a checkpoint to go on from.

        Returns
        -------
        str
            The folder it is in.
        """
        run = session.current()
        if run is not None and use_artifact:
            found = run.use_artifact(artifact, type=artifact_type)
        else:
            from trackkit.query import Api

            found = Api().artifact(artifact, type=artifact_type)
        return str(found.download(root=save_dir))


def _asking(logger: TrackkitLogger, frame: FrameType | None) -> tuple[Any, Any]:
    """The Trainer that asks for the experiment, and the checkpoint it is about to load; None if another asks.

    A Trainer asks before it sets anything up, which is the only time to continue the checkpoint's run instead of
    starting another. It tells neither who it is nor what it will load, so both are read off the calling frames.
    """
    trainer = None
    for _ in range(_FRAMES):
        if frame is None:
            break
        found = frame.f_locals
        if trainer is None:
            asking = found.get("trainer")
            if any(one is logger for one in getattr(asking, "loggers", ())):
                trainer = asking
        elif found.get("self") is trainer and "ckpt_path" in found:
            return trainer, found["ckpt_path"]
        frame = frame.f_back
    return trainer, None


def _kept(callback: Any, *, every: bool) -> dict[str, Any]:
    """The best and the last checkpoint that a ModelCheckpoint keeps, or every one, with scores; the oldest first."""
    found: dict[str, Any] = {}
    if every:
        found |= getattr(callback, "best_k_models", {})
    found[callback.best_model_path] = callback.best_model_score
    found[callback.last_model_path] = callback.current_score
    if not every and not callback.best_model_path:
        found[getattr(callback, "_last_checkpoint_saved", "")] = callback.current_score
    there = [path for path in found if path and os.path.exists(path) and not os.path.islink(path)]
    return {path: found[path] for path in sorted(there, key=os.path.getmtime)}

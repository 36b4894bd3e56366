"""The callback for fastai's Learner."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from trackkit.core import calls, session
from trackkit.core.adapter import Attachment, guarded, log_checkpoint
from trackkit.core.goals import Best, Goal, goal_of
from trackkit.core.model import batch_size
from trackkit.core.module_mark import ModuleMark
from trackkit.core.pace import Pace
from trackkit.core.run import Run

try:
    from fastai.callback.core import Callback
    from fastai.callback.tracker import SaveModelCallback
    from fastai.torch_core import get_model, rank_distrib
except ImportError as error:
    raise ImportError("trackkit.integrations.fastai needs fastai: pip install 'trackkit[fastai]'") from error

from trackkit.integrations.fastai import predictions
from trackkit.integrations.fastai.facts import learner_facts, metrics

_WATCH = ("gradients", "parameters", "all")


class TrackkitCallback(Callback):  # type: ignore[misc]
    """Logs the trainings of a Learner.

    Every batch is a step, counted on over several fits, so that `fine_tune` is one run. The run going on in the process
    is used and left open. Else one is started when training begins; it ends as failed by an exception, and otherwise
    with the process or with the next training's run. The run's id and step are in every state of the model, and so in
    what `learn.save` writes: `learn.load` it in a new process, and `fit` continues the run.

    Parameters
    ----------
    log
        As W&B's callback has it, the same as `watch`.
    log_preds
        Log a table of samples of the validation data and of what is predicted for them: images with their masks, rows,
        other inputs as their text.
    log_preds_every_epoch
        After every epoch, not when training is over.
    log_model
        Log the model as a version of an artifact, whenever it is better, and when training is over. With a
        `SaveModelCallback`, what that one saves, as it does.
    model_name
        The artifact's name, by default `model-` and the run's id.
    log_dataset
        Log the folder of the data as an artifact: True for `dls.path`, or a path.
    dataset_name
        That artifact's name, by default the folder's.
    valid_dl
        A loader to take the samples from.
    n_preds
        How many.
    seed
        What the samples are drawn by.
    reorder
        Let fastai restore the order of the samples.
    run
        The run to log into.
    watch
        What `run.watch` records of the model: gradients, parameters, all; False for nothing.
    watch_freq
        At every how many steps.
    log_every
        Batches from one to the next that is logged.
    monitor
        What tells the best model, where no `SaveModelCallback` does: a name of the Recorder's.
    all_ranks
        Let every process of a distributed job write, not the first alone.
    **init
        What `trackkit.init` is called with if a run has to be started: project, name, config, …

    Raises
    ------
    ValueError
        If `watch` or `log` is none of these, or `log_every` is not positive.
    TypeError
        If `trackkit.init` has no such parameter.

    Examples
    --------
    >>> learn = Learner(dls, model, cbs=TrackkitCallback(project="digits"))  # doctest: +SKIP
    >>> learn.fit_one_cycle(5)  # doctest: +SKIP
    """

    remove_on_fetch = True
    order = SaveModelCallback.order + 1  # after what it has saved, before early stopping

    def __init__(
        self,
        log: Literal["gradients", "parameters", "all"] | None = None,
        log_preds: bool = True,
        log_preds_every_epoch: bool = False,
        log_model: bool = False,
        model_name: str | None = None,
        log_dataset: bool | str | os.PathLike[str] = False,
        dataset_name: str | None = None,
        valid_dl: Any = None,
        n_preds: int = 36,
        seed: int = 12345,
        reorder: bool = True,
        *,
        run: Run | None = None,
        watch: Literal["gradients", "parameters", "all"] | bool = False,
        watch_freq: int = 100,
        log_every: int = 1,
        monitor: str = "valid_loss",
        all_ranks: bool = False,
        **init: Any,
    ) -> None:
        super().__init__()
        if log not in (None, *_WATCH):
            raise ValueError(f"log is 'gradients', 'parameters', 'all' or None, not {log!r}")
        if watch not in (True, False, *_WATCH):
            raise ValueError(f"watch is 'gradients', 'parameters', 'all' or False, not {watch!r}")
        if log_every < 1:
            raise ValueError(f"log_every is at least 1, not {log_every}")
        self._watch: Any = "gradients" if watch is True else watch or log
        self._watch_freq, self._log_every = watch_freq, log_every
        self._log_preds, self._preds_every_epoch = log_preds, log_preds_every_epoch
        self._log_model, self._model_name, self._monitor = log_model, model_name or "", monitor
        self._log_dataset, self._dataset_name = log_dataset, dataset_name
        self._valid_dl, self._n_preds, self._seed, self._reorder = valid_dl, n_preds, seed, reorder
        if "id" in init:
            init.setdefault("resume", "allow")
        self._attachment = Attachment(run, all_ranks=all_ranks, rank=rank_distrib, **init)
        self._mark = ModuleMark()
        self._settle: Callable[[], object] = _nothing
        self._begun = self._fitting = False
        self._done = 0
        """Batches trained with, the run's step."""
        self._pace = Pace()
        self._bests: dict[str, Best] = {}
        self._saved: tuple[str, int] | None = None
        self._logged_at = -1
        self._fetched: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_settle": _nothing, "_fetched": None}

    @property
    def tracked(self) -> Run:
        """The run that is logged into; `run` is fastai's word for something else."""
        return self._attachment.run

    # Beginning and end.

    @guarded()
    def after_create(self) -> None:
        """Mark the model's states, and find the mark in those it is given."""
        self._mark.attach(get_model(self.learn.model))

    @guarded()
    def before_fit(self) -> None:
        """Find the run and record what is trained how; not if this is a search for a learning rate or a validation."""
        learn = self.learn
        self._fitting = False
        if hasattr(learn, "lr_finder") or hasattr(learn, "gather_preds"):
            self.run = False
            return
        frame = calls.caller(sys._getframe(1), "fit", "fastai")
        if frame is None:
            return
        self._mark.attach(get_model(learn.model))
        run = self._begin()
        self._fitting = True
        self._settle()
        self._settle = self._attachment.expect(frame, "the training")
        run.config.update(learner_facts(learn))
        for name in learn.recorder.metric_names:
            if name not in ("epoch", "time"):
                goal = goal_of(name)
                key = next(iter(metrics([name], [0.0])))
                run.define_metric(key, summary=["last", "max" if goal == "maximize" else "min"], goal=goal)
        self._log_data(run)
        if self._watch:
            run.watch(learn.model, log=self._watch, every=self._watch_freq)
        self._fetched = None
        self._pace = Pace()

    def _begin(self) -> Run:
        loaded = self._mark.loaded
        if self._begun:
            return self._attachment.begin()
        self._begun = True
        if loaded is not None and self._attachment.resume(loaded["run"], loaded["step"]):
            self._done = loaded["step"]
            return self._attachment.run
        run = self._attachment.begin()
        self._done = max(0, run.step - 1)  # of several Learners in one run
        return run

    @guarded()
    def after_fit(self) -> None:
        """Log what the training came to."""
        if not self._fitting:
            return
        self._fitting = False
        self._settle()
        run = self._attachment.run
        if self._watch:
            run.unwatch(self.learn.model)
        if self._fetched is not None and not self._preds_every_epoch:
            self._log_predictions()
        if self._log_model and self._logged_at != self._done:
            self._save(["final"], {"final_model": True})
        run.summary.update({"batches": self._done, "epochs": self.learn.epoch + 1})
        self._attachment.rest()

    # Training.

    @guarded()
    def before_epoch(self) -> None:
        """Start the clock."""
        self._pace.pause()

    @guarded()
    def before_batch(self) -> None:
        """The batch is there; what is logged without a step is of it."""
        self._pace.waited()
        if self._fitting and self.learn.training:
            self._attachment.run.step = self._done + 1

    @guarded()
    def after_batch(self) -> None:
        """Log losses, the optimizer's hyperparameters and the pace."""
        learn = self.learn
        if not self._fitting or not learn.training:
            return
        step = self._done = self._done + 1
        self._pace.count(batch_size(learn.xb))
        run = self._attachment.run
        self._mark.current = {"run": run.id, "project": run.project, "step": step}
        if step % self._log_every:
            return
        values: dict[str, Any] = {
            "train/loss": learn.loss.detach(),
            "train/smooth_loss": learn.smooth_loss,
            "epoch": learn.epoch + (learn.iter + 1) / learn.n_iter,
            **self._pace.rates(),
        }
        for index, hypers in enumerate(learn.opt.hypers):
            for name, value in hypers.items():
                values[f"{name}/{index}"] = value
        run.log(values, step)

    @guarded()
    def after_validate(self) -> None:
        """Predict the samples."""
        if self._fitting and self._log_preds and self._attachment.writes:
            self._fetch()

    @guarded()
    def after_epoch(self) -> None:
        """Log the Recorder's metrics, and the model if it is better."""
        learn, recorder = self.learn, self.learn.recorder
        names = [name for name in recorder.metric_names if name not in ("epoch", "time")]
        if not self._fitting:  # `validate` knows nothing of the training data
            if self._attachment.started or session.current() is not None:
                names = [name for name in names if not name.startswith("train_")]
                self._attachment.run.log(metrics(names, learn.final_record), self._done)
            return
        values = dict(zip(names, learn.final_record, strict=False))
        self._attachment.run.log(metrics(names, learn.final_record), self._done)
        if self._fetched is not None and self._preds_every_epoch:
            self._log_predictions()
        if self._log_model:
            self._log_checkpoint(values)
        self._pace.pause()

    # Predictions.

    @guarded()
    def _fetch(self) -> None:
        learn = self.learn
        if self._valid_dl is None:
            self._valid_dl = predictions.sample_loader(learn.dls, self._n_preds, self._seed)
        others = [cb for cb in learn.cbs if getattr(cb, "remove_on_fetch", False)]
        with learn.removed_cbs(others):
            self._fetched = learn.get_preds(
                dl=self._valid_dl, with_input=True, with_decoded=True, inner=True, reorder=self._reorder
            )

    @guarded()
    def _log_predictions(self) -> None:
        table = predictions.table(self._valid_dl, self._fetched, self._n_preds)
        self._attachment.run.log({"predictions": table}, self._done)

    # Models and data.

    def _log_checkpoint(self, values: dict[str, Any]) -> None:
        learn = self.learn
        saving = getattr(learn, "save_model", None)
        monitor = self._monitor if saving is None else saving.monitor
        best = self._bests.setdefault(monitor, Best(goal_of(monitor) if saving is None else _goal(saving)))
        better = best.improves(values.get(monitor))
        mode = "max" if best.goal == "maximize" else "min"
        facts = {"monitor": monitor, "score": values.get(monitor), "mode": mode}
        aliases = [f"epoch_{learn.epoch}", *(["best"] if better else [])]
        if saving is None:
            if better:
                self._save(aliases, facts)
            return
        path = saving.last_saved_path
        found = None if path is None else (str(path), os.stat(path).st_mtime_ns)
        if path is not None and found != self._saved:
            self._saved = found
            self._log_file(path, aliases, facts)

    def _save(self, aliases: list[str], facts: dict[str, Any]) -> None:
        if not self._attachment.writes:
            return
        with tempfile.TemporaryDirectory() as folder:
            path = self.learn.save(Path(folder, "model"), with_opt=True)
            self._log_file(path, aliases, facts)

    def _log_file(self, path: Path, aliases: list[str], facts: dict[str, Any]) -> None:
        self._logged_at = self._done
        recorder = self.learn.recorder
        names = [name for name in recorder.metric_names if name not in ("epoch", "time")]
        metadata = {
            **dict(zip(names, self.learn.final_record, strict=False)),
            **facts,
            "epoch": self.learn.epoch,
            "step": self._done,
            "original_filename": Path(path).name,
        }
        log_checkpoint(
            self._attachment.run, path, name=self._model_name, filename="model.pth", aliases=aliases, metadata=metadata
        )

    def _log_data(self, run: Run) -> None:
        if not self._log_dataset or not self._attachment.writes:
            return
        from trackkit.core.artifact import Artifact

        folder = Path(self.learn.dls.path if self._log_dataset is True else self._log_dataset)
        if not folder.is_dir() or (self._log_dataset is True and folder == Path()):
            raise FileNotFoundError(
                f"log_dataset needs the folder of the data, and {str(folder)!r} is none; pass a path"
            )
        artifact = Artifact(self._dataset_name or folder.resolve().name, type="dataset")
        for path in sorted(folder.iterdir()):
            if path.is_dir() and path.name != "models":
                artifact.add_dir(path, name=path.name)
            elif path.is_file():
                artifact.add_file(path)
        run.use_artifact(artifact)
        self._log_dataset = False


def _goal(saving: Any) -> Goal:
    """What the callback that saves takes for better."""
    return "maximize" if saving.comp(1, 0) else "minimize"


def _nothing() -> None:
    """Until a training begins, there is nothing to settle."""

"""The callback for Transformers' Trainer."""

from __future__ import annotations

import glob
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from trackkit.core import calls, session
from trackkit.core.adapter import Attachment, guarded, log_checkpoint
from trackkit.core.model import architecture, loader_facts, model_facts, optimizer_facts, scheduler_facts
from trackkit.core.run import Run
from trackkit.core.settings import load
from trackkit.integrations.transformers import completions
from trackkit.integrations.transformers.pace import Pace

try:
    from transformers import TrainerCallback, modelcard
except ImportError as error:
    raise ImportError(
        "trackkit.integrations.transformers needs Transformers with PyTorch: pip install 'trackkit[transformers]'"
    ) from error

NAME = "trackkit"
"""What `report_to` calls it, and the entry of a checkpoint's trainer state that says which run it belongs to."""
_WHOLE = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss", "total_flos")
_PREFIXES = {"eval_": "eval/", "test_": "test/"}
_LOG_MODEL = ("end", "checkpoint")
_WATCH = ("gradients", "parameters", "all")


class TrackkitCallback(TrainerCallback):  # type: ignore[misc]
    """Logs a training with the Trainer, or with one that is made of it: those of TRL and of sentence-transformers.

    The run going on in the process is used and left open. Else one is started when training begins, and ends with the
    process or with the next training's run, so that an evaluation after the training goes into it. Checkpoints know
    their run: `train(resume_from_checkpoint=…)` continues it.

    Parameters
    ----------
    run
        The run to log into.
    project
        The project; by default the setting, or else `TrainingArguments.project`, or else `huggingface`.
    name
        The run's name; by default `TrainingArguments.run_name`.
    log_model
        `"end"`: the model as a version of an artifact, when training is over; `"checkpoint"`: every checkpoint besides,
        when it is made; False: neither. By default the environment's `TRACKKIT_LOG_MODEL`.
    watch
        `gradients`, `parameters` or `all`: what `run.watch` records of the model. By default the environment's
        `TRACKKIT_WATCH`.
    watch_freq
        At every how many steps; by default `logging_steps`, at least 100.
    checkpoint_name
        The artifact's name, by default `model-` and the run's id.
    log_config
        Put training arguments and the settings of model, optimizer, schedule and data into the config.
    log_completions
        Log the completions that TRL's trainers sample as tables, if their arguments say `log_completions`.
    all_ranks
        Let every process write, not the first alone; each is a writer of the same run, whose id has to be given.
    **init
        Further parameters of `trackkit.init`, such as `tags`, `notes`, `group`, `config`, `settings`.

    Raises
    ------
    ValueError
        If `log_model` or `watch` is none of these.
    TypeError
        If `trackkit.init` has no such parameter.

    Examples
    --------
    >>> trainer = Trainer(model, args, train_dataset=data, callbacks=[TrackkitCallback()])  # doctest: +SKIP
    >>> trainer.train()  # doctest: +SKIP
    """

    def __init__(
        self,
        run: Run | None = None,
        *,
        project: str | None = None,
        name: str | None = None,
        log_model: Literal["end", "checkpoint"] | bool | None = None,
        watch: Literal["gradients", "parameters", "all"] | bool | None = None,
        watch_freq: int | None = None,
        checkpoint_name: str | None = None,
        log_config: bool = True,
        log_completions: bool = True,
        all_ranks: bool = False,
        **init: Any,
    ) -> None:
        self._log_model = _choice("log_model", log_model, _LOG_MODEL, on="end")
        self._watch: Any = _choice("watch", watch, _WATCH, on="gradients")
        self._watch_freq = watch_freq
        self._project, self._name = project, name
        self._checkpoint_name = checkpoint_name or ""
        self._log_config, self._log_completions = log_config, log_completions
        if "id" in init:
            init.setdefault("resume", "allow")
        self._attachment = Attachment(run, all_ranks=all_ranks, **init)
        self._trial: Run | None = None
        self._begun = False
        self._settle: Callable[[], object] = _nothing
        self._pace = Pace()
        self._epoch_step = -1

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_settle": _nothing, "_trial": None}

    @property
    def run(self) -> Run:
        """The run that is logged into; in processes that do not write, one that records nothing."""
        return self._trial or self._attachment.run

    # Beginning and end.

    @guarded()
    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Find the run the checkpoint belongs to, or begin one, and record what is trained how."""
        if state.is_hyper_param_search:
            self._begin_trial(args, state)
        else:
            self._begin(args, state)
        run = self.run
        # Kept in trainer_state.json of every checkpoint. Not as an ExportableState: the Trainer may make a new
        # callback of those.
        state.stateful_callbacks[NAME] = {"args": {}, "attributes": {"run": run.id, "project": run.project}}
        self._settle()
        self._settle = self._attachment.expect(calls.caller(sys._getframe(1), "train", "transformers"), "the training")
        self._record_settings(args, kwargs)
        self._watch_as_asked(args, kwargs.get("model"))
        self._pace = Pace()

    def _begin(self, args: Any, state: Any) -> None:
        saved = (getattr(state, "stateful_callbacks", None) or {}).get(NAME)
        options = self._options(args)
        if state.global_step and saved:
            self._attachment.prepare(**options)
            if self._attachment.resume(saved["attributes"]["run"], state.global_step):
                self._begun = True
                return
        if self._begun and not state.global_step:
            self._attachment.renew()
        self._begun = True
        self._attachment.begin(**options)

    def _begin_trial(self, args: Any, state: Any) -> None:
        """A run for a trial of a search for hyperparameters: a child of the run going on, if there is one."""
        options = self._options(args)
        named = {"name": state.trial_name} if state.trial_name else {}
        if self._trial is not None:
            self._trial.finish()
        parent = session.current() if not self._attachment.owned else None
        if parent is not None and self._attachment.writes:
            self._trial = session.beside(parent, job_type="trial", **named)
        else:
            self._attachment.renew()
            self._attachment.begin(**options | {"group": options.get("name") or args.output_dir} | named)

    def _options(self, args: Any) -> dict[str, Any]:
        project = self._project or load().project or getattr(args, "project", None) or "huggingface"
        name = self._name or (args.run_name if args.run_name != args.output_dir else None)
        return {"project": project, "name": name} if name else {"project": project}

    @guarded()
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Log the model, if `log_model` says so."""
        self._settle()
        if self._watch:
            self.run.unwatch(kwargs.get("model"))
        self.run.summary.update(_outcome(state))
        if self._log_model and state.is_world_process_zero:
            self._log_final_model(args, state, kwargs.get("model"), kwargs.get("processing_class"))
        self._attachment.rest()

    def _run_for(self, args: Any) -> Run:
        """The run, also of an evaluation or a prediction without a training."""
        if not self._begun and self._trial is None:
            self._attachment.prepare(**self._options(args))
        return self.run

    # What the Trainer logs.

    @guarded()
    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Log the Trainer's metrics at its step: `train/…`, `eval/…`, `test/…`; what is of the whole training, once."""
        logs = {key: value for key, value in (logs or {}).items() if value is not None}
        run = self._run_for(args)
        whole = {key: logs.pop(key) for key in _WHOLE if key in logs}
        if whole:
            run.summary.update(whole)
        values = {_renamed(key): value for key, value in logs.items()}
        if "epoch" in values and state.global_step == self._epoch_step:
            del values["epoch"]
        self._epoch_step = state.global_step
        if "loss" in logs:
            values |= self._pace.rates(args, state)
        if values:
            run.log(values, step=state.global_step)
        if state.is_world_process_zero and getattr(args, "log_completions", False) and not whole:
            self._log_sampled(args, state.global_step)
        self._pace.pause()

    @guarded()
    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Record facts of the data that was evaluated on; its metrics were logged."""
        if self._log_config and kwargs.get("eval_dataloader") is not None:
            self._run_for(args)
            self._record_data("eval", kwargs["eval_dataloader"])
        self._pace.pause()

    @guarded()
    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Log the metrics of a prediction."""
        values = {_renamed(key): value for key, value in (metrics or {}).items() if value is not None}
        if values:
            self._run_for(args).log(values, step=state.global_step)

    # Settings.

    def _record_settings(self, args: Any, parts: Mapping[str, Any]) -> None:
        if not self._log_config:
            return
        model = parts.get("model")
        facts: dict[str, Any] = {}
        config = getattr(model, "config", None)
        if config is not None:
            facts |= config if isinstance(config, dict) else config.to_dict()
        facts |= args.to_dict()
        peft = getattr(model, "peft_config", None)
        if peft is not None:
            facts["peft_config"] = {name: getattr(one, "to_dict", lambda one=one: one)() for name, one in peft.items()}
        if model is not None:
            facts["model"] = model_facts(model)
        if parts.get("optimizer") is not None:
            facts["optimizer"] = optimizer_facts(parts["optimizer"])
        if parts.get("lr_scheduler") is not None:
            facts["scheduler"] = scheduler_facts(parts["lr_scheduler"])
        self.run.config.update(facts)
        for name in ("train", "eval"):
            if parts.get(f"{name}_dataloader") is not None:
                self._record_data(name, parts[f"{name}_dataloader"])

    def _record_data(self, name: str, loader: Any) -> None:
        known = dict(self.run.config.get("data", {}))
        facts = loader_facts(loader)
        if known.get(name) != facts:
            self.run.config["data"] = {**known, name: facts}

    def _watch_as_asked(self, args: Any, model: Any) -> None:
        if self._watch and model is not None:
            every = self._watch_freq or max(100, int(args.logging_steps))
            self.run.watch(model, log=self._watch, every=every)

    # Pace.

    @guarded()
    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self._pace.pause()

    @guarded()
    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note how long the data was waited for, and let what is logged without a step be of this one."""
        self._pace.data_is_there()
        run = self.run
        if run.state == "running":
            run.step = state.global_step + 1

    @guarded()
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count a step."""
        self._pace.step_is_done()

    # Models.

    @guarded()
    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Log the checkpoint, if `log_model` says so."""
        if self._log_model == "checkpoint" and state.is_world_process_zero:
            path = _checkpoint_of(args, state)
            if path is not None:
                best = state.best_model_checkpoint is not None and Path(state.best_model_checkpoint).name == path.name
                self._log_files(path, state, ["best"] if best else [], {"original_filename": path.name}, args)
        self._pace.pause()

    def _log_final_model(self, args: Any, state: Any, model: Any, processing: Any) -> None:
        best = bool(args.load_best_model_at_end and state.best_model_checkpoint)
        aliases = ["final", *(["best"] if best else [])]
        if getattr(args, "fsdp", None) or getattr(args, "deepspeed", None):
            # No process has the whole model; the last checkpoint has.
            path = _checkpoint_of(args, state)
            if path is not None:
                self._log_files(path, state, aliases, {"original_filename": path.name}, args)
            return
        with tempfile.TemporaryDirectory() as folder:
            if hasattr(model, "save_pretrained"):
                model.save_pretrained(folder)
            else:
                import torch

                torch.save(model.state_dict(), os.path.join(folder, "model.pt"))
            if hasattr(processing, "save_pretrained"):
                processing.save_pretrained(folder)
            Path(folder, "architecture.txt").write_text(architecture(model), encoding="utf-8")
            self._log_files(folder, state, aliases, {"final_model": True}, args)

    def _log_files(
        self, path: str | os.PathLike[str], state: Any, aliases: list[str], facts: dict[str, Any], args: Any
    ) -> None:
        metadata = {
            "score": state.best_metric if "best" in aliases else None,
            "monitor": args.metric_for_best_model,
            "mode": {True: "max", False: "min", None: None}[args.greater_is_better],
            "epoch": state.epoch,
            "step": state.global_step,
            **_metrics_at(state),
            **facts,
        }
        aliases = [*aliases, f"epoch_{round(state.epoch or 0, 2):g}", f"step_{state.global_step}"]
        log_checkpoint(self.run, path, name=self._checkpoint_name, aliases=aliases, metadata=metadata)

    @guarded()
    def on_push_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Put a link to the run's page into the model card, if it has one."""
        if state.is_world_process_zero and self.run.url:
            link = f"\n[The run in trackkit]({self.run.url})"
            if link not in (modelcard.AUTOGENERATED_TRAINER_COMMENT or ""):
                modelcard.AUTOGENERATED_TRAINER_COMMENT += link
            model = kwargs.get("model")
            tags = list(getattr(model, "model_tags", None) or [])
            if model is not None and NAME not in tags:
                model.model_tags = [*tags, NAME]

    @guarded()
    def _log_sampled(self, args: Any, step: int) -> None:
        """Log a table of the completions TRL's trainers have sampled."""
        logs = completions.sampled() if self._log_completions else None
        if logs:
            import trackkit

            columns = completions.columns(logs, step, unique=getattr(args, "log_unique_prompts", False))
            rows = [list(row) for row in zip(*columns.values(), strict=True)]
            self.run.log({"completions": trackkit.Table(columns=list(columns), data=rows)}, step=step)


def _nothing() -> None: ...


def _choice(option: str, given: Any, words: tuple[str, ...], *, on: str) -> str:
    """An option that is a word or nothing, from the call or the environment; True means the first choice."""
    where = option
    if given is None:
        where = f"TRACKKIT_{option.upper()}"
        given = os.environ.get(where, "")
        given = {"": False, "false": False, "0": False, "true": True, "1": True}.get(given.lower(), given)
    if given not in (*words, True, False):
        raise ValueError(f"{where} is one of {', '.join(map(repr, words))} or False, not {given!r}")
    return on if given is True else given or ""


def _renamed(key: str) -> str:
    """A Trainer's key by the part of the data it is of."""
    if key == "epoch":
        return key
    for prefix, name in _PREFIXES.items():
        if key.startswith(prefix):
            return name + key.removeprefix(prefix)
    return f"train/{key}"


def _outcome(state: Any) -> dict[str, Any]:
    found = {"best_metric": state.best_metric, "best_model_checkpoint": state.best_model_checkpoint}
    return {key: value for key, value in found.items() if value is not None}


def _metrics_at(state: Any) -> dict[str, Any]:
    """The last of every metric the Trainer has logged."""
    found: dict[str, Any] = {}
    for entry in state.log_history:
        found |= {_renamed(key): value for key, value in entry.items() if key not in ("epoch", "step")}
    return found


def _checkpoint_of(args: Any, state: Any) -> Path | None:
    """The checkpoint's folder of the last save; in a search it lies in the trial's folder."""
    name = f"checkpoint-{state.global_step}"
    found = [Path(args.output_dir, name), *map(Path, glob.glob(os.path.join(glob.escape(args.output_dir), "*", name)))]
    there = [path for path in found if path.is_dir()]
    return max(there, key=os.path.getmtime, default=None)

"""The logger for Ignite's engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import ignite.distributed as idist
from ignite.engine import Events
from ignite.handlers.base_logger import BaseLogger

from trackkit.core.adapter import Attachment, guarded
from trackkit.core.pace import Pace
from trackkit.core.run import Run
from trackkit.integrations.ignite.handlers import OptimizerParamsHandler, OutputHandler
from trackkit.integrations.ignite.training import Training, by_name, numbers

_WATCH = ("gradients", "parameters", "all")


class TrackkitLogger(BaseLogger):  # type: ignore[misc]
    """Logs what happens in Ignite's engines.

    It has what every logger of Ignite has, `attach`, `attach_output_handler` and `attach_opt_params_handler`, and
    `attach_trainer`, which does the whole of it for a training. Other names are those of the run: `logger.log`,
    `logger.config`, `logger.watch`.

    The run going on in the process is used and left open. Else one is started when there is something to record, and
    ends with `close`, with the `with` block, or with the process. The logger can be put into a checkpoint beside model
    and trainer; loading it continues the run.

    Parameters
    ----------
    run
        The run to log into.
    all_ranks
        Let every process write, not the first alone; each is a writer of the same run, whose id has to be given.
    **init
        What `trackkit.init` is called with if a run has to be started: project, name, config, …

    Raises
    ------
    TypeError
        If `trackkit.init` has no such parameter.

    Examples
    --------
    >>> logger = TrackkitLogger(project="digits")
    >>> logger.attach_trainer(trainer, model, optimizer, evaluators={"val": evaluator})  # doctest: +SKIP
    >>> with logger:  # doctest: +SKIP
    ...     trainer.run(loader, max_epochs=10)
    """

    def __init__(self, run: Run | None = None, *, all_ranks: bool = False, **init: Any) -> None:
        if "id" in init:
            init.setdefault("resume", "allow")
        self.attachment = Attachment(run, all_ranks=all_ranks, rank=idist.get_rank, **init)
        self._trainer: Any = None
        self._last_step = -1
        self._pace = Pace()

    @property
    def run(self) -> Run:
        """The run; in processes that do not write, one that records nothing."""
        return self.attachment.run

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "attachment" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        return getattr(self.attachment.run, name)

    @guarded()
    def log(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Log values at a step; without one the run counts."""
        run = self.attachment.run
        self._last_step = run.step if step is None else step
        run.log(values, step)

    @guarded()
    def close(self) -> None:
        """Finish the run, if it was started here."""
        self.attachment.finish()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._leave(error)

    @guarded()
    def _leave(self, error: BaseException | None) -> None:
        if error is None:
            self.attachment.finish()
        else:
            self.attachment.fail(error)

    # Handlers.

    def _create_output_handler(self, *args: Any, **kwargs: Any) -> OutputHandler:
        return OutputHandler(*args, **kwargs)

    def _create_opt_params_handler(self, *args: Any, **kwargs: Any) -> OptimizerParamsHandler:
        return OptimizerParamsHandler(*args, **kwargs)

    def step_of(self, engine: Any, event: Any) -> int:
        """The step to log an engine's values at: the trainer's iteration, if `attach_trainer` was called.

        Otherwise it is how often the event has happened, as in Ignite's loggers: epochs at EPOCH_COMPLETED.
        """
        if self._trainer is not None:
            return int(self._trainer.state.iteration)
        return int(engine.state.get_event_attrib_value(event))

    def attach_trainer(
        self,
        trainer: Any,
        model: Any = None,
        optimizers: Any = None,
        evaluators: Any = None,
        *,
        log_every_iters: int = 1,
        metric_names: Any = "all",
        output_transform: Callable[[Any], Any] | None = None,
        tag: str = "train",
        watch: Literal["gradients", "parameters", "all"] | bool = False,
        watch_freq: int = 100,
        log_config: bool = True,
    ) -> None:
        """Log a whole training: metrics, learning rates, throughput, epochs, settings, and how it ends.

        All of it is logged at the trainer's iteration, what evaluators find too.

        Parameters
        ----------
        trainer
            The engine that trains.
        model
            A module, or several by name: their size goes into the config.
        optimizers
            An optimizer, or several by name.
        evaluators
            An engine, or several by name; their metrics are logged when a run of theirs is over, as `<name>/<metric>`.
        log_every_iters
            Log the training's metrics and rates every so many iterations.
        metric_names
            Which metrics of the trainer to log.
        output_transform
            Makes a number, or numbers by name, of the trainer's output; by default numbers and 0-d tensors are logged
            as `loss`, and those in a mapping by their names.
        tag
            Put before the trainer's keys.
        watch
            What `run.watch` records of the model: gradients, parameters, all.
        watch_freq
            At every how many steps of the optimizer.
        log_config
            Put settings of engine, model, optimizers and data into the config.

        Raises
        ------
        ValueError
            If `watch` is none of these, or needs a model that is not given.
        """
        if watch not in (True, False, *_WATCH):
            raise ValueError(f"watch is 'gradients', 'parameters', 'all' or False, not {watch!r}")
        if watch and model is None:
            raise ValueError("watch needs the model: attach_trainer(trainer, model, watch=…)")
        self._trainer = trainer
        every = Events.ITERATION_COMPLETED(every=log_every_iters)
        training = Training(self, model, optimizers, watch, watch_freq, log_config)
        trainer.add_event_handler(Events.STARTED, training.on_started)
        trainer.add_event_handler(Events.EPOCH_STARTED, self._pace.pause)
        trainer.add_event_handler(Events.GET_BATCH_STARTED, self._pace.wait)
        trainer.add_event_handler(Events.GET_BATCH_COMPLETED, self._pace.waited)
        trainer.add_event_handler(Events.ITERATION_STARTED, training.on_iteration_started)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, training.on_iteration_completed)
        handler = OutputHandler(tag, metric_names, output_transform or numbers)
        trainer.add_event_handler(every, handler, self, Events.ITERATION_COMPLETED)
        trainer.add_event_handler(every, training.on_logged)
        for name, evaluator in by_name(evaluators, "val").items():
            evaluator.add_event_handler(Events.COMPLETED, OutputHandler(name, "all"), self, Events.COMPLETED)
            evaluator.add_event_handler(Events.COMPLETED, self._pace.pause)
        trainer.add_event_handler(Events.COMPLETED, training.on_completed)
        trainer.add_event_handler(Events.TERMINATE, training.on_completed)
        trainer.add_event_handler(Events.EXCEPTION_RAISED, training.on_exception)
        interrupt = getattr(Events, "INTERRUPT", None)
        if interrupt is not None:
            trainer.add_event_handler(interrupt, training.on_completed)

    # Checkpoints.

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the run: `Checkpoint({"model": model, "trackkit": logger, …}, …)`."""
        run = self.attachment.run
        step = self._last_step if self._trainer is None else int(self._trainer.state.iteration)
        return {"run": run.id, "project": run.project, "step": step}

    @guarded()
    def load_state_dict(self, state: Mapping[str, Any], **kwargs: Any) -> None:
        """Continue the run a checkpoint belongs to; what it logged after the checkpoint is superseded."""
        self.attachment.resume(state["run"], state["step"])
        self._last_step = state["step"]

    def over(self) -> None:
        """A training has ended as it should; what follows it goes into the same run."""
        self.attachment.rest()

    def rates(self) -> dict[str, float]:
        """How fast the training goes since this was last asked."""
        return self._pace.rates()

    def count(self, samples: int) -> None:
        """An iteration is over."""
        self._pace.count(samples)


def setup_trackkit_logging(
    trainer: Any,
    optimizers: Any = None,
    evaluators: Any = None,
    log_every_iters: int = 100,
    **options: Any,
) -> TrackkitLogger:
    """As Ignite's `setup_wandb_logging`: make a logger and attach it to trainer, optimizers and evaluators.

    Parameters
    ----------
    trainer, optimizers, evaluators, log_every_iters
        As of `TrackkitLogger.attach_trainer`.
    **options
        As of `TrackkitLogger`.

    Returns
    -------
    TrackkitLogger
        To be closed after the training.
    """
    logger = TrackkitLogger(**options)
    logger.attach_trainer(
        trainer, None, optimizers, by_name(evaluators, "validation"), log_every_iters=log_every_iters, tag="training"
    )
    return logger

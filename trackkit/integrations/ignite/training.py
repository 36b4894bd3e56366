"""What there is to log of a trainer when its events happen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ignite.distributed as idist
from ignite.engine import Events

from trackkit.core.adapter import guarded
from trackkit.core.model import batch_size, learning_rates, loader_facts, model_facts, optimizer_facts

if TYPE_CHECKING:
    from trackkit.integrations.ignite.logger import TrackkitLogger


class Training:
    """What `attach_trainer` does when a trainer's events happen."""

    def __init__(
        self, logger: TrackkitLogger, model: Any, optimizers: Any, watch: Any, watch_freq: int, log_config: bool
    ) -> None:
        self.logger = logger
        self.models, self.optimizers = by_name(model, ""), by_name(optimizers, "")
        self.watch: Any = "gradients" if watch is True else watch or None
        self.watch_freq = watch_freq
        self.log_config = log_config
        self._rates: dict[str, float] = {}

    @guarded()
    def on_started(self, engine: Any) -> None:
        run = self.logger.attachment.begin()
        if self.log_config:
            run.config.update(self._settings(engine))
        if self.watch:
            for model in self.models.values():
                run.watch(model, log=self.watch, every=self.watch_freq)

    def _settings(self, engine: Any) -> dict[str, Any]:
        state = engine.state
        facts: dict[str, Any] = {
            "trainer": {
                "max_epochs": state.max_epochs,
                "max_iters": getattr(state, "max_iters", None),
                "epoch_length": state.epoch_length,
                "seed": getattr(state, "seed", None),
                "processes": idist.get_world_size(),
                "backend": idist.backend(),
                "device": str(idist.device()),
            },
            "model": _single({name: model_facts(model) for name, model in self.models.items()}),
            "optimizer": _single({name: optimizer_facts(one) for name, one in self.optimizers.items()}),
        }
        if state.dataloader is not None:
            facts["data"] = {"train": loader_facts(state.dataloader)}
        return {key: value for key, value in facts.items() if value}

    @guarded()
    def on_iteration_started(self, engine: Any) -> None:
        self._rates = learning_rates(list(self.optimizers.values()))  # those in force; a schedule steps afterwards
        run = self.logger.attachment.run
        if run.state == "running":
            run.step = engine.state.iteration

    @guarded()
    def on_iteration_completed(self, engine: Any) -> None:
        self.logger.count(batch_size(engine.state.batch))

    @guarded()
    def on_logged(self, engine: Any) -> None:
        state = engine.state
        epoch = state.iteration / state.epoch_length if state.epoch_length else state.epoch
        self.logger.log({**self._rates, **self.logger.rates(), "epoch": epoch}, state.iteration)

    def on_exception(self, engine: Any, error: BaseException) -> None:
        self._fail(error)
        # An engine that has a handler for exceptions leaves it to that to raise them. With no other one, so do we.
        if len(engine._event_handlers[Events.EXCEPTION_RAISED]) == 1:
            raise error

    @guarded()
    def _fail(self, error: BaseException) -> None:
        self.logger.attachment.fail(error)

    @guarded()
    def on_completed(self, engine: Any) -> None:
        run = self.logger.attachment.run
        run.summary.update({"epochs": engine.state.epoch, "iterations": engine.state.iteration})
        if self.watch:
            for model in self.models.values():
                run.unwatch(model)
        self.logger.over()


def by_name(given: Any, name: str) -> dict[str, Any]:
    """One thing under a name, or several under theirs."""
    if given is None:
        return {}
    return {key or name: value for key, value in given.items()} if isinstance(given, Mapping) else {name: given}


def _single(found: dict[str, Any]) -> Any:
    return found[""] if list(found) == [""] else found


def numbers(output: Any) -> Any:
    """The numbers of an engine's output: `loss` if it is one, and those of a mapping."""
    if isinstance(output, Mapping):
        return {name: value for name, value in output.items() if _is_number(value)}
    return {"loss": output} if _is_number(output) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or getattr(value, "ndim", None) == 0

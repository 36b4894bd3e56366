"""What happens in a Trainer besides its metrics: a callback that the logger adds to the trainer it serves."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trackkit.core.adapter import guarded
from trackkit.core.model import batch_size, learning_rates
from trackkit.integrations.lightning import checkpoint as checkpoints
from trackkit.integrations.lightning.facts import outcome, training_facts
from trackkit.integrations.lightning.packages import Callback

if TYPE_CHECKING:
    from trackkit.core.run import Run
    from trackkit.integrations.lightning.logger import TrackkitLogger


class TrainerEvents(Callback):  # type: ignore[misc]
    """Puts the run into checkpoints and goes back to their step; records settings, rates, throughput, how it ends."""

    # Every step pays for each hook that can be called.
    on_before_zero_grad = on_before_backward = on_after_backward = None
    on_before_optimizer_step: Callable[..., None] | None = None

    def __init__(self, logger: TrackkitLogger) -> None:
        self._logger = logger
        self._rewinds = False
        self._batches = self._samples = 0
        self._since = self._idle_since = 0.0
        self._idle = 0.0
        self._paused_at = 0.0
        self._run: Run | None = None
        self._processes = 1
        self._gpu: Any = None
        self._values: dict[str, Any] = {}
        self._stepped = self._norms = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_run": None, "on_before_optimizer_step": None}

    def serves(self, logger: TrackkitLogger) -> bool:
        """Whether it was made for this logger."""
        return self._logger is logger

    # Checkpoints.

    @guarded()
    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        run = self._logger.attachment.run
        checkpoint[checkpoints.KEY] = {"run": run.id, "project": run.project, "step": step_of(trainer)}

    @guarded()
    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        belongs = checkpoint.get(checkpoints.KEY, {}).get("run") == self._logger.attachment.run.id
        self._rewinds = belongs and trainer.state.fn == "fit"

    # Training.

    @guarded()
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._since = time.perf_counter()
        self._run = self._logger.attachment.run
        self._processes = trainer.world_size
        self._norms = self._logger.log_grad_norm and not _is_sharded(trainer)
        self._gpu = pl_module.device if pl_module.device.type == "cuda" else None
        if self._logger.log_config:
            self._run.config.update(training_facts(trainer, pl_module))
        self._logger.watch_as_asked(pl_module)

    @guarded()
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._idle_since = time.perf_counter()

    @guarded()
    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self._paused_at = time.perf_counter()

    @guarded()
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._idle_since = time.perf_counter()
        self._since += self._idle_since - self._paused_at

    @guarded()
    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._idle += time.perf_counter() - self._idle_since
        step = step_of(trainer)
        if self._rewinds:
            # Not before the first batch is the step known at which the restored loops go on.
            self._rewinds = False
            self._logger.attachment.rewind(step)
        if self._run is not None:
            self._run.step = step
        self._stepped = False
        every = trainer.log_every_n_steps
        if every and (step + 1) % every == 0:
            self.on_before_optimizer_step = self._step_of_optimizer
            self._values = dict(learning_rates(trainer.optimizers))  # schedules move on before the batch ends

    @guarded()
    def _step_of_optimizer(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self._stepped = True
        norm = gradient_norm(optimizer) if self._norms else None
        if norm is not None:
            optimizers = trainer.optimizers
            number = next((n for n, one in enumerate(optimizers) if _inner(one) is _inner(optimizer)), 0)
            self._values[f"grad_norm/{number}" if len(optimizers) > 1 else "grad_norm"] = norm

    @guarded()
    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        now = time.perf_counter()
        self._batches += 1
        self._samples += batch_size(batch)
        if self._stepped:
            self.on_before_optimizer_step = None
            self._log_rates(step_of(trainer), now)
        self._idle_since = now

    def _log_rates(self, step: int, now: float) -> None:
        elapsed = max(now - self._since, 1e-9)
        values = self._values
        values["throughput/batches_per_second"] = self._batches / elapsed
        values["throughput/waiting_for_data"] = min(1.0, self._idle / elapsed)
        if self._samples:
            values["throughput/samples_per_second"] = self._samples * self._processes / elapsed
        if self._gpu is not None:
            import torch

            values["throughput/peak_gpu_memory_gb"] = torch.cuda.max_memory_allocated(self._gpu) / 1e9
        self._logger.log_own(values, step)
        self._batches = self._samples = 0
        self._since, self._idle, self._values = now, 0.0, {}

    @guarded()
    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._logger.attachment.run.summary.update(outcome(trainer.callbacks))
        self._logger.unwatch(pl_module)

    @guarded()
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._logger.failed_by(exception)


def step_of(trainer: Any) -> int:
    """The step at which the Trainer logs what happens now: optimizer steps, several optimizers counted once."""
    return int(trainer.fit_loop.epoch_loop._batches_that_stepped)


def gradient_norm(optimizer: Any) -> Any:
    """The Euclidean norm of all gradients an optimizer is about to use; None without any.

    On the CPU a number, and else a tensor on the device, which nothing waits for.
    """
    import torch

    grads = [
        parameter.grad
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None and parameter.grad.layout == torch.strided
    ]
    if not grads:
        return None
    norms = torch._foreach_norm(grads)
    if all(norm.is_cpu for norm in norms):
        return math.hypot(*(norm.item() for norm in norms))
    return torch.linalg.vector_norm(torch.stack([norm.to(norms[0].device, torch.float32) for norm in norms]))


def _is_sharded(trainer: Any) -> bool:
    """Whether this rank sees but a part of the gradients."""
    name = type(trainer.strategy).__name__
    return any(word in name for word in ("FSDP", "DeepSpeed", "ModelParallel"))


def _inner(optimizer: Any) -> Any:
    return getattr(optimizer, "optimizer", optimizer)

"""How fast a Trainer trains."""

from __future__ import annotations

import time
from typing import Any


class Pace:
    """How fast training goes, evaluations and checkpoints left out."""

    def __init__(self) -> None:
        self._steps = 0
        self._elapsed = self._waited = 0.0
        self._tokens: float | None = None
        self._since = time.perf_counter()

    def pause(self) -> None:
        """What was done since the last step is no training."""
        self._since = time.perf_counter()

    def data_is_there(self) -> None:
        """The batches of a step have been fetched."""
        self._waited += time.perf_counter() - self._since

    def step_is_done(self) -> None:
        """An optimizer step is over."""
        now = time.perf_counter()
        self._elapsed += now - self._since
        self._steps += 1
        self._since = now

    def rates(self, args: Any, state: Any) -> dict[str, float]:
        """Steps, samples and tokens a second, and the share of time data was waited for, since this was last asked."""
        if not self._steps or not self._elapsed:
            return {}
        samples = self._steps * args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        found = {
            "throughput/steps_per_second": self._steps / self._elapsed,
            "throughput/samples_per_second": samples / self._elapsed,
            "throughput/waiting_for_data": min(1.0, self._waited / self._elapsed),
        }
        tokens = float(getattr(state, "num_input_tokens_seen", 0) or 0)
        if self._tokens is not None and tokens > self._tokens:
            found["throughput/tokens_per_second"] = (tokens - self._tokens) / self._elapsed
        if args.device.type == "cuda":
            import torch

            found["throughput/peak_gpu_memory_gb"] = torch.cuda.max_memory_allocated(args.device) / 1e9
        self._steps, self._elapsed, self._waited, self._tokens = 0, 0.0, 0.0, tokens
        return found

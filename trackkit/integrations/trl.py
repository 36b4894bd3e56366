"""What TRL's trainers log to some trackers by name: completions of an evaluation's prompts, and their profile.

Their metrics, and the completions they sample while they train, are logged by `TrackkitCallback` of
`trackkit.integrations.transformers`.
"""

from __future__ import annotations

from typing import Any

from trackkit.core import session
from trackkit.core.adapter import guarded, report
from trackkit.core.patches import Patches
from trackkit.core.run import Run

try:
    import trl
except ImportError as error:
    raise ImportError("trackkit.integrations.trl needs TRL: pip install 'trackkit[trl]'") from error

_patches = Patches()


class LogCompletionsCallback(trl.LogCompletionsCallback):  # type: ignore[misc]
    """Completes the evaluation's prompts every so often, and logs a table of them: step, prompt, completion.

    Parameters
    ----------
    trainer
        The trainer; its evaluation data need a column `prompt`.
    generation_config
        How completions are sampled.
    num_prompts
        How many prompts are completed; by default all.
    freq
        At every how many steps; by default `eval_steps`.
    run
        The run to log into; by default the one going on, and if there is none, nothing is logged.
    key
        What the table is called.

    Raises
    ------
    ValueError
        If the trainer has no evaluation data.

    Examples
    --------
    >>> trainer.add_callback(LogCompletionsCallback(trainer, num_prompts=8, freq=100))  # doctest: +SKIP
    """

    def __init__(
        self,
        trainer: Any,
        generation_config: Any = None,
        num_prompts: int | None = None,
        freq: int | None = None,
        *,
        run: Run | None = None,
        key: str = "completions",
    ) -> None:
        super().__init__(trainer, generation_config, num_prompts, freq)
        self._run, self._key = run, key
        self._logged = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Complete the prompts, if it is time to."""
        super().on_step_end(args, state, control, **kwargs)
        self._log_new(state.global_step)

    @guarded()
    def _log_new(self, step: int) -> None:
        new = self.table[self._logged :]
        run = self._run or session.current()
        if not new or run is None:
            return
        self._logged = len(self.table)
        import trackkit

        table = trackkit.Table(columns=["step", "prompt", "completion"], data=[[int(row[0]), *row[1:]] for row in new])
        run.log({self._key: table}, step=step)


def log_profile(enabled: bool = True) -> None:
    """Log what TRL's trainers measure of themselves: `profiling/Time taken: GRPOTrainer.compute_loss`, in seconds.

    TRL tells a tracker only if `report_to` names one that it knows; from this call on the run going on is told besides.

    Parameters
    ----------
    enabled
        False ends it.

    Examples
    --------
    >>> log_profile()  # doctest: +SKIP
    """
    if not enabled:
        _patches.remove()
    elif not _patches:
        from trl.extras import profiling

        _patches.put(profiling.ProfilingContext, "_log_metrics", _log_duration)


def _log_duration(original: Any, context: Any, duration: float) -> None:
    original(context, duration)
    run = session.current()
    if run is None or not context.is_main_process:
        return
    try:
        run.log({f"{context.metric_prefix}: {context.name}": duration}, step=context.step)
    except Exception as error:
        report("log_profile", error)

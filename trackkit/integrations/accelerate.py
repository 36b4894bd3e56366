"""Hugging Face accelerate: `Accelerator(log_with=TrackkitTracker())`, or `log_with="trackkit"` after `register()`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from trackkit.core.adapter import Attachment, guarded
from trackkit.core.run import Run

try:
    from accelerate import tracking
    from accelerate.state import AcceleratorState, PartialState
except ImportError as error:
    raise ImportError(
        "trackkit.integrations.accelerate needs accelerate: pip install 'trackkit[accelerate]'"
    ) from error

NAME = "trackkit"
FILE = "trackkit.json"
"""In the folder of a checkpoint: the run it belongs to, and its last step."""


class TrackkitTracker(tracking.GeneralTracker):  # type: ignore[misc]
    """Logs what `Accelerator.log` is given.

    The run going on in the process is used and left open; else one is started, when there is something to record, and
    ends with `Accelerator.end_training`. `Accelerator.save_state` puts the run and its step into the checkpoint, and
    `load_state` continues it, provided nothing was logged before.

    Parameters
    ----------
    project
        The project; with `log_with="trackkit"` it is what `init_trackers` is given.
    run
        The run to log into.
    all_ranks
        Let `log` of this tracker write in every process, not in the first alone. `Accelerator.log` itself calls
        trackers in the main process only.
    **init
        Further parameters of `trackkit.init`, such as `name`, `tags`, `config`, `settings`.

    Raises
    ------
    TypeError
        If `trackkit.init` has no such parameter.

    Examples
    --------
    >>> accelerator = Accelerator(log_with=TrackkitTracker(project="digits"))  # doctest: +SKIP
    >>> accelerator.init_trackers("digits", config={"lr": 0.1})  # doctest: +SKIP
    >>> accelerator.log({"loss": 0.5}, step=0)  # doctest: +SKIP
    >>> accelerator.end_training()  # doctest: +SKIP
    """

    name = NAME
    requires_logging_directory = False
    main_process_only = False

    def __init__(
        self, project: str | None = None, *, run: Run | None = None, all_ranks: bool = False, **init: Any
    ) -> None:
        super().__init__()
        if project is not None:
            init["project"] = project
        if "id" in init:
            init.setdefault("resume", "allow")
        self._attachment = Attachment(run, all_ranks=all_ranks, rank=_rank, **init)
        self._waiting: dict[str, Any] = {}
        self._last_step = -1
        self._attached: set[int] = set()

    @guarded()
    def start(self) -> None:
        """Called by `Accelerator.init_trackers`; the run is started when there is something to record."""
        frame = sys._getframe(2)  # accelerate hands its trackers no Accelerator
        accelerator = frame.f_locals.get("self")
        if hasattr(accelerator, "register_save_state_pre_hook"):
            self.attach(accelerator)

    def attach(self, accelerator: Any) -> None:
        """Put the run into the checkpoints of an Accelerator; `init_trackers` does it."""
        if id(accelerator) not in self._attached:
            self._attached.add(id(accelerator))
            accelerator.register_save_state_pre_hook(self._save)
            accelerator.register_load_state_pre_hook(self._load)

    @guarded()
    def _save(self, models: Any, weights: Any, output_dir: str) -> None:
        if _rank() == 0:
            Path(output_dir, FILE).write_text(json.dumps(self.state_dict()))

    @guarded()
    def _load(self, models: Any, input_dir: str) -> None:
        path = Path(input_dir, FILE)
        if path.is_file():
            self.load_state_dict(json.loads(path.read_text()))

    def state_dict(self) -> dict[str, Any]:
        """The run and the last step that was logged."""
        run = self.tracker
        return {"run": run.id, "project": run.project, "step": self._last_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue a checkpoint's run; what it logged after the checkpoint is superseded."""
        if self._attachment.resume(state["run"], state["step"]):
            self._last_step = state["step"]

    @property
    def tracker(self) -> Run:
        """The run; in processes that do not write, one that records nothing."""
        run = self._attachment.run
        if self._waiting:
            waiting, self._waiting = self._waiting, {}
            run.config.update(waiting)
        return run

    @guarded()
    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Put values and the settings of accelerate into the config."""
        self._waiting |= {**values, "accelerate": _settings()}

    @guarded()
    def log(self, values: Mapping[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Log values at a step; without one the run counts."""
        run = self.tracker
        self._last_step = run.step if step is None else step
        run.log(values, step, **kwargs)

    @guarded()
    def log_images(self, values: Mapping[str, Sequence[Any]], step: int | None = None, **kwargs: Any) -> None:
        """Log lists of images by key: arrays, tensors, PIL images, paths."""
        import trackkit

        self.log({key: [trackkit.Image(image) for image in images] for key, images in values.items()}, step, **kwargs)

    @guarded()
    def log_table(
        self,
        table_name: str,
        columns: Sequence[str] | None = None,
        data: Sequence[Sequence[Any]] | None = None,
        dataframe: Any = None,
        step: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Log a table, of columns and rows or of a data frame."""
        import trackkit

        self.log({table_name: trackkit.Table(columns=columns, data=data, dataframe=dataframe)}, step, **kwargs)

    def watch(
        self,
        model: Any,
        log: Literal["gradients", "parameters", "all"] | None = "gradients",
        every: int = 100,
        **further: Any,
    ) -> None:
        """Record gradients or parameters of a model, as it was before `prepare` or after; see `Run.watch`."""
        self.tracker.watch(model, log=log, every=every, **further)

    @guarded()
    def finish(self) -> None:
        """Called by `Accelerator.end_training`: ends the run, if it was started here."""
        if self._waiting:
            _ = self.tracker
        self._attachment.finish()


def register() -> None:
    """Let `Accelerator(log_with="trackkit")` find the tracker.

    Raises
    ------
    RuntimeError
        If accelerate is older than 1.15, which takes no trackers by name.
    """
    if not hasattr(tracking, "register_tracker_class"):
        raise RuntimeError(
            "log_with='trackkit' needs accelerate 1.15 or newer; pass the tracker: log_with=TrackkitTracker('project')"
        )
    if tracking.LOGGER_TYPE_TO_CLASS.get(NAME) is not TrackkitTracker:
        tracking.register_tracker_class(TrackkitTracker)


def _rank() -> int:
    return int(PartialState().process_index)


def _settings() -> dict[str, Any]:
    state = AcceleratorState()
    return {
        "processes": state.num_processes,
        "distributed_type": str(state.distributed_type.value),
        "mixed_precision": state.mixed_precision,
        "device": str(state.device),
    }

"""Where Ignite's `Checkpoint` puts what it saves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ignite.handlers import DiskSaver

from trackkit.core.adapter import guarded, log_checkpoint
from trackkit.core.goals import Best
from trackkit.integrations.ignite.logger import TrackkitLogger

KEY = "trackkit"
"""The entry of a checkpoint that says which run it belongs to, and its last step."""


class TrackkitSaver(DiskSaver):  # type: ignore[misc]
    """Saves Ignite's checkpoints on the disk, and logs each when it is made as a version of an artifact.

    Where the checkpoint is of several objects, an entry `trackkit` says which run and step it is of.

    Parameters
    ----------
    logger
        The logger.
    dirname
        The folder for the checkpoints.
    name
        The artifact's name, by default `model-` and the run's id.
    **options
        Those of Ignite's `DiskSaver`.

    Examples
    --------
    >>> to_save = {"model": model, "optimizer": optimizer, "trainer": trainer, "trackkit": logger}  # doctest: +SKIP
    >>> checkpoint = Checkpoint(to_save, TrackkitSaver(logger, "checkpoints"), n_saved=2)  # doctest: +SKIP
    """

    def __init__(
        self, logger: TrackkitLogger, dirname: str | os.PathLike[str], *, name: str = "", **options: Any
    ) -> None:
        options.setdefault("require_empty", False)
        super().__init__(os.fspath(dirname), **options)
        self.logger, self._name = logger, name
        self._best = Best("maximize")  # of Ignite's priorities the greatest is kept

    def __call__(self, checkpoint: Mapping[str, Any], filename: str, metadata: Mapping[str, Any] | None = None) -> None:
        """Called by `Checkpoint`."""
        super().__call__(self._marked(checkpoint), filename, metadata)
        self._log(filename, dict(metadata or {}))

    def _marked(self, checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
        if KEY in checkpoint or not all(isinstance(value, Mapping) for value in checkpoint.values()):
            return checkpoint  # that of one object alone, which takes no further entry
        state = self._state()
        return {**checkpoint, KEY: state} if state else checkpoint

    @guarded()
    def _state(self) -> dict[str, Any]:
        return self.logger.state_dict()

    @guarded()
    def _log(self, filename: str, metadata: dict[str, Any]) -> None:
        path = os.path.join(self.dirname, filename)
        if not os.path.exists(path):  # another process writes
            return
        state = self.logger.state_dict()
        facts: dict[str, Any] = {"step": state["step"], "original_filename": filename}
        aliases = [f"step_{state['step']}"]
        if metadata.get("score_name"):
            score = metadata.get("priority")
            facts |= {"score": score, "monitor": metadata["score_name"], "mode": "max"}
            aliases += ["best"] if self._best.improves(score) else []
        log_checkpoint(self.logger.run, path, name=self._name, filename="model.pt", aliases=aliases, metadata=facts)

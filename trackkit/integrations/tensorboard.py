"""TensorBoard's writers, heard: what a script writes for TensorBoard goes to its run, too.

    trackkit.init(sync_tensorboard=True)
    writer = torch.utils.tensorboard.SummaryWriter()  # or tensorboardX's
    writer.add_scalar("loss", 0.5, step)

Events are taken where the writers of torch and tensorboardX (both in Python) queue them for the file, so nothing is
read back from a disk, and a step has the number it has there. TensorFlow's own writer is not in Python and is not
heard; `trackkit import tensorboard` reads its files.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable
from typing import Any

from trackkit.core.adapter import Attachment, report
from trackkit.core.run import Run
from trackkit.imports import tfevents
from trackkit.imports.tfevents import Hyperparameters, Reader, Scalar, Text

_WRITERS = ("tensorboard.summary.writer.event_file_writer", "tensorboardX.event_file_writer")
_sync: Sync | None = None


def patch(run: Run | None = None) -> Sync:
    """Have everything that is written for TensorBoard from now on logged to a run, until `unpatch`.

    Parameters
    ----------
    run
        The run; by default the one that is going on whenever something is written.

    Raises
    ------
    ImportError
        If tensorboard is not installed.

    Examples
    --------
    >>> patch()  # doctest: +SKIP
    >>> SummaryWriter().add_scalar("loss", 0.5, 1)  # doctest: +SKIP
    """
    global _sync
    tfevents.require()
    unpatch()
    _sync = Sync(run)
    return _sync


def unpatch() -> None:
    """Hear no more."""
    global _sync
    if _sync is not None:
        _sync.close()
        _sync = None


class Sync:
    """Hears the writers there are; see `patch`."""

    def __init__(self, run: Run | None = None) -> None:
        self._attachment = Attachment(run)
        self._readers: dict[str, Reader] = {}
        self._undo: list[Callable[[], None]] = []
        for name in _WRITERS:
            try:
                self._hear(importlib.import_module(name).EventFileWriter)
            except ImportError:
                continue

    def _hear(self, writer: Any) -> None:
        original = writer.add_event

        @functools.wraps(original)
        def add_event(this: Any, event: Any) -> Any:
            try:
                self._take(os.path.abspath(this.get_logdir()), event)
            except Exception as error:
                report("tensorboard", error)
            return original(this, event)

        writer.add_event = add_event
        self._undo.append(lambda: setattr(writer, "add_event", original))

    def _take(self, logdir: str, event: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        reader = self._readers.setdefault(logdir, Reader())
        prefix = self._prefix(logdir)
        # tensorboardX has classes of its own for the same messages; and what is migrated is changed in place.
        values: dict[str, float | str] = {}
        for one in reader.meanings(Event.FromString(event.SerializeToString())):
            match one:
                case Scalar() | Text():
                    values[prefix + one.tag] = one.value
                case Hyperparameters():
                    self._attachment.run.config.update(one.values)
        if values:
            self._attachment.run.log(values, step=event.step)

    def _prefix(self, logdir: str) -> str:
        """What tells the tags of several writers apart: the folder, seen from the first one's."""
        first = next(iter(self._readers))
        if logdir == first:
            return ""
        inside = os.path.relpath(logdir, first)
        if not inside.startswith(os.pardir):
            return "" if tfevents.is_time(inside) else f"{inside}/"
        return f"{os.path.basename(logdir)}/"

    def close(self) -> None:
        """Leave the writers as they were."""
        for undo in self._undo:
            undo()

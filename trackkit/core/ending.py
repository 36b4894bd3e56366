"""How a run ends: what is still on its way arrives, what does not is told, and what it has cost is noted."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from trackkit.core import lifecycle, records

if TYPE_CHECKING:
    from trackkit.core.artifact_log import ArtifactLog
    from trackkit.core.capture import Capture
    from trackkit.core.gradients.watch import Watch
    from trackkit.core.loose_files import LooseFiles
    from trackkit.core.media.recorder import MediaRecorder
    from trackkit.core.pump import Lane, Pump
    from trackkit.core.recorder import Recorder
    from trackkit.core.redaction import Redactor
    from trackkit.core.run import Run
    from trackkit.core.settings import Settings
    from trackkit.core.summary_view import RunSummary
    from trackkit.core.writer import JournalWriter

_SETTLE_SECONDS = 10.0


class Ending:
    """The part of a run that ends it; what it needs of the rest stands first."""

    settings: Settings
    dir: Path
    summary: RunSummary
    _state: str
    _ending: tuple[str, int, str] | None
    _is_leaving = False
    _finish_lock: contextlib.AbstractContextManager[object]
    _in_child: bool
    _sinks: list[str]
    _redactor: Redactor | None
    _journal: JournalWriter
    _recorder: Recorder
    _capture: Capture
    _pump: Pump | None
    _media: MediaRecorder | None
    _watches: list[Watch]
    _artifact_log: ArtifactLog | None
    _loose: LooseFiles | None
    _after: list[Callable[[Run], None]]

    @property
    def path(self) -> str:
        raise NotImplementedError

    def _now(self) -> float:
        raise NotImplementedError

    def _record(self, record: records.AnyRecord) -> None:
        raise NotImplementedError

    def finish(self, exit_code: int | None = None, quiet: bool | None = None, timeout: float | None = None) -> None:
        """End the run and wait, at most `timeout` seconds, until the sinks have everything.

        What they don't have by then stays in the journal; a warning says how much and how to send it. A second
        call does nothing.

        Parameters
        ----------
        exit_code
            0 means finished, anything else failed.
        quiet
            Print nothing.
        timeout
            Seconds; by default the setting `finish_timeout`.

        Raises
        ------
        ValueError
            If `timeout` is negative or no number.
        """
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout must be a number of seconds, 0 or more, not {timeout!r}")
        with self._finish_lock:
            if self._state != "running":
                return
            if self._is_leaving and lifecycle.goes_on():
                self._ending = None  # somebody called sys.exit, or a signal came, and somebody caught it
            if exit_code is not None:
                state: str = "finished" if exit_code == 0 else "failed"
                self._ending = (state, int(exit_code), self._ending[2] if self._ending else "")
            state, code, error = self._ending or ("finished", 0, "")
            error = error if self._redactor is None else self._redactor.text(error)
            self._state = state
        lifecycle.untrack(cast("Run", self))
        if self._in_child and self._pump is None:
            return  # a forked child that never logged
        self._recorder.commit()
        self._capture.stop()
        if self._loose is not None:
            self._loose.finish()
        patience = 0.0  # after an interrupt
        try:
            whole = self._await_device(self.settings.finish_timeout if timeout is None else timeout)
            if self._pump is not None:
                self._pump.settle(_SETTLE_SECONDS)
            patience = self._encode_rest(whole)
        finally:
            if self._media is not None:
                self._media.close()
            self._record(records.Finish(self._now(), state, code, error, self.accounting()))
            self.log = _refuse_log
            self._deliver_rest(patience)

    def _encode_rest(self, patience: float) -> float:
        """Wait for the media that are not encoded yet; the patience that is left for the sinks, a fifth at least."""
        if self._media is None:
            return patience
        began = time.monotonic()
        self._media.drain(0.8 * patience)
        return max(0.0, patience - (time.monotonic() - began))

    def _await_device(self, patience: float) -> float:
        """Stop measuring, and wait for what is on its way from a device; the patience left, half of it at least."""
        for watch in self._watches:
            watch.close()
        self._watches.clear()
        arrivals = self._recorder.late.arrivals
        if arrivals is None:
            return patience
        began = time.monotonic()
        if left := arrivals.drain(patience / 2):
            warn(f"{left:,} readings of {self.path} did not come from the device in time; they are lost")
        arrivals.stop(1.0)
        return max(patience / 2, patience - (time.monotonic() - began))

    def _deliver_rest(self, patience: float) -> None:
        drained = False
        try:
            if self._pump is not None:
                drained = self._pump.drain(patience)
        finally:
            if self._pump is not None:
                self._pump.stop(1.0)
                self._capture.close()
                if not drained and self._sinks:
                    self._pump.note_offsets()
            self.summary.catch_up()
            lost = self._journal.close(acknowledged=drained)
            self._report(drained, lost)
            if self._artifact_log is not None:
                self._artifact_log.close()
            for call in self._after:
                call(cast("Run", self))

    def _report(self, drained: bool, lost: int) -> None:
        if self._media is not None:
            self._report_media(self._media)
        if lost or self._journal.dropped:
            warn(f"{lost:,} bytes and {self._journal.dropped:,} records of {self.path} could be kept nowhere")
        elif not drained and self._sinks and not self._in_child:
            for lane in self._pump.lanes if self._pump is not None else []:
                waiting = self._journal.count(lane.acknowledged) or lane.files_waiting
                if lane.refused or (waiting and not lane.done):
                    warn(self._remains(lane))

    def _report_media(self, media: MediaRecorder) -> None:
        if media.dropped:
            warn(f"{media.dropped:,} media values of {self.path} could be kept nowhere")
        if media.waiting:
            warn(
                f"{media.waiting:,} media values of {self.path} are not encoded yet; they are safe in "
                f"{self.dir}: trackkit sync {self.dir}"
            )

    def _remains(self, lane: Lane) -> str:
        """What a sink does not have yet, and the command that sends it."""
        waiting = [f"{self._journal.count(lane.acknowledged):,} records"]
        waiting += [f"{lane.files_waiting:,} files"] if lane.files_waiting else []
        target = "" if lane.uri.startswith("sqlite:") else f" --to {lane.uri}"
        return (
            f"{' and '.join(waiting)} of {self.path} are not delivered yet; they are safe in the journal: "
            f"trackkit sync {self._journal.folder.parent}{target}"
        )

    def _remaining(self) -> int:
        lanes = self._pump.lanes if self._pump is not None else []
        return self._journal.end - min((lane.delivered for lane in lanes), default=0)

    def end(self, state: str, exit_code: int, error: str, *, leaving: bool = False) -> None:
        """Remember how the process ends; `finish` records it.

        The SystemExit by which a signal leaves the script says no more than the signal did.

        Parameters
        ----------
        state, exit_code, error
            How it ends: see `records.Finish`.
        leaving
            Whether the process is about to leave by a SystemExit, which the script may still catch.
        """
        if self._ending is None or self._ending[:2] != ("killed", exit_code):
            self._ending = (state, exit_code, error)
        self._is_leaving = leaving

    def accounting(self) -> dict[str, float]:
        """What tracking has cost so far.

        Returns
        -------
        dict
            calls: records appended; call_microseconds: mean time of a sampled `log` on the caller's thread;
            journal_bytes; waiting_bytes: not delivered yet; retries; dropped: records lost.
        """
        recorder, lanes = self._recorder, self._pump.lanes if self._pump is not None else []
        return {
            "calls": float(self._journal.appended),
            "call_microseconds": recorder.timed_nanoseconds / max(1, recorder.timed_calls) / 1000,
            "journal_bytes": float(self._journal.end),
            "waiting_bytes": float(self._remaining()) if lanes else 0.0,
            "retries": float(sum(lane.retries for lane in lanes)),
            "dropped": float(self._journal.dropped + (self._media.dropped if self._media is not None else 0)),
        }


def warn(message: str) -> None:
    """Warn whoever runs the script; where warnings are errors, nobody is."""
    with contextlib.suppress(Exception):
        warnings.warn(f"trackkit: {message}", RuntimeWarning, stacklevel=3)


def _refuse_log(values: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
    raise RuntimeError("this run is finished; call trackkit.init() to start another")

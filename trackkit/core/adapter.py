"""What the adapters of all frameworks share: whose run it is, which process writes, and that training goes on.

An adapter translates a framework's events to calls of a run. It logs into the run that is going on and then leaves
it open, or starts one and finishes it; of several ranks the first one writes; and no fault of the tracker's ever
reaches the framework.
"""

from __future__ import annotations

import functools
import os
import sys
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, Literal, TypeVar

from trackkit.core import calls, lifecycle, session
from trackkit.core.config import to_json
from trackkit.core.disabled import DisabledRun
from trackkit.core.run import Run
from trackkit.core.session import RANK_VARIABLES

_LOCAL_RANK = ("LOCAL_RANK", "NODE_RANK")
_RESTORED = ("project", "dir", "sink", "mode", "group", "job_type")
_reported: set[str] = set()
_resting: weakref.WeakSet[Run] = weakref.WeakSet()
"""Runs whose training is over, kept open for what may follow it; see `Attachment.rest`."""

Method = TypeVar("Method", bound=Callable[..., Any])


def rank() -> int:
    """Which of a distributed job's processes this is; 0 where there is but one.

    torch.distributed is asked if it is at work, and else the launcher's variables.
    """
    torch = sys.modules.get("torch")
    distributed = getattr(torch, "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank())
    names = (*RANK_VARIABLES, *_LOCAL_RANK)
    given = {name: int(os.environ[name]) for name in names if os.environ.get(name, "").isdigit()}
    known = next((given[name] for name in RANK_VARIABLES if name in given), None)
    # A launcher that names but the node and the place on it: which one it is does not matter, being first does.
    return max((given.get(name, 0) for name in _LOCAL_RANK), default=0) if known is None else known


class Attachment:
    """The run an adapter logs into.

    It is made when it is first asked for: the run given; else the one going on in this process; else a new one, which
    is then the adapter's to finish. A copy that was pickled into another process joins the same run there as a
    further writer.

    Parameters
    ----------
    run
        The run to log into.
    all_ranks
        Whether every process of a distributed job writes, each as a writer of its own, or the first one alone.
        The others then get a run that records nothing.
    rank
        Tells which of the processes this is; of a framework that has its own way to tell.
    **init
        What `trackkit.init` is called with, if a run has to be started.

    Raises
    ------
    TypeError
        If `trackkit.init` has no such parameter.

    Examples
    --------
    >>> attachment = Attachment(project="digits")
    >>> attachment.run.log({"loss": 0.5})  # doctest: +SKIP
    >>> attachment.finish()
    """

    def __init__(
        self, run: Run | None = None, *, all_ranks: bool = False, rank: Callable[[], int] = rank, **init: Any
    ) -> None:
        for name in init:
            if name not in session.PARAMETERS:
                raise TypeError(f"{name!r} is neither an option here nor a parameter of trackkit.init")
        self._run = run
        self._all_ranks = all_ranks
        self.rank = rank
        self._init = init
        self._owned = False
        self._silent: DisabledRun | None = None
        self._ready: tuple[int, Run] | None = None

    @property
    def writes(self) -> bool:
        """Whether this process is one that writes."""
        return self._all_ranks or self.rank() == 0

    @property
    def owned(self) -> bool:
        """Whether the run was started here, and is finished here."""
        return self._owned

    @property
    def started(self) -> bool:
        """Whether there is a run already."""
        return self._run is not None and self._run.state == "running"

    @property
    def run(self) -> Run:
        """The run to log into; one that records nothing in a process that does not write."""
        ready = self._ready  # hooks ask several times a step; a forked child may be of another rank
        if ready is not None and ready[0] == os.getpid() and ready[1].state == "running":
            return ready[1]
        run = self._find()
        self._ready = os.getpid(), run
        return run

    def _find(self) -> Run:
        if not self.writes:
            if self._silent is None:
                self._silent = session.silent_run(**self._init)
            return self._silent
        if self._run is None or (self._run.state != "running" and not self._owned):
            self._run = _going_on() or self._start()
        return self._run

    def _start(self, **further: Any) -> Run:
        self._owned = True
        try:
            return session.init(**{**self._init, **further})
        except (TypeError, ValueError):  # wrong use
            raise
        except Exception as error:
            report("trackkit.init", error)
            return session.silent_run(**self._init)

    @property
    def id(self) -> str | None:
        """The run's id, if it is known yet; asking starts no run."""
        if self._run is not None:
            return self._run.id
        given = self._init.get("id")
        return None if given is None else str(given)

    def begin(self, **further: Any) -> Run:
        """The run for a training that begins now.

        A run that was started here and has ended goes on; one that is kept open after a training is left to it, and
        finished for a new one.

        Parameters
        ----------
        **further
            What `trackkit.init` is called with besides, if a run has to be started.
        """
        if self.writes and self._owned and self._run is not None and self._run.state != "running":
            self._run = self._start(**{**further, "id": self._run.id, "resume": "allow"})
        self.prepare(**further)
        run = self.run
        _resting.discard(run)
        return run

    def prepare(self, **init: Any) -> None:
        """What `trackkit.init` is called with besides, if a run has to be started."""
        if not self.started:
            self._init |= init

    def rest(self) -> None:
        """Keep the run open after the training, for a test that follows; the next training's run ends it.

        Only a run that was started here; and it ends with the process anyway.
        """
        if self._owned and self.started and self._run is not None:
            _resting.add(self._run)

    def renew(self) -> None:
        """Finish the run, if it was started here, and let the next training start another one."""
        if self._owned:
            self.finish()
            self._run, self._owned, self._ready = None, False, None
            self._init.pop("id", None)

    def join(self, run_id: str) -> bool:
        """Continue the run that a checkpoint belongs to, unless another one is going on.

        Parameters
        ----------
        run_id
            The run's id, as it was put into the checkpoint.

        Returns
        -------
        bool
            Whether that run goes on. It does not if another one does, and if the store does not know it: then a run of
            that id begins.
        """
        if not self.writes:
            return False
        if not self.started and _going_on() is None:
            self._run = self._start(id=run_id, resume="allow")
            return self._run.resumed
        return self.run.id == run_id

    def resume(self, run_id: str, step: int) -> bool:
        """Continue the run that a checkpoint belongs to, from the step it was made at.

        What the run logged after that step is superseded; see `Run.rewind`. Where another run is going on, that one
        is left alone.

        Parameters
        ----------
        run_id
            The run's id, as it was put into the checkpoint.
        step
            The last step before the checkpoint.

        Returns
        -------
        bool
            Whether the run goes on.
        """
        if not self.join(run_id):
            return False
        self.rewind(step + 1)
        return True

    def rewind(self, step: int) -> None:
        """Let the run go back to a step, on the first rank: the others may have logged after it already."""
        if self.rank() == 0:
            self.run.rewind(step)

    def finish(self, exit_code: int | None = None) -> None:
        """Finish the run, if it was started here."""
        if self._owned and self._run is not None:
            self._run.finish(exit_code)

    def fail(self, error: BaseException | None) -> None:
        """Finish the run as failed, or killed, by an exception; if it was started here."""
        if self._owned and self.started and self._run is not None:
            if error is not None:
                state, code, text = lifecycle.describe_exception(type(error), error, error.__traceback__)
                by_signal = isinstance(error, SystemExit) and code > 128
                self._run.end("killed" if by_signal else state, code, text)
            self.finish(None if error is not None else 1)

    def expect(self, frame: FrameType | None, training: str) -> Callable[[], object]:
        """Take the training for failed if a call is over before it; for frameworks that tell of no exception.

        Parameters
        ----------
        frame
            The frame of the framework's function that trains; see `trackkit.core.calls`.
        training
            What is said to have ended: `XGBoost's training`.

        Returns
        -------
        callable
            To be called when the training ends as it should.
        """
        if frame is None:
            return lambda: None
        return calls.when_over(frame, _abandon, self, training).detach

    def another(self) -> Attachment:
        """One like it for a training of its own: what was started here is not gone on with."""
        return Attachment(None if self._owned else self._run, all_ranks=self._all_ranks, rank=self.rank, **self._init)

    def __deepcopy__(self, memo: dict[int, Any]) -> Attachment:
        """The same one: a copy made within the process, as scikit-learn's `clone` makes them, has the same run."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        init = dict(self._init)
        if self._run is not None:
            settings = self._run.settings
            init |= {name: getattr(settings, name) for name in _RESTORED if getattr(settings, name)}
            init |= {"dir": str(self._run.dir), "project": self._run.project, "id": self._run.id, "resume": "allow"}
        return {**self.__dict__, "_run": None, "_init": init, "_owned": False, "_silent": None, "_ready": None}


def _abandon(attachment: Attachment, training: str) -> None:
    try:
        attachment.fail(RuntimeError(f"{training} was ended by an exception before it was over"))
    except Exception as error:
        report("Attachment.expect", error)


def _going_on() -> Run | None:
    """The current run, unless its training is over: then it is finished."""
    run = session.current()
    if run is not None and run in _resting:
        run.finish()
        return session.current()
    return run


def guarded(returns: Callable[..., Any] = lambda *arguments, **named: None) -> Callable[[Method], Method]:
    """Let no exception out of a method that a framework calls: it becomes one warning, and training goes on.

    `RunStopped`, Ctrl-C and the like do pass.

    Parameters
    ----------
    returns
        Given the method's arguments, what the framework gets instead of an answer.

    Examples
    --------
    >>> class Callback:
    ...     @guarded()
    ...     def on_batch_end(self, loss):
    ...         raise OSError("the disk is full")
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     Callback().on_batch_end(0.5)
    """

    def guard(method: Method) -> Method:
        @functools.wraps(method)
        def call(self: Any, /, *arguments: Any, **named: Any) -> Any:
            try:
                return method(self, *arguments, **named)
            except Exception as error:
                report(method.__qualname__, error)
                return returns(self, *arguments, **named)

        return call  # type: ignore[return-value]

    return guard


def log_checkpoint(
    run: Run,
    path: str | os.PathLike[str],
    *,
    name: str = "",
    filename: str = "",
    aliases: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
    policy: Literal["mutable", "immutable"] = "mutable",
) -> None:
    """Log a model's file or folder as a version of an artifact of type `model`.

    Parameters
    ----------
    name
        The artifact's name, by default `model-` and the run's id.
    filename
        What the file is called in the artifact, by default as on disk.
    aliases
        Besides `latest`; such as `best` and `epoch_3`.
    metadata
        Such as score, monitor, mode, epoch, step. Values JSON can't hold become text.
    policy
        `mutable` copies the files, `immutable` links them.
    """
    from trackkit.core.artifact import Artifact

    artifact = Artifact(name or f"model-{run.id}", type="model", metadata=to_json(dict(metadata or {})))
    if os.path.isdir(path):
        artifact.add_dir(path, policy=policy)
    else:
        artifact.add_file(path, name=filename or None, policy=policy)
    run.log_artifact(artifact, aliases=list(dict.fromkeys(aliases)))


def report(where: str, error: Exception) -> None:
    """Warn, once, that tracking failed somewhere, and leave an alert on the current run. Never raises."""
    said = f"{where}: {type(error).__name__}: {error}"
    if said in _reported:
        return
    _reported.add(said)
    try:
        run = session.current()
        if run is not None:
            run.alert("tracking failed", said, "warning")
        warnings.warn(f"trackkit: tracking failed in {said}; training goes on", RuntimeWarning, stacklevel=3)
    except Exception:
        sys.stderr.write(f"trackkit: tracking failed in {said}; training goes on\n")

"""The run: what a training process talks to."""

from __future__ import annotations

import html
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from trackkit.core import lifecycle, notebook, records
from trackkit.core.capture import Capture
from trackkit.core.config import Config
from trackkit.core.ending import Ending, warn
from trackkit.core.journal import Frames
from trackkit.core.recorder import Recorder
from trackkit.core.run_files import RunFiles
from trackkit.core.settings import Settings
from trackkit.core.sink import Known, module_of, page_of
from trackkit.core.summary_view import RunSummary
from trackkit.core.values import MAX_STEP, MIN_STEP, check_key, check_step
from trackkit.core.writer import MIB, JournalWriter, new_writer_id

if TYPE_CHECKING:
    from trackkit.core.artifact_log import ArtifactLog
    from trackkit.core.gradients.watch import Outlet, Watch
    from trackkit.core.loose_files import LooseFiles
    from trackkit.core.media.recorder import MediaRecorder
    from trackkit.core.media.snapshot import Snapshot
    from trackkit.core.pump import Pump
    from trackkit.core.redaction import Redactor


Level = Literal["info", "warning", "error"]
ACCOUNTING_SECONDS = 30.0
"""How often a run tells what tracking has cost so far."""
_RULES = ("last", "min", "max", "mean", "first", "best", "none")


class Run(RunFiles, Ending):
    """One run being recorded; made by `trackkit.init`.

    Everything said to a run is in its journal when the call returns; a background thread brings it to the sinks.
    A run is a context manager: leaving it finishes it, by an exception as failed.

    Parameters
    ----------
    identity
        Id, project, name, group, job type, tags and notes, as the run's first record.
    settings
        The settings in force.
    known
        What the target knows of the run, if it is resumed.

    Examples
    --------
    >>> import trackkit
    >>> with trackkit.init(project="digits", config={"lr": 0.1}) as run:
    ...     for step in range(3):
    ...         run.log({"loss": 1 / (step + 1)})
    """

    def __init__(self, identity: records.Start, settings: Settings, known: Known | None = None) -> None:
        self.settings = settings
        self.id = identity.run
        self.project = identity.project
        self.group = identity.group
        self.job_type = identity.job_type
        self.resumed = known is not None
        self.joined = False
        """Whether other processes were writing to the run when this one came."""
        self.dir = Path(settings.dir).absolute()
        self._identity = identity
        self._name = identity.name
        self._tags = list(identity.tags)
        self._notes = identity.notes
        self._state: str = "running"
        self._ending: tuple[str, int, str] | None = None
        self._finish_lock = threading.RLock()
        self._offline = settings.mode == "offline"
        self._sinks = [] if self._offline else list(settings.sink)
        self._in_child = False
        self._redactor = _redactor(settings)
        self._journal = self._open_journal(identity)
        self._append: Callable[[bytes], None] = self._journal.append
        self._begin: Callable[[], None] = lambda: None
        """Sees to it that this process has a journal of its own."""
        last_step = known.last_step if known is not None else None
        self._media: MediaRecorder | None = None
        self._media_lock = threading.RLock()
        self._recorder = Recorder(self._journal, 0 if last_step is None else last_step + 1, self._stage)
        identity.time = self._recorder.now()
        self._record(identity)
        self._after: list[Callable[[Run], None]] = []
        self._watches: list[Watch] = []
        self._artifact_log: ArtifactLog | None = None
        self._loose: LooseFiles | None = None
        self.config = Config(self._config_changed)
        self.summary = RunSummary(
            self._journal.read, lambda values, removed: self._say(records.Summary(self._now(), values, removed))
        )
        if known is not None:
            self.config.restore(known.config)
            self.summary.restore(known.summary)
        self.log = self._recorder.log  # type: ignore[method-assign]  # saves a call of 70 ns; documented below
        self._pump: Pump | None = None
        self._capture = Capture(self._record, self._now, settings, self.dir, self._redactor)
        self._start_pump()
        lifecycle.track(self, signals=settings.signals)

    def _open_journal(self, identity: records.Start) -> JournalWriter:
        return JournalWriter(
            self.dir,
            identity.run,
            new_writer_id(),
            sinks=self._sinks,
            segment_bytes=self.settings.segment_mb * MIB,
            memory_bytes=self.settings.memory_mb * MIB,
            warn=warn,
        )

    def _start_pump(self) -> None:
        from trackkit.core.pump import Chore, Pump

        self._pump = Pump(
            self._journal,
            self.dir,
            self._sinks,
            interval=self.settings.interval,
            write_back_interval=self.settings.write_back_interval,
            chores=[
                Chore(5.0, self._recorder.follow_clock, 5.0),
                Chore(ACCOUNTING_SECONDS, self._account, ACCOUNTING_SECONDS),
                *self._capture.chores(),
            ],
            once=self._capture.provenance(),
            before_release=lambda offset: self.summary.catch_up(),
            on_stop=self._stop,
            modules=[*map(module_of, self._sinks), *self._capture.modules()],
        )
        self._capture.rest = self._pump.rest
        try:
            self._pump.start()
        except RuntimeError:  # the interpreter is shutting down; the journal is enough
            self._pump = None
        self._capture.start()

    def _account(self) -> None:
        """Tell what tracking has cost, for a run that is killed tells nothing at its end."""
        with self._finish_lock:
            if self._state == "running":
                self._record(records.Accounting(self._now(), self.accounting()))

    def _stop(self) -> None:
        """Somebody asked that the run be stopped; on a background thread."""
        if self.settings.stoppable and not self._in_child:
            warn(f"{self.path} is stopped, as was asked for in the dashboard")
            lifecycle.stop_main_thread()

    # What a script says.

    def log(self, values: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        """Record the values of one step.

        Parameters
        ----------
        values
            Numbers, text or media by key: Python's and NumPy's numbers and bools, `Decimal`, `Fraction`, arrays of one
            element of any library; `trackkit.Image`, `Table` and the like, or lists of one kind of them; PIL images,
            matplotlib and Plotly figures and data frames as they are; larger arrays, which become histograms. Nested
            dicts are flattened, their keys joined by ".". NaN and infinities are values like any other. A tensor
            of torch on a GPU is not waited for: it is copied as it is now, and recorded, with this step and time, once
            the copy is here.
        step
            The step, any 64-bit integer, in any order, repeated or not. Without it the run counts.
        commit
            False gathers the values, to be recorded with the next call at the same step.

        Raises
        ------
        TypeError
            If `values` is no dict, a key no string, or a value neither number, text nor media.
        ValueError
            If a key is empty or longer than 1,024 characters, text larger than 10 MiB, or the step too large.

        Examples
        --------
        >>> run.log({"loss": 0.3, "val": {"accuracy": 0.9}})  # doctest: +SKIP
        """
        self._recorder.log(values, step, commit)

    def define_metric(
        self,
        name: str,
        step_metric: str | None = None,
        summary: str | Sequence[str] | None = None,
        goal: str | None = None,
        hidden: bool = False,
        **compatible: Any,
    ) -> None:
        """Say how the metrics that match a glob are read and summarised.

        Parameters
        ----------
        name
            A key, or a glob such as `val/*`.
        step_metric
            The metric to draw them over.
        summary
            One or several of last, min, max, mean, first, best, none, as a sequence or separated by commas.
        goal
            `minimize` or `maximize`: what `best` means; the smallest where nothing is said.
        hidden
            Keep them out of automatic charts.
        **compatible
            `step_sync` and `overwrite` are accepted for scripts written for W&B.

        Raises
        ------
        ValueError
            If a rule or goal is unknown.
        """
        check_key(name)
        unknown_arguments = set(compatible) - {"step_sync", "overwrite"}
        if unknown_arguments:
            raise TypeError(f"define_metric() has no parameter {sorted(unknown_arguments)[0]!r}")
        rules = _rules(summary)
        goal = {"min": "minimize", "max": "maximize"}.get(goal or "", goal)
        if goal not in (None, "minimize", "maximize"):
            raise ValueError(f"goal must be 'minimize' or 'maximize', not {goal!r}")
        record = records.Define(self._now(), name, step_metric, rules, goal, bool(hidden))
        self._say(record)
        self.summary.define(record)

    def alert(self, title: str, text: str = "", level: Level = "info") -> None:
        """Leave a message for people on the run.

        Raises
        ------
        ValueError
            If the level is none of info, warning, error.
        """
        name = str(getattr(level, "value", level)).lower()
        name = "warning" if name == "warn" else name  # W&B's word
        if name not in ("info", "warning", "error"):
            raise ValueError(f"an alert's level is 'info', 'warning' or 'error', not {level!r}")
        clean = str if self._redactor is None else self._redactor.text
        self._say(records.Alert(self._now(), name, clean(str(title)), clean(str(text))))

    def log_code(
        self,
        root: str | os.PathLike[str] = ".",
        include: Callable[[str], bool] | Sequence[str] | None = None,
        exclude: Callable[[str], bool] | Sequence[str] | None = None,
    ) -> list[str]:
        """Keep the source files under a folder.

        Parameters
        ----------
        root
            The folder.
        include, exclude
            Globs, or functions of a path, that choose files; by default sources and configuration that git does
            not ignore.

        Returns
        -------
        list of str
            The paths kept, relative to `root`.

        Raises
        ------
        FileNotFoundError
            If there is no such folder.
        """
        folder = Path(root)
        if not folder.is_dir():
            raise FileNotFoundError(f"log_code() found no folder {str(folder)!r}")
        self._check_running()
        return self._capture.log_code(folder, include, exclude)

    def rewind(self, step: int) -> None:
        """Go back to a step, as after loading a checkpoint: what was logged from it on is superseded.

        The run goes on counting at `step`. History, charts and summary show one line, with what is logged from now
        on in the place of what was; the old points stay in the store, and `series(key, superseded=True)` of
        `trackkit.Api` has them. All processes' points count that were logged before this call.

        Parameters
        ----------
        step
            The first step that is superseded.

        Raises
        ------
        TypeError, ValueError
            If `step` is no whole number, or does not fit 64 bits.

        Examples
        --------
        >>> run = trackkit.init(id=checkpoint["run"], resume="allow")  # doctest: +SKIP
        >>> run.rewind(checkpoint["step"] + 1)  # doctest: +SKIP
        """
        step = check_step(step)
        self._recorder.rewind(step)
        self._record(records.Rewind(self._now(), step))

    def watch(
        self,
        models: Any,
        criterion: Any = None,
        log: Literal["gradients", "parameters", "all"] | None = "gradients",
        every: int | None = None,
        *,
        histograms: bool = True,
        graph: bool = False,
        idx: int | None = None,
        activations: bool = False,
        on_nonfinite: Literal["alert", "stop", "ignore"] = "alert",
        log_freq: int | None = None,
        log_graph: bool | None = None,
    ) -> None:
        """Watch a torch model train: norms, distributions and the first NaN of its gradients and parameters.

        Measured are the gradients an optimizer of torch is about to use: accumulated, reduced over processes, unscaled,
        clipped. No module and no tensor gets a hook, nothing waits for a device, and no failure reaches the training.
        `docs/gradients.md` tells what is measured, and what with FSDP, `torch.compile` and no optimizer.

        Parameters
        ----------
        models
            A `torch.nn.Module`, wrapped or compiled or not, or a list of them.
        criterion
            The loss; if it is a module, its parameters are watched, too.
        log
            `gradients`, `parameters` or `all`; None for neither.
        every
            Steps of the optimizer from one that is watched to the next; 100 by default. `log_freq` is W&B's name.
        histograms
            Whether to keep the distribution of each parameter.
        graph
            Whether to keep the tree of modules, as an object of kind `graph`. `log_graph` is W&B's name.
        idx
            The number in the names of several models, or of those watched by a further call: it is counted otherwise.
        activations
            Whether to measure what the modules put out, by a forward hook on each.
        on_nonfinite
            What to do at the first NaN or infinity in a gradient, of which a few are looked at in every step: give an
            `alert` that names the module and the step, `stop` the training as well, by `trackkit.RunStopped` in the
            main thread, or `ignore` it.

        Raises
        ------
        TypeError
            If something is no module.
        ValueError
            If an option is none of those above, or the model is watched already.
        RuntimeError
            If the run is finished.

        Examples
        --------
        >>> run.watch(model, log="all", every=50)  # doctest: +SKIP
        """
        from trackkit.core.gradients.start import start

        self._check_running()
        start(
            self, self._watches, models, criterion, log, every if log_freq is None or every is not None else log_freq,
            histograms=histograms, graph=graph if log_graph is None else log_graph, idx=idx, activations=activations,
            on_nonfinite=on_nonfinite,
        )  # fmt: skip

    def unwatch(self, models: Any = None) -> None:
        """Watch a model, or any, no longer. What was measured until now is recorded."""
        from trackkit.core.gradients.start import matches

        for watch in [watch for watch in self._watches if models is None or matches(watch, models)]:
            self._watches.remove(watch)
            watch.close()

    def hasten(self) -> None:
        """Have the sinks take what there is now, rather than at their next turn."""
        if self._pump is not None:
            self._pump.hasten()

    @property
    def step(self) -> int:
        """The step the next `log` without one will have.

        Set it where something else counts, such as a framework's loop: what is logged without a step, and what `watch`
        measures, is then of that step.
        """
        return self._recorder.next_step

    @step.setter
    def step(self, step: int) -> None:
        self._recorder.rewind(step if type(step) is int and MIN_STEP <= step <= MAX_STEP else check_step(step))

    @property
    def state(self) -> str:
        """`running`, or how the run ended."""
        return self._state

    @property
    def name(self) -> str:
        """The run's name for people."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._say(records.Describe(self._now(), name=str(name)))
        self._name = str(name)

    @property
    def notes(self) -> str:
        """What people should know about the run."""
        return self._notes

    @notes.setter
    def notes(self, notes: str) -> None:
        self._say(records.Describe(self._now(), notes=str(notes)))
        self._notes = str(notes)

    @property
    def tags(self) -> tuple[str, ...]:
        """Labels to find the run by; set them with `run.tags += ("baseline",)`."""
        return tuple(self._tags)

    @tags.setter
    def tags(self, tags: Sequence[str]) -> None:
        found = check_tags(tags)
        self._say(records.Describe(self._now(), tags=found))
        self._tags = found

    @property
    def path(self) -> str:
        """`project/id`, by which the run is found again."""
        return f"{self.project}/{self.id}"

    def _stage(self, snapshots: dict[str, list[Snapshot]], step: int, when: float) -> None:
        """Take the media of a call; the first makes the thread that encodes them."""
        media = self._media
        if media is None:
            with self._media_lock:
                media = self._media = self._media or self._make_media_recorder()
        media.record(snapshots, step, when)

    def _make_media_recorder(self) -> MediaRecorder:
        from trackkit.core.media.recorder import MediaRecorder

        self._begin()
        return MediaRecorder(
            self.dir,
            self._identity,
            self._journal.writer,
            self._sinks,
            record=self._record,
            now=self._now,
            warn=warn,
            memory_bytes=self.settings.memory_mb * MIB,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.end(*lifecycle.describe_exception(kind, error, trace))
        self.finish()

    @property
    def url(self) -> str:
        """The run's page in the dashboard of the server it is sent to; empty if it is sent to none."""
        return next(filter(None, (page_of(uri, self.id) for uri in self._sinks)), "")

    def _repr_html_(self) -> str:
        """In a notebook: the run's page, or what `repr` says where there is none."""
        if not self.url:
            return f"<code>{html.escape(repr(self))}</code>"
        return notebook.frame(self)

    def __repr__(self) -> str:
        return f"<trackkit run {self.path} {self.name!r} {self._state}>"

    def on_finished(self, call: Callable[[Run], None]) -> None:
        """Have something called once the run is finished."""
        self._after.append(call)

    # Underneath.

    def _config_changed(self, values: dict[str, records.Json], removed: list[str]) -> None:
        clean = values if self._redactor is None else self._redactor.config(values)
        self._say(records.Config(self._now(), clean, removed))

    def outlet(self) -> Outlet:
        """What a watched model needs of the run."""
        from trackkit.core.gradients.watch import Outlet

        return Outlet(
            record=self._record,
            now=self._now,
            step=lambda: self.step,
            alert=self.alert,
            hide=lambda key: self.define_metric(key, hidden=True),
            stop=self._stop_for_nonfinite,
            root=self.dir,
            arrivals=self._recorder.late.get_arrivals(),
            copier=self._recorder.late.copier,
        )

    def _stop_for_nonfinite(self) -> None:
        warn(f"{self.path} is stopped at the first NaN or infinity, as watch(on_nonfinite='stop') asks")
        lifecycle.stop_main_thread()

    def _now(self) -> float:
        return self._recorder.now()

    def _say(self, record: records.AnyRecord) -> None:
        """Record something the script says, while there is somebody to hear it."""
        self._check_running()
        self._record(record)

    def _check_running(self) -> None:
        if self._state != "running":
            raise RuntimeError(
                f"run {self.path} is {self._state} and takes nothing more; trackkit.Api().run({self.path!r}) edits it"
            )

    def _record(self, record: records.AnyRecord) -> None:
        self._append(records.encode(record))

    def before_fork(self) -> None:
        """Let no other thread be in the middle of an append: its lock would stay taken in the child for ever."""
        self._journal.before_fork()

    def after_fork_in_parent(self) -> None:
        self._journal.after_fork_in_parent()

    def after_fork_in_child(self) -> None:
        """In a forked child: the parent goes on with its journal; ours is made when something is first said."""
        journal = self._journal
        for watch in self._watches:
            watch.abandon()
        self._watches.clear()
        self._in_child = True
        self._pump = None
        self._finish_lock = threading.RLock()
        self._ending, self._is_leaving = None, False
        self._capture.after_fork_in_child()
        media, self._media = self._media, None
        self._media_lock = threading.RLock()
        if media is not None:
            media.abandon()
        if self._artifact_log is not None:
            self._artifact_log.after_fork_in_child()
        self._loose = None
        first = threading.Lock()

        def begin() -> None:
            if self._journal is journal:
                with first:
                    if self._journal is journal:
                        self._become_child_writer()

        def append_first(payload: bytes) -> None:
            begin()
            self._journal.append(payload)

        self._begin = begin

        self.summary.restart(lambda offset: Frames(offset))
        self._append = append_first
        self._recorder.write_through(append_first)
        self.log = self._recorder.log  # type: ignore[method-assign]
        journal.after_fork_in_child(append_first)

    def _become_child_writer(self) -> None:
        identity = records.Start(
            self._now(),
            self.id,
            self.project,
            self._name,
            self.group,
            self.job_type,
            list(self._tags),
            self._notes,
            role="child",
            label=f"fork of {os.getppid()}",
            host=self._identity.host,
            pid=os.getpid(),
            version=self._identity.version,
        )
        journal = self._open_journal(identity)
        journal.append(records.encode(identity))
        self._journal = journal
        self._append = journal.append
        self._recorder.write_to(journal)
        self.log = self._recorder.log  # type: ignore[method-assign]
        self.summary.restart(journal.read)
        self._start_pump()
        _finish_with_multiprocessing(self)


def _finish_with_multiprocessing(run: Run) -> None:
    """A child of multiprocessing leaves by os._exit, after its finalizers but without atexit."""
    if "multiprocessing.util" in sys.modules:
        from multiprocessing.util import Finalize

        Finalize(None, run.finish, exitpriority=0)


def _redactor(settings: Settings) -> Redactor | None:
    if not settings.redact:
        return None
    from trackkit.core.redaction import DEFAULT_NAMES, DEFAULT_PATTERNS, Redactor

    return Redactor([*DEFAULT_PATTERNS, *settings.redact_patterns], names=[*DEFAULT_NAMES, *settings.redact_names])


def _rules(summary: str | Sequence[str] | None) -> list[str] | None:
    if summary is None:
        return None
    rules = [part.strip() for part in summary.split(",")] if isinstance(summary, str) else list(summary)
    for rule in rules:
        if rule not in _RULES:
            raise ValueError(f"a summary rule is one of {', '.join(_RULES)}, not {rule!r}")
    return rules


def check_tags(tags: Sequence[str]) -> list[str]:
    """The tags, each once, in order.

    Raises
    ------
    TypeError
        If one is no string.
    """
    found = [tags] if isinstance(tags, str) else list(tags)
    for tag in found:
        if not isinstance(tag, str):
            raise TypeError(f"a tag must be a string, not {type(tag).__name__}: {tag!r}")
    return list(dict.fromkeys(found))

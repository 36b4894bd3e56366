"""`trackkit.init` and the current run, which the module's own functions act on."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, NoReturn

from trackkit.core import notebook, records
from trackkit.core.config import as_mapping
from trackkit.core.disabled import DisabledRun
from trackkit.core.names import is_project, is_run_id
from trackkit.core.run import Run, check_tags
from trackkit.core.settings import DEFAULT_SINK, OFFLINE_SINK, PREFIX, Settings, load
from trackkit.core.sink import Known, check_uri, find_factory
from trackkit.core.values import MAX_TEXT_BYTES, check_key, check_step
from trackkit.version import __version__

if TYPE_CHECKING:
    from trackkit.core.artifact import Artifact

Resume = Literal["never", "allow", "must", "auto"]
Mode = Literal["online", "offline", "disabled"]
_RESUMES = ("never", "allow", "must", "auto")
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_IGNORED = {
    "entity", "save_code", "anonymous", "force", "monitor_gym", "magic", "config_exclude_keys",
    "config_include_keys", "allow_val_change", "tensorboard",
}  # fmt: skip

RANK_VARIABLES = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")
"""Where launchers (torchrun, SLURM, MPI) say which of a job's processes this is."""

_current: Run | None = None
_earlier: list[Run] = []
"""The runs that were current before, and are again when those after them are finished."""
_lock = threading.RLock()


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()  # a thread of the parent may have been starting a run


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def init(
    project: str | None = None,
    name: str | None = None,
    id: str | None = None,
    config: Any = None,
    tags: Sequence[str] | None = None,
    notes: str | None = None,
    group: str | None = None,
    job_type: str | None = None,
    sink: str | Sequence[str] | None = None,
    resume: Resume | bool | None = None,
    mode: Mode | None = None,
    dir: str | os.PathLike[str] | None = None,
    settings: Settings | Mapping[str, Any] | None = None,
    reinit: bool | str | None = None,
    resume_from: str | None = None,
    sync_tensorboard: bool = False,
    **compatible: Any,
) -> Run:
    """Start a run, or join or resume one, and make it the current run.

    Parameters
    ----------
    project
        The project it belongs to; by default `default`.
    name
        A name for people; by default the run's id.
    id
        The run's id, unique in the store: letters, digits, `_`, `.` and `-`. Made up if not given.
    config
        What the run was set up with: whatever `run.config.update` takes.
    tags, notes, group, job_type
        To find the run again.
    sink
        Where its records go: URIs such as `sqlite:///runs.db`, or a list of them. By default the SQLite file
        in `dir`.
    resume
        `never`: an `id` that exists is an error; `allow`: continue it if it exists; `must`: it has to exist; `auto`:
        continue the last run of this project in `dir` that was started with `auto` and did not finish.
        By default `never`, and `allow` where `TRACKKIT_RUN_ID` names the run. Processes that join a run
        at the same time each write their own part of it.
    mode
        `online`; `offline` keeps the journal alone, for `trackkit sync`; `disabled` records nothing.
    dir
        The store's folder, `.trackkit` by default; made if it does not exist.
    settings
        Further settings by name, see `Settings`.
    reinit
        What to do if a run is going on in this process: `return_previous` (the default) returns it,
        `finish_previous` (or True) finishes it first, `create_new` starts another beside it.
    resume_from
        `ID?_step=N` continues the run of that id after step N, which has to exist: what was logged at later steps
        is superseded; see `Run.rewind`.
    sync_tensorboard
        Whether what the script writes for TensorBoard goes to the run, too; see `trackkit.integrations.tensorboard`.
    **compatible
        Parameters of W&B's `init` that have no meaning here are accepted and ignored.

    Raises
    ------
    ValueError
        If a setting, mode, resume or id is not valid, or the id exists and `resume` is `never`, or does
        not and it is `must`.
    TypeError
        If `config` or `tags` is of the wrong type, or a parameter is unknown.

    Examples
    --------
    >>> run = init(project="digits", config={"lr": 0.1})  # doctest: +SKIP
    >>> run.log({"loss": 0.5})  # doctest: +SKIP
    >>> run.finish()  # doctest: +SKIP
    """
    for argument in compatible:
        if argument not in _IGNORED:
            raise TypeError(f"init() has no parameter {argument!r}")
    id, resume, last_step = (id, resume, None) if resume_from is None else _resume_point(resume_from, id, resume)
    given = {
        "project": project, "name": name, "run_id": id, "notes": notes, "group": group, "job_type": job_type,
        "resume": _resume_word(resume), "mode": mode, "dir": None if dir is None else os.fspath(dir),
        "tags": None if tags is None else check_tags(tags),
        "sink": [sink] if isinstance(sink, str) else None if sink is None else list(sink),
    }  # fmt: skip
    chosen = load({**_as_dict(settings), **{key: value for key, value in given.items() if value is not None}})
    _check(chosen)
    entries = as_mapping(config)
    for key in entries:
        check_key(key)
    with _lock:
        previous = _previous(reinit)
        if previous is not None:
            return previous
        run = _start(chosen, id_given=id is not None)
        _make_current(run)
    if last_step is not None:
        run.rewind(last_step + 1)
    try:
        run.config.update(entries)
    except BaseException as error:
        run.__exit__(type(error), error, error.__traceback__)
        raise
    if (sync_tensorboard or compatible.get("tensorboard")) and not isinstance(run, DisabledRun):
        importlib.import_module("trackkit.integrations.tensorboard").patch()  # this alone of the core needs it
    _announce(run)
    return run


PARAMETERS = frozenset({*init.__code__.co_varnames[: init.__code__.co_argcount], *_IGNORED})
"""The names of what `init` takes."""


def _resume_point(given: str, id: str | None, resume: Resume | bool | None) -> tuple[str, Resume, int]:
    """The run and the step that `resume_from` names."""
    if id is not None or resume not in (None, "must"):
        raise ValueError("resume_from names the run and means resume='must'; leave out id and resume")
    found = re.fullmatch(r"([^?]+)\?_step=(-?\d+)", given)
    if found is None:
        raise ValueError(f"resume_from must look like 'RUN_ID?_step=100', not {given!r}")
    return found[1], "must", check_step(int(found[2]))


def _resume_word(resume: Resume | bool | None) -> str | None:
    if isinstance(resume, bool):  # as W&B takes it
        return "auto" if resume else None
    return resume


def _as_dict(settings: Settings | Mapping[str, Any] | None) -> dict[str, Any]:
    if isinstance(settings, Settings):
        defaults = Settings()
        names = Settings.__struct_fields__
        return {key: getattr(settings, key) for key in names if getattr(settings, key) != getattr(defaults, key)}
    return dict(settings or {})


def _check(settings: Settings) -> None:
    if settings.mode not in ("online", "offline", "disabled"):
        raise ValueError(f"mode must be 'online', 'offline' or 'disabled', not {settings.mode!r}")
    if settings.resume and settings.resume not in _RESUMES:
        raise ValueError(f"resume must be one of {', '.join(_RESUMES)}, not {settings.resume!r}")
    if settings.run_id and not is_run_id(settings.run_id):
        raise ValueError(
            f"{settings.run_id!r} can't be a run's id: use up to 128 letters, digits, '_', '.' and '-', "
            "beginning with a letter, a digit or '_'"
        )
    if settings.project and not is_project(settings.project):
        raise ValueError(f"{settings.project!r} can't be a project's name: up to 128 characters, without '/'")
    for field in ("name", "group", "job_type", "notes"):
        if (size := len(getattr(settings, field).encode(errors="replace"))) > MAX_TEXT_BYTES:
            raise ValueError(f"{field} has {size:,} bytes; the limit is {MAX_TEXT_BYTES:,}")
    if settings.console not in ("wrap", "raw", "redirect", "off"):
        raise ValueError(f"console must be 'wrap', 'raw', 'redirect' or 'off', not {settings.console!r}")
    if OFFLINE_SINK in settings.sink:  # beside others it adds nothing: there is always a journal
        settings.sink = [uri for uri in settings.sink if uri != OFFLINE_SINK]
        settings.mode = "offline" if settings.mode == "online" and not settings.sink else settings.mode
    elif not settings.sink:
        settings.sink = [DEFAULT_SINK]
    if settings.mode == "online":
        for uri in settings.sink:
            if uri != DEFAULT_SINK:
                check_uri(uri)


def _previous(reinit: bool | str | None) -> Run | None:
    """The run to return instead of a new one, after doing what `reinit` says."""
    running = current()
    word = {None: "return_previous", "default": "return_previous", True: "finish_previous", False: "return_previous"}
    how = word.get(reinit, reinit)
    if how not in ("return_previous", "finish_previous", "create_new"):
        raise ValueError(f"reinit must be 'return_previous', 'finish_previous' or 'create_new', not {reinit!r}")
    if running is None or how == "create_new":
        return None
    if how == "finish_previous":
        running.finish()
        return None
    warnings.warn(
        f"trackkit: {running.path} is still running, so init() returns it; finish it first, or pass "
        "reinit='finish_previous' or 'create_new'",
        RuntimeWarning,
        stacklevel=3,
    )
    return running


def _start(settings: Settings, *, id_given: bool) -> Run:
    from_environment = bool(settings.run_id) and not id_given
    resume = settings.resume or ("allow" if from_environment else "never")
    marker = _AutoMarker(settings)
    run_id = settings.run_id or (marker.read() if resume == "auto" else "") or new_run_id()
    if settings.mode == "disabled":
        return DisabledRun(_identity(settings, run_id, None), settings)
    known, joined = None, False
    if settings.run_id or run_id == marker.read():
        from trackkit.core import remains

        found = remains.find(Path(settings.dir).absolute(), run_id, _lookup(settings, run_id))
        known, joined = found.known, found.joined
    if known is not None and resume == "never":
        raise ValueError(f"run {run_id!r} exists in {settings.dir}; pass resume='allow' to continue it")
    if known is None and resume == "must":
        where = "no journal" if settings.mode == "offline" else f"neither a journal nor {', '.join(settings.sink)}"
        raise ValueError(f"resume='must', but {where} in {settings.dir} knows the run {run_id!r}")
    if resume == "auto":
        marker.write(run_id)
    run = Run(_identity(settings, run_id, known), settings, known)
    run.joined = joined
    if resume == "auto":
        run.on_finished(marker.clear)
    return run


def _identity(settings: Settings, run_id: str, known: Known | None) -> records.Start:
    if known is not None and settings.project and settings.project != known.project:
        warnings.warn(
            f"trackkit: run {run_id!r} is of the project {known.project!r} and stays there, not {settings.project!r}",
            RuntimeWarning,
            stacklevel=4,
        )
    return records.Start(
        time=time.time(),
        run=run_id,
        project=known.project if known else settings.project or "default",
        name=settings.name or (known.name if known else run_id),
        group=settings.group or (known.group if known else ""),
        job_type=settings.job_type or (known.job_type if known else ""),
        tags=list(dict.fromkeys([*(known.tags if known else []), *settings.tags])),
        notes=settings.notes or (known.notes if known else ""),
        label=settings.label or _rank_label(),
        host=_host(),
        pid=os.getpid(),
        version=__version__,
    )


def _lookup(settings: Settings, run_id: str) -> Known | None:
    """What the first sink that can tell knows of a run; None if none can."""
    if settings.mode != "online":
        return None
    for uri in settings.sink:
        sink = find_factory(uri)(uri, Path(settings.dir).absolute())
        lookup: Callable[[str], Known | None] | None = getattr(sink, "lookup", None)
        if lookup is None:
            continue
        try:
            return lookup(run_id)
        except Exception as error:
            warnings.warn(f"trackkit: {uri} could not be asked for run {run_id}: {error}", RuntimeWarning, stacklevel=4)
        finally:
            sink.close()
    return None


class _AutoMarker:
    """The file that names the run `resume="auto"` continues: written at the start, removed at a good end."""

    def __init__(self, settings: Settings) -> None:
        project = re.sub(r"[^A-Za-z0-9_.-]", "_", settings.project or "default")
        self._path = Path(settings.dir) / "resume" / project

    def read(self) -> str:
        try:
            found = self._path.read_text().strip()
        except OSError:
            return ""
        return found if is_run_id(found) else ""

    def write(self, run_id: str) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(run_id)
        except OSError as error:
            warnings.warn(f"trackkit: resume='auto' can't be noted: {error}", RuntimeWarning, stacklevel=5)

    def clear(self, run: Run) -> None:
        if run.state == "finished" and self.read() == run.id:
            self._path.unlink(missing_ok=True)


def new_run_id() -> str:
    """Ten random letters and digits."""
    number = int.from_bytes(os.urandom(16))
    return "".join(_ALPHABET[number // 36**place % 36] for place in range(10))


def _rank_label() -> str:
    for variable in RANK_VARIABLES:
        if os.environ.get(variable, "").isdigit():
            return f"rank {os.environ[variable]}"
    return ""


def _host() -> str:
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")


def _announce(run: Run) -> None:
    if run.settings.quiet or isinstance(run, DisabledRun):
        return
    what = "is joined" if run.joined else "resumes" if run.resumed else "is recorded"
    where = os.path.relpath(run.dir) if run.dir.is_relative_to(Path.cwd()) else str(run.dir)
    mode = "" if run.settings.mode == "online" else ", offline: send it later with `trackkit sync`"
    sys.stderr.write(f"trackkit: run {run.path} {what} in {where}{mode}\n")
    if run.url and not notebook.show(run):
        sys.stderr.write(f"trackkit: see it at {_linked(run.url)}\n")


def _linked(url: str) -> str:
    """A URL as terminals make it clickable (OSC 8), however they break the line; as it is where no terminal is."""
    if not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return url
    return f"\x1b]8;;{url}\x1b\\{url}\x1b]8;;\x1b\\"


def beside(parent: Run, **init: Any) -> Run:
    """Start a run for a part of another's work, such as one candidate of a search; the current run stays what it is.

    It goes where the other goes, in a group named after the other's id, and captures neither machine nor console.

    Parameters
    ----------
    parent
        The other run.
    **init
        As of `trackkit.init`: name, config, tags, notes, job_type, group, id.
    """
    if isinstance(parent, DisabledRun):
        return silent_run(project=parent.project, **init)
    config = as_mapping(init.pop("config", None))
    given = {
        "project": parent.project, "dir": str(parent.dir), "sink": parent.settings.sink, "mode": parent.settings.mode,
        "group": parent.id, "run_id": init.pop("id", None) or new_run_id(), "system": False, "git": False,
        "code": False, "packages": False, "console": "off", "quiet": True,
    }  # fmt: skip
    run = _start(load({**given, **init}), id_given=True)
    run.config.update(config)
    return run


@contextlib.contextmanager
def reopened(run: Run) -> Iterator[Run]:
    """A run to log into: the run itself, or if it has ended, its continuation, which ends again afterwards.

    For what is found out about a training after it is over. The current run stays what it is.

    Parameters
    ----------
    run
        The run, going on or not.
    """
    if run.state == "running":
        yield run
        return
    again = beside(run, id=run.id, resume="must", group=run.group)
    try:
        yield again
    finally:
        again.finish(0 if run.state == "finished" else 1)


@contextlib.contextmanager
def current_for(run: Run) -> Iterator[Run]:
    """Let a run be the current one for a while, as while a trial of a search is at work.

    Parameters
    ----------
    run
        The run. It is not finished afterwards; the run that was the current one is again.
    """
    global _current
    with _lock:
        before, _current = _current, run
    try:
        yield run
    finally:
        with _lock:
            if _current is run:
                _current = before


def silent_run(**init: Any) -> DisabledRun:
    """A run that records nothing and is not the current one: for the ranks of a job that do not write.

    Parameters
    ----------
    **init
        What `init` would be called with, of which id, project and name are taken over.
    """
    settings = Settings(project=init.get("project") or "", name=init.get("name") or "", mode="disabled")
    run_id = init.get("id") or os.environ.get(f"{PREFIX}RUN_ID") or new_run_id()
    return DisabledRun(_identity(settings, run_id, None), settings)


def current() -> Run | None:
    """The run the module's functions act on: the last one started that still goes on."""
    run = _current
    return run if run is not None and run.state == "running" else _previous_one() if _earlier else None


def _make_current(run: Run) -> None:
    global _current
    if _current is not None and _current.state == "running":
        _earlier.append(_current)
    _current = run


def _previous_one() -> Run | None:
    global _current
    with _lock:
        while (_current is None or _current.state != "running") and _earlier:
            _current = _earlier.pop()
        return _current if _current is not None and _current.state == "running" else None


def _required() -> Run:
    run = current()
    if run is None:
        _no_run()
    return run


def _no_run() -> NoReturn:
    raise RuntimeError("no run is going on in this process; call trackkit.init() first")


def log(values: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
    """`Run.log` of the current run."""
    _required().log(values, step, commit)


def define_metric(name: str, *arguments: Any, **named: Any) -> None:
    """`Run.define_metric` of the current run."""
    _required().define_metric(name, *arguments, **named)


def alert(title: str, text: str = "", level: Any = "info") -> None:
    """`Run.alert` of the current run."""
    _required().alert(title, text, level)


def log_code(*arguments: Any, **named: Any) -> list[str]:
    """`Run.log_code` of the current run."""
    return _required().log_code(*arguments, **named)


def watch(*arguments: Any, **named: Any) -> None:
    """`Run.watch` of the current run."""
    _required().watch(*arguments, **named)


def unwatch(models: Any = None) -> None:
    """`Run.unwatch` of the current run."""
    _required().unwatch(models)


def log_artifact(*arguments: Any, **named: Any) -> Artifact:
    """`Run.log_artifact` of the current run."""
    return _required().log_artifact(*arguments, **named)


def use_artifact(*arguments: Any, **named: Any) -> Artifact:
    """`Run.use_artifact` of the current run."""
    return _required().use_artifact(*arguments, **named)


def save(*arguments: Any, **named: Any) -> list[str]:
    """`Run.save` of the current run."""
    return _required().save(*arguments, **named)


def restore(*arguments: Any, **named: Any) -> IO[str] | None:
    """`Run.restore` of the current run."""
    return _required().restore(*arguments, **named)


def finish(exit_code: int | None = None, quiet: bool | None = None, timeout: float | None = None) -> None:
    """`Run.finish` of the current run, if there is one."""
    run = current()
    if run is not None:
        run.finish(exit_code, quiet, timeout)


def login(*arguments: Any, **named: Any) -> bool:
    """Do nothing, for scripts written for W&B; a token for a server is kept by `trackkit login`.

    Returns
    -------
    bool
        True.
    """
    return True


class CurrentEntries:
    """`trackkit.config` or `trackkit.summary`: that of whichever run is current when it is used."""

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "_name", name)

    def _target(self) -> Any:
        return getattr(_required(), object.__getattribute__(self, "_name"))

    def __getattr__(self, key: str) -> Any:
        return getattr(self._target(), key)

    def __setattr__(self, key: str, value: Any) -> None:
        setattr(self._target(), key, value)

    def __getitem__(self, key: str) -> Any:
        return self._target()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._target()[key] = value

    def __delattr__(self, key: str) -> None:
        delattr(self._target(), key)

    def __delitem__(self, key: str) -> None:
        del self._target()[key]

    def __contains__(self, key: object) -> bool:
        return key in self._target()

    def __iter__(self) -> Any:
        return iter(self._target())

    def __len__(self) -> int:
        return len(self._target())

    def __repr__(self) -> str:
        run = current()
        name = object.__getattribute__(self, "_name")
        return f"<trackkit.{name}: no run>" if run is None else repr(getattr(run, name))


config = CurrentEntries("config")
summary = CurrentEntries("summary")

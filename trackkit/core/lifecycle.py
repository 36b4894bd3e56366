"""How a process ends, and how it forks: every way out is noted on the runs that are still going."""

from __future__ import annotations

import atexit
import builtins
import contextlib
import importlib
import os
import signal
import sys
import threading
import traceback
import weakref
from collections.abc import Iterable
from types import FrameType, TracebackType
from typing import Any, NoReturn, Protocol


class Tracked(Protocol):
    """What this module asks of a run."""

    def end(self, state: str, exit_code: int, error: str, *, leaving: bool = False) -> None:
        """Remember how the process ends; `finish` records it."""
        ...

    def finish(self) -> None: ...

    def before_fork(self) -> None:
        """Bring every other thread of the process to a point where a copy of it is whole."""
        ...

    def after_fork_in_parent(self) -> None: ...

    def after_fork_in_child(self) -> None: ...


MAX_ERROR_CHARACTERS = 100_000
"""A traceback is kept up to this length: a message may hold a whole data set."""

_tracked: weakref.WeakSet[Any] = weakref.WeakSet()
_installed = False
_lock = threading.Lock()
_gate = threading.Lock()
"""Held while the pump imports modules and while the process forks: a child forked in the middle of an import
would have half a module, and nobody to finish it."""
_gate_is_ours = False
_at_exit = False
_forking: list[Any] = []
"""The runs that were made ready for the fork that is under way."""
_LONGEST_WAIT_TO_FORK = 10.0
_IMPORT_SWITCH_INTERVAL = 0.0005


def track(run: Tracked, *, signals: bool) -> None:
    """Finish `run` when the process ends, whichever way that happens."""
    _tracked.add(run)
    _install()
    if signals:
        _install_signal()


def untrack(run: Tracked) -> None:
    """The run is finished."""
    _tracked.discard(run)


def _install() -> None:
    global _installed
    with _lock:
        if _installed:
            return
        _installed = True
    atexit.register(_finish_all)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
        )
    previous, leave = sys.excepthook, sys.exit
    quitter = type(getattr(builtins, "exit", None))  # of `exit` and `quit`, where `site` is loaded

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        note_exception(kind, error, trace)
        previous(kind, error, trace)

    def note(status: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            note_exception(SystemExit, SystemExit(status), None)

    def exit(status: Any = None, /) -> NoReturn:
        note(status)
        leave(status)

    sys.excepthook = hook
    sys.exit = exit  # SystemExit never reaches the excepthook
    if quitter.__module__ == "_sitebuiltins":
        leave_by_name = quitter.__call__

        def call(self: Any, code: Any = None) -> None:
            note(code)
            leave_by_name(self, code)

        quitter.__call__ = call  # type: ignore[method-assign]


def note_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell the runs which exception ends the process."""
    state, code, text = describe_exception(kind, error, trace)
    for run in list(_tracked):
        run.end(state, code, text, leaving=issubclass(kind, SystemExit))


def describe_exception(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> tuple[str, int, str]:
    """State, exit code and traceback for a run that ends by an exception."""
    if issubclass(kind, SystemExit):
        code = getattr(error, "code", 0)
        number = code if isinstance(code, int) else 0 if code is None else 1
        return ("finished" if number == 0 else "failed"), number, ""
    text = _shortened("".join(traceback.format_exception(kind, error, trace)))
    if issubclass(kind, KeyboardInterrupt):
        return "killed", 130, text
    return "failed", 1, text


def _shortened(text: str) -> str:
    """The text, without its middle where it is too long to keep: where it began and what it says come at the ends."""
    if len(text) <= MAX_ERROR_CHARACTERS:
        return text
    half = MAX_ERROR_CHARACTERS // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"


class RunStopped(KeyboardInterrupt):
    """Somebody asked in the dashboard that the run be stopped.

    Raised in the main thread, wherever it is, as Ctrl-C would be; a blocking call into a library ends first.
    """


def stop_main_thread() -> None:
    """Raise `RunStopped` in the main thread, from any other."""
    import ctypes

    target = ctypes.c_ulong(threading.main_thread().ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(target, ctypes.py_object(RunStopped))


def _install_signal() -> None:
    """Turn SIGTERM into SystemExit, so that the script's own `finally` blocks run and the run is noted as killed."""
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        with contextlib.suppress(ValueError, OSError):
            signal.signal(signal.SIGTERM, _terminated)


def _terminated(number: int, frame: FrameType | None) -> None:
    for run in list(_tracked):
        run.end("killed", 128 + number, "", leaving=True)
    raise SystemExit(128 + number)


def goes_on() -> bool:
    """Whether the process is not on its way out: no SystemExit is under way, nor the interpreter's end."""
    return not _at_exit and not isinstance(sys.exc_info()[1], SystemExit)


def _finish_all() -> None:
    """At the interpreter's exit. A second Ctrl-C stops the waiting; the journal has everything anyway."""
    global _at_exit
    _at_exit = True
    for run in list(_tracked):
        with contextlib.suppress(KeyboardInterrupt):
            run.finish()


def import_early(names: Iterable[str]) -> None:
    """Import modules on a background thread, without leaving a forked child half a module.

    Imports hold the GIL from one switch interval to the next, so that one is shortened meanwhile: the training
    thread waits half a millisecond at most, not five.
    """
    with _gate:
        before = sys.getswitchinterval()
        sys.setswitchinterval(min(before, _IMPORT_SWITCH_INTERVAL))
        try:
            for name in filter(None, names):
                with contextlib.suppress(ImportError):
                    importlib.import_module(name)
        finally:
            sys.setswitchinterval(before)


def _before_fork() -> None:
    global _gate_is_ours, _forking
    _gate_is_ours = _gate.acquire(timeout=_LONGEST_WAIT_TO_FORK)
    _forking = list(_tracked)
    for run in _forking:
        run.before_fork()


def _after_fork_in_parent() -> None:
    for run in _forking:
        run.after_fork_in_parent()
    if _gate_is_ours:
        _gate.release()


def _after_fork_in_child() -> None:
    global _gate, _lock
    _gate, _lock = threading.Lock(), threading.Lock()
    for run in _forking:
        run.after_fork_in_child()

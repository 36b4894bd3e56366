"""Sending the file descriptors 1 and 2 through `tee`, so that what libraries and child processes write is seen."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
import threading
from collections.abc import Callable

Listener = Callable[[str, str], None]
DESCRIPTORS = {"stdout": 1, "stderr": 2}

_READ_BYTES = 1 << 20
_SETTLE_SECONDS = 0.5
"""How long a `tee` may take to pass on the last; one that serves a child process goes on without us."""


def listen(stream: str, listener: Listener) -> bool:
    """Begin to listen to a stream's descriptor; False where that can't be done."""
    if os.name != "posix":
        return False
    with _lock:
        redirection = _redirections.get(stream)
        if redirection is None:
            try:
                redirection = _redirections[stream] = _Redirection(stream)
            except OSError:
                return False
        redirection.poll()
        redirection.listeners += (listener,)
        return True


def poll(stream: str) -> None:
    """Tell the listeners of a stream what was written since the last time."""
    with _lock, contextlib.suppress(OSError):
        if stream in _redirections:
            _redirections[stream].poll()


def end(stream: str, listener: Listener) -> None:
    """Tell the listener the last, and no more; with the last listener the descriptor is put back."""
    with _lock, contextlib.suppress(OSError):
        redirection = _redirections.get(stream)
        if redirection is None:
            return
        # Only the end of its input makes a `tee` pass on all it has, so those who stay get a new one.
        del _redirections[stream]
        others = [other for other in redirection.listeners if other != listener]
        redirection.close()
        for other in others:
            listen(stream, other)


def forget_inherited() -> None:
    """In a forked child: leave the descriptors as they are, read by the parent."""
    global _lock
    _lock = threading.RLock()
    _redirections.clear()


class _Redirection:
    """Sends a descriptor through `tee`: on to where it went, and into an unnamed file that is read here.

    Not a pipe read by a thread of this process: C code that prints more than a pipe holds while it has the interpreter
    lock would wait for a reader that waits for the lock. `tee` needs no lock, and lives as long as anybody writes.
    """

    def __init__(self, stream: str) -> None:
        import subprocess
        import tempfile

        self.listeners: tuple[Listener, ...] = ()
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode
        self._offset = 0
        self._saved = _duplicate(DESCRIPTORS[stream])
        spool, path = tempfile.mkstemp(prefix="trackkit-console-")
        os.unlink(path)
        self._spool = _above_standard(spool)
        source, sink = _channel(self._saved)
        try:
            self._tee = subprocess.Popen(
                ["tee", "-a", f"/dev/fd/{self._spool}"],
                stdin=source,
                stdout=self._saved,
                stderr=subprocess.DEVNULL,
                pass_fds=[self._spool],
                # Out of reach of the terminal's Ctrl-C, which is not meant for it.
                start_new_session=True,
            )
            _write_out(stream)
            os.dup2(sink, DESCRIPTORS[stream])
        except OSError:
            os.close(self._saved)
            os.close(self._spool)
            raise
        finally:
            os.close(source)
            os.close(sink)

    def poll(self) -> None:
        while data := os.pread(self._spool, _READ_BYTES, self._offset):
            self._offset += len(data)
            self._tell(self._decode(data))

    def close(self) -> None:
        """Put the descriptor back and tell what was written up to now."""
        import subprocess

        _write_out(self._stream)
        os.dup2(self._saved, DESCRIPTORS[self._stream])
        os.close(self._saved)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._tee.wait(_SETTLE_SECONDS)
        self.poll()
        self._tell(self._decode(b"", True))
        os.close(self._spool)

    def _tell(self, text: str) -> None:
        if not text:
            return
        for listener in self.listeners:
            listener(self._stream, text)


def _channel(terminal: int) -> tuple[int, int]:
    """The two ends of a pipe, or of a pseudo-terminal where the output is a terminal, so that it stays one."""
    import fcntl

    if os.isatty(terminal):
        import pty
        import termios
        import tty

        source, sink = pty.openpty()
        tty.setraw(sink)
        with contextlib.suppress(OSError):
            size = fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8))
            fcntl.ioctl(sink, termios.TIOCSWINSZ, size)
    else:
        source, sink = os.pipe()
    return _above_standard(source), _above_standard(sink)


def _duplicate(descriptor: int) -> int:
    """A copy of a descriptor that is none of the standard three, which may be closed and free."""
    import fcntl

    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)


def _above_standard(descriptor: int) -> int:
    if descriptor > 2:
        return descriptor
    moved = _duplicate(descriptor)
    os.close(descriptor)
    return moved


def _write_out(stream: str) -> None:
    """Write out what Python and C hold back for the stream."""
    import ctypes

    with contextlib.suppress(Exception):
        getattr(sys, stream).flush()
    with contextlib.suppress(Exception):
        ctypes.CDLL(None).fflush(None)


_redirections: dict[str, _Redirection] = {}
_lock = threading.RLock()

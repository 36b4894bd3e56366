"""The console: what a run writes to stdout and stderr, and what a terminal would show of it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

Listener = Callable[[str, str], None]
"""Called with a stream (`stdout` or `stderr`) and text written to it."""

MODES = ("wrap", "raw", "redirect", "off")
STREAMS = ("stdout", "stderr")

PIECE_BYTES = 1 << 20
"""The most bytes of one piece of text handed on."""

_QUIET = 0.01
"""Seconds since the last piece from which on a line is handed on at once; bursts of lines are gathered."""

_GATHERED = 64 << 10
"""Characters from which on gathered text is handed on without waiting for the pump."""

_WAITING = 16 << 20
"""Characters that may wait while what they are handed to is stuck; further text is dropped."""


class ConsoleCapture:
    """Hands on what the process writes to stdout and stderr, which still reach the terminal.

    Text is handed on in whole lines, a line after a pause at once, the lines of a burst together. Text
    that doesn't end in a newline waits for it or for the next `flush`. Of a line redrawn by carriage
    returns only its latest state is kept, so that a progress bar costs a line per flush, not one per redraw.

    Nothing here raises into a `print`, and what `emit` itself prints is not captured. Methods may be called from any
    thread. Several captures may be on at once and end in any order.

    Parameters
    ----------
    emit
        Called with a stream (`stdout` or `stderr`) and a piece of text of at most 1 MiB in UTF-8,
        on the writing thread or on the thread that calls `flush`; never by two threads at once.
    mode
        `wrap` takes the text that passes through `sys.stdout.write` and `sys.stderr.write`.
        `raw` does the same and keeps every character: no line is waited for, and no carriage return is resolved.
        `redirect` takes all that is written to the file descriptors 1 and 2, by C libraries and by child
        processes too; where that can't be done (Windows, no `tee`, a closed descriptor) it is `wrap`.
        `off` takes nothing.

    Raises
    ------
    ValueError
        If the mode is none of these.

    Examples
    --------
    >>> capture = ConsoleCapture(lambda stream, text: pieces.append(text))
    >>> pieces = []
    >>> capture.start(); print("hello"); capture.stop()
    hello
    >>> pieces
    ['hello\\n']
    """

    def __init__(self, emit: Listener, mode: str = "wrap") -> None:
        if mode not in MODES:
            raise ValueError(f"the console mode {mode!r} is unknown; choose one of {', '.join(MODES)}")
        self.mode = mode
        self.dropped = 0
        """Characters given up because `emit` was stuck."""
        self._emit = emit
        self._started = False
        self._redirected: list[str] = []
        self._forget()

    def start(self) -> None:
        """Begin to listen; a second start changes nothing."""
        if self._started or self.mode == "off":
            return
        self._started = True
        self._redirected = [stream for stream in STREAMS if self.mode == "redirect" and _redirect(stream, self._listen)]
        self._attach()

    def stop(self) -> None:
        """Hand on what is left and listen no longer; a second stop changes nothing."""
        if not self._started:
            return
        self._started = False
        for stream in self._redirected:
            _end_redirect(stream, self._listen)
        for tap in self._taps:
            tap.remove(self._listen)
        self._taps = []
        self._redirected = []
        self._drain(wait=True, everything=True)

    def flush(self) -> None:
        """Hand on all text that waits, unfinished lines too; call it about once a second."""
        if not self._started:
            return
        self._attach()
        for stream in self._redirected:
            _poll_redirect(stream)
        self._drain(wait=True, everything=True)

    def after_fork_in_child(self) -> None:
        """Forget what the parent had gathered, and locks that no thread of this process will release.

        Text written to a redirected descriptor is the parent's to read, so the child no longer listens to it.
        """
        _forget_inherited()
        self._redirected = []
        taps = self._taps
        self._forget()
        self._taps = taps

    def _forget(self) -> None:
        self._waiting: deque[tuple[str, str]] = deque()
        self._size = 0
        self._held: dict[str, _Line] = {stream: _Line() for stream in STREAMS}
        self._drained = 0.0
        self._lock = threading.Lock()
        self._drainer: int | None = None
        self._taps: list[_Tap] = []

    def _attach(self) -> None:
        """Listen to the streams that stand in `sys` now; those that stood there before are kept."""
        for stream in STREAMS:
            if stream in self._redirected:
                continue
            target = getattr(sys, stream, None)
            # A text held in memory is `redirect_stdout` at work, no console.
            if target is None or isinstance(target, io.StringIO):
                continue
            tap = _tap(target, stream)
            if tap is not None and tap.add(self._listen):
                self._taps.append(tap)

    def _listen(self, stream: str, text: str) -> None:
        """Take text in without a lock: a signal handler may print while this very thread holds it."""
        if not text or self._drainer == threading.get_ident():
            return
        if self._size > _WAITING:
            self.dropped += len(text)
            return
        self._waiting.append((stream, text))
        self._size += len(text)
        ready = "\n" in text and time.monotonic() - self._drained > _QUIET
        if ready or self._size > _GATHERED:
            self._drain(wait=False, everything=False)

    def _drain(self, *, wait: bool, everything: bool) -> None:
        if self._drainer == threading.get_ident():
            return
        if not self._lock.acquire(timeout=2.0 if wait else 0.0):
            return
        self._drainer = threading.get_ident()
        try:
            for stream, text in self._gathered():
                self._hand_on(stream, self._kept(stream, text, everything))
            if everything:
                for stream in STREAMS:
                    self._hand_on(stream, self._held[stream].take())
        except Exception:
            # The console is not worth an exception in the training code.
            pass
        finally:
            self._drained = time.monotonic()
            self._drainer = None
            self._lock.release()

    def _gathered(self) -> Iterator[tuple[str, str]]:
        """What waits, neighbours of one stream joined."""
        joined: list[str] = []
        stream = ""
        while self._waiting:
            source, text = self._waiting.popleft()
            if source != stream and joined:
                yield stream, "".join(joined)
                joined = []
            stream = source
            joined.append(text)
        self._size = 0
        if joined:
            yield stream, "".join(joined)

    def _kept(self, stream: str, text: str, everything: bool) -> str:
        if self.mode == "raw":
            return text
        return self._held[stream].feed(text)

    def _hand_on(self, stream: str, text: str) -> None:
        for piece in _pieces(text):
            with contextlib.suppress(Exception):
                self._emit(stream, piece)


class _Line:
    """The line a stream is in the middle of, and how much of it was handed on already."""

    def __init__(self) -> None:
        self.text = ""
        self.at_start = True

    def feed(self, text: str) -> str:
        """Add text; the whole lines it completes, without what carriage returns overwrote."""
        text = self.text + text
        end = text.rfind("\n") + 1
        self.text = text[end:]
        whole = text[:end]
        if "\r" in whole:
            whole = "".join(map(self._latest, whole.splitlines(keepends=True) if False else _lines(whole)))
        if whole:
            self.at_start = True
        if len(self.text) > _GATHERED:
            self.text = self._latest(self.text)
        if len(self.text) > PIECE_BYTES // 4:
            whole += self.take()
        return whole

    def take(self) -> str:
        """The unfinished line as it stands."""
        text = self._latest(self.text)
        self.text = ""
        if text:
            self.at_start = False
        return text

    def _latest(self, line: str) -> str:
        """The line as last drawn; the rest of a line that was handed on in part starts as it did."""
        end = "\n" if line.endswith("\n") else ""
        body = line.removesuffix("\n").removesuffix("\r") if end else line
        head, carriage_return, redrawn = body.partition("\r")
        if not carriage_return:
            latest = body
        elif self.at_start:
            latest = collapse(body)
        else:
            latest = f"{head}\r{collapse(redrawn)}"
        self.at_start = bool(end)
        # A carriage return at the end moves the cursor, which what follows depends on.
        return latest + ("\r" if body.endswith("\r") and carriage_return else "") + end


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    return [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _pieces(text: str) -> Iterator[str]:
    """The text as UTF-8 can hold it, in pieces of at most `PIECE_BYTES`."""
    if not text:
        return
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    longest = PIECE_BYTES if text.isascii() else PIECE_BYTES // 4
    start = 0
    while len(text) - start > longest:
        end = text.rfind("\n", start, start + longest) + 1 or start + longest
        yield text[start:end]
        start = end
    yield text[start:] if start else text


# --- wrap: the write method of a stream ---


class _Writable(Protocol):
    write: Callable[[str], Any]


class _Tap:
    """Stands in for a stream's `write`: writes, then tells every listener. The stream itself stays what it is."""

    def __init__(self, target: _Writable, stream: str) -> None:
        self._target = target
        self._stream = stream
        self._shadowed = vars(target).get("write")
        self._write = target.write
        self._listeners: tuple[Listener, ...] = ()

    def __call__(self, text: str) -> Any:
        # A stream that writes to another tapped stream would be heard twice.
        if getattr(_writing, self._stream, False) or not self._listeners:
            return self._write(text)
        setattr(_writing, self._stream, True)
        try:
            written = self._write(text)
        finally:
            setattr(_writing, self._stream, False)
        if isinstance(text, str):
            for listener in self._listeners:
                with contextlib.suppress(Exception):
                    listener(self._stream, text)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._write, name)

    def add(self, listener: Listener) -> bool:
        """Tell the listener from now on; False if it is told already."""
        with _registry_lock:
            if listener in self._listeners:
                return False
            self._listeners += (listener,)
            return True

    def remove(self, listener: Listener) -> None:
        """Tell the listener no longer; with the last one goes the tap, unless somebody has wrapped it."""
        with _registry_lock:
            self._listeners = tuple(other for other in self._listeners if other != listener)
            if self._listeners or vars(self._target).get("write") is not self:
                return
            if self._shadowed is None:
                del self._target.write
            else:
                self._target.write = self._shadowed


def _tap(target: _Writable, stream: str) -> _Tap | None:
    """The tap on a stream, made if need be; None if the stream doesn't allow one."""
    with _registry_lock:
        present = target.write
        if isinstance(present, _Tap):
            return present
        try:
            tap = _Tap(target, stream)
            target.write = tap
        except (AttributeError, TypeError):
            return None
        return tap


_writing = threading.local()
_registry_lock = threading.RLock()


def _forget_inherited() -> None:
    global _registry_lock, _writing
    _registry_lock = threading.RLock()
    _writing = threading.local()
    _redirections.clear()


# --- redirect: the file descriptors ---


class _Redirection:
    """Sends a descriptor through `tee`: on to where it went, and into a file that is read here.

    Not a pipe read by a thread of this process: C code that prints more than a pipe holds while it has the interpreter
    lock would wait for a reader that waits for the lock. `tee` needs no lock, and lives as long as anybody writes.
    """

    def __init__(self, descriptor: int, stream: str) -> None:
        import subprocess
        import tempfile

        self._descriptor = descriptor
        self._stream = stream
        self._listeners: tuple[Listener, ...] = ()
        self._decoder = _utf8_decoder()
        self._offset = 0
        self._saved = _duplicate(descriptor)
        self._spool = tempfile.TemporaryFile(prefix="trackkit-console-", buffering=0)
        source, sink = _channel(self._saved)
        try:
            # Line for line, and out of reach of the terminal's Ctrl-C, which is not meant for it.
            self._tee = subprocess.Popen(
                ["tee", "-a", f"/dev/fd/{self._spool.fileno()}"],
                stdin=source,
                stdout=self._saved,
                stderr=subprocess.DEVNULL,
                pass_fds=[self._spool.fileno()],
                start_new_session=True,
            )
        except BaseException:
            os.close(sink)
            os.close(self._saved)
            self._spool.close()
            raise
        finally:
            os.close(source)
        _flush(self._stream)
        os.dup2(sink, descriptor)
        os.close(sink)

    def add(self, listener: Listener) -> None:
        self._listeners += (listener,)

    def remove(self, listener: Listener) -> bool:
        """Tell the listener no longer; whether it was the last."""
        self._listeners = tuple(other for other in self._listeners if other != listener)
        return not self._listeners

    def poll(self) -> None:
        """Tell the listeners what was written since the last time."""
        while data := os.pread(self._spool.fileno(), PIECE_BYTES, self._offset):
            self._offset += len(data)
            text = self._decoder(data)
            for listener in self._listeners:
                listener(self._stream, text)

    def settle(self) -> None:
        """Put the descriptor back and wait for what is under way; a child that writes on keeps its `tee`."""
        import subprocess

        _flush(self._stream)
        os.dup2(self._saved, self._descriptor)
        os.close(self._saved)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._tee.wait(timeout=0.5)

    def close(self) -> None:
        self._spool.close()
        # A `tee` that still serves a child process is not ours to wait for; it would warn of that.
        self._tee.returncode = self._tee.returncode or 0


_redirections: dict[str, _Redirection] = {}


def _redirect(stream: str, listener: Listener) -> bool:
    """Listen to a stream's descriptor; False where that can't be done."""
    if os.name != "posix":
        return False
    with _registry_lock:
        redirection = _redirections.get(stream)
        if redirection is None:
            try:
                redirection = _redirections[stream] = _Redirection(1 + STREAMS.index(stream), stream)
            except OSError:
                return False
        else:
            redirection.poll()
        redirection.add(listener)
        return True


def _poll_redirect(stream: str) -> None:
    with _registry_lock, contextlib.suppress(OSError):
        redirection = _redirections.get(stream)
        if redirection is not None:
            redirection.poll()


def _end_redirect(stream: str, listener: Listener) -> None:
    with _registry_lock, contextlib.suppress(OSError):
        redirection = _redirections.get(stream)
        if redirection is None:
            return
        _flush(stream)
        last = redirection.only(listener)
        if last:
            redirection.settle()
        redirection.poll()
        redirection.remove(listener)
        if last:
            del _redirections[stream]
            redirection.close()


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


def _flush(stream: str) -> None:
    """Write out what Python and C hold back for the stream."""
    import ctypes

    with contextlib.suppress(Exception):
        getattr(sys, stream).flush()
    with contextlib.suppress(Exception):
        ctypes.CDLL(None).fflush(None)


def _utf8_decoder() -> Callable[[bytes], str]:
    import codecs

    return codecs.getincrementaldecoder("utf-8")("backslashreplace").decode


# --- the reader's side ---

_MOVES = re.compile(r"[\r\b]|\x1b(?!\[[0-9;:]*m)")
_TOKEN = re.compile(
    r"(?P<text>[^\x1b\r\b\n]+)|(?P<control>[\r\b\n])"
    r"|\x1b\[(?P<arguments>[0-9;:?<=>!]*)[ -/]*(?P<command>[@-~])"
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[PX^_][^\x1b]*(?:\x1b\\)?|\x1b[ -/]*[0-~]?"
)
_RESET = "\x1b[0m"
_Cell = str | tuple[str, str]


def collapse(text: str) -> str:
    r"""Console text as a terminal would show it.

    Carriage returns and backspaces overwrite, cursor movements and erasures by escape sequences take effect,
    colours stay, other escape sequences are left out. Takes time linear in the length of the text.

    Parameters
    ----------
    text
        The text of one stream, from its beginning or from the beginning of a line.

    Examples
    --------
    >>> collapse("  0%\r 50%\r100%\ndone\n")
    '100%\ndone\n'
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    moves = _MOVES.search(text)
    if moves is None:
        return text
    # All before the first line that needs a screen is shown as it is, but for a cursor that goes up into it.
    if "\x1b[" not in text and (start := text.rfind("\n", 0, moves.start()) + 1):
        return text[:start] + _Screen().draw(text[start:])
    return _Screen().draw(text)


class _Screen:
    """Rows without end that text is drawn on. A cell is a character, or a character with its colours."""

    def __init__(self) -> None:
        self._rows: list[list[_Cell]] = [[]]
        self._row = 0
        self._column = 0
        self._pen = ""
        self._coloured: set[int] = set()

    def draw(self, text: str) -> str:
        """The rows after the text was drawn."""
        for token in _TOKEN.finditer(text):
            if run := token["text"]:
                self._write(run)
            elif control := token["control"]:
                self._control(control)
            elif command := token["command"]:
                self._command(command, token["arguments"], token[0])
        return "\n".join(self._render())

    def _write(self, run: str) -> None:
        row, column = self._rows[self._row], self._column
        if len(row) < column:
            row.extend(" " * (column - len(row)))
        if self._pen:
            self._coloured.add(self._row)
            row[column : column + len(run)] = [(self._pen, character) for character in run]
        else:
            row[column : column + len(run)] = run
        self._column = column + len(run)

    def _control(self, control: str) -> None:
        if control == "\b":
            self._column = max(0, self._column - 1)
            return
        self._column = 0
        if control == "\n":
            self._down(1)

    def _command(self, command: str, arguments: str, sequence: str) -> None:
        if command == "m":
            self._colour(arguments, sequence)
            return
        first = arguments.split(";")[0]
        number = min(int(first), _FARTHEST) if first.isdecimal() else 0
        if command in "AF":
            self._row = max(0, self._row - (number or 1))
        elif command in "BE":
            self._down(number or 1)
        elif command == "C":
            self._column += number or 1
        elif command == "D":
            self._column = max(0, self._column - (number or 1))
        elif command == "G":
            self._column = max(0, number - 1)
        elif command == "K":
            self._erase_in_row(number)
        elif command == "J" and not number:
            self._erase_in_row(0)
            del self._rows[self._row + 1 :]
        if command in "EF":
            self._column = 0

    def _down(self, rows: int) -> None:
        self._row += rows
        while len(self._rows) <= self._row:
            self._rows.append([])

    def _erase_in_row(self, which: int) -> None:
        row = self._rows[self._row]
        if which == 0:
            del row[self._column :]
        elif which == 2:
            row.clear()
        else:
            erased = min(self._column + 1, len(row))
            row[:erased] = " " * erased

    def _colour(self, arguments: str, sequence: str) -> None:
        if arguments in {"", "0", "00"}:
            self._pen = ""
        elif arguments.startswith(("0;", "00;")) or len(self._pen) > 100:
            self._pen = sequence
        else:
            self._pen += sequence

    def _render(self) -> Iterator[str]:
        for number, row in enumerate(self._rows):
            yield self._render_coloured(row) if number in self._coloured else "".join(row)  # type: ignore[arg-type]

    def _render_coloured(self, row: list[_Cell]) -> str:
        parts: list[str] = []
        pen = ""
        for cell in row:
            colours, character = cell if isinstance(cell, tuple) else ("", cell)
            if colours != pen:
                parts.append((_RESET if pen else "") + colours)
                pen = colours
            parts.append(character)
        if pen:
            parts.append(_RESET)
        return "".join(parts)


_FARTHEST = 10_000
"""Rows or columns a cursor movement can go, so that a stray one doesn't make a screen of gigabytes."""

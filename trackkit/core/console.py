"""The console: what a run writes to stdout and stderr, and what a terminal would show of it."""

from __future__ import annotations

import contextlib
import io
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from trackkit.core import redirection
from trackkit.core.terminal import collapse

__all__ = ["ConsoleCapture", "collapse"]

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

_LONGEST_HELD = PIECE_BYTES // 4
"""Characters from which on an unfinished line is handed on as it is."""

_WAITING = 16 << 20
"""Characters that may wait while what they are handed to is stuck; further text is dropped."""


class ConsoleCapture:
    r"""Hands on what the process writes to stdout and stderr, which still reach the terminal.

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
    ['hello\n']
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
        self._taps: list[_Tap] = []
        self._start_empty()

    def start(self) -> None:
        """Begin to listen; a second start changes nothing."""
        if self._started or self.mode == "off":
            return
        self._started = True
        self._redirected = [
            stream for stream in STREAMS if self.mode == "redirect" and redirection.listen(stream, self._listen)
        ]
        self._attach()

    def stop(self) -> None:
        """Hand on what is left and listen no longer; a second stop changes nothing."""
        if not self._started:
            return
        self._started = False
        for stream in self._redirected:
            redirection.end(stream, self._listen)
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
            redirection.poll(stream)
        self._drain(wait=True, everything=True)

    def after_fork_in_child(self) -> None:
        """Forget what the parent had gathered, and locks that no thread of this process will release.

        Text written to a redirected descriptor is the parent's to read, so the child no longer listens to it.
        """
        _forget_inherited()
        self._start_empty()

    def _start_empty(self) -> None:
        self._waiting: deque[tuple[str, str]] = deque()
        self._size = 0
        self._held: dict[str, _Line] = {stream: _Line() for stream in STREAMS}
        self._drained = 0.0
        self._lock = threading.Lock()
        self._drainer: int | None = None

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
        # The console is not worth an exception in the training code.
        try:
            for stream, text in self._gathered():
                self._hand_on(stream, text if self.mode == "raw" else self._held[stream].feed(text))
            if everything:
                for stream in STREAMS:
                    self._hand_on(stream, self._held[stream].take())
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

    def _hand_on(self, stream: str, text: str) -> None:
        for piece in _pieces(text):
            with contextlib.suppress(Exception):
                self._emit(stream, piece)


class _Line:
    """The line a stream is in the middle of, and where what was handed on of it has left the cursor."""

    def __init__(self) -> None:
        self._text = ""
        self._shown = False
        self._at_margin = True

    def feed(self, text: str) -> str:
        """Add text; the whole lines it completes, without what carriage returns overwrote."""
        text = self._text + text
        end = text.rfind("\n") + 1
        whole, self._text = text[:end], text[end:]
        if "\r" in whole:
            first, *others = whole[:-1].split("\n")
            lines = [self._latest(first), *(_finished(line) for line in others)]
            whole = "\n".join(lines) + "\n"
        if whole:
            self._shown, self._at_margin = False, True
        if len(self._text) > _GATHERED:
            self._text = self._latest(self._text)
        return whole + self.take() if len(self._text) > _LONGEST_HELD else whole

    def take(self) -> str:
        """The unfinished line as it stands."""
        if not self._text:
            return ""
        text = self._latest(self._text)
        self._text = ""
        self._shown, self._at_margin = True, text.endswith("\r")
        return text

    def _latest(self, text: str) -> str:
        """Text that has the same effect after what was handed on of its line."""
        if "\r" not in text or _leaves_the_line(text):
            return text
        head, _, rest = ("", "", text) if self._at_margin else text.partition("\r")
        start = "" if self._at_margin else head + "\r"
        erase = "\x1b[2K" if self._shown and _ERASES.search(rest) else ""
        return start + erase + _redrawn(rest)


_ERASES = re.compile(r"\x1b\[[0-9]*K")
_LEAVES_THE_LINE = re.compile(r"\x1b(?!\[[0-9;:]*[mK])")


def _leaves_the_line(text: str) -> bool:
    return "\x1b" in text and _LEAVES_THE_LINE.search(text) is not None


def _finished(line: str) -> str:
    return collapse(line) if "\r" in line and not _leaves_the_line(line) else line


def _redrawn(line: str) -> str:
    """A line as last drawn, with the cursor where it was left."""
    if _leaves_the_line(line):
        return line
    latest = collapse(line)
    unfinished = line.rpartition("\r")[2]
    return latest if latest == unfinished else f"{latest}\r{unfinished}"


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
    redirection.forget_inherited()

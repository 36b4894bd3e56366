"""Files of a run on their way to an MLflow server, on a connection and a thread of their own.

They go in rounds. A round is all that was there when it began: files, and texts that grow (the console), of which the
whole is put anew. When a round is there, a tag of the run says so: up to which offset of the journal, and how long each
text was. Whoever goes on after a kill begins there, with texts cut to those lengths; so nothing is in them twice.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from trackkit.core.sink import SinkError, SinkRefused
from trackkit.sinks.mlflow.artifacts import ArtifactStore
from trackkit.sinks.mlflow.client import Client, Rejected

logger = logging.getLogger("trackkit")

ROLL_BYTES: Final = 1 << 20
"""A text that has grown to so much is closed, and the next begins."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_ROUND_SECONDS: Final = 2.0
"""Between two rounds that bring nothing but grown texts; longer, the longer the texts are."""
_ROUND_BYTES: Final = 64 << 10


class Reached(msgspec.Struct):
    """How far the files of a writer are; the value of its tag, as JSON."""

    offset: int = 0
    texts: dict[str, tuple[int, int]] = {}
    """Of each text the number of the part that is open, and its bytes."""


class Freight:
    """Files, and what is added to texts, on their way to `Files`."""

    def __init__(self) -> None:
        self.files: dict[str, bytes | Path] = {}
        self.texts: list[tuple[str, bytes]] = []
        self.first: int | None = None
        """Where in the journal the first record begins that names any of it."""

    def put(self, path: str, content: bytes | Path, start: int) -> None:
        """Send a file, in place of what lies under the path."""
        self.files[path] = content
        self.first = start if self.first is None else self.first

    def append(self, path: str, text: bytes, start: int) -> None:
        """Add to a text that grows."""
        self.texts.append((path, text))
        self.first = start if self.first is None else self.first


class _Text:
    """A text that grows, a part at a time."""

    def __init__(self, part: int = 0, length: int = 0) -> None:
        self.part = part
        self.content = bytearray()
        self.length = length
        """Bytes at the server that have to be fetched before more can follow."""
        self.fetched = not length
        self.dirty = False


class _Round(msgspec.Struct):
    """What goes together."""

    end: int
    files: dict[str, bytes | Path]
    texts: dict[str, bytes]
    reached: Reached


class Files:
    """Sends the files of one writer.

    Parameters
    ----------
    client
        A connection, used by nobody else.
    store
        The run's artifacts, by the same connection.
    run
        The run's id at MLflow.
    tag
        The tag that tells how far the files are.
    reached
        What it told last.
    """

    def __init__(self, client: Client, store: ArtifactStore, run: str, tag: str, reached: Reached) -> None:
        self._client = client
        self._store = store
        self._run = run
        self._tag = tag
        self._texts = {path: _Text(*place) for path, place in reached.texts.items()}
        self._files: dict[str, bytes | Path] = {}
        self._first: int | None = None
        self._end = reached.offset
        self._sending: int | None = None
        """Where the first record stands of the round that is on its way."""
        self._hurry = False
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def give(self, freight: Freight, end: int, *, last: bool = False) -> None:
        """Take over what records up to an offset of the journal name.

        Parameters
        ----------
        last
            Whether there is no use in waiting for more.
        """
        with self._lock:
            self._files.update(freight.files)
            for path, text in freight.texts:
                grown = self._texts.setdefault(path, _Text())
                grown.content += text
                grown.dirty = True
            if self._first is None:
                self._first = freight.first
            self._end = max(self._end, end)
            self._hurry = self._hurry or last
            if self._first is not None and self._thread is None:
                self._thread = threading.Thread(target=self._work, name="trackkit-mlflow-files", daemon=True)
                self._thread.start()
        self._wake.set()

    @property
    def first(self) -> int | None:
        """The offset of the first record whose files are not there yet."""
        with self._lock:
            return self._first if self._sending is None else self._sending

    @property
    def count(self) -> int:
        """How many files and texts are not there yet."""
        with self._lock:
            waiting = len(self._files) + sum(text.dirty for text in self._texts.values())
            return waiting + (self._sending is not None)

    def close(self) -> None:
        """Stop after what is being sent; the rest is sent by whoever opens the sink next."""
        self._stop.set()
        self._wake.set()
        if self._thread is None:
            self._client.close()

    def _work(self) -> None:
        pause, current = _FIRST_PAUSE, None
        while not self._stop.is_set():
            current = current or self._next_round()
            if current is None:
                self._wake.wait(_LONGEST_PAUSE)
                self._wake.clear()
                continue
            try:
                self._send(current)
            except InterruptedError:
                break
            except SinkRefused as error:
                logger.warning("trackkit: files are not sent: %s", error)
            except Exception as error:
                if pause == _FIRST_PAUSE:
                    logger.warning("trackkit: files can't be sent to %s now (%s)", self._client.address, error)
                logger.debug("sending failed", exc_info=error)
                self._client.reset()
                self._stop.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            pause = _FIRST_PAUSE
            with self._lock:
                self._sending = None
            self._linger(current)
            current = None
        self._client.close()

    def _linger(self, done: _Round) -> None:
        """Let texts grow before they are put again, the longer the longer they are."""
        size = sum(map(len, done.texts.values()))
        until = time.monotonic() + min(_LONGEST_PAUSE, _ROUND_SECONDS + size / _ROUND_BYTES)
        while not self._stop.is_set() and (left := until - time.monotonic()) > 0:
            with self._lock:
                if self._hurry or self._files:
                    return
            self._wake.wait(left)
            self._wake.clear()

    def _next_round(self) -> _Round | None:
        """What there is to send; texts whose beginning is at the server are fetched first."""
        with self._lock:
            if self._first is None:
                return None
            wanted = [(path, text) for path, text in self._texts.items() if not text.fetched]
        try:
            for path, text in wanted:
                before = self._store.get(_part(path, text.part)) or b""
                with self._lock:
                    text.content[:0] = before[: text.length]
                    text.fetched = True
        except (SinkError, Rejected, SinkRefused) as error:
            logger.debug("a text could not be fetched", exc_info=error)
            self._stop.wait(_FIRST_PAUSE)
            return None if isinstance(error, SinkError) else self._take()
        return self._take()

    def _take(self) -> _Round:
        with self._lock:
            texts: dict[str, bytes] = {}
            for path, text in self._texts.items():
                if text.dirty:
                    texts[_part(path, text.part)] = bytes(text.content)
                    text.dirty = False
                if len(text.content) > ROLL_BYTES:
                    text.part, text.content, text.length = text.part + 1, bytearray(), 0
            lengths = {path: (text.part, max(len(text.content), text.length)) for path, text in self._texts.items()}
            taken = _Round(self._end, self._files, texts, Reached(self._end, lengths))
            self._files, self._sending, self._first = {}, self._first, None
        return taken

    def _send(self, current: _Round) -> None:
        for path, content in list(current.files.items()):
            self._put(path, content)
            current.files.pop(path)
            if self._stop.is_set():
                raise InterruptedError("the run ends")
        for path, content in current.texts.items():
            self._put(path, content)
        if self._stop.is_set():  # another sink may be at work by now, and further
            raise InterruptedError("the run ends")
        value = msgspec.json.encode(current.reached).decode()
        with contextlib.suppress(Rejected):  # the run is deleted, which the other thread will tell
            self._client.post("runs/set-tag", {"run_id": self._run, "key": self._tag, "value": value})

    def _put(self, path: str, content: bytes | Path) -> None:
        try:
            self._store.put(path, content)
        except FileNotFoundError as error:
            logger.warning("trackkit: the file %s is not sent: %s", path, error)
        except Rejected as error:
            logger.warning("trackkit: the file %s is not taken: %s", path, error)


def _part(path: str, number: int) -> str:
    """The path of a part of a text: `console/stdout.log`, then `console/stdout.1.log`."""
    if not number:
        return path
    stem, dot, extension = path.rpartition(".")
    return f"{stem}.{number}{dot}{extension}"


def reached_of(tags: dict[str, str], tag: str) -> Reached:
    """How far the files are, as a tag tells."""
    try:
        found: Any = json.loads(tags[tag])
        return msgspec.convert(found, Reached)
    except (KeyError, ValueError, msgspec.ValidationError):
        return Reached()

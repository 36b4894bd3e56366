"""Files on their way to where a store keeps them: on connections of their own, so that no checkpoint delays a metric.

Only what the target lacks is sent, several at a time. Of an artifact the files come first and its manifest last; then
the target is asked to make a version of it, which it does if everything is there. Whoever takes this up again after a
kill begins with asking what is lacking, so nothing is sent twice.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from trackkit.core import records
from trackkit.core.blobs import Blobs
from trackkit.core.manifest import Manifest, ManifestDamaged
from trackkit.core.sink import SinkRefused

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

logger = logging.getLogger("trackkit")

CONNECTIONS: Final = 4
ASKED_AT_ONCE: Final = 10_000
"""Digests in one question for what is lacking."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_ROUNDS: Final = 5


class NotTaken(SinkRefused):
    """The target will never take this file."""


class Target(Protocol):
    """Where files go; each of several threads has one of its own.

    Whatever is raised but `NotTaken`, `SinkRefused` and `FileNotFoundError` means that it is worth trying again.
    """

    def lacking(self, digests: list[str]) -> list[str]:
        """Which of these blobs it lacks."""
        ...

    def put(self, digest: str, file: Path) -> None:
        """Bring a blob there, and see that it arrived whole."""
        ...

    def commit(self, token: str) -> tuple[str, list[str]]:
        """Ask for a version of what was logged: its state, and the blobs that are lacking."""
        ...

    def reset(self) -> None:
        """Leave connections that may be broken."""
        ...

    def close(self) -> None: ...


class _Task:
    """A blob, or an artifact's version."""

    def __init__(self, digest: str, offset: int, token: str = "") -> None:
        self.digest = digest
        self.offset = offset
        self.token = token


class Uploads:
    """Sends what records name, each until it is there or never will be.

    Parameters
    ----------
    target
        Makes a connection to where files go.
    root
        The folder of the store whose blobs these are.
    """

    def __init__(self, target: Callable[[], Target], root: Path) -> None:
        self._make_target = target
        self._blobs = Blobs(root)
        self._tasks: OrderedDict[str, _Task] = OrderedDict()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._local = threading.local()
        self._targets: list[Target] = []

    def add(self, digest: str, offset: int) -> None:
        """Send a blob that a record names.

        Parameters
        ----------
        offset
            Where in the journal, so that it is kept until the blob is there.
        """
        self._add(digest, _Task(digest, offset))

    def add_version(self, token: str, digest: str, offset: int) -> None:
        """Send the files of an artifact that was logged, and have a version made of it."""
        self._add(token, _Task(digest, offset, token))

    def add_item(self, record: records.Object | records.Artifact, offset: int) -> None:
        """Send what a record names."""
        if isinstance(record, records.Artifact):
            self.add_version(record.token, record.digest, offset)
        else:
            self.add(record.digest, offset)

    def _add(self, name: str, task: _Task) -> None:
        with self._lock:
            self._tasks.setdefault(name, task)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="trackkit-uploads", daemon=True)
                self._thread.start()
        self._wake.set()

    @property
    def first(self) -> int | None:
        """The offset of the first record whose files are not there yet."""
        with self._lock:
            return min((task.offset for task in self._tasks.values()), default=None)

    @property
    def count(self) -> int:
        """How many files and artifacts are not there yet."""
        with self._lock:
            return len(self._tasks)

    def close(self) -> None:
        """Stop after what is being sent; the others are sent by whoever opens the sink next."""
        self._stop.set()
        self._wake.set()

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        # Not with this module: a fork meanwhile would find the library's own hooks half there, and complain.
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(CONNECTIONS, "trackkit-upload") as pool:
            while not self._stop.is_set():
                with self._lock:
                    name, task = next(iter(self._tasks.items()), ("", None))
                if task is None:
                    self._wake.wait()
                    self._wake.clear()
                    continue
                try:
                    self._send(pool, task)
                    pause = _FIRST_PAUSE
                except (SinkRefused, FileNotFoundError, ManifestDamaged) as error:
                    what = "artifact" if task.token else "file"
                    logger.warning("trackkit: the %s with the digest %s is not sent: %s", what, task.digest, error)
                except Exception as error:
                    if pause == _FIRST_PAUSE:
                        logger.warning("trackkit: a file can't be sent now (%s); it is tried again", error)
                    logger.debug("sending failed", exc_info=error)
                    for target in list(self._targets):
                        target.reset()
                    self._stop.wait(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)
                    continue
                with self._lock:
                    self._tasks.pop(name, None)
        for target in self._targets:
            target.close()

    def _send(self, pool: ThreadPoolExecutor, task: _Task) -> None:
        if not task.token:
            self._put(task.digest)
            return
        try:
            manifest = Manifest.decode(self._blobs.path(task.digest).read_bytes())
        except (FileNotFoundError, ManifestDamaged):
            if self._target().commit(task.token)[1]:  # it may be all there already, or refused
                raise
            return
        lacking = self._lacking([*manifest.blobs(), task.digest])
        for _ in range(_ROUNDS):
            self._put_all(pool, [digest for digest in lacking if digest != task.digest])
            if task.digest in lacking:
                self._put(task.digest)
            if self._stop.is_set():
                raise InterruptedError("the run ends")
            _, lacking = self._target().commit(task.token)
            if not lacking:
                return
        raise ConnectionError(f"{len(lacking)} files did not arrive")

    def _lacking(self, digests: Sequence[str]) -> list[str]:
        found: list[str] = []
        for start in range(0, len(digests), ASKED_AT_ONCE):
            found += self._target().lacking(list(digests[start : start + ASKED_AT_ONCE]))
        return found

    def _put_all(self, pool: ThreadPoolExecutor, digests: Sequence[str]) -> None:
        for _ in pool.map(self._put, digests):
            pass

    def _put(self, digest: str) -> None:
        if self._stop.is_set():
            raise InterruptedError("the run ends")
        path = self._blobs.path(digest)
        if not path.is_file():
            raise FileNotFoundError(f"the blob {digest} is missing from {self._blobs.folder}")
        self._target().put(digest, path)

    def _target(self) -> Target:
        target: Target | None = getattr(self._local, "target", None)
        if target is None:
            target = self._local.target = self._make_target()
            with self._lock:
                self._targets.append(target)
        return target

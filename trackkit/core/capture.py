"""What a run captures by itself: system samples, the console, where it came from, its code.

None of it delays `init`: all but the start of the console's capture happens on the pump's thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trackkit.core import records
from trackkit.core.settings import Settings

if TYPE_CHECKING:
    from trackkit.core.console import ConsoleCapture
    from trackkit.core.pump import Chore
    from trackkit.core.redaction import Redactor
    from trackkit.core.system import SystemSampler

INLINE_BYTES = 16 * 1024
"""Smaller content is kept in its record, larger content as a blob."""
CONSOLE_FLUSH_SECONDS = 1.0
OWN_FOLDERS = ("journals", "blobs", "resume")
"""What a store's folder has that is text and yet nobody's code, wherever that folder is."""


class Capture:
    """Turns what happens around a run into records.

    Parameters
    ----------
    record
        Takes a record.
    now
        The run's clock.
    settings, root
        What to capture, and the store's folder.
    redactor
        Removes secrets, or None to keep everything.
    """

    def __init__(
        self,
        record: Callable[[records.AnyRecord], None],
        now: Callable[[], float],
        settings: Settings,
        root: Path,
        redactor: Redactor | None,
    ) -> None:
        self._record = record
        self._now = now
        self._settings = settings
        self._root = root
        self._own_folders = [root / name for name in OWN_FOLDERS]
        self._redactor = redactor
        self.rest: Callable[[], None] = lambda: None
        """Gives way to the training thread; the pump's, once there is one."""
        self._in_child = False
        self._stopped = False
        self._recording = threading.Lock()
        """Held while a sample is recorded, so that none is once `stop` has returned."""
        self._sampler: SystemSampler | None = None
        self._console: ConsoleCapture | None = None
        if settings.console != "off":
            from trackkit.core.console import ConsoleCapture

            self._console = ConsoleCapture(self._emit, settings.console)

    def start(self) -> None:
        """Begin to listen to the console."""
        if self._console is not None:
            self._console.start()

    def stop(self) -> None:
        """Stop listening and sampling; what was held back is recorded, and nothing comes after it."""
        if self._console is not None:
            self._console.stop()
        with self._recording:
            self._stopped = True

    def close(self) -> None:
        """Let go of the devices; the pump has ended."""
        if self._sampler is not None:
            self._sampler.close()

    def after_fork_in_child(self) -> None:
        """In a forked child: only what it prints is its own affair; machine and provenance are its parent's."""
        self._in_child = True
        self._recording = threading.Lock()
        self._sampler = None  # the devices' library is the parent's, too, and not to be closed from here
        if self._console is not None:
            self._console.after_fork_in_child()

    def chores(self) -> list[Chore]:
        """What the pump should do now and then."""
        from trackkit.core.pump import Chore

        found = []
        if self._settings.system and not self._in_child:
            found.append(Chore(self._settings.system_interval, self._sample))
        if self._console is not None:
            found.append(Chore(CONSOLE_FLUSH_SECONDS, self._console.flush, CONSOLE_FLUSH_SECONDS))
        return found

    def modules(self) -> list[str]:
        """What the chores and the gathering will import."""
        if self._in_child:
            return []
        wanted = ["subprocess", "trackkit.core.provenance", "trackkit.core.blobs"]
        if self._settings.system:
            wanted += ["psutil", "trackkit.core.system"]
        if self._settings.packages:
            wanted.append("importlib.metadata")
        return wanted

    def _sample(self) -> None:
        if self._sampler is None:
            from trackkit.core.system import SystemSampler

            self._sampler = SystemSampler(path=self._root.parent, gpu=self._settings.gpu, rest=self.rest)
        sample = self._sampler.sample()
        with self._recording:
            if not self._stopped:
                self._record(records.System(self._now(), sample))

    def _emit(self, stream: str, text: str) -> None:
        clean = text if self._redactor is None else self._redactor.text(text)
        self._record(records.Lines(self._now(), stream, clean))

    def provenance(self) -> Iterator[object]:
        """Gather where the run came from; each step is short."""
        if self._in_child:
            return
        from trackkit.core import provenance
        from trackkit.core.redaction import Redactor

        redactor = self._redactor if self._redactor is not None else Redactor((), names=())
        settings = self._settings
        for section in provenance.gather(redactor, git=settings.git, packages=settings.packages, rest=self.rest):
            if section:
                self._record(records.Provenance(self._now(), section))
            yield section
        if settings.code and (source := provenance.main_source()) is not None:
            path, content = source
            self._keep_source("code/main", path, content)
            yield path
        if settings.git and (
            patch := provenance.git_diff(Path.cwd(), redactor, without=self._own_folders, rest=self.rest)
        ):
            self._keep("diff", "diff", "diff.patch", patch.encode("utf-8", "surrogateescape"))
            yield patch

    def log_code(
        self,
        root: Path,
        include: Callable[[str], bool] | Sequence[str] | None,
        exclude: Callable[[str], bool] | Sequence[str] | None,
    ) -> list[str]:
        """Keep the source files under a folder; see `Run.log_code`."""
        from trackkit.core.provenance import code_files

        kept = []
        own = [folder.resolve() for folder in self._own_folders]
        for file in code_files(root, include, exclude):
            if any(file.resolve().is_relative_to(folder) for folder in own):
                continue
            path = file.relative_to(root).as_posix() if file.is_absolute() == root.is_absolute() else file.as_posix()
            try:
                self._keep_source(f"code/{path}", path, file.read_bytes())
            except OSError:
                continue  # gone or unreadable since it was listed
            kept.append(path)
        return kept

    def _keep_source(self, key: str, path: str, content: bytes) -> None:
        if self._redactor is not None:
            content = self._redactor.text(content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        self._keep(key, "code", path, content)

    def _keep(self, key: str, kind: str, path: str, content: bytes) -> None:
        if len(content) <= INLINE_BYTES:
            digest, inline = "", content
        else:
            from trackkit.core.blobs import Blobs

            digest, inline = Blobs(self._root).put_bytes(content), b""
        self._record(records.Object(self._now(), key, kind, path, len(content), digest, inline))

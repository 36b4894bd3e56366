"""Loose files of a run, which belong to no artifact: kept at once, whenever they change, or at the end."""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, get_args

from trackkit.core import records
from trackkit.core.blobs import Blobs
from trackkit.core.cache import Cache
from trackkit.core.manifest import check_path
from trackkit.core.sink import Shelf
from trackkit.core.staging import NotStaged, stage_files

if TYPE_CHECKING:
    from trackkit.core.run import Run

When = Literal["live", "now", "end"]
LOOK_SECONDS = 10.0
"""Between two looks for changes."""


class LooseFiles:
    """Keeps files of a run.

    Parameters
    ----------
    run
        The run.
    record
        Takes a record.
    now
        The run's clock.
    cache
        Gives the client's cache.
    """

    def __init__(
        self,
        run: Run,
        record: Callable[[records.AnyRecord], None],
        now: Callable[[], float],
        cache: Callable[[], Cache],
    ) -> None:
        self._run = run
        self._record = record
        self._now = now
        self._cache = cache
        self._watched: dict[str, tuple[str, When]] = {}
        self._seen: dict[str, tuple[int, int]] = {}

    def save(self, pattern: str | os.PathLike[str], base: str | os.PathLike[str] | None, policy: When) -> list[str]:
        """Keep the files a pattern matches; their paths in the run."""
        if policy not in get_args(When):
            raise ValueError(f"policy must be 'live', 'now' or 'end', not {policy!r}")
        text = os.fspath(pattern)
        if base is None:
            base = os.path.dirname(text) if os.path.isabs(text) else "."
        top = os.path.abspath(os.fspath(base))
        found = [file for file in sorted(glob.glob(text, recursive=True)) if os.path.isfile(file)]
        paths = {}
        for file in found:
            inner = os.path.relpath(os.path.abspath(file), top).replace(os.sep, "/")
            paths[os.path.abspath(file)] = check_path(inner)
        for file, path in paths.items():
            self._watched[file] = (path, policy)
        self._keep([file for file in paths if policy != "end"])
        return list(paths.values())

    @property
    def is_live(self) -> bool:
        """Whether files are watched for changes."""
        return any(policy == "live" for _, policy in self._watched.values())

    def look(self) -> None:
        """Keep watched files that changed."""
        self._keep([file for file, (_, policy) in self._watched.items() if policy == "live"])

    def finish(self) -> None:
        """Keep what is kept at the end, and what changed of what is watched."""
        self._keep([file for file, (_, policy) in self._watched.items() if policy != "now"])

    def restore(
        self, name: str, run_path: str | None, replace: bool, root: str | os.PathLike[str] | None, shelf: Shelf
    ) -> IO[str] | None:
        """Bring a file of a run back, and open it."""
        target = Path(root if root is not None else ".", check_path(name))
        if target.is_file() and not replace:
            return open(target)
        run = (run_path or self._run.id).rpartition("/")[2]
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".trackkit-{os.urandom(8).hex()}")
        try:
            if not shelf.restore(run, name, fresh):
                raise ValueError(f"the run {run!r} has no file {name!r}")
            os.replace(fresh, target)
        finally:
            fresh.unlink(missing_ok=True)
        return open(target)

    def _keep(self, files: list[str]) -> None:
        changed = []
        for file in files:
            try:
                found = os.stat(file)
            except OSError:
                continue  # gone since; what was kept of it stays
            if self._seen.get(file) != (found.st_mtime_ns, found.st_size):
                changed.append((file, (found.st_mtime_ns, found.st_size)))
        for file, seen in changed:
            try:
                ((digest, size),) = stage_files(Blobs(self._run.dir), [file], "mutable", self._cache().stats)
            except NotStaged as error:
                warnings.warn(f"trackkit: {file} could not be kept: {error}", RuntimeWarning, stacklevel=4)
                continue
            except OSError:
                continue  # it changes now; it is looked at again
            path = self._watched[file][0]
            self._record(records.Object(self._now(), path, "file", path, size, digest))
            self._seen[file] = seen

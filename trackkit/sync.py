"""Sending journals after the fact: of offline runs, of runs whose sink was away, of dead and of living writers."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from trackkit.backend.store import recovery
from trackkit.backend.store.recovery import Meter, Progress, Replay
from trackkit.backend.store.sqlite import DATABASE_NAME, database_path
from trackkit.core import journal
from trackkit.core.sink import Holding, Sink, SinkError, find_factory, scheme_of

STORE = "sqlite:"
"""The target unless another is named: the store in whose folder the journals are."""
_FILE_SECONDS = 600.0
"""How long one file may take."""
_PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds between tries while the target takes nothing; the last is repeated while following."""


@runtime_checkable
class Abandonable(Protocol):
    """A sink whose target can be told that a writer died without a Finish record."""

    def abandon(self, when: float | None = None) -> bool: ...


class Synced(Replay):
    """What was sent of one journal, and what became of it.

    Attributes
    ----------
    uri
        Where it was sent.
    alive
        Whether its writer still runs, or is in another's care.
    deleted
        Whether the journal was deleted, as all of its sinks have it.
    """

    uri: str = ""
    alive: bool = False
    deleted: bool = False


def sync(
    paths: Iterable[str | os.PathLike[str]],
    to: str | None = None,
    *,
    follow: bool = False,
    clean: bool = False,
    progress: Progress | None = None,
    interval: float = 1.0,
    stop: threading.Event | None = None,
) -> list[Synced]:
    """Send journals to a sink. Repeating it sends only what is new, and only once.

    Living writers' journals are sent up to where they are; writers that died without finishing their run
    are marked crashed where the target can tell that. Journals stay on disk unless `clean` is given.

    Parameters
    ----------
    paths
        Folders of stores, of a run's journals, or of one writer's.
    to
        The sink's URI, by default the database of the store the journals lie in.
    follow
        Go on until all writers have ended, or `stop` is set.
    clean
        Delete the journals of dead writers whose every sink has all of them.
    progress
        Called now and then with the bytes sent and to send.
    interval
        Seconds between two looks while following.

    Returns
    -------
    list[Synced]
        One entry per journal. A journal that could not be sent says why in `error` and holds up no other.

    Raises
    ------
    FileNotFoundError
        If a path is no folder with journals.
    ValueError
        If no sink is installed for the URI.

    Examples
    --------
    >>> sync([".trackkit"], to="sqlite:////data/team.db")  # doctest: +SKIP
    """
    chosen = [Path(path).absolute() for path in paths]
    stopping = stop or threading.Event()
    transfers: dict[Path, _Transfer] = {}
    meter = Meter(progress)
    try:
        while True:
            for path in chosen:
                _encode_staged(path)
            for folder in dict.fromkeys(folder for path in chosen for folder in writers_under(path)):
                if folder not in transfers:
                    transfers[folder] = _Transfer(folder, to or STORE, meter, clean)
                if stopping.is_set():
                    break
                transfers[folder].send(stopping, patient=not follow)
            done = all(transfer.done for transfer in transfers.values())
            if not follow or done or stopping.wait(interval):
                return [transfer.result for transfer in transfers.values()]
    finally:
        for transfer in transfers.values():
            transfer.close()


def _encode_staged(path: Path) -> None:
    """Bring media that dead writers left staged into journals; see `core.media.recovery`."""
    store, run = path, None
    if path.parent.name == "journals":
        store, run = path.parent.parent, path.name
    elif path.parent.parent.name == "journals":
        store, run = path.parent.parent.parent, path.parent.name
    if (store / recovery.STAGING_FOLDER).is_dir():
        from trackkit.core.media import recovery as media

        media.recover(store, run)


def writers_under(path: Path) -> Iterator[Path]:
    """The journal folders of the writers a path means: of a store, of a run, or one itself.

    Raises
    ------
    FileNotFoundError
        If the path is none of these.
    """
    if (path / "journals").is_dir():
        return journal.writer_folders(path)
    if path.parent.name == "journals" and path.is_dir():
        return journal.writer_folders(path.parent.parent, path.name)
    if path.parent.parent.name == "journals" and path.is_dir():
        return iter([path])
    if path.is_dir() and (path / DATABASE_NAME).exists():
        return iter([])  # a store whose journals are all in it
    raise FileNotFoundError(
        f"{path} has no journals: expected a store's folder (.trackkit), or in it journals/RUN or journals/RUN/WRITER"
    )


class _Transfer:
    """One journal on its way to the sink."""

    def __init__(self, folder: Path, uri: str, meter: Meter, clean: bool) -> None:
        self.folder = folder
        self.root = folder.parent.parent.parent
        self.result = Synced(folder.parent.name, folder.name, uri=uri)
        self.done = False
        self._meter = meter
        self._expected = False
        self._clean = clean
        self._sink: Sink | None = None
        self._factory = find_factory(uri)

    def send(self, stopping: threading.Event, *, patient: bool) -> None:
        """Send what is new. Where the target takes nothing now, try again, if patient."""
        if self.done:
            return
        for pause in (*_PAUSES, None):
            self.result.error = ""
            try:
                return self._send()
            except SinkError as error:
                self._failed(error)
                if pause is None or not patient or stopping.wait(pause):
                    return
            except Exception as error:
                self._failed(error)
                self.done = True
                return

    def _send(self) -> None:
        lock = recovery.lock_dead(self.folder)
        try:
            self.result.alive = lock is None
            self._replay(final=lock is not None)
            if lock is not None:
                self._settle()
                self.done = True
        except FileNotFoundError:
            if self.folder.exists():
                raise
            self.result.alive = False  # its own pump, or somebody else, delivered everything and deleted it
            self.done = True
        finally:
            if lock is not None:
                lock.release()

    def _replay(self, *, final: bool) -> None:
        if self._sink is None:
            sink = self._factory(self.result.uri, self.root)
            self._sink = sink
            self.result.position = sink.open(self.result.run, self.result.writer)
        if not self._expected:
            self._meter.expect(recovery.size_of(self.folder, self.result.position))
            self._expected = True
        sent = recovery.replay(self.folder, self.result.position, self._sink.write, final=final, meter=self._meter)
        self.result.position = sent.position
        self.result.sent += sent.sent
        self.result.finished = self.result.finished or sent.finished
        self.result.last = sent.last if sent.last is not None else self.result.last
        self.result.damage += [text for text in sent.damage if text not in self.result.damage]
        self._sink.sync()
        self._wait_for_files()

    def _wait_for_files(self) -> None:
        """Wait for files that the sink sends apart from records, as long as they go on arriving."""
        sink: object = self._sink
        if not isinstance(sink, Holding):
            return
        waiting, patience = sink.files_waiting, _FILE_SECONDS
        while waiting:
            time.sleep(0.05)
            patience = _FILE_SECONDS if sink.files_waiting < waiting else patience - 0.05
            waiting = sink.files_waiting
            if patience <= 0:
                raise SinkError(f"{waiting} files of run {self.result.run} could not be sent")

    def _settle(self) -> None:
        """What is to be done once a dead writer's whole journal was sent."""
        if isinstance(self._sink, Abandonable):
            self._sink.abandon(self.result.last)
        with contextlib.suppress(OSError):  # a journal on a disk that can't be written is synced all the same
            self._note()

    def _note(self) -> None:
        """Note how far the target is: with the writer's own sinks, or apart if it is none of them."""
        sinks, synced, end = journal.read_sinks(self.folder), recovery.read_synced(self.folder), self.result.position
        name = self._name()
        if name in sinks:
            sinks[name] = end
            journal.write_sinks(self.folder, sinks)
        else:
            synced[name] = end
            recovery.write_synced(self.folder, synced)
        if self._clean and all(offset >= end for offset in (sinks or synced).values()):
            recovery.delete_journal(self.folder)
            self.result.deleted = True

    def _name(self) -> str:
        """The target's URI as the writer knew it, who may have spelled it otherwise."""
        if scheme_of(self.result.uri) != "sqlite":
            return self.result.uri
        path = database_path(self.result.uri, self.root)
        return recovery.own_sink(self.folder, self.root, path) or f"sqlite:///{path}"

    def _failed(self, error: Exception) -> None:
        self.result.error = f"{type(error).__name__}: {error}"
        self.close()

    def close(self) -> None:
        """Close the sink; the next try opens it again."""
        sink, self._sink = self._sink, None
        if sink is not None:
            with contextlib.suppress(Exception):
                sink.close()

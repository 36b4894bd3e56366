"""Files on their way to a server: on a connection of their own, so that no checkpoint delays a metric."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from pathlib import Path

from trackkit.core.blobs import Blobs
from trackkit.core.connection import path_of
from trackkit.core.sink import SinkError
from trackkit.sinks.client import Client, Refused, TooLarge

logger = logging.getLogger("trackkit")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0


class Uploads:
    """Sends blobs one after the other, until each is there or never will be.

    Parameters
    ----------
    url
        The server's address.
    root
        The folder of the store whose blobs these are.
    """

    def __init__(self, url: str, root: Path) -> None:
        self._url = url
        self._blobs = Blobs(root)
        self._waiting: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, digest: str, offset: int) -> None:
        """Send a blob that a record names.

        Parameters
        ----------
        offset
            Where in the journal, so that it is kept until the blob is there.
        """
        with self._lock:
            self._waiting.setdefault(digest, offset)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="trackkit-uploads", daemon=True)
                self._thread.start()
        self._wake.set()

    @property
    def first(self) -> int | None:
        """The offset of the first record whose blob is not there yet."""
        with self._lock:
            return min(self._waiting.values(), default=None)

    @property
    def count(self) -> int:
        """How many blobs are not there yet."""
        with self._lock:
            return len(self._waiting)

    def close(self) -> None:
        """Stop after the blob that is being sent; the others are sent by whoever opens the sink next."""
        self._stop.set()
        self._wake.set()

    def _run(self) -> None:
        client = Client(self._url)
        pause = _FIRST_PAUSE
        while not self._stop.is_set():
            with self._lock:
                digest = next(iter(self._waiting), None)
            if digest is None:
                self._wake.wait()
                self._wake.clear()
                continue
            try:
                self._send(client, digest)
                pause = _FIRST_PAUSE
            except (TooLarge, Refused, FileNotFoundError) as error:
                logger.warning("trackkit: the file with the digest %s is not sent: %s", digest, error)
            except Exception as error:
                if pause == _FIRST_PAUSE:
                    logger.warning("trackkit: a file can't be sent now (%s); it is tried again", error)
                client.reset()
                self._stop.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            with self._lock:
                self._waiting.pop(digest, None)
        client.close()

    def _send(self, client: Client, digest: str) -> None:
        with open(self._blobs.path(digest), "rb") as file:
            try:
                client.request("PUT", path_of("blobs", digest), data=file, confirm=False)
                return
            except Refused:
                pass
        try:
            client.request("GET", path_of("blobs", digest))  # asked again, without sending all of it
        except Refused as error:
            if error.status != 404:
                raise
        raise SinkError("the file was damaged on its way")

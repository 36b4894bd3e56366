"""The sink for teams: runs sent to a trackkit server."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec
import zstandard

from trackkit.backend.store import freight
from trackkit.backend.store.columns import is_record
from trackkit.core import wire
from trackkit.core.connection import path_of
from trackkit.core.server_shelf import ServerShelf
from trackkit.core.sink import Batch, Known, Shelf, SinkError, SinkRefused
from trackkit.sinks.client import Client, Refused, TooLarge
from trackkit.sinks.server_target import ServerTarget
from trackkit.sinks.uploads import Uploads

HEARTBEAT_SECONDS: Final = 15.0
"""A writer with nothing to say shows that it lives this often, and hears whether the run is to stop."""

LOOKUP_SECONDS: Final = 5.0
"""How long `init` waits to hear what the server knows of a run."""

_LAST_WORDS: Final = 16
"""How many records from the end of a batch a Finish record is looked for: little comes after it."""

_LEVEL = 1
"""zstd's fastest but one halves journals of metrics at 500 MB/s; higher levels take the time and save little."""


class HTTPSink:
    """Sends runs to a trackkit server; see `core.sink.Sink` for the contract.

    Parameters
    ----------
    uri
        The server's address, `http://host:port`; of several servers on one store `http://one:port,two:port`.
    root
        The store's folder: where the blobs are that records name.

    Raises
    ------
    ValueError
        If the URI is no address.
    """

    local = False

    def __init__(self, uri: str, root: Path) -> None:
        self.stop_requested = False
        self._uri = uri
        self._root = root
        self._client = Client(uri)
        self._uploads: Uploads | None = None
        self._run = self._writer = ""
        self._position = self._durable = 0
        self._last_contact = 0.0
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)

    def open(self, run: str, writer: str) -> int:
        self._run, self._writer = run, writer
        self._position, self._durable = self._take_answer(self._client.request("GET", self._journal())), 0
        self._take_up()
        return self._position

    def write(self, batch: Batch) -> int:
        while True:
            try:
                return self._send(batch)
            except TooLarge as error:
                if len(batch) < 2:
                    raise SinkRefused(f"a record of {len(batch.payloads[0]):,} bytes is too large: {error}") from error
                half = len(batch) // 2
                batch = Batch(batch.start, batch.ends[half - 1], batch.payloads[:half], batch.ends[:half], batch.rest)

    def _send(self, batch: Batch) -> int:
        after = min(self._position, batch.start)
        message = self._compressor.compress(wire.encode(self._run, self._writer, after, batch))
        headers = {"content-type": wire.CONTENT_TYPE, "content-encoding": "zstd"}
        # After the run's last words the journal is deleted.
        last = any(is_record(payload, b"finish") for payload in batch.payloads[-_LAST_WORDS:])
        path = f"{self._journal()}?durable=true" if last else self._journal()
        position = self._take_answer(self._client.request("POST", path, data=message, headers=headers))
        if position < batch.end:
            raise SinkError(f"{self._client.origin} took less than it was sent")
        self._position, self._durable = position, position if last else self._durable
        self._add_blobs(batch)
        return position

    def idle(self) -> None:
        """Show, now and then, that the writer lives, and hear whether the run is to stop."""
        if time.monotonic() - self._last_contact > HEARTBEAT_SECONDS:
            self._take_answer(self._client.request("GET", self._journal()))

    @property
    def held(self) -> int | None:
        """The offset of the first record whose file is still on its way; None if all are there."""
        return None if self._uploads is None else self._uploads.first

    @property
    def files_waiting(self) -> int:
        """How many files are still on their way."""
        return 0 if self._uploads is None else self._uploads.count

    def sync(self) -> None:
        """Have the server put on its disk what it acknowledged, as the journal is about to be deleted."""
        if self._durable >= self._position:
            return
        position = self._take_answer(self._client.request("GET", f"{self._journal()}?durable=true"))
        if position < self._position:
            raise SinkError(f"{self._client.origin} lost what it had acknowledged; it is sent again")
        self._durable = position

    def close(self) -> None:
        self._client.close()
        if self._uploads is not None:
            self._uploads.close()
            self._uploads = None

    def abandon(self, when: float | None = None) -> bool:
        """Tell the server that the writer died without finishing."""
        answer = self._client.request("POST", f"{self._journal()}/abandon", json={"when": when})
        return bool(answer.get("changed"))

    def lookup(self, run: str) -> Known | None:
        """What the server knows of a run, or None; see `core.sink.Resumable`."""
        try:
            path = path_of("runs", run, "known")
            answer = self._client.request("GET", path, confirm=False, patience=LOOKUP_SECONDS)
        except Refused as error:
            if error.status == 404:
                return None
            raise
        return msgspec.convert(_with_numbers(answer), Known)

    def _journal(self) -> str:
        return path_of("runs", self._run, "journals", self._writer)

    def _take_answer(self, answer: dict[str, object]) -> int:
        """The position in an answer, which must be about our journal, and whole."""
        position, stop = answer.get("position"), answer.get("stop")
        if not isinstance(position, int) or answer.get("check") != f"{self._run}/{self._writer}/{position}/{stop:d}":
            raise SinkError(f"the answer of {self._client.origin} was damaged on its way")
        self._last_contact = time.monotonic()
        self.stop_requested = self.stop_requested or bool(stop)
        return position

    def _take_up(self) -> None:
        """Send files that the server still lacks and that are here, of what it has the records of."""
        path = path_of("runs", self._run, "missing")
        answer = self._client.request("GET", f"{path}?writer={quote(self._writer)}")
        digests, waiting = answer.get("digests"), answer.get("waiting", [])
        if not isinstance(digests, list) or not isinstance(waiting, list):
            raise SinkError(f"the answer of {self._client.origin} was damaged on its way")
        for digest in digests:
            self._sending().add(str(digest), 0)
        for each in waiting:
            self._sending().add_version(str(each["token"]), str(each["digest"]), 0)

    def _add_blobs(self, batch: Batch) -> None:
        for offset, record in freight.items(batch):
            self._sending().add_item(record, offset)

    def _sending(self) -> Uploads:
        if self._uploads is None:
            self._uploads = Uploads(lambda: ServerTarget(self._uri, self._run), self._root)
        return self._uploads

    def shelf(self) -> Shelf:
        """The server's artifacts; see `core.sink.Shelving`."""
        return ServerShelf(self._uri)


def _with_numbers(value: object) -> object:
    """A JSON value with the numbers that JSON has no word for."""
    if isinstance(value, dict):
        return {key: _with_numbers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_numbers(each) for each in value]
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value

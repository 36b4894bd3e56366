"""Runs on a trackkit server: the same questions as of a folder, asked by HTTP."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final, TypeVar, cast

import msgspec
import numpy as np
import requests
import urllib3
import zstandard

from trackkit.backend.store import gradients, history, lines, transfer
from trackkit.backend.store.filters import FilterError, Node
from trackkit.backend.store.history import History
from trackkit.backend.store.lines import LineRow
from trackkit.backend.store.media import MediaKey
from trackkit.backend.store.objects import ObjectRow
from trackkit.backend.store.runs import AlertRow, Flat, ProjectRow, RunRow
from trackkit.backend.store.series import HIGHEST, Points, in_time_order
from trackkit.backend.store.transfer import Edit, RunRecord
from trackkit.core.connection import Connection, path_of, reason
from trackkit.core.gradients import frames
from trackkit.core.gradients.frames import Layers
from trackkit.core.server_shelf import ServerShelf
from trackkit.core.sink import Catalogue, SinkError
from trackkit.query.source import Handle, RunNotFound

PAGE: Final = 100
"""Runs, and media, asked for at once."""
LINES: Final = 20_000
PIECE: Final = 1 << 16
IN_MEMORY: Final = 16 << 20
"""The largest content that is kept in memory; a larger one goes to a temporary file."""
PATIENCE: Final = 60.0

Answer = TypeVar("Answer")


class _WatchedKey(msgspec.Struct):
    key: str


class _WatchedKeys(msgspec.Struct):
    watched: list[_WatchedKey]


class _WatchedFrames(msgspec.Struct):
    layers: Layers
    steps: list[int]
    times: list[int]
    frames: list[bytes]
    next: int | None


class _Ids(msgspec.Struct):
    ids: list[str]


class _Rows(msgspec.Struct):
    rows: list[RunRecord]


class _Keys(msgspec.Struct):
    keys: list[str]


class _MediaKeys(msgspec.Struct):
    keys: list[MediaKey]


class _Project(msgspec.Struct):
    name: str
    runs: int
    running: int
    updated: float


class _Projects(msgspec.Struct):
    projects: list[_Project]


class _Line(msgspec.Struct):
    time: float
    stream: str
    writer: str
    text: str


class _Lines(msgspec.Struct):
    lines: list[_Line]
    cursor: str
    done: bool


class _Alert(msgspec.Struct):
    time: float
    level: str
    title: str
    text: str


class _Alerts(msgspec.Struct):
    alerts: list[_Alert]


class _Accounting(msgspec.Struct):
    writers: dict[str, dict[str, float]]


class _File(msgspec.Struct):
    path: str
    kind: str
    key: str
    size: int
    digest: str
    time: float
    step: int | None
    metadata: dict[str, Any]
    content: str = ""

    def row(self) -> ObjectRow:
        """As a store has it; what its content is asked for by is the end of its address."""
        _, writer, seq = self.content.rsplit("/", 2) if self.content else ("", "", "-1")
        metadata = msgspec.json.encode(self.metadata).decode()
        return ObjectRow(
            writer, int(seq), self.key, self.kind, self.path, self.size, self.digest, self.step,
            _microseconds(self.time), metadata,
        )  # fmt: skip


class _Files(msgspec.Struct):
    files: list[_File]


class _MediaPage(msgspec.Struct):
    items: list[_File]
    total: int


class RemoteSource:
    """Runs of a server; see `Source`.

    Parameters
    ----------
    url
        The server's address; of several servers on one store `http://one:port,two:port`.

    Raises
    ------
    ValueError
        If that is no address of a server.
    ConnectionError
        If it can't be reached, or is no trackkit server.
    PermissionError
        If it asks for a token, or for another one.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._local = threading.local()
        self.place = self.name = self._connection.origin
        self.artifacts: Catalogue = ServerShelf(url)
        self.handles(None, "-created", 0)  # asked now, so that a server that does not answer is reported here

    @property
    def _connection(self) -> Connection:
        """A connection of this thread in this process."""
        if getattr(self._local, "process", None) != os.getpid():
            self._local.connection = Connection(self._url)
            self._local.process = os.getpid()
        connection: Connection = self._local.connection
        return connection

    def projects(self) -> list[ProjectRow]:
        found = self._get("/projects", _Projects).projects
        return [ProjectRow(one.name, one.runs, one.running, _microseconds(one.updated)) for one in found]

    def handles(self, filters: Node | None, order: str | Sequence[str], limit: int | None) -> list[Handle]:
        asked: dict[str, Any] = {"order": order if isinstance(order, str) else ",".join(order)}
        if filters is not None:
            asked["filter"] = str(filters)
        if limit is not None:
            asked["limit"] = limit
        return list(self._get("/ids", _Ids, asked).ids)

    def handle(self, row: RunRow) -> Handle:
        return row.id

    def load(self, handles: Sequence[Handle]) -> list[RunRow]:
        found: list[RunRow] = []
        for start in range(0, len(handles), PAGE):
            rows = self._get("/rows", _Rows, {"run": list(handles[start : start + PAGE])}).rows
            found += [transfer.row_of(row) for row in rows]
        return found

    def find(self, path: str) -> RunRow | None:
        project, _, id = path.rpartition("/")
        found = {row.id: row for row in self.load(list(dict.fromkeys([path, id])))}
        if path in found:
            return found[path]
        return found[id] if id in found and found[id].project == project else None

    def keys(self, run: RunRow, kind: str) -> list[str]:
        return self._get(path_of("runs", run.id, "keys"), _Keys, {"kind": kind}).keys

    def points(self, run: RunRow, key: str, kind: str, *, superseded: bool = False) -> Points | None:
        asked = {"key": [key], "kind": kind, "superseded": str(superseded).lower()}
        found, _ = self._points(run, "points", asked)
        return found.get(key)

    def history(self, run: RunRow, keys: Sequence[str] | None) -> History:
        texts, _ = self._points(run, "points", {**_some(keys), "kind": "text"})
        numbers, _ = self._points(run, "points", {**_some(keys), "kind": "metric"})
        return history.of_keys({**texts, **numbers}, keys)

    def scan(self, run: RunRow, keys: Sequence[str] | None, first: int, last: int, rows: int) -> Iterator[History]:
        while first <= last:
            asked = {**_some(keys), "first": first, "last": last, "rows": rows}
            found, end = self._points(run, "window", asked)
            piece = history.of_keys(found, keys)
            if len(piece.steps):
                yield piece
            if end == HIGHEST:
                return
            first = end + 1

    def console(self, run: RunRow, stream: str | None, *, raw: bool) -> str:
        pieces = list(self._lines(run, stream))
        return lines.joined(pieces) if raw else lines.shown(pieces)

    def _lines(self, run: RunRow, stream: str | None) -> Iterator[LineRow]:
        asked = {"limit": str(LINES), "stream": stream or "", "after": ""}
        while True:
            page = self._get(path_of("runs", run.id, "console"), _Lines, asked)
            for line in page.lines:
                yield LineRow(_microseconds(line.time), line.writer, 0, line.stream, line.text)
            if page.done:
                return
            asked["after"] = page.cursor

    def alerts(self, run: RunRow) -> list[AlertRow]:
        found = self._get(path_of("runs", run.id, "alerts"), _Alerts).alerts
        return [AlertRow(_microseconds(one.time), one.level, one.title, one.text) for one in found]

    def accounting(self, run: RunRow) -> list[dict[str, float]]:
        return list(self._get(path_of("rows", run.id, "accounting"), _Accounting).writers.values())

    def files(self, run: RunRow) -> list[ObjectRow]:
        found = self._get(path_of("runs", run.id, "files"), _Files, {"media": "true"}).files
        return [file.row() for file in found]

    def media_keys(self, run: RunRow) -> list[MediaKey]:
        return self._get("/media/keys", _MediaKeys, _spec(runs=[run.id])).keys

    def media(self, run: RunRow, key: str) -> list[ObjectRow]:
        found: list[ObjectRow] = []
        while True:
            page = self._get("/media/history", _MediaPage, _spec(run=run.id, key=key, offset=len(found), limit=PAGE))
            found += [item.row() for item in page.items]
            if not page.items or len(found) >= page.total:
                return found

    def watched_keys(self, run: RunRow) -> list[str]:
        found = self._get(path_of("runs", run.id, "watched"), _WatchedKeys)
        return [one.key for one in found.watched]

    def watched(self, run: RunRow, key: str) -> gradients.Watched:
        pieces: list[gradients.Watched] = []
        asked: dict[str, int] = {}
        while True:
            page = self._get(path_of("runs", run.id, "watched", key, "frames"), _WatchedFrames, asked)
            steps, times = np.array(page.steps, np.int64), np.array(page.times, np.int64)
            pieces.append(gradients.Watched(page.layers, steps, times, [frames.decode(one) for one in page.frames]))
            if page.next is None:
                return gradients.strung(pieces)
            asked = {"first": page.next}

    def open(self, run: RunRow, file: ObjectRow) -> BinaryIO:
        if file.writer:
            return self._content(path_of("runs", run.id, "content", file.writer, str(file.seq)), file.path)
        if file.digest:
            return self.open_blob(run, file.digest, file.path)
        return self._content(path_of("runs", run.id, "files", file.path), file.path)

    def open_blob(self, run: RunRow, digest: str, name: str) -> BinaryIO:
        return self._content(path_of("runs", run.id, "content", digest), name)

    def change(
        self,
        run: RunRow,
        described: dict[str, str],
        tags: Iterable[str] | None,
        config: tuple[Flat, Sequence[str]],
        summary: tuple[Flat, Sequence[str]],
    ) -> None:
        edit = Edit(
            **cast("Any", described),
            tags=None if tags is None else list(tags),
            config=transfer.encode(config[0]),
            config_removed=list(config[1]),
            summary=transfer.encode(summary[0]),
            summary_removed=list(summary[1]),
        )
        self._ask("PATCH", path_of("rows", run.id), _body, json=msgspec.to_builtins(edit), about=run)

    def delete(self, run: RunRow) -> None:
        """Put a run into the server's trash."""
        try:
            self._ask("POST", "/runs/actions", _body, json={"action": "delete", "runs": [run.id]}, about=run)
        except RunNotFound:
            return

    def _get(self, path: str, answer: type[Answer], params: Mapping[str, Any] | None = None) -> Answer:
        def read(response: requests.Response) -> Answer | bytes:
            if not response.ok:
                return bytes(response.content)
            try:
                return msgspec.json.decode(response.content, type=answer)
            except msgspec.MsgspecError as error:
                raise ValueError(f"it answers, but not as a trackkit server does: {error}") from None

        return cast("Answer", self._ask("GET", path, read, params=params))

    def _points(self, run: RunRow, what: str, params: Mapping[str, Any]) -> tuple[dict[str, Points], int]:
        """The points that a server sends, each key's in time order, and the last step of their window."""

        def read(response: requests.Response) -> tuple[dict[str, Points], int] | bytes:
            if not response.ok:
                return bytes(response.content)
            with _Whole(response):
                return transfer.read(_reader(response))

        path = path_of("runs", run.id, what)
        headers = {"accept-encoding": "zstd"}
        answer = self._ask("GET", path, read, params=params, headers=headers, stream=True, about=run)
        found, last = cast("tuple[dict[str, Points], int]", answer)
        return {key: in_time_order(points) for key, points in found.items() if len(points.steps)}, last

    def _content(self, path: str, name: str) -> BinaryIO:
        def read(response: requests.Response) -> BinaryIO | bytes:
            if not response.ok:
                return bytes(response.content)
            file = tempfile.SpooledTemporaryFile(IN_MEMORY)
            with _Whole(response):
                for piece in response.iter_content(PIECE):
                    file.write(piece)
                file.seek(0)
            return cast("BinaryIO", file)

        headers = {"accept-encoding": "identity"}
        answer = self._ask("GET", path, read, params={"inline": "false"}, headers=headers, stream=True, name=name)
        return cast("BinaryIO", answer)

    def _ask(
        self, method: str, path: str, read: Any, *, about: RunRow | None = None, name: str = "", **arguments: Any
    ) -> Any:
        """What was read of an answer that is none of an error.

        A question is asked once more if there was no answer, as servers close connections that are idle.
        """
        connection = self._connection
        for left in (1, 0) if method == "GET" else (0,):
            try:
                status, answer = connection.ask(method, path, read, patience=PATIENCE, **arguments)
                break
            except SinkError as error:
                if not left:
                    failed = (
                        "can't be read" if method == "GET" else "did not confirm the change, which it may have made"
                    )
                    raise ConnectionError(f"the trackkit server {failed}: {error}") from error
        if 200 <= status < 300:
            return answer
        raise self._failure(status, answer, about, name)

    def _failure(self, status: int, content: Any, about: RunRow | None, name: str) -> Exception:
        """What an answer of the server that is an error means here."""
        origin = self._connection.origin
        try:
            message = str(msgspec.json.decode(content)["error"]["message"])
        except (msgspec.MsgspecError, KeyError, TypeError):
            return ConnectionError(f"{origin} answered {status}, but not as a trackkit server does")
        told = f"{message} ({status} from {origin})"
        if status == 404 and message.startswith("there is no endpoint"):
            return ConnectionError(f"{origin} runs a trackkit too old to read runs from: {message}; upgrade it")
        match status:
            case 401 | 403:
                return PermissionError(told)
            case 404 if name:
                return FileNotFoundError(f"the content of {name} is not in the store: {message}")
            case 404 if about is not None:
                return RunNotFound(f"run {about.project}/{about.id} is no longer in the store: {told}")
            case 404:
                return RunNotFound(told)
            case 400:
                return FilterError(told) if "filter" in message or "order" in message else ValueError(told)
        return ConnectionError(told)


class _Whole:
    """Turns what goes wrong while an answer is read into a ValueError, which counts as no answer."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._response.close()
        if isinstance(error, (EOFError, OSError, urllib3.exceptions.HTTPError, zstandard.ZstdError)):
            raise ValueError(f"the answer broke off: {reason(error)}") from error


def _reader(response: requests.Response) -> Any:
    """Gives the next so many bytes of an answer, which may be compressed with zstd."""
    pieces = response.raw.stream(PIECE, decode_content=False)
    if response.headers.get("content-encoding") != "zstd":
        return transfer.chunks_of(pieces)
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    return transfer.chunks_of(decompressor.decompress(piece) for piece in pieces)


def _body(response: requests.Response) -> bytes:
    return bytes(response.content)


def _some(keys: Sequence[str] | None) -> dict[str, Any]:
    return {"all": "true"} if keys is None else {"key": list(keys)}


def _spec(**values: Any) -> dict[str, str]:
    return {"spec": msgspec.json.encode(values).decode()}


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)

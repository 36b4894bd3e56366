"""The artifacts of a trackkit server, as training processes and analyses read them: see `core.sink.Catalogue`."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import msgspec
import requests

from trackkit.core.blobs import BlobDamaged, digest_of
from trackkit.core.cache import Cache
from trackkit.core.connection import Connection, path_of
from trackkit.core.manifest import Reference
from trackkit.core.settings import load
from trackkit.core.sink import BudgetState, CollectionState, Edit, Move, RunName, Shelved, SinkError, Submitted

_PAUSES: Final = (0.2, 0.5, 1.0, 2.0, 4.0)
_PIECE: Final = 1 << 20
_PAGE: Final = 500

Found = TypeVar("Found")


class ServerShelf:
    """The artifacts of a server. What is fetched is kept in the client's cache.

    Parameters
    ----------
    url
        The server's address; of several servers on one store `http://one:port,two:port`.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._local = threading.local()
        self._cache = Cache.of(load())

    def find(self, reference: str, project: str, type: str | None = None) -> Shelved | None:
        Reference.parse(reference)
        asked = {"reference": reference, "project": project, **({"type": type} if type else {})}
        answer = self._get(path_of("artifacts", "find"), asked)
        return None if answer is None else _part(answer, "version", Shelved)

    def submitted(self, run: str, token: str) -> Submitted:
        answer = self._get(path_of("runs", run, "artifacts", token))
        return Submitted("unknown") if answer is None else _converted(answer, Submitted)

    def fetch(self, id: str, digest: str, size: int, target: Path) -> None:
        if self._cache.give(digest, target):
            return
        self._download(path_of("artifacts", id, "blobs", digest), digest, target)
        self._cache.keep(digest, target)

    def _download(self, path: str, digest: str, target: Path) -> None:
        """Download to a new file, going on where a connection breaks, and verify what came."""
        with open(target, "xb") as file:

            def take(response: requests.Response) -> None:
                if response.status_code in (200, 206):
                    if response.status_code == 200:
                        file.seek(0)
                        file.truncate()
                    for piece in response.iter_content(_PIECE):
                        file.write(piece)

            for pause in (*_PAUSES, None):
                start = file.tell()
                headers = {"accept-encoding": "identity", **({"range": f"bytes={start}-"} if start else {})}
                try:
                    status, _ = self._connection.ask("GET", path, take, headers=headers, stream=True)
                    if status in (404, 410):
                        raise FileNotFoundError(f"the blob {digest or path} is missing from {self._url}")
                    if status in (200, 206):
                        break
                    raise SinkError(f"{self._url} answered {status}")
                except SinkError:
                    if pause is None:
                        raise
                    time.sleep(pause)
        if digest and digest_of(target) != digest:
            target.unlink()
            raise BlobDamaged(f"what {self._url} has for the blob {digest} is damaged, or was on its way")

    def edit(self, id: str, edit: Edit) -> Shelved:
        return _part(self._change("PATCH", path_of("artifacts", id), msgspec.to_builtins(edit)), "version", Shelved)

    def delete(self, id: str, *, aliases: bool) -> None:
        self._change("DELETE", f"{path_of('artifacts', id)}?aliases={str(aliases).lower()}")

    def link(self, id: str, project: str, name: str, aliases: list[str]) -> Shelved:
        body = {"project": project, "name": name, "aliases": aliases}
        return _part(self._change("POST", path_of("artifacts", id, "link"), body), "version", Shelved)

    def producer(self, id: str) -> RunName | None:
        answer = self._must_get(path_of("artifacts", id, "runs"))
        return None if answer.get("logged_by") is None else _part(answer, "logged_by", RunName)

    def consumers(self, id: str) -> list[RunName]:
        return _part(self._must_get(path_of("artifacts", id, "runs")), "used_by", list[RunName])

    def restore(self, run: str, path: str, target: Path) -> bool:
        try:
            self._download(f"{path_of('runs', run, 'files')}/{quote(path)}", "", target)
        except FileNotFoundError:
            target.unlink(missing_ok=True)
            return False
        return True

    def collections(self, project: str | None = None, type: str | None = None) -> list[CollectionState]:
        asked = {"project": project or "", "type": type or ""}
        return _part(self._must_get("/artifacts", asked), "collections", list[CollectionState])

    def versions(self, project: str, name: str) -> list[Shelved]:
        found: list[Shelved] = []
        while True:
            before = {"before": found[-1].number} if found else {}
            asked = {"project": project, "name": name, "limit": _PAGE, **before}
            answer = self._get("/artifacts/versions", asked)
            if answer is None:
                return found
            found += _part(answer, "versions", list[Shelved])
            if answer.get("done", True):
                return found

    def moves(self, project: str, name: str) -> list[Move]:
        answer = self._get("/collections/history", {"project": project, "name": name})
        return [] if answer is None else _part(answer, "moves", list[Move])

    def protect(self, id: str, alias: str, protected: bool) -> Shelved:
        answer = self._change("PUT", path_of("artifacts", id, "aliases", alias), {"protected": protected})
        return _part(answer, "version", Shelved)

    def budgets(self) -> list[BudgetState]:
        return _part(self._must_get("/budgets"), "budgets", list[BudgetState])

    def set_budget(self, project: str, limit: int, rule: str) -> None:
        self._change("PUT", "/budgets", {"project": project, "bytes": limit, "rule": rule})

    def of_run(self, run: str) -> tuple[list[Shelved], list[Shelved]]:
        answer = self._must_get(path_of("runs", run, "artifacts"))
        return _part(answer, "logged", list[Shelved]), _part(answer, "used", list[Shelved])

    def close(self) -> None:
        """Close this thread's connection."""
        self._connection.close()

    def _get(self, path: str, asked: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """An answer; None if there is no such thing."""
        status, answer = self._connection.ask("GET", path, _json, params=asked)
        if status == 404:
            return None
        return self._good(status, answer)

    def _must_get(self, path: str, asked: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._good(*self._connection.ask("GET", path, _json, params=asked))

    def _change(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        return self._good(*self._connection.ask(method, path, _json, json=body))

    def _good(self, status: int, answer: dict[str, Any]) -> dict[str, Any]:
        """An answer that is none of an error.

        Raises
        ------
        ValueError
            If what was asked can't be done.
        PermissionError
            If the token is not good for it.
        SinkError
            If the server can't do it now.
        """
        if status < 300:
            return answer
        message = str(answer.get("error", {}).get("message", "")) or f"{self._url} answered {status}"
        if status in (401, 403):
            raise PermissionError(message)
        if status in (400, 404):
            raise ValueError(message)
        raise SinkError(f"{self._url} answered {status}: {message}")

    @property
    def _connection(self) -> Connection:
        """A connection of this thread in this process."""
        if getattr(self._local, "process", None) != os.getpid():
            self._local.connection = Connection(self._url)
            self._local.process = os.getpid()
        connection: Connection = self._local.connection
        return connection


def _json(response: requests.Response) -> dict[str, Any]:
    try:
        answer = response.json() if response.content else {}
    except ValueError:
        if response.ok:
            raise
        return {}
    return answer if isinstance(answer, dict) else {}


def _part(answer: dict[str, Any], name: str, type: type[Found]) -> Found:
    return _converted(answer.get(name), type)


def _converted(value: object, type: type[Found]) -> Found:
    try:
        return msgspec.convert(value, type)
    except msgspec.ValidationError as error:
        raise SinkError(f"the server's answer was damaged on its way: {error}") from None

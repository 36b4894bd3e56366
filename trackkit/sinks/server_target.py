"""A trackkit server as the target of uploads: small files in one request, large ones in parts that can be resumed."""

from __future__ import annotations

from binascii import crc32
from pathlib import Path
from typing import Any, Final

from trackkit.core.connection import path_of
from trackkit.core.sink import SinkError
from trackkit.sinks.client import Client, Refused, TooLarge
from trackkit.sinks.uploads import NotTaken

PART_BYTES: Final = 8 << 20
"""What is sent at once of a large file, and has to be sent again if the connection breaks."""
_TRIES: Final = 8


class ServerTarget:
    """A server; see `sinks.uploads.Target`.

    Parameters
    ----------
    url
        The server's address.
    run
        The run whose files these are.
    """

    def __init__(self, url: str, run: str) -> None:
        self._client = Client(url)
        self._run = run

    def lacking(self, digests: list[str]) -> list[str]:
        answer = self._client.request("POST", path_of("blobs", "lacking"), json={"digests": digests})
        return _digests(answer)

    def put(self, digest: str, file: Path) -> None:
        size = file.stat().st_size
        try:
            if size <= PART_BYTES:
                self._put_whole(digest, file.read_bytes())
            else:
                self._put_parts(digest, file, size)
        except TooLarge as error:
            raise NotTaken(str(error)) from error

    def _put_whole(self, digest: str, content: bytes) -> None:
        try:
            self._client.request("PUT", path_of("blobs", digest), data=content, confirm=False)
            return
        except Refused:
            pass
        try:
            self._client.request("GET", path_of("blobs", digest))  # asked again, without sending all of it
        except Refused as error:
            if error.status != 404:
                raise
        raise SinkError("the file was damaged on its way")

    def _put_parts(self, digest: str, file: Path, size: int) -> None:
        url = path_of("blobs", digest, "parts")
        failures = 0
        state = self._client.request("GET", url)
        with open(file, "rb") as content:
            while not state.get("complete"):
                offset = state.get("offset")
                if not isinstance(offset, int) or not 0 <= offset <= size:
                    raise SinkError(f"the answer of {self._client.origin} was damaged on its way")
                content.seek(offset)
                part = content.read(PART_BYTES)
                query = f"?offset={offset}&size={size}&check={crc32(part)}"
                answer = self._client.request("PUT", url + query, data=part, confirm=False)
                failures = failures + 1 if answer.get("offset") == offset and not answer.get("complete") else 0
                if failures >= _TRIES:
                    raise SinkError(f"{self._client.origin} does not take the part of a file from {offset:,} on")
                state = answer

    def commit(self, token: str) -> tuple[str, list[str]]:
        url = path_of("runs", self._run, "artifacts", token, "commit")
        answer = self._client.request("POST", url, json={})
        if answer.get("check") != f"{token}/{answer.get('state')}":
            raise SinkError(f"the answer of {self._client.origin} was damaged on its way")
        return str(answer.get("state")), _digests(answer)

    def reset(self) -> None:
        """Leave the connection; the next request makes another."""
        self._client.reset()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _digests(answer: dict[str, Any]) -> list[str]:
    found = answer.get("digests")
    if not isinstance(found, list):
        raise SinkError("the server's answer was damaged on its way")
    return [str(digest) for digest in found]

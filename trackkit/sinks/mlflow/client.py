"""Requests to an MLflow server, and what each answer means for a sink.

The wire is described at https://mlflow.org/docs/latest/api_reference/rest-api.html.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import requests
from requests.auth import HTTPBasicAuth

from trackkit.core.connection import ANSWER_SECONDS, CONNECT_SECONDS, reason
from trackkit.core.sink import SinkError, SinkRefused
from trackkit.sinks.mlflow.access import Access
from trackkit.version import __version__

_CONFIRMING_PAUSES: Final = (0.2, 0.5)
"""A refusal counts once it was given again on fresh connections: the network may have damaged the request."""
_FILE_SECONDS: Final = 120.0
_PIECE: Final = 1 << 20


class Rejected(Exception):
    """The server finds fault with a request, and would again.

    Attributes
    ----------
    status
        The HTTP status.
    code
        MLflow's error code, such as `RESOURCE_DOES_NOT_EXIST`; empty where the server has no such endpoint.
    """

    def __init__(self, message: str, status: int, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class TooLarge(SinkError):
    """The server, or what stands before it, takes no message of this size."""


class Client:
    """A connection to an MLflow server, kept alive. For one thread at a time.

    Parameters
    ----------
    access
        Where it is.
    """

    def __init__(self, access: Access) -> None:
        self.access = access
        self._session = self._new_session()

    @property
    def address(self) -> str:
        """The server's address."""
        return self.access.address

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        session.auth = self._authorize  # a header would give way to what ~/.netrc has for the host
        session.headers["user-agent"] = f"trackkit/{__version__}"
        return session

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self.access.username or self.access.password:
            # As bytes, since requests would take text for Latin-1.
            user, password = self.access.username.encode(), self.access.password.encode()
            authorized: requests.PreparedRequest = HTTPBasicAuth(user, password)(request)
            return authorized
        if self.access.token:
            request.headers["authorization"] = f"Bearer {self.access.token}"
        return request

    def get(self, endpoint: str, **params: Any) -> dict[str, Any]:
        """The answer to a GET below `/api/2.0/mlflow`."""
        return self._ask("GET", f"/api/2.0/mlflow/{endpoint}", params=params)

    def post(self, endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a POST below `/api/2.0/mlflow`.

        Raises
        ------
        SinkError
            If there is none, or the server can't do it now.
        SinkRefused
            If it does not let us.
        TooLarge
            If the message is too large for it.
        Rejected
            If it finds fault with what it was sent.
        """
        return self._ask("POST", f"/api/2.0/mlflow/{endpoint}", body=body)

    def text(self, path: str) -> str:
        """What a GET of a path gives as text; empty if it is not there."""
        response = self._exchange("GET", path)
        return response.text if response.status_code == 200 else ""

    def information(self) -> dict[str, Any]:
        """What the server tells of itself, as those since 3.5 do; empty if it does not."""
        try:
            return self._ask("GET", "/api/3.0/mlflow/server-info")
        except Rejected:
            return {}

    def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a POST of a path; raises as `post`."""
        return self._ask("POST", path, body=body)

    def put(self, path: str, content: bytes | BinaryIO, content_type: str) -> None:
        """Put content under a path; raises as `post`."""
        # An empty file object would be sent in chunks, which servers do not take.
        headers = {"content-type": content_type}
        response = self._exchange("PUT", path, data=content, headers=headers, patience=_FILE_SECONDS)
        self._checked(response)

    def listing(self, path: str, folder: str) -> list[str]:
        """The names in a folder of artifacts; raises as `post`."""
        return [str(each["path"]).rpartition("/")[2] for each in self.listing_of(path, folder)]

    def listing_of(self, path: str, folder: str) -> list[dict[str, Any]]:
        """What a folder of artifacts holds, as the server tells it; raises as `post`."""
        return list(self._ask("GET", path, params={"path": folder}).get("files", ()))

    def save(self, path: str, target: Path) -> None:
        """Write the content under a path to a new file; raises as `post`."""
        response = self._exchange("GET", path, patience=_FILE_SECONDS, stream=True)
        with response:
            self._checked(response)
            try:
                with open(target, "wb") as file:
                    for piece in response.iter_content(_PIECE):
                        file.write(piece)
            except requests.RequestException as error:
                self.reset()
                raise SinkError(f"{self.address}: {reason(error)}") from error

    def download(self, path: str) -> bytes | None:
        """The content under a path, or None if there is none; raises as `post`."""
        response = self._exchange("GET", path, patience=_FILE_SECONDS)
        if response.status_code == 404:
            return None
        self._checked(response)
        content: bytes = response.content
        return content

    def _ask(
        self, method: str, path: str, *, params: dict[str, Any] | None = None, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        data = None if body is None else msgspec.json.encode(body)
        headers = {} if body is None else {"content-type": "application/json"}
        for pause in (*_CONFIRMING_PAUSES, None):
            response = self._exchange(method, path, params=params, data=data, headers=headers)
            if response.status_code in (401, 403) and pause is not None:
                self.reset()
                time.sleep(pause)
                continue
            self._checked(response)
            try:
                answer = json.loads(response.content) if response.content else {}
            except ValueError as error:
                raise SinkError(f"{self.address} answered with something that is no JSON; is it MLflow?") from error
            if not isinstance(answer, dict):
                raise SinkError(f"the answer of {self.address} is none of MLflow's")
            return answer
        raise AssertionError("the last pause is None")

    def _exchange(
        self, method: str, path: str, *, patience: float = ANSWER_SECONDS, **arguments: Any
    ) -> requests.Response:
        try:
            response = self._session.request(
                method,
                f"{self.address}{path}",
                timeout=(CONNECT_SECONDS, patience),
                allow_redirects=False,
                verify=self.access.verify,
                cert=self.access.certificate or None,
                **arguments,
            )
            if 300 <= response.status_code < 400:
                place = response.headers.get("location", "elsewhere")
                raise SinkError(f"{self.address} sends on to {place}; name that address instead, or log in")
            return response
        except (requests.RequestException, OSError, ValueError) as error:
            self.reset()
            raise SinkError(f"{self.address}: {reason(error)}") from error

    def _checked(self, response: requests.Response) -> None:
        status = response.status_code
        if status < 300:
            return
        code, message = _error_of(response)
        if status in (401, 403):
            raise SinkRefused(f"{self.address} does not let us in: {message or 'no reason given'} ({status})")
        if status == 413:
            raise TooLarge(f"{self.address}: {message or 'the message is too large'} (413)")
        if status == 404 and not code:
            raise Rejected(f"{self.address} has nothing under {response.request.path_url} ({status})", status, code)
        if status in (408, 425, 429) or status >= 500 or not code:
            raise SinkError(f"{self.address} answered {status}: {message or 'is it an MLflow server?'}")
        raise Rejected(f"{message} ({status} {code})", status, code)

    def reset(self) -> None:
        """Leave connections that may be broken."""
        self._session.close()
        self._session = self._new_session()

    def close(self) -> None:
        """Close the connection."""
        self._session.close()


def _error_of(response: requests.Response) -> tuple[str, str]:
    """MLflow's error code and message; what else stands there, shortened, without a code."""
    try:
        answer = json.loads(response.content)
        return str(answer["error_code"]), str(answer.get("message", ""))
    except (ValueError, KeyError, TypeError):
        text = " ".join(response.text[:500].split())
        return "", "" if text.startswith("<") else text[:200]

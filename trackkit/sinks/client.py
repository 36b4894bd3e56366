"""Requests to a trackkit server: one connection kept alive, and what each answer means for a sink.

Several servers on one store are as good as one: while the one in use can't be reached, or says that it can't do it
now, the next is asked in its place.
"""

from __future__ import annotations

import time
from typing import Any, BinaryIO, Final
from urllib.parse import quote

import requests

from trackkit.core import credentials
from trackkit.core.sink import OffsetConflict, SinkError, SinkRefused
from trackkit.version import __version__

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 30.0

_CONFIRMING_PAUSES: Final = (0.2, 0.5)
"""A refusal counts once it was given again on fresh connections: the network may have damaged the request."""
_REFUSALS: Final = (401, 403, 404, 410, 415, 421)
_ELSEWHERE: Final = (500, 502, 503, 504)
"""What another server of the same store may well do better."""

_in_use: dict[tuple[str, ...], int] = {}
"""Which of several servers answered last, so that a new client begins with it."""


class TooLarge(SinkError):
    """The server takes no message of this size."""


class Refused(SinkRefused):
    """The server will not take this.

    Attributes
    ----------
    status
        The HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """A connection to a server.

    Parameters
    ----------
    url
        The server's address, `http://host:port`; of several servers on one store `http://one:port,two:port`.

    Raises
    ------
    ValueError
        If that is no address of a server.
    """

    def __init__(self, url: str) -> None:
        self._origins = tuple(credentials.origins_of(url))
        tokens = [credentials.token_for(origin) for origin in self._origins]
        known = next(filter(None, tokens), "")  # who logged in at one of them is known to all
        self._tokens = dict(zip(self._origins, [token or known for token in tokens], strict=True))
        self._at = _in_use.get(self._origins, 0)
        self._session = self._new_session()

    @property
    def origin(self) -> str:
        """The address of the server in use."""
        return self._origins[self._at]

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        session.auth = self._authorize  # a header would give way to what ~/.netrc has for the host
        session.headers.update({"user-agent": f"trackkit/{__version__}", "x-trackkit-csrf": "client"})
        return session

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if token := self._tokens[self.origin]:
            request.headers["authorization"] = f"Bearer {token}"
        return request

    def request(
        self,
        method: str,
        path: str,
        *,
        data: bytes | BinaryIO | None = None,
        json: Any = None,
        headers: dict[str, str] | None = None,
        confirm: bool = True,
        patience: float = ANSWER_SECONDS,
    ) -> dict[str, Any]:
        """The server's answer.

        Parameters
        ----------
        path
            What is asked for, from `path_of`.
        confirm
            Whether a refusal is asked for again before it is believed; the data must be bytes then.
        patience
            Seconds without a sign of the server before it counts as away.

        Raises
        ------
        SinkError
            If there is none, or it is no answer of a trackkit server: the network's fault, or a server that starts.
        OffsetConflict
            If the server has the journal up to another place than was thought.
        TooLarge
            If the message is too large for it.
        Refused
            If it will not take this whenever it is sent.
        """
        for pause in (*_CONFIRMING_PAUSES, None) if confirm else (None,):
            status, answer = self._ask(method, path, data, json, headers or {}, patience)
            if status < 300:
                return answer
            message = str(answer.get("error", {}).get("message", ""))
            if status == 409:
                raise OffsetConflict(message)
            if status == 413:
                raise TooLarge(message)
            if status not in _REFUSALS or not message:
                raise SinkError(
                    f"{self.origin} answered {status}: {message or 'not a trackkit server, or one that starts'}"
                )
            if pause is None:
                raise Refused(f"{message} ({status} from {self.origin})", status)
            self.reset()
            time.sleep(pause)
        raise AssertionError("the last pause is None")

    def _ask(
        self, method: str, path: str, data: Any, json: Any, headers: dict[str, str], patience: float
    ) -> tuple[int, dict[str, Any]]:
        """The answer of the server in use or, where it fails, of the first other one that does not."""
        for left in reversed(range(len(self._origins))):
            try:
                status, answer = self._exchange(method, path, data, json, headers, patience)
                if not left or status not in _ELSEWHERE:
                    _in_use[self._origins] = self._at
                    return status, answer
            except SinkError:
                if not left:
                    self._turn()
                    raise
            self._turn()
            if hasattr(data, "seek"):
                data.seek(0)
        raise AssertionError("the last server's answer is the answer")

    def _turn(self) -> None:
        """Use the next server."""
        self.reset()
        self._at = (self._at + 1) % len(self._origins)

    def _exchange(
        self, method: str, path: str, data: Any, json: Any, headers: dict[str, str], patience: float
    ) -> tuple[int, dict[str, Any]]:
        try:
            response = self._session.request(
                method,
                f"{self.origin}/api/v1{path}",
                data=data,
                json=json,
                headers=headers,
                timeout=(min(CONNECT_SECONDS, patience), patience),
                allow_redirects=False,
            )
            if 300 <= response.status_code < 400:
                place = response.headers.get("location", "elsewhere")
                raise SinkError(f"{self.origin} sends on to {place}; name that address as the sink")
            answer = _json_of(response)
        except (requests.RequestException, ValueError, UnicodeError) as error:
            self.reset()
            raise SinkError(f"{self.origin}: {_reason(error)}") from error
        return response.status_code, answer if isinstance(answer, dict) else {}

    def reset(self) -> None:
        """Leave the connection; the next request makes another."""
        self._session.close()
        self._session = self._new_session()

    def close(self) -> None:
        """Close the connection."""
        self._session.close()


def _json_of(response: requests.Response) -> Any:
    """What an answer holds; nothing, if it is an error of something that is no trackkit server.

    Raises
    ------
    ValueError
        If it is damaged.
    """
    try:
        return response.json() if response.content else {}
    except ValueError:
        if response.ok:
            raise
        return {}


def path_of(*parts: str) -> str:
    """The path of something in the API.

    Examples
    --------
    >>> path_of("runs", "r1", "known")
    '/runs/r1/known'
    """
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def _reason(error: Exception) -> str:
    """The innermost cause, which is what a person can do something about."""
    text = str(error)
    while (cause := error.__cause__ or error.__context__) is not None and isinstance(cause, Exception):
        error = cause
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return text or type(error).__name__

"""A connection to a trackkit server, kept alive; of several servers on one store, to the one that answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote

import requests

from trackkit.core import credentials
from trackkit.core.sink import SinkError
from trackkit.version import __version__

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 30.0

_ELSEWHERE: Final = (500, 502, 503, 504)
"""What another server of the same store may well do better."""

_in_use: dict[tuple[str, ...], int] = {}
"""Which of several servers answered last, so that a new connection begins with it."""

Found = TypeVar("Found")


class Connection:
    """A connection to a server, with the token that is known for it.

    Several servers on one store are as good as one: while the one in use can't be reached, or says that it can't do
    it now, the next is asked in its place.

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

    def ask(
        self,
        method: str,
        path: str,
        read: Callable[[requests.Response], Found],
        *,
        data: Any = None,
        json: Any = None,
        params: Any = None,
        headers: Mapping[str, str] | None = None,
        patience: float = ANSWER_SECONDS,
        stream: bool = False,
    ) -> tuple[int, Found]:
        """The status and what was read of an answer: of the server in use or, where it fails, of one that does not.

        Parameters
        ----------
        path
            What is asked for, below `/api/v1`.
        read
            Takes what is wanted from an answer; raises ValueError if the answer is damaged.
        patience
            Seconds without a sign of the server before it counts as away.
        stream
            Whether the body is left to be read piece by piece.

        Raises
        ------
        SinkError
            If there is no answer.
        """
        for left in reversed(range(len(self._origins))):
            try:
                status, found = self._exchange(
                    method,
                    path,
                    read,
                    data=data,
                    json=json,
                    params=params,
                    headers=headers,
                    timeout=(min(CONNECT_SECONDS, patience), patience),
                    stream=stream,
                )
                if not left or status not in _ELSEWHERE:
                    _in_use[self._origins] = self._at
                    return status, found
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
        self, method: str, path: str, read: Callable[[requests.Response], Found], **arguments: Any
    ) -> tuple[int, Found]:
        try:
            response = self._session.request(method, f"{self.origin}/api/v1{path}", allow_redirects=False, **arguments)
            if 300 <= response.status_code < 400:
                place = response.headers.get("location", "elsewhere")
                raise SinkError(f"{self.origin} sends on to {place}; name that address instead")
            return response.status_code, read(response)
        except (requests.RequestException, ValueError, UnicodeError) as error:
            self.reset()
            raise SinkError(f"{self.origin}: {reason(error)}") from error

    def reset(self) -> None:
        """Leave the connection; the next request makes another."""
        self._session.close()
        self._session = self._new_session()

    def close(self) -> None:
        """Close the connection."""
        self._session.close()


def path_of(*parts: str) -> str:
    """The path of something in the API.

    Examples
    --------
    >>> path_of("runs", "r1", "known")
    '/runs/r1/known'
    """
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def reason(error: BaseException) -> str:
    """The innermost cause of an error, which is what a person can do something about."""
    text = str(error)
    while (cause := error.__cause__ or error.__context__) is not None and isinstance(cause, Exception):
        error = cause
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return text or type(error).__name__

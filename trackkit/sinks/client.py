"""Requests to a trackkit server, and what each answer means for a sink."""

from __future__ import annotations

import time
from typing import Any, BinaryIO, Final

import requests

from trackkit.core.connection import ANSWER_SECONDS, Connection
from trackkit.core.sink import OffsetConflict, SinkError, SinkRefused

_CONFIRMING_PAUSES: Final = (0.2, 0.5)
"""A refusal counts once it was given again on fresh connections: the network may have damaged the request."""
_REFUSALS: Final = (401, 403, 404, 410, 415, 421)


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


class Client(Connection):
    """A connection to a server; see `core.connection.Connection`."""

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
            status, answer = self.ask(method, path, _json_of, data=data, json=json, headers=headers, patience=patience)
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


def _json_of(response: requests.Response) -> dict[str, Any]:
    """What an answer holds; nothing, if it is an error of something that is no trackkit server.

    Raises
    ------
    ValueError
        If it is damaged.
    """
    try:
        answer = response.json() if response.content else {}
    except ValueError:
        if response.ok:
            raise
        return {}
    return answer if isinstance(answer, dict) else {}

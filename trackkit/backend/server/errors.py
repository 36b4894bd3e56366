"""What goes wrong with a request, as the client is told."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    410: "gone",
    413: "too_large",
    415: "unsupported",
    416: "range_not_satisfiable",
    421: "misdirected",
    429: "too_many_requests",
    500: "internal",
    503: "unavailable",
}


class ApiError(Exception):
    """A request that can't be answered.

    Parameters
    ----------
    status
        The HTTP status.
    message
        A sentence for whoever sent the request: what was wrong, what was expected.
    headers
        Headers of the answer.
    details
        Further facts for programs, beside the message.
    """

    def __init__(
        self, status: int, message: str, headers: dict[str, str] | None = None, details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}
        self.details = details or {}

    def response(self) -> Response:
        """The answer."""
        body = {"error": {"code": CODES.get(self.status, "error"), "message": self.message, **self.details}}
        return Response(msgspec.json.encode(body), self.status, self.headers, "application/json")


def not_found(what: str) -> ApiError:
    """The answer to a request for something that is not there, or that the asker may not see."""
    return ApiError(404, f"there is no {what}")

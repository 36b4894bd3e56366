"""What goes wrong with a request, as MLflow's clients are told."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.responses import Response

from trackkit.backend.server.errors import ApiError

STATUSES: Final = {
    "BAD_REQUEST": 400,
    "INVALID_PARAMETER_VALUE": 400,
    "RESOURCE_ALREADY_EXISTS": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "ENDPOINT_NOT_FOUND": 404,
    "NOT_FOUND": 404,
    "RESOURCE_DOES_NOT_EXIST": 404,
    "REQUEST_LIMIT_EXCEEDED": 429,
    "INTERNAL_ERROR": 500,
    "INVALID_STATE": 500,
    "NOT_IMPLEMENTED": 501,
    "TEMPORARILY_UNAVAILABLE": 503,
}
_OF_STATUS: Final = {
    400: "INVALID_PARAMETER_VALUE", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "RESOURCE_DOES_NOT_EXIST",
    405: "ENDPOINT_NOT_FOUND", 413: "INVALID_PARAMETER_VALUE", 415: "INVALID_PARAMETER_VALUE",
    429: "REQUEST_LIMIT_EXCEEDED", 503: "TEMPORARILY_UNAVAILABLE",
}  # fmt: skip
_CLASSES: Final = {"RESOURCE_DOES_NOT_EXIST": "RESOURCE_NOT_FOUND", "INVALID_STATE": "CLIENT_INTERNAL_ERROR"}


class MlflowError(Exception):
    """A request that can't be answered.

    Parameters
    ----------
    code
        One of `STATUSES`.
    message
        A sentence for whoever sent the request.
    headers
        Headers of the answer.
    status
        The HTTP status, if it is not that of the code.
    """

    def __init__(
        self, code: str, message: str, headers: dict[str, str] | None = None, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.headers = headers or {}
        self.status = STATUSES[code] if status is None else status

    @classmethod
    def of(cls, error: ApiError) -> MlflowError:
        """The error that our own API would have told otherwise."""
        code = _OF_STATUS.get(error.status, "INTERNAL_ERROR" if error.status >= 500 else "BAD_REQUEST")
        return cls(code, error.message, error.headers, error.status)

    def response(self) -> Response:
        """The answer."""
        body: dict[str, Any] = {"error_code": self.code, "message": self.message}
        body["sqlstate"] = "XXM00" if self.status >= 500 else "KAM00"
        body["error_class"] = _CLASSES.get(self.code, self.code)
        return Response(msgspec.json.encode(body), self.status, self.headers, "application/json")


def invalid(message: str) -> MlflowError:
    """The answer to what is no valid request."""
    return MlflowError("INVALID_PARAMETER_VALUE", message)


def missing(parameter: str) -> MlflowError:
    """The answer to a request that lacks a parameter."""
    return invalid(
        f"Missing value for required parameter '{parameter}'. "
        "See the API docs for more information about request parameters."
    )


def wrong(path: str, value: Any, hint: str) -> MlflowError:
    """The answer to a request with a value that can't be one."""
    try:
        shown = msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        shown = "(?)"
    return invalid(f"Invalid value {shown[:500]} for parameter '{path}' supplied: {hint}")


def absent(message: str) -> MlflowError:
    """The answer to a request for what is not there, or not for the asker to see."""
    return MlflowError("RESOURCE_DOES_NOT_EXIST", message)

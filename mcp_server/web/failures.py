"""Failures as HTTP: the tools' error object with a fitting status."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from client_sdk import wire

from ..errors import (
    CallerError,
    IdempotencyConflict,
    InsufficientScope,
    Internal,
    InvalidArgument,
    LimitExceeded,
    NoResult,
    NotFound,
    NotRetryable,
    TryLater,
    cut,
)

__all__ = [
    "HTTP_STATUS",
    "PROGRESS_STATUS",
    "BodyTooLarge",
    "NotJSON",
    "StatusTable",
    "answering",
    "error_object",
    "error_response",
]

logger = logging.getLogger(__name__)

StatusTable = tuple[tuple[type[CallerError], int], ...]
"""The first row that fits decides."""


class BodyTooLarge(InvalidArgument):
    """The body of a request is longer than arguments may be."""


class NotJSON(InvalidArgument):
    """The body of a request is of another media type."""


PROGRESS_STATUS: StatusTable = (
    (NotFound, 404),
    (InsufficientScope, 403),
    (TryLater, 503),
    (Internal, 500),
    (CallerError, 400),
)
"""Of the routes below `/progress`, and of a server that does not run."""

HTTP_STATUS: StatusTable = (
    (IdempotencyConflict, 409),
    (NotRetryable, 409),
    (NoResult, 409),
    (BodyTooLarge, 413),
    (NotJSON, 415),
    (LimitExceeded, 429),
    *PROGRESS_STATUS,
)

Endpoint = Callable[[Request], Awaitable[Response]]


def error_object(error: CallerError, action: str) -> wire.Reply[None]:
    """The failure of `action` as the tools show it."""
    return wire.Reply[None](
        status="error",
        action=action,
        error=error.message,
        error_code=error.code,
        details=error.details,
        timestamp=wire.timestamp(time.time()),
    )


def error_response(
    error: CallerError, action: str, table: StatusTable = PROGRESS_STATUS, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The failure of `action` as a response."""
    status = next(code for kind, code in table if isinstance(error, kind))
    more = dict(headers or {})
    if status in (429, 503):
        more["Retry-After"] = str(error.details.get("retry_after_seconds", 1))
    if isinstance(error, InsufficientScope):
        more["WWW-Authenticate"] = f'Bearer error="insufficient_scope", scope="{error.details["scope"]}"'
    return JSONResponse(error_object(error, action).model_dump(), status_code=status, headers=more)


def answering(endpoint: Endpoint, table: StatusTable = PROGRESS_STATUS) -> Endpoint:
    """The endpoint with every failure answered; its name is the `action` of the answer."""
    action = endpoint.__name__

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except CallerError as error:
            return error_response(error, action, table)
        except Exception:
            what = f"{request.method} {cut(request.url.path, 200)}"
            return error_response(Internal.logged(logger, what), action, table)

    return answer

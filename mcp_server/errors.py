"""What can go wrong, ordered by what the caller does next.

    LongTaskError
    ├── TaskError                  a task function gives up: `raise TaskError("no such file", code="NO_FILE")`
    ├── CallerError                a request is answered with an `error_code`
    │   ├── RequestError           … and sending the same again changes nothing
    │   │   ├── NotFound           NOT_FOUND: unknown, expired or somebody else's, one answer for all three
    │   │   ├── InvalidArgument    INVALID_ARGUMENT: `details["errors"]` lists path, message, expected, got
    │   │   ├── UnknownTaskType    UNKNOWN_TASK_TYPE: `details["known"]`
    │   │   ├── InvalidStatus      INVALID_STATUS: `details["valid"]`
    │   │   ├── IdempotencyConflict  IDEMPOTENCY_CONFLICT: the key was used with other arguments
    │   │   └── NotRetryable       NOT_RETRYABLE: only failed and cancelled tasks are
    │   ├── Internal               INTERNAL: a bug of ours; `details["incident"]` finds the traceback in the log
    │   └── TryLater               … and the same may succeed later
    │       ├── LimitExceeded      LIMIT_EXCEEDED: `details["retry_after_seconds"]`
    │       └── Unavailable        UNAVAILABLE: the backend does not answer or cannot store
    ├── Conflict                   a task moved on between load and commit; the engine loads it again
    └── ConfigurationError         the server cannot start as configured; one clear line, no traceback

This module knows no other of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = [
    "PROTOCOL_ERROR",
    "CallerError",
    "ConfigurationError",
    "Conflict",
    "IdempotencyConflict",
    "Internal",
    "InvalidArgument",
    "InvalidStatus",
    "LimitExceeded",
    "LongTaskError",
    "NotFound",
    "NotRetryable",
    "RequestError",
    "TaskError",
    "TryLater",
    "Unavailable",
    "UnknownTaskType",
    "protocol_error",
    "shown",
]

PROTOCOL_ERROR = "PROTOCOL_ERROR"
"""The code of a task that failed with an error of the MCP protocol; `details` has its `code` and `data`."""


class LongTaskError(Exception):
    """Base of everything this package raises on purpose."""


class TaskError(LongTaskError):
    """Ends a task as failed, with a message and code its callers see.

    Any other exception a task function raises fails the task with a generic message
    and an incident id; the traceback goes to the log and never to a caller.

    Args:
        message: one sentence for the caller.
        code: the failure's `error_code`, upper case by custom.
        details: JSON-clean facts a program can act on.
        retry: False makes the failure final even if the type has `retries` left.
    """

    def __init__(
        self, message: str, *, code: str = "TASK_FAILED", details: Mapping[str, Any] | None = None, retry: bool = True
    ) -> None:
        super().__init__(message)
        self.message, self.code, self.details, self.retry = message, code, dict(details or {}), retry


class CallerError(LongTaskError):
    """Anything that is answered to a caller with an `error_code`."""

    code: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message, self.details = message, details


class RequestError(CallerError):
    """Sending the same request again changes nothing."""


class NotFound(RequestError):
    code = "NOT_FOUND"

    def __init__(self, task_id: str) -> None:
        # An id may be a megabyte long; the answer is not.
        shown = task_id if len(task_id) <= 80 else task_id[:77] + "..."
        super().__init__(f"No task with the id {shown!r}: it never existed, has expired, or belongs to another caller")


class InvalidArgument(RequestError):
    code = "INVALID_ARGUMENT"


class UnknownTaskType(RequestError):
    code = "UNKNOWN_TASK_TYPE"


class InvalidStatus(RequestError):
    code = "INVALID_STATUS"


class IdempotencyConflict(RequestError):
    code = "IDEMPOTENCY_CONFLICT"


class NotRetryable(RequestError):
    code = "NOT_RETRYABLE"


class TryLater(CallerError):
    """The same request may succeed later."""


class LimitExceeded(TryLater):
    code = "LIMIT_EXCEEDED"


class Unavailable(TryLater):
    code = "UNAVAILABLE"


class Internal(CallerError):
    code = "INTERNAL"

    def __init__(self, incident: str) -> None:
        super().__init__(f"The server failed to answer (incident {incident})", incident=incident)


class Conflict(LongTaskError):
    """The task has another `last_event_id` than the commit started from, or is gone."""


class ConfigurationError(LongTaskError):
    """The server cannot start as configured."""


def protocol_error(error: BaseException) -> TaskError | None:
    """What a task function says by raising the MCP SDK's `MCPError`; None for any other exception.

    Told by its shape, because what runs tasks does not import the SDK.
    """
    told = getattr(error, "error", None)
    code, message = getattr(told, "code", None), getattr(told, "message", None)
    if not isinstance(code, int) or not isinstance(message, str):
        return None
    details = {"code": code, "data": getattr(told, "data", None)}
    return TaskError(message, code=PROTOCOL_ERROR, details=details, retry=False)


def shown(value: object, most: int = 100) -> str:
    """A value as a message shows it: in brief, and whatever it is."""
    try:
        found = repr(value)
    except Exception:  # nested too deeply, or a `__repr__` of somebody's own
        found = f"<{type(value).__name__}>"
    return found if len(found) <= most else found[: most - 3] + "..."

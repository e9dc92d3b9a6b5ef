"""Every error, ordered by what the caller does next.

    LongTaskError
    ├── TaskError                  a task function gives up: `raise TaskError("no such file", code="NO_FILE")`
    ├── CallerError                a request is answered with an `error_code`
    │   ├── RequestError           … and sending the same again changes nothing
    │   │   ├── NotFound           NOT_FOUND: unknown, expired or another owner's, one answer for all three
    │   │   ├── InvalidArgument    INVALID_ARGUMENT: `details["errors"]` lists path, message, expected, got
    │   │   ├── UnknownTaskType    UNKNOWN_TASK_TYPE: `details["known"]`
    │   │   ├── InvalidStatus      INVALID_STATUS: `details["valid"]`
    │   │   ├── IdempotencyConflict  IDEMPOTENCY_CONFLICT: the key was used with other arguments
    │   │   ├── NotRetryable       NOT_RETRYABLE: only failed and cancelled tasks are
    │   │   └── InsufficientScope  INSUFFICIENT_SCOPE: `details["scope"]` names what the credential lacks
    │   ├── NoResult               … a result was asked for, and there is none
    │   │   ├── NotReady           NOT_READY: the task goes on; no failure
    │   │   ├── TaskFailed         TASK_FAILED
    │   │   └── TaskStopped        TASK_CANCELLED
    │   ├── Internal               INTERNAL: a bug of ours; `details["incident"]` finds the traceback in the log
    │   └── TryLater               … and the same may succeed later
    │       ├── LimitExceeded      LIMIT_EXCEEDED: `details["retry_after_seconds"]`
    │       └── Unavailable        UNAVAILABLE: the backend does not answer or cannot store
    ├── Conflict                   a task moved on between load and commit; the engine loads it again
    ├── TransitionError            the task's status does not admit the event
    ├── StaleAttempt               the event belongs to an attempt that was taken over
    └── ConfigurationError         the server cannot start as configured; one clear line, no traceback

This module knows no other of ours.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from logging import Logger
from typing import Any, ClassVar, Self

__all__ = [
    "PROTOCOL_ERROR",
    "CallerError",
    "ConfigurationError",
    "Conflict",
    "IdempotencyConflict",
    "InsufficientScope",
    "Internal",
    "InvalidArgument",
    "InvalidStatus",
    "LimitExceeded",
    "LongTaskError",
    "NoResult",
    "NotFound",
    "NotReady",
    "NotRetryable",
    "RequestError",
    "StaleAttempt",
    "TaskError",
    "TaskFailed",
    "TaskStopped",
    "TransitionError",
    "TryLater",
    "Unavailable",
    "UnknownTaskType",
    "cut",
    "did_you_mean",
    "log_incident",
    "protocol_error",
    "shown",
    "visible",
]

PROTOCOL_ERROR = "PROTOCOL_ERROR"
"""The code of a task that failed with an error of the MCP protocol; `details` has its `code` and `data`."""


class LongTaskError(Exception):
    """Base of everything this package raises on purpose."""


class TaskError(LongTaskError):
    """Ends a task as failed, with a message and code its callers see.

    Any other exception a task function raises fails the task with its type, its message
    (unless the setting `mask_errors` is on) and an incident id; the traceback goes to the log
    and never to a caller.

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
        super().__init__(
            f"No task with the id {cut(task_id, 80)!r}: it never existed, has expired, or belongs to another caller"
        )


class InvalidArgument(RequestError):
    code = "INVALID_ARGUMENT"

    @classmethod
    def at(cls, path: str, message: str, expected: str, got: object) -> Self:
        """The refusal of one value: "`path` `message`, got `got`", also as the only entry of `details["errors"]`.

        Args:
            got: any value; it is shown in brief.
        """
        error = {"path": path, "message": message, "expected": expected, "got": shown(got)}
        return cls(f"{path} {message}, got {error['got']}", errors=[error])


class UnknownTaskType(RequestError):
    code = "UNKNOWN_TASK_TYPE"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        listed = ", ".join(known) or "none"
        super().__init__(
            f"Unknown task type {cut(name, 80)!r}; known are: {listed}{did_you_mean(name, known)}", known=known
        )


class InvalidStatus(RequestError):
    code = "INVALID_STATUS"

    def __init__(self, status: str, valid: Sequence[str]) -> None:
        listed = ", ".join(valid)
        super().__init__(
            f"Unknown status {cut(status, 80)!r}; valid are: {listed}{did_you_mean(status, valid)}", valid=valid
        )


class IdempotencyConflict(RequestError):
    code = "IDEMPOTENCY_CONFLICT"


class NotRetryable(RequestError):
    code = "NOT_RETRYABLE"


class InsufficientScope(RequestError):
    """The caller is known, and the credential does not allow the operation."""

    code = "INSUFFICIENT_SCOPE"

    def __init__(self, scope: str) -> None:
        super().__init__(f"This needs the scope {scope!r}, which the credential does not have", scope=scope)


class NoResult(CallerError):
    """A result was asked for, and there is none."""


class NotReady(NoResult):
    code = "NOT_READY"


class TaskFailed(NoResult):
    code = "TASK_FAILED"


class TaskStopped(NoResult):
    code = "TASK_CANCELLED"


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

    @classmethod
    def logged(cls, logger: Logger, what: str) -> Self:
        """The answer in place of the exception that is being handled, which goes to the log with its traceback.

        Args:
            what: what failed, such as "tool cancel_task"; the log line begins with it.
        """
        return cls(log_incident(logger, what))


class Conflict(LongTaskError):
    """The task has another `last_event_id` than the commit started from, or is gone."""


class TransitionError(LongTaskError):
    """The task's status does not admit this event."""

    def __init__(self, status: str, kind: str) -> None:
        super().__init__(f"a task that is {status} cannot have the event {str(kind)!r}")
        self.status, self.kind = status, kind


class StaleAttempt(LongTaskError):
    """An event of an attempt that is no longer the task's own: the work was taken over."""

    def __init__(self, attempt: int, current: int) -> None:
        super().__init__(f"attempt {attempt} was replaced by attempt {current}")
        self.attempt, self.current = attempt, current


class ConfigurationError(LongTaskError):
    """The server cannot start as configured."""


def protocol_error(error: BaseException) -> TaskError | None:
    """The failure that a task function means by raising the MCP SDK's `MCPError`; None for any other exception.

    Recognized by its attributes, because this layer must not import the SDK.
    """
    told = getattr(error, "error", None)
    code, message = getattr(told, "code", None), getattr(told, "message", None)
    if not isinstance(code, int) or not isinstance(message, str):
        return None
    details = {"code": code, "data": getattr(told, "data", None)}
    return TaskError(message, code=PROTOCOL_ERROR, details=details, retry=False)


def shown(value: object, max_chars: int = 100) -> str:
    """A value as a message shows it: in brief, and whatever it is."""
    try:
        found = repr(value)
    except Exception:  # nested too deeply, or an author's own `__repr__`
        found = f"<{type(value).__name__}>"
    return cut(found, max_chars)


def cut(text: str, max_chars: int) -> str:
    """The text, or its beginning and "..." if it is longer than `max_chars`."""
    return text if len(text) <= max_chars else text[: max_chars - 3] + "..."


_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Control characters of every kind, and those that turn the direction of what follows."""


def visible(text: str) -> str:
    """The text in one line, with an escape for each character that would do something instead of being seen."""
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: "; did you mean `wait_seconds`?", or nothing.

    Meant is the same name in another spelling, a longer one, or one much like it.
    """
    by_letters = {_letters(candidate): candidate for candidate in known}
    wanted = _letters(name[:100])
    longer = [letters for letters in by_letters if wanted and letters.startswith(wanted)]
    found = longer or get_close_matches(wanted, by_letters, n=1)
    return f"; did you mean `{by_letters[min(found, key=len)]}`?" if found else ""


def _letters(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def log_incident(logger: Logger, what: str) -> str:
    """Log the exception that is being handled, with its traceback; the number that finds it there."""
    incident = uuid.uuid4().hex[:12]
    logger.exception("%s failed, incident %s", what, incident)
    return incident

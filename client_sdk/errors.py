"""All errors of the client, ordered by what the caller does next.

    LongTaskClientError            `operation_id` says which task it is about (None: none in particular)
    ├── TaskEnded                  the task is over and left no result: read why, then `handle.retry()` or let it be
    │   ├── TaskFailed             it failed: `error_code`, `details`
    │   └── TaskCancelled          it was cancelled: `reason`
    ├── NotReady                   the task goes on: wait longer; `snapshot` says how far it is
    ├── NotFound                   forget the id: it never existed, has expired, or belongs to another caller
    ├── Refused                    change the request: `error_code`, `details`; the same again is refused again
    ├── TryLater                   the same request may succeed later: `retry_after`
    │   ├── LimitExceeded          the server has too much to do
    │   ├── Unavailable            the server, or something on the way, does not answer
    │   └── StreamLost             following was given up, the task goes on: `handle.events(after=error.cursor)`
    └── JournalUnreadable          the journal is no journal of ours: move the file away

No error of this tree is raised for a task that goes on, but NotReady and TryLater.
This module knows no other of ours but the shapes on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .wire import ErrorCode, Reply, Snapshot

__all__ = [
    "JournalUnreadable",
    "LimitExceeded",
    "LongTaskClientError",
    "NotFound",
    "NotReady",
    "Refused",
    "StreamLost",
    "TaskCancelled",
    "TaskEnded",
    "TaskFailed",
    "TryLater",
    "Unavailable",
]


class LongTaskClientError(Exception):
    """Base of everything `client_sdk` raises on purpose.

    Args:
        message: one sentence, without the operation id.
        operation_id: the task it is about, or None if the request was about no task.
    """

    def __init__(self, message: str, *, operation_id: str | None) -> None:
        super().__init__(message)
        self.message, self.operation_id = message, operation_id

    def __str__(self) -> str:
        return self.message if self.operation_id is None else f"{self.message} (task {cut(self.operation_id, 80)})"


class TaskEnded(LongTaskClientError):
    """The task is over and left no result."""


class TaskFailed(TaskEnded):
    """The task failed; `error_code` and `details` are what its author or the server said."""

    def __init__(
        self, message: str, *, operation_id: str | None, error_code: str, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message, operation_id=operation_id)
        self.error_code, self.details = error_code, dict(details or {})


class TaskCancelled(TaskEnded):
    """The task was cancelled, for `reason` if one was given."""

    def __init__(self, message: str, *, operation_id: str | None, reason: str | None = None) -> None:
        super().__init__(message, operation_id=operation_id)
        self.reason = reason


class NotReady(LongTaskClientError):
    """The task is not over yet. `snapshot` is its state if the answer carried one."""

    def __init__(self, message: str, *, operation_id: str | None, snapshot: Snapshot | None = None) -> None:
        super().__init__(message, operation_id=operation_id)
        self.snapshot = snapshot


class NotFound(LongTaskClientError):
    """No such task for this caller."""


class Refused(LongTaskClientError):
    """The request cannot succeed as it is.

    `error_code` is the server's (`wire.ErrorCode`), or `HTTP_401` and the like where no
    server of ours spoke; `details` has what the code's documentation says.
    """

    def __init__(
        self, message: str, *, operation_id: str | None, error_code: str, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message, operation_id=operation_id)
        self.error_code, self.details = error_code, dict(details or {})


class TryLater(LongTaskClientError):
    """The same request may succeed later, not before `retry_after` seconds if that is given."""

    def __init__(self, message: str, *, operation_id: str | None, retry_after: float | None = None) -> None:
        super().__init__(message, operation_id=operation_id)
        self.retry_after = retry_after


class LimitExceeded(TryLater):
    """The server takes no more of this for now."""


class Unavailable(TryLater):
    """The server, or something on the way to it, does not answer now."""


class StreamLost(TryLater):
    """The server stayed away for longer than the client's `patience`. `cursor` is the last event handed out."""

    def __init__(self, message: str, *, operation_id: str | None, cursor: int) -> None:
        super().__init__(message, operation_id=operation_id)
        self.cursor = cursor


class JournalUnreadable(LongTaskClientError):
    """The journal file holds something else than a journal; nothing was written to it."""


def error_of_reply(reply: Reply[Any], operation_id: str | None) -> LongTaskClientError:
    """The error that a failed tool call stands for."""
    message, details = reply.error or "The server refused without a reason", reply.details or {}
    match reply.error_code:
        case ErrorCode.NOT_FOUND:
            return NotFound(message, operation_id=operation_id)
        case ErrorCode.NOT_READY:
            return NotReady(message, operation_id=operation_id)
        case ErrorCode.TASK_FAILED:
            # The failure itself, its code and details, is what the details of the reply hold.
            code, details = details.get("error_code", "TASK_FAILED"), details.get("details", {})
            return TaskFailed(message, operation_id=operation_id, error_code=code, details=details)
        case ErrorCode.TASK_CANCELLED:
            return TaskCancelled(message, operation_id=operation_id, reason=details.get("reason"))
        case ErrorCode.LIMIT_EXCEEDED:
            return LimitExceeded(message, operation_id=operation_id, retry_after=details.get("retry_after_seconds"))
        case ErrorCode.UNAVAILABLE | ErrorCode.INTERNAL:
            return Unavailable(message, operation_id=operation_id)
        case other:
            return Refused(message, operation_id=operation_id, error_code=other or "INTERNAL", details=details)


def cut(text: str, limit: int) -> str:
    """At most `limit` characters of a text; an ellipsis stands for the rest."""
    return text if len(text) <= limit else text[: limit - 1] + "…"

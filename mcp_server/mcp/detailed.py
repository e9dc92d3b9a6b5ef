"""A task in the words of the tasks extension: CreateTaskResult and DetailedTask.

Plain dicts, because `ttlMs: null` has to reach the wire and the SDK leaves nulls out of
models. Our own numbers travel in `_meta` under a name of ours; the extension has no
place for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from client_sdk import wire

from ..task import Status, Task
from ..views import snapshot
from .advice import status_line
from .results import protocol_error, tool_result

__all__ = ["POLL_INTERVAL_SECONDS", "create_result", "detailed_task"]

POLL_INTERVAL_SECONDS = 1.0

_STATUS: Mapping[Status, str] = {
    Status.QUEUED: "working",
    Status.RUNNING: "working",
    Status.INPUT_REQUIRED: "input_required",
    Status.COMPLETED: "completed",
    # A failure that is no error of the protocol is a result that says so.
    Status.FAILED: "completed",
    Status.CANCELLED: "cancelled",
}

_IN_META = (
    "status", "progress", "message", "current", "total", "stage", "attempt", "elapsed_seconds", "estimated_remaining",
    "queue_position",
)  # fmt: skip


def create_result(task: Task, *, stream_url: str | None = None) -> dict[str, Any]:
    """The answer to a tool call that became a task."""
    return {"resultType": "task", **_task(task, _STATUS[task.status or Status.QUEUED], stream_url, None)}


def detailed_task(
    task: Task,
    output_schema: Mapping[str, Any] | None,
    *,
    shows_questions: bool,
    stream_url: str | None = None,
    queue_position: int | None = None,
) -> dict[str, Any]:
    """The whole of a task as `tasks/get` and `notifications/tasks` show it.

    Args:
        output_schema: what its type says it returns.
        shows_questions: whether the client declared the kind of question we ask. To one
            that did not, a waiting task is simply not ready yet.
    """
    status = _STATUS[task.status or Status.QUEUED]
    extra: dict[str, Any] = {}
    if status == "input_required":
        if shows_questions:
            extra["inputRequests"] = {key: dict(request) for key, request in task.input_requests.items()}
        else:
            status = "working"
    elif status == "completed":
        if (error := protocol_error(task)) is not None:
            status = "failed"
            extra["error"] = error.error.model_dump(mode="json", exclude_none=True)
        else:
            # With a `resultType` of its own: the extension's TypeScript client reads no result without one.
            extra["result"] = tool_result(task, output_schema).model_dump(mode="json", by_alias=True, exclude_none=True)
    return {**_task(task, status, stream_url, queue_position), **extra}


def _task(task: Task, status: str, stream_url: str | None, queue_position: int | None) -> dict[str, Any]:
    shown = snapshot(task, queue_position=queue_position).model_dump(mode="json", include=set(_IN_META))
    numbers = {**shown, "cursor": task.last_event_id}
    if stream_url is not None:
        numbers["stream_url"] = stream_url
    return {
        "taskId": task.id,
        "status": status,
        "statusMessage": status_line(task),
        "createdAt": wire.timestamp(task.created_at),
        "lastUpdatedAt": wire.timestamp(task.updated_at),
        # A live task is kept without limit; the time it is kept for counts from its end.
        "ttlMs": None if task.expires_at is None else max(1, round((task.expires_at - task.created_at) * 1000)),
        "pollIntervalMs": round(POLL_INTERVAL_SECONDS * 1000),
        "_meta": {wire.TASK_META_KEY: numbers},
    }

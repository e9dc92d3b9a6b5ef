"""What a person or a model reads about a task: where it stands, and the one thing to do next.

Each sentence names the exact call to make and carries what changes from one answer to
the next (elapsed time, percent, stage), so that no two are the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from ..answers import first_question
from ..errors import CallerError
from ..task import Status, Task

__all__ = ["duration", "next_after_error", "next_step", "status_line"]


def duration(seconds: float) -> str:
    """A length of time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def status_line(task: Task, now: float | None = None) -> str:
    """One line on where the task stands: "43 % · page 12 of 28 · about 40 s left"."""
    match task.status:
        case Status.INPUT_REQUIRED:
            return f"Waits for an answer: {first_question(task.input_requests)[1]}"
        case Status.CANCELLED:
            return f"Cancelled: {task.reason}" if task.reason else "Cancelled"
        case Status.COMPLETED | Status.FAILED:
            return task.message
        case Status.QUEUED:
            return task.message or "Queued"
        case _:
            return " · ".join(_running_parts(task, time.time() if now is None else now))


def _running_parts(task: Task, now: float) -> list[str]:
    parts = [f"{task.progress:.0f} %"]
    if task.stage and (name := str(task.stage["name"])) not in task.message:
        parts.append(name)
    message = "" if task.message == "Started" else task.message
    if task.total is not None and task.current is not None and task.total != 100.0:
        current, total = f"{task.current:g}", f"{task.total:g}"
        if message.endswith(f" {current}"):
            message = f"{message} of {total}"
        elif total not in message:
            message = f"{message} ({current} of {total})" if message else f"{current} of {total}"
    if message:
        parts.append(message)
    if task.cancel_requested:
        parts.append("asked to stop")
    elif task.estimated_remaining is not None:
        parts.append(f"about {duration(max(1.0, task.estimated_remaining - (now - task.updated_at)))} left")
    return parts


def next_step(task: Task, *, wait_seconds: float = 0.0, queue_position: int | None = None) -> str:
    """Whether all is well, and the call to make.

    Args:
        wait_seconds: what is worth passing for this caller, as long as the task goes on.
    """
    quoted = f'operation_id="{task.id}"'
    elapsed = duration(time.time() - (task.started_at or task.created_at))
    match task.status:
        case Status.COMPLETED:
            return f"It is done. get_task_result({quoted}) gives the result again as long as it is kept."
        case Status.FAILED:
            return (
                f"It failed and will not go on by itself. Read error; if it is worth another try, call "
                f"retry_task({quoted}), which goes on from the last checkpoint."
            )
        case Status.CANCELLED:
            return f"It was cancelled. retry_task({quoted}) would start it again from its last checkpoint."
        case Status.INPUT_REQUIRED:
            key, message = first_question(task.input_requests)
            more = f" ({len(task.input_requests) - 1} more questions are open)" if len(task.input_requests) > 1 else ""
            return (
                f"It waits for an answer and does nothing until then. Ask the user: {message!r}, then call "
                f'respond_to_task({quoted}, key="{key}", response=…){more}.'
            )
        case Status.QUEUED:
            ahead = f" with {queue_position} ahead of it" if queue_position else ""
            state = f"All is well: it waits for its turn{ahead}, {elapsed} so far."
        case _:
            state = f"All is well: {status_line(task)}, {elapsed} so far."
    return (
        f"{state} Call get_task_result({quoted}, wait_seconds={wait_seconds:g}) to wait for the end. "
        "It goes on by itself; starting it again would only do the work twice."
    )


_AFTER_ERROR: Mapping[str, str] = {
    "NOT_FOUND": "Call list_operations() to see which tasks there are.",
    "UNKNOWN_TASK_TYPE": "Call list_task_types() to see what can be started.",
    "INVALID_ARGUMENT": "Correct what details.errors lists and call again.",
    "INVALID_STATUS": "Use one of details.valid.",
    "IDEMPOTENCY_CONFLICT": "Follow the task in details.operation_id, or use another idempotency_key.",
    "NOT_RETRYABLE": "Only failed and cancelled tasks can be retried; follow this one with get_task_result.",
    "LIMIT_EXCEEDED": "Nothing was started. Call again after details.retry_after_seconds.",
    "UNAVAILABLE": "Nothing was lost; call again in a few seconds.",
}


def next_after_error(error: CallerError) -> str | None:
    """What to do after a refused request; None when there is nothing to say."""
    return _AFTER_ERROR.get(error.code)

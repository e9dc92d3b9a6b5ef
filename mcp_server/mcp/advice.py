"""What a person or a model reads about a task: where it stands, and the one thing to do next.

Each sentence names the exact call to make and carries what changes from one answer to
the next (elapsed time, percent, stage), so that no two are the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from client_sdk import wire

from ..errors import CallerError
from ..questions import first_question
from ..task import Status, Task

__all__ = [
    "duration",
    "next_after_error",
    "next_of_list",
    "next_of_several",
    "next_page",
    "next_step",
    "status_line",
]


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


def next_step(
    task: Task, *, wait_seconds: float = 0.0, queue_position: int | None = None, shows_output: bool = False
) -> str:
    """Whether all is well, and the call to make.

    Args:
        wait_seconds: what is worth passing for this caller, as long as the task goes on.
        shows_output: the answer has the output, if there is one.
    """
    quoted = f'operation_id="{task.id}"'
    elapsed = f"{duration(time.time() - (task.started_at or task.created_at))} so far"
    match task.status:
        case Status.COMPLETED if shows_output:
            return "It is done, and `output` is its result; nothing more is to be done."
        case Status.COMPLETED:
            return f"It is done. Call get_task_result({quoted}) for the result."
        case Status.FAILED:
            return (
                f"It failed and will not go on by itself. Read error; if it is worth another try, call "
                f"retry_task({quoted}), which goes on from the last checkpoint."
            )
        case Status.CANCELLED:
            return f"It was cancelled. retry_task({quoted}) would start it again from its last checkpoint."
        case Status.INPUT_REQUIRED:
            key, message = first_question(task.input_requests)
            others = len(task.input_requests) - 1
            more = f" ({others} more {'question is' if others == 1 else 'questions are'} open.)" if others else ""
            return (
                f"It waits for an answer, {elapsed}. Ask the user: {message!r}, then call "
                f'respond_to_task({quoted}, key="{key}", response={_form(task.input_requests[key])}), '
                f'or with response="decline" if the user will not say.{more}'
            )
        case Status.QUEUED:
            ahead = f" with {queue_position} ahead of it" if queue_position else ""
            state = f"All is well: it waits for its turn{ahead}, {elapsed}."
        case _:
            state = f"All is well: {status_line(task)}, {elapsed}."
    wait = f"Call get_task_result({quoted}, wait_seconds={wait_seconds:g}) to wait for the end."
    if task.cancel_requested:
        return f"It was asked to stop and soon will have: {status_line(task)}, {elapsed}. {wait}"
    return f"{state} {wait} It goes on by itself; starting it again would only do the work twice."


def _form(request: Mapping[str, Any]) -> str:
    """The answer to a question with its blanks, such as `{"confirm": <boolean>}`."""
    fields = request.get("params", {}).get("requestedSchema", {}).get("properties", {})
    if not fields:
        return '"accept"'
    return "{" + ", ".join(f'"{name}": <{_kind(field)}>' for name, field in fields.items()) + "}"


def _kind(field: Mapping[str, Any]) -> str:
    if "enum" in field:
        return " or ".join(json.dumps(value, ensure_ascii=False) for value in field["enum"][:10])
    return str(field.get("type", "value"))


def next_of_several(tasks: Sequence[Task], unfinished: Sequence[str], *, wait_seconds: float) -> str:
    """What to do after a wait for several tasks.

    Args:
        unfinished: the ids of the tasks that have neither ended nor ask something.
    """
    for task in tasks:
        if task.input_requests:
            return next_step(task, wait_seconds=wait_seconds)
    if not unfinished:
        return "All of them are over. get_task_result(operation_id=…) gives each one's result."
    elapsed = duration(time.time() - min(task.created_at for task in tasks))
    return (
        f"All is well: {len(tasks) - len(unfinished)} of {len(tasks)} are over after {elapsed}, the rest goes on by "
        f"itself. To wait on, call wait_for_tasks(operation_ids={json.dumps(list(unfinished))}, "
        f"wait_seconds={wait_seconds:g})."
    )


def next_of_list(count: int, next_cursor: str | None, *, wait_seconds: float) -> str:
    """What to do with a list of tasks."""
    if count == 0:
        return "There are none. list_task_types() tells what can be started."
    more = f' list_operations(cursor="{next_cursor}") gives more of them.' if next_cursor else ""
    return f"Follow one with get_task_result(operation_id=…, wait_seconds={wait_seconds:g}).{more}"


def next_page(task: Task, page: wire.Page | None) -> str:
    """What to do after a result, or a part of one."""
    if page is None:
        return "This is the whole result; nothing more is to be done."
    if page.next_offset is None:
        return "This is the last page of the result."
    end = min(page.next_offset, page.total_characters)
    return (
        f"It is done, and `output` has characters {page.offset} to {end} of the {page.total_characters} of its "
        f'result. For the next call get_task_result(operation_id="{task.id}", offset={page.next_offset}).'
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

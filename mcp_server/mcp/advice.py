"""Sentences for people and models: the state of a task, and the one call to make next.

Each names the exact call, and carries what changes from one answer to the next: the time in
the sentence, and the number of the last event in the call. Some hosts
stop an agent that makes one call several times, so no two calls are equal.
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
    "next_events",
    "next_of_list",
    "next_of_several",
    "next_page",
    "next_since",
    "next_step",
    "status_line",
]


_REPEAT = 0.0001


def next_since(last_event_id: int, given: float | None) -> float:
    """The `since` of the next call: the number of the last event, raised by a fraction while none has come.

    Args:
        given: the `since` of the call that is answered.
    """
    if given is None or not last_event_id <= given < last_event_id + 1 - _REPEAT:
        return last_event_id
    return round(given + _REPEAT, 4)


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
    task: Task,
    *,
    wait_seconds: float = 0.0,
    since: float | None = None,
    queue_position: int | None = None,
    shows_output: bool = False,
) -> str:
    """Whether all is well, and the call to make.

    Args:
        wait_seconds: what suits this caller, as long as the task is unfinished.
        since: that of the next call; by default the number of the last event.
        shows_output: the answer has the output, if there is one.
    """
    quoted = f'operation_id="{task.id}"'
    elapsed = f"{duration(time.time() - (task.started_at or task.created_at))} so far"
    match task.status:
        case Status.COMPLETED if shows_output:
            return "Done. `output` is the result; no more calls."
        case Status.COMPLETED:
            return f"Done. Call get_task_result({quoted}) for the result."
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
            state = f"All is well, {elapsed}."
    if task.cancel_requested:
        state = f"It was asked to stop and will end soon, {elapsed}."
    since = task.last_event_id if since is None else since
    return f"{state} Wait with get_task_result({quoted}, wait_seconds={wait_seconds:g}, since={_number(since)})."


def _number(since: float) -> str:
    return str(int(since) if since == int(since) else since)


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


def next_of_several(
    tasks: Sequence[Task], unfinished: Sequence[str], *, wait_seconds: float, given: float | None
) -> str:
    """The step after a wait for several tasks.

    Args:
        unfinished: the ids of the tasks that have neither ended nor ask something.
        given: the `since` of the call that is answered.
    """
    for task in tasks:
        if task.input_requests:
            return next_step(task, wait_seconds=wait_seconds)
    if not unfinished:
        return "All of them have ended. get_task_result(operation_id=…) gives each one's result."
    elapsed = duration(time.time() - min(task.created_at for task in tasks))
    # Of other tasks than those of the call, any number makes another call.
    events = sum(task.last_event_id for task in tasks if task.id in unfinished)
    since = next_since(events, given if len(unfinished) == len(tasks) else None)
    return (
        f"All is well: {len(tasks) - len(unfinished)} of {len(tasks)} have ended after {elapsed}; the others go on by "
        f"themselves. To wait for them call wait_for_tasks(operation_ids={json.dumps(list(unfinished))}, "
        f"wait_seconds={wait_seconds:g}, since={_number(since)})."
    )


def next_of_list(count: int, next_cursor: str | None, *, wait_seconds: float) -> str:
    """The step after a list of tasks."""
    if count == 0:
        return "There are none. list_task_types() shows what can be started."
    more = f' list_operations(cursor="{next_cursor}") gives more of them.' if next_cursor else ""
    return f"Follow one with get_task_result(operation_id=…, wait_seconds={wait_seconds:g}).{more}"


def next_events(task: Task, since: int) -> str:
    """The step after a part of the events that the caller asked for."""
    return (
        f"There are more events, up to {task.last_event_id}; for the next ones call "
        f'get_task_progress(operation_id="{task.id}", since={since}).'
    )


def next_page(task: Task, page: wire.Page | None) -> str:
    """The step after a result, or a part of one."""
    if page is None:
        return "Done; no more calls."
    if page.next_offset is None:
        return "This is the last page of the result."
    end = min(page.next_offset, page.total_characters)
    return (
        f"Done. `output` has characters {page.offset} to {end} of the {page.total_characters} of the "
        f'result; for the next ones call get_task_result(operation_id="{task.id}", offset={page.next_offset}).'
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
    """The step after a refused request; None when there is nothing to say."""
    return _AFTER_ERROR.get(error.code)

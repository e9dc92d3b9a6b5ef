"""A task and its events as callers see them.

One place turns `Task` and `Event` into the shapes of `client_sdk.wire`, for the tools,
the stream and the snapshot alike, so that live and replayed, pushed and polled cannot differ.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from client_sdk import wire

from .backend import Fleet
from .errors import NoResult, NotReady, TaskFailed, TaskStopped
from .registry import TaskType
from .task import Event, Kind, Status, Task

__all__ = ["Frame", "fleet", "frames", "gap", "no_result", "snapshot", "start_of", "task_types"]


class Frame(NamedTuple):
    """One event as readers get it, in whatever format."""

    number: int | None
    """None for a frame that is no event of the log: the closing progress, the present state, a gap."""
    name: str
    data: dict[str, Any]

    def as_wire(self) -> wire.StreamEvent:
        return wire.StreamEvent(id=self.number, event=self.name, data=self.data)


def detail(task: Task, *, queue_position: int | None = None, traceback: str | None = None) -> wire.TaskDetail:
    """The snapshot, and what the task was started with."""
    return wire.TaskDetail(
        **dict(snapshot(task, queue_position=queue_position)),
        arguments=dict(task.arguments),
        priority=task.priority,
        not_before=wire.timestamp(task.not_before) if task.not_before > task.created_at else None,
        cancel_requested=task.cancel_requested,
        reason=task.reason,
        failures=task.failures,
        traceback=traceback,
    )


def snapshot(task: Task, *, queue_position: int | None = None, now: float | None = None) -> wire.Snapshot:
    now = time.time() if now is None else now
    return wire.Snapshot(
        operation_id=task.id,
        task_type=task.type,
        status=wire.TaskStatus(task.status),
        progress=task.progress,
        message=task.message,
        current=task.current,
        total=task.total,
        stage=wire.Stage(**task.stage) if task.stage else None,
        created_at=wire.timestamp(task.created_at),
        started_at=_stamp(task.started_at),
        updated_at=wire.timestamp(task.updated_at),
        completed_at=_stamp(task.completed_at),
        elapsed_seconds=_elapsed(task, now),
        estimated_remaining=_remaining(task, now),
        attempt=task.attempt,
        interruptions=task.interruptions,
        interruptions_in_a_row=task.interruptions_in_a_row,
        output=task.output,
        error=_failure(task.error),
        metadata=dict(task.metadata),
        retry_of=task.retry_of,
        input_requests=dict(task.input_requests),
        last_event_id=task.last_event_id,
        queue_position=queue_position,
        expires_at=_stamp(task.expires_at),
    )


def frames(task: Task, events: Sequence[Event]) -> list[Frame]:
    """The frames a stream sends for these events of the task."""
    return [frame for event in events for frame in _frames(task, event)]


def start_of(task: Task, cursor: int | None) -> tuple[list[Frame], int]:
    """The frames a reader gets before the events, and the cursor from which it reads on.

    Args:
        cursor: number of the last event the reader has, 0 for none; None begins with the present state.

    A reader that cannot go on from its cursor, because events after it were trimmed or the store was set
    back to before it, gets a `gap`. The terminal event is news to every reader that is not exactly there.
    """
    end = task.last_event_id - task.is_over
    if cursor is None:
        shown = snapshot(task).model_dump(mode="json", include=set(wire.Progress.model_fields))
        return [Frame(None, "progress", shown)], end
    if task.first_event_id <= cursor + 1 and cursor <= task.last_event_id:
        return [], cursor
    return [gap(task)], max(min(cursor, end), task.first_event_id - 1)


def no_result(task: Task, **details: Any) -> NoResult:
    """The failure to answer with when the result of a task is asked for that has none, or none yet."""
    if not task.is_over:
        return NotReady(f"The task is {task.status} ({task.progress:.0f} %); it has no result yet", **details)
    if task.error is None:
        return TaskStopped("The task was cancelled", operation_id=task.id, reason=task.reason, **details)
    failure = _failure(task.error)
    assert failure is not None
    return TaskFailed(failure.message, operation_id=task.id, **failure.model_dump(exclude={"message"}), **details)


def task_types(types: Iterable[TaskType]) -> list[wire.TaskTypeInfo]:
    """The task types as callers see them who look for one to start."""
    return [
        wire.TaskTypeInfo(
            name=t.name, description=t.description, input_schema=dict(t.input_schema), policy=t.policy.public()
        )
        for t in types
    ]


def gap(task: Task) -> Frame:
    """The frame in the place of events that are not held any more: the task as it is now."""
    data = wire.GapData(operation_id=task.id, first_event_id=task.first_event_id, snapshot=snapshot(task))
    return Frame(None, "gap", data.model_dump(mode="json"))


def _frames(task: Task, event: Event) -> list[Frame]:
    data = event.data
    match event.kind:
        case Kind.PROGRESS:
            return [Frame(event.number, "progress", _progress(task, event))]
        case Kind.OUTPUT:
            output = {"operation_id": task.id, "topic": data["topic"], "data": data["data"]}
            return [Frame(event.number, "output", output)]
        case Kind.INPUT_REQUIRED:
            return [Frame(event.number, "input_required", {"operation_id": task.id, **data})]
        case Kind.COMPLETED:
            # The closing frame has no id: the one terminal event is `done`, and a cut between them loses nothing.
            done = Frame(event.number, "done", {"status": data["status"]})
            return [Frame(None, "progress", _progress(task, event)), done]
        case Kind.CANCELLED:
            return [Frame(event.number, "done", {"status": data["status"], "reason": data["reason"]})]
        case Kind.FAILED:
            error = {
                "error": data["message"],
                "error_code": data["error_code"],
                "status": data["status"],
                "details": data["details"],
            }
            return [Frame(event.number, "error", error)]
        case _:
            return [Frame(event.number, "status", _status(task, event))]


def fleet(seen: Fleet, *, ids: bool = True) -> wire.Fleet:
    """Without `ids` it says how many and not which."""
    workers = [
        wire.WorkerSeen(
            name=worker.name,
            host=worker.host,
            pid=worker.pid,
            version=worker.version,
            started_at=wire.timestamp(worker.started_at),
            seen_at=wire.timestamp(worker.seen_at),
            slots=worker.slots,
            task_types=list(worker.types) if ids else [],
            running=len(worker.running),
            operations=list(worker.running) if ids else None,
        )
        for worker in seen.workers or ()
    ]
    waited = None if seen.oldest_waiting is None else round(seen.oldest_waiting, 3)
    return wire.Fleet(
        workers=None if seen.workers is None else workers,
        queue=wire.Queue(due=seen.due, delayed=seen.delayed, oldest_waiting_seconds=waited),
        claimed=seen.claimed,
        stalled=wire.Stalled(count=len(seen.stalled), operations=list(seen.stalled) if ids else None),
    )


def _status(task: Task, event: Event) -> dict[str, Any]:
    return {
        "operation_id": task.id,
        "status": event.data["status"],
        "attempt": event.attempt,
        "reason": event.kind.value,
        "message": event.data.get("message"),
    }


def _progress(task: Task, event: Event) -> dict[str, Any]:
    data = event.data
    return {
        "operation_id": task.id,
        "task_type": task.type,
        "progress": data["progress"],
        "message": data["message"],
        "status": data["status"],
        "started_at": _stamp(task.started_at),
        "updated_at": wire.timestamp(event.at),
        "elapsed_seconds": data["elapsed_seconds"],
        "estimated_remaining": data.get("estimated_remaining"),
        "current": data["current"],
        "total": data["total"],
        "stage": data["stage"],
    }


@lru_cache(maxsize=256)  # `started_at` is in every frame of a task: to format it anew took a fifth of the time
def _stamp(seconds: float | None) -> str | None:
    return None if seconds is None else wire.timestamp(seconds)


def _elapsed(task: Task, now: float) -> float:
    if task.started_at is None:
        return 0.0
    return round(max(0.0, (task.completed_at or now) - task.started_at), 3)


def _remaining(task: Task, now: float) -> float | None:
    if task.estimated_remaining is None or task.status is not Status.RUNNING:
        return None
    return round(max(0.0, task.estimated_remaining - (now - task.updated_at)), 3)


def _failure(error: Mapping[str, Any] | None) -> wire.TaskFailure | None:
    if error is None:
        return None
    return wire.TaskFailure(
        error_code=error["error_code"],
        message=error["message"],
        details=error["details"],
        timestamp=wire.timestamp(error["at"]),
    )

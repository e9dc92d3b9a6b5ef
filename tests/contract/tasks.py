"""Tasks to store: made and moved on by the same `advance` as everywhere."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

from mcp_server.backend import Backend
from mcp_server.events import CLASSES, advance
from mcp_server.task import Event, Kind, Task

TYPE = "count"


def queued(**fields: Any) -> tuple[Task, list[Event]]:
    """A task as the engine would create it, and its first event."""
    now = time.time()
    task = Task(**{"id": uuid4().hex, "type": TYPE, "created_at": now, "updated_at": now, **fields})
    return task, [Event.first_of(task)]


def moved(task: Task, *kinds: Kind, **facts: Any) -> tuple[Task, list[Event]]:
    """The task after these kinds of event, each with those of the `facts` that it has room for, and the events."""
    events = []
    for kind in kinds:
        found = CLASSES[kind]
        says = {name: value for name, value in (_FACTS.get(kind, {}) | facts).items() if name in found._fields}
        task, event = advance(task, found(**says), at=time.time())
        events.append(event)
    return task, events


_FACTS: dict[Kind, dict[str, Any]] = {
    Kind.COMPLETED: {"output": "done", "expires_at": 4e9},
    Kind.FAILED: {"code": "TASK_FAILED", "message": "no", "details": {}, "expires_at": 4e9, "traceback": "1\n2"},
    Kind.CANCELLED: {"reason": None, "expires_at": 4e9},
    Kind.CANCEL_REQUESTED: {"reason": "enough"},
    Kind.RETRYING: {"cause": "released", "message": "Again", "traceback": "1\n2"},
    Kind.OUTPUT: {"topic": None, "data": "text"},
    Kind.CHECKPOINT: {"state": {"page": 1}},
    Kind.INPUT_REQUIRED: {"requests": {"go": {"message": "Go on?"}}},
    Kind.INPUT_ANSWERED: {"responses": {"go": {"action": "accept"}}},
}


async def create(backend: Backend, **fields: Any) -> Task:
    task, events = queued(**fields)
    return await backend.create(task, events)


async def move(backend: Backend, task: Task, *kinds: Kind, durable: bool = False, **facts: Any) -> Task:
    """Commit these kinds of event in one step; the task after them."""
    after, events = moved(task, *kinds, **facts)
    await backend.commit(task, after, events, durable=durable)
    return after


async def finish(backend: Backend, task_id: str) -> None:
    """What a handler of `serve` does in the simplest case: the whole work in one step."""
    task = await backend.load(task_id)
    assert task is not None
    kinds = [Kind.COMPLETED] if task.attempt and task.status == "running" else [Kind.STARTED, Kind.COMPLETED]
    await move(backend, task, *kinds)

"""A task and its events as JSON, the same for every backend.

A task is written in four parts, by how often they change: `fixed` once, `snapshot`
with every commit, `state` and `output` only when they are replaced. What comes back
equals what went in: enums, tuples and falsy values keep their type.

This module knows `Task` and `Event` and nothing of where the bytes are kept.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from pydantic_core import from_json, to_json

from ..task import Event, Kind, Status, Task

__all__ = ["changing", "event_data", "fixed", "read_event", "read_task", "to_json"]

FIXED = ("id", "type", "owner", "arguments", "metadata", "created_at", "retry_of", "idempotency_key", "priority")
APART = ("state", "output")
SNAPSHOT = tuple(f.name for f in fields(Task) if f.name not in FIXED + APART)


def fixed(task: Task) -> bytes:
    """The part that was settled when the task was created."""
    values = task.__dict__
    return to_json({name: values[name] for name in FIXED})


def changing(task: Task) -> bytes:
    """The part that a commit changes, without `state` and `output`."""
    values = task.__dict__
    return to_json({name: values[name] for name in SNAPSHOT})


def read_task(fixed: bytes, snapshot: bytes, state: bytes | None = None, output: bytes | None = None) -> Task:
    """The task of these parts; `state` and `output` are None where none was stored.

    A part may lack fields that `Task` gained since it was written: they get their default.
    """
    values: dict[str, Any] = from_json(fixed)
    values.update(from_json(snapshot))
    values["status"] = Status(values["status"])
    if values["eta_base"] is not None:
        values["eta_base"] = tuple(values["eta_base"])
    return Task(
        **values,
        state=None if state is None else from_json(state),
        output=None if output is None else from_json(output),
    )


def event_data(event: Event) -> bytes:
    """The part of an event that is no column of its own."""
    return to_json(event.data)


def read_event(number: int, kind: str, at: float, attempt: int, data: bytes) -> Event:
    return Event(number=number, kind=Kind(kind), at=at, attempt=attempt, data=from_json(data))

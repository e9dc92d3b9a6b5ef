"""The events of a task, as types to match on.

    async for event in handle.events():
        match event:
            case ProgressEvent(data=progress):
                print(progress.progress, progress.message)
            case OutputEvent(data=output):
                print(output.topic, output.data)

One class per event name of the stream; `data` is the model of the same event in `wire`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ValidationError

from .wire import (
    DoneData,
    ErrorData,
    GapData,
    InputRequiredData,
    OutputData,
    Progress,
    StatusData,
    StreamEvent,
)

__all__ = [
    "DoneEvent",
    "ErrorEvent",
    "Event",
    "GapEvent",
    "InputRequiredEvent",
    "OtherEvent",
    "OutputEvent",
    "ProgressEvent",
    "StatusEvent",
    "event_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    number: int | None
    """Its number in the task's log; None for what is no durable event: a gap, the closing progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressEvent(_Event):
    """The progress of the task. The last of a completed task has status `completed`, 100 percent and no number."""

    name: ClassVar[str] = "progress"
    data: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusEvent(_Event):
    """Something other than progress happened; `data.reason` is what."""

    name: ClassVar[str] = "status"
    data: StatusData


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputEvent(_Event):
    """A partial result, a piece of text, a log line: what the task emitted."""

    name: ClassVar[str] = "output"
    data: OutputData


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRequiredEvent(_Event):
    """The task asks; `data.input_requests` are the questions open now. Answer with `handle.answer`."""

    name: ClassVar[str] = "input_required"
    data: InputRequiredData


@dataclass(frozen=True, slots=True, kw_only=True)
class GapEvent(_Event):
    """Events between the cursor and `data.first_event_id` are no longer kept; `data.snapshot` sums them up."""

    name: ClassVar[str] = "gap"
    data: GapData


@dataclass(frozen=True, slots=True, kw_only=True)
class DoneEvent(_Event):
    """The end of a completed or cancelled task."""

    name: ClassVar[str] = "done"
    data: DoneData


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorEvent(_Event):
    """The end of a failed task."""

    name: ClassVar[str] = "error"
    data: ErrorData


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherEvent(_Event):
    """An event this version of the client has no type for."""

    name: str
    data: Mapping[str, Any]


Event = ProgressEvent | StatusEvent | OutputEvent | InputRequiredEvent | GapEvent | DoneEvent | ErrorEvent | OtherEvent

_TYPES: Mapping[str, tuple[type[Any], type[BaseModel]]] = {
    "progress": (ProgressEvent, Progress),
    "status": (StatusEvent, StatusData),
    "output": (OutputEvent, OutputData),
    "input_required": (InputRequiredEvent, InputRequiredData),
    "gap": (GapEvent, GapData),
    "done": (DoneEvent, DoneData),
    "error": (ErrorEvent, ErrorData),
}


def event_of(frame: StreamEvent) -> Event:
    """The typed event of a frame; one of an unknown name or shape becomes an OtherEvent, so that none is lost."""
    known = _TYPES.get(frame.event)
    if known is not None:
        event_type, model = known
        try:
            event: Event = event_type(number=frame.id, data=model.model_validate(frame.data))
        except ValidationError:
            pass
        else:
            return event
    return OtherEvent(number=frame.id, name=frame.event, data=frame.data)

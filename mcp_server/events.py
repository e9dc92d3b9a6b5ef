"""The events of a task: one class for each kind of event, and `advance`, which applies one.

An instance holds what the event has to say; `fold` is the rule of its kind: it writes
what the event does to the task into `changes`, and returns the data of the event as
it is stored. All of it is pure: no clock, no storage, no MCP, no HTTP; times are
passed in as seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from .errors import StaleAttempt, TransitionError
from .task import TRANSITIONS, Event, Kind, Status, Task, replaced

__all__ = [
    "CLASSES",
    "CancelRequested",
    "Cancelled",
    "Checkpoint",
    "Completed",
    "End",
    "Failed",
    "Happening",
    "InputAnswered",
    "InputRequired",
    "Output",
    "Progress",
    "Retrying",
    "Started",
    "advance",
]

Changes = dict[str, Any]
"""The fields of a task that an event replaces, by name."""


# Tuples, because one is made in less time than a frozen dataclass, and every report makes one.
class Started(NamedTuple):
    """An attempt begins; it is numbered one above the last."""

    def fold(self, task: Task, changes: Changes, at: float) -> dict[str, Any]:
        changes.update(started_at=task.started_at or at, message="Started", estimated_remaining=None)
        if task.has_state:
            # Work resumes where the checkpoint left it, so neither does the bar fall back
            # nor does the rate count what an earlier attempt had done.
            changes.update(eta_base=None)
        else:
            changes.update(
                progress=0.0, current=None, total=None, stage=None, eta_base=(changes["worked_seconds"], 0.0)
            )
        return {}


class Progress(NamedTuple):
    """A report. What is None was not said: progress and message then stay, the rest is cleared."""

    progress: float | None = None
    message: str | None = None
    current: float | None = None
    total: float | None = None
    stage: Mapping[str, Any] | None = None

    def fold(self, task: Task, changes: Changes, at: float) -> dict[str, Any]:
        # Progress never falls within an attempt.
        reached = task.progress if self.progress is None else min(100.0, max(task.progress, float(self.progress)))
        data = {
            "progress": reached,
            "message": task.message if self.message is None else self.message,
            "current": self.current,
            "total": self.total,
            "stage": self.stage,
            "estimated_remaining": None,
        }
        if task.eta_base is None:
            changes["eta_base"] = (changes["worked_seconds"], reached)
        else:
            worked, done = changes["worked_seconds"] - task.eta_base[0], reached - task.eta_base[1]
            if done > 0 and worked > 0:
                data["estimated_remaining"] = round(worked * (100.0 - reached) / done, 3)
        changes.update(data)
        return {**data, "elapsed_seconds": _elapsed(task, at)}


class Output(NamedTuple):
    """A part of the result, or anything else that is sent while the work goes on."""

    topic: str | None
    data: Any

    def fold(self, task: Task, changes: Changes, at: float) -> dict[str, Any]:
        return {"topic": self.topic, "data": self.data}


class Checkpoint(NamedTuple):
    """The state that the next attempt begins with."""

    state: Any

    def fold(self, task: Task, changes: Changes, at: float) -> dict[str, Any]:
        changes.update(state=self.state, has_state=True, interruptions_in_a_row=0)
        return {}


class InputRequired(NamedTuple):
    """Questions, by key; those that are open already stay open."""

    requests: Mapping[str, Mapping[str, Any]]

    def fold(self, task: Task, changes: Changes, at: float) -> dict[str, Any]:
        changes["input_requests"] = {**task.input_requests, **self.requests}
        return {"input_requests": changes["input_requests"]}


class InputAnswered(NamedTuple):
    """Answers to open questions, by key."""

    responses: Mapping[str, Any]

    def fold(self, task: Task, changes: Changes, at: float) -> dict[str, Any]:
        changes["answers"] = {**task.answers, **self.responses}
        changes["input_requests"] = {k: v for k, v in task.input_requests.items() if k not in self.responses}
        if changes["input_requests"]:
            changes["status"] = Status.INPUT_REQUIRED
        return {"keys": sorted(self.responses)}


class CancelRequested(NamedTuple):
    reason: str | None

    def fold(self, task: Task, changes: Changes, at: float) -> dict[str, Any]:
        changes.update(cancel_requested=True, reason=self.reason)
        return {"message": self.reason}


class Retrying(NamedTuple):
    """An attempt ends, and the task is queued for the next one."""

    cause: Literal["failed", "interrupted", "released"]
    """It raised, its process died, or its server stopped."""
    message: str
    not_before: float = 0.0
    traceback: str | None = None

    def fold(self, task: Task, changes: Changes, at: float) -> dict[str, Any]:
        changes.update(not_before=self.not_before, input_requests={}, message=self.message, estimated_remaining=None)
        if self.cause == "failed":
            changes["failures"] = task.failures + 1
        elif self.cause == "interrupted":
            # The moment at which the process died is unknown; the time since its last word is not work.
            changes.update(
                interruptions=task.interruptions + 1,
                interruptions_in_a_row=task.interruptions_in_a_row + 1,
                worked_seconds=task.worked_seconds,
            )
        delay = max(0.0, round(self.not_before - at, 3))
        return {"cause": self.cause, "message": self.message, "delay_seconds": delay, **_traced(self.traceback)}


class Completed(NamedTuple):
    output: Any
    expires_at: float
    message: str | None = None

    def fold(self, task: Task, changes: Changes, at: float) -> dict[str, Any]:
        data = {
            "progress": 100.0,
            "message": self.message or "Completed",
            "current": task.current,
            "total": task.total,
            "stage": task.stage,
        }
        changes.update(data, output=self.output, **_ended(at, self.expires_at))
        return {**data, "elapsed_seconds": _elapsed(task, at)}


class Failed(NamedTuple):
    code: str
    message: str
    details: Mapping[str, Any]
    expires_at: float
    traceback: str | None = None

    def fold(self, task: Task, changes: Changes, at: float) -> dict[str, Any]:
        error = {"error_code": self.code, "message": self.message, "details": dict(self.details)}
        changes.update(error={**error, "at": at}, message=self.message, **_ended(at, self.expires_at))
        return {**error, **_traced(self.traceback)}


class Cancelled(NamedTuple):
    reason: str | None
    expires_at: float

    def fold(self, task: Task, changes: Changes, at: float) -> dict[str, Any]:
        changes.update(reason=self.reason, message="Cancelled", **_ended(at, self.expires_at))
        return {"reason": self.reason}


End = Completed | Failed | Cancelled | Retrying
"""The last event of an attempt."""
Happening = Started | Progress | Output | Checkpoint | InputRequired | InputAnswered | CancelRequested | End

CLASSES: Mapping[Kind, type[Happening]] = {
    Kind.STARTED: Started,
    Kind.PROGRESS: Progress,
    Kind.OUTPUT: Output,
    Kind.CHECKPOINT: Checkpoint,
    Kind.INPUT_REQUIRED: InputRequired,
    Kind.INPUT_ANSWERED: InputAnswered,
    Kind.CANCEL_REQUESTED: CancelRequested,
    Kind.RETRYING: Retrying,
    Kind.COMPLETED: Completed,
    Kind.FAILED: Failed,
    Kind.CANCELLED: Cancelled,
}
"""The class of each kind but `QUEUED`, which creates a task and happens to none."""

_KINDS: Mapping[type, Kind] = {found: kind for kind, found in CLASSES.items()}


def advance(task: Task, happening: Happening, *, at: float, attempt: int | None = None) -> tuple[Task, Event]:
    """The task after one more event, and that event.

    Args:
        attempt: the one that reports the event; None for events from outside, such as a cancel.

    Raises:
        TransitionError: the status does not admit the event.
        StaleAttempt: the event belongs to an attempt that was taken over.
    """
    kind = _KINDS[type(happening)]
    status = TRANSITIONS.get((task.status, kind))
    if status is None:
        raise TransitionError(task.status, kind)
    expected = task.attempt + 1 if kind is Kind.STARTED else task.attempt
    if attempt is not None and attempt != expected:
        raise StaleAttempt(attempt, task.attempt)
    # A clock that was set back must not make the log run backwards.
    at = max(at, task.updated_at)
    worked = task.worked_seconds + (at - task.updated_at if task.status is Status.RUNNING else 0.0)
    number = task.last_event_id + 1
    changes: Changes = {
        "status": status,
        "attempt": expected,
        "last_event_id": number,
        "updated_at": at,
        "worked_seconds": worked,
    }
    data = happening.fold(task, changes, at)
    data["status"] = changes["status"].value
    return replaced(task, changes), Event(number, kind, at, expected, data)


def _ended(at: float, expires_at: float) -> Changes:
    return {"completed_at": at, "expires_at": expires_at, "input_requests": {}, "estimated_remaining": None}


def _traced(traceback: str | None) -> dict[str, Any]:
    # For operators: the event keeps it, and no view of the event shows it.
    return {} if traceback is None else {"traceback": traceback}


def _elapsed(task: Task, at: float) -> float:
    return round(at - task.started_at, 3) if task.started_at is not None else 0.0

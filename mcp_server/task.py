"""The life of a task: its statuses, its events, and the one table that joins them.

Everything that ever happens to a task is an event with a per-task number, and a
`Task` is what its events add up to. `advance` is the only way to get from one
`Task` to the next. It is pure: no clock, no storage, no MCP, no HTTP; times are
passed in as seconds since the epoch.

Read this file first; the rest of the server moves these values around.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from .errors import StaleAttempt, TransitionError

__all__ = [
    "CLAIMABLE",
    "LIVE",
    "TERMINAL",
    "TRANSITIONS",
    "Claimable",
    "Event",
    "Kind",
    "Status",
    "Task",
    "advance",
    "trimmed",
]


class Status(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    INPUT_REQUIRED = "input_required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


LIVE = frozenset({Status.QUEUED, Status.RUNNING, Status.INPUT_REQUIRED})
TERMINAL = frozenset(Status) - LIVE


class Claimable(StrEnum):
    """The condition under which a task is given to a process: all that a backend knows of its status."""

    WHEN_DUE = "when_due"
    """Once its `not_before` has come."""
    WHEN_ABANDONED = "when_abandoned"
    """Once its process has died."""
    NEVER = "never"


CLAIMABLE: Mapping[Status | None, Claimable] = {
    Status.QUEUED: Claimable.WHEN_DUE,
    Status.RUNNING: Claimable.WHEN_ABANDONED,
    Status.INPUT_REQUIRED: Claimable.WHEN_ABANDONED,
}
"""By status; a task in any other one is claimed never."""


class Kind(StrEnum):
    """What one event records."""

    QUEUED = "queued"
    STARTED = "started"
    PROGRESS = "progress"
    OUTPUT = "output"
    CHECKPOINT = "checkpoint"
    INPUT_REQUIRED = "input_required"
    INPUT_ANSWERED = "input_answered"
    CANCEL_REQUESTED = "cancel_requested"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


_QUEUED, _RUNNING, _WAITING = Status.QUEUED, Status.RUNNING, Status.INPUT_REQUIRED

TRANSITIONS: Mapping[tuple[Status | None, Kind], Status] = {
    (None, Kind.QUEUED): _QUEUED,
    (_QUEUED, Kind.STARTED): _RUNNING,
    (_QUEUED, Kind.CANCEL_REQUESTED): _QUEUED,
    (_QUEUED, Kind.CANCELLED): Status.CANCELLED,
    (_QUEUED, Kind.FAILED): Status.FAILED,
    (_RUNNING, Kind.PROGRESS): _RUNNING,
    (_RUNNING, Kind.OUTPUT): _RUNNING,
    (_RUNNING, Kind.CHECKPOINT): _RUNNING,
    (_RUNNING, Kind.INPUT_REQUIRED): _WAITING,
    (_RUNNING, Kind.CANCEL_REQUESTED): _RUNNING,
    (_RUNNING, Kind.RETRYING): _QUEUED,
    (_RUNNING, Kind.COMPLETED): Status.COMPLETED,
    (_RUNNING, Kind.FAILED): Status.FAILED,
    (_RUNNING, Kind.CANCELLED): Status.CANCELLED,
    # A function may go on working in one branch while another waits for an answer.
    (_WAITING, Kind.PROGRESS): _WAITING,
    (_WAITING, Kind.OUTPUT): _WAITING,
    (_WAITING, Kind.CHECKPOINT): _WAITING,
    (_WAITING, Kind.INPUT_REQUIRED): _WAITING,
    # The last answer: while questions are left the task goes on waiting (`_answered`).
    (_WAITING, Kind.INPUT_ANSWERED): _RUNNING,
    (_WAITING, Kind.CANCEL_REQUESTED): _WAITING,
    (_WAITING, Kind.RETRYING): _QUEUED,
    (_WAITING, Kind.COMPLETED): Status.COMPLETED,
    (_WAITING, Kind.FAILED): Status.FAILED,
    (_WAITING, Kind.CANCELLED): Status.CANCELLED,
}
"""Every transition there is. A pair that is not here is a `TransitionError`."""


# A tuple is made in less time than a frozen dataclass: every report makes one, and so does every read.
class Event(NamedTuple):
    """One numbered fact in a task's log.

    `data` is JSON-clean and holds what this kind of event says, with the `status` the
    task then has, and nothing that is fixed for the task (id, type): `views` adds that.
    """

    number: int
    kind: Kind
    at: float
    attempt: int
    data: Mapping[str, Any]


# No slots: `_replaced` copies the instance's dict, many times faster than `dataclasses.replace`
# on this many fields, and every progress report makes one copy.
@dataclass(frozen=True, kw_only=True)
class Task:
    """One run of a task type: the sum of its events.

    `last_event_id` doubles as the version a backend compares when it commits.
    Times are seconds since the epoch, durations are seconds.
    """

    # Fixed when the task is created.
    id: str
    type: str
    owner: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    created_at: float
    retry_of: str | None = None
    idempotency_key: str | None = None
    priority: int = 0

    # Changed by `advance` only.
    status: Status | None = None
    attempt: int = 0
    failures: int = 0
    """Attempts that ended in an exception: what a type's `retries` counts."""
    interruptions: int = 0
    """Attempts whose process died: what a type's `max_attempts` counts."""
    not_before: float = 0.0
    """A queued task is not claimed before this time."""
    last_event_id: int = 0
    first_event_id: int = 1
    """The first number still held; older events were trimmed."""
    started_at: float | None = None
    updated_at: float
    completed_at: float | None = None
    expires_at: float | None = None
    progress: float = 0.0
    message: str = ""
    current: float | None = None
    total: float | None = None
    stage: Mapping[str, Any] | None = None
    estimated_remaining: float | None = None
    worked_seconds: float = 0.0
    """Time spent running, over all attempts; waiting for input or in the queue does not count."""
    eta_base: tuple[float, float] | None = None
    """`worked_seconds` and `progress` at the point this attempt's rate is measured from."""
    cancel_requested: bool = False
    reason: str | None = None
    """Why it was cancelled, as the caller put it."""
    input_requests: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    answers: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None
    has_state: bool = False

    # Changed by `advance`, possibly large: a backend stores them apart and only when they change.
    state: Any = None
    """The last checkpoint, handed to the next attempt."""
    output: Any = None

    @property
    def is_over(self) -> bool:
        return self.status in TERMINAL

    @property
    def claimable(self) -> Claimable:
        return CLAIMABLE.get(self.status, Claimable.NEVER)


def advance(task: Task, kind: Kind, *, at: float, attempt: int | None = None, **facts: Any) -> tuple[Task, Event]:
    """The task after one more event, and that event.

    `attempt` is the attempt that reports the event (default: the task's own, for
    events from outside such as a cancel). `facts` are what the kind says; the
    event's data is what became of them (progress that would fall stays where it was).

    Raises:
        TransitionError: the status does not admit the event.
        StaleAttempt: the event belongs to an attempt that was taken over.
    """
    status = TRANSITIONS.get((task.status, kind))
    if status is None:
        raise TransitionError(task.status or "not there", kind)
    expected = task.attempt + 1 if kind is Kind.STARTED else task.attempt
    if attempt is not None and attempt != expected:
        raise StaleAttempt(attempt, task.attempt)
    # A clock that was set back must not make the log run backwards.
    at = max(at, task.updated_at)
    worked = task.worked_seconds + (at - task.updated_at if task.status is _RUNNING else 0.0)
    changes: dict[str, Any] = {
        "status": status,
        "attempt": expected,
        "last_event_id": task.last_event_id + 1,
        "updated_at": at,
        "worked_seconds": worked,
    }
    data = _FOLDS[kind](task, changes, facts, at)
    data["status"] = str(changes["status"])
    if changes["status"] in TERMINAL:
        changes.update(completed_at=at, expires_at=facts["expires_at"], input_requests={}, estimated_remaining=None)
    return _replaced(task, changes), Event(number=task.last_event_id + 1, kind=kind, at=at, attempt=expected, data=data)


def trimmed(task: Task, max_events: int) -> Task:
    """The task with its oldest events given up, once it holds over a tenth more than it may."""
    if task.last_event_id - task.first_event_id + 1 <= max_events * 1.1:
        return task
    return _replaced(task, {"first_event_id": task.last_event_id - max_events + 1})


def _replaced(task: Task, changes: dict[str, Any]) -> Task:
    after = object.__new__(Task)
    object.__setattr__(after, "__dict__", task.__dict__ | changes)
    return after


# One function per kind: it adds to `changes` what the event does to the task and
# returns the event's data. `facts` are the keyword arguments named in its signature's
# comment; a missing one is a programming error and raises KeyError.

_Changes = dict[str, Any]
_Facts = Mapping[str, Any]


def _queued(task: Task, changes: _Changes, facts: _Facts, at: float) -> dict[str, Any]:
    # not_before?
    changes.update(message="Queued", not_before=facts.get("not_before", 0.0))
    return {}


def _started(task: Task, changes: _Changes, facts: _Facts, at: float) -> dict[str, Any]:
    changes.update(started_at=task.started_at or at, message="Started", estimated_remaining=None)
    if task.has_state:
        # Work resumes where the checkpoint left it, so neither does the bar fall back
        # nor does the rate count what an earlier attempt had done.
        changes.update(eta_base=None)
    else:
        changes.update(progress=0.0, current=None, total=None, stage=None, eta_base=(changes["worked_seconds"], 0.0))
    return {}


def _progress(task: Task, changes: _Changes, facts: _Facts, at: float) -> dict[str, Any]:
    # progress?, message?, current?, total?, stage?
    progress, message = facts.get("progress"), facts.get("message")
    progress = task.progress if progress is None else min(100.0, max(task.progress, float(progress)))
    shown = {
        "progress": progress,
        "message": task.message if message is None else message,
        "current": facts.get("current"),
        "total": facts.get("total"),
        "stage": facts.get("stage"),
        "estimated_remaining": None,
    }
    if task.eta_base is None:
        changes["eta_base"] = (changes["worked_seconds"], progress)
    else:
        worked, done = changes["worked_seconds"] - task.eta_base[0], progress - task.eta_base[1]
        if done > 0 and worked > 0:
            shown["estimated_remaining"] = round(worked * (100.0 - progress) / done, 3)
    changes.update(shown)
    return {**shown, "elapsed_seconds": _elapsed(task, at)}


def _output(task: Task, changes: _Changes, facts: _Facts, at: float) -> dict[str, Any]:
    # topic, data
    return {"topic": facts["topic"], "data": facts["data"]}


def _checkpoint(task: Task, changes: _Changes, facts: _Facts, at: float) -> dict[str, Any]:
    # state
    changes.update(state=facts["state"], has_state=True)
    return {}


def _input_required(task: Task, changes: _Changes, facts: _Facts, at: float) -> dict[str, Any]:
    # requests: {key: request}
    changes["input_requests"] = {**task.input_requests, **facts["requests"]}
    return {"input_requests": changes["input_requests"]}


def _input_answered(task: Task, changes: _Changes, facts: _Facts, at: float) -> dict[str, Any]:
    # responses: {key: response}
    responses = facts["responses"]
    changes["answers"] = {**task.answers, **responses}
    changes["input_requests"] = {k: v for k, v in task.input_requests.items() if k not in responses}
    if changes["input_requests"]:
        changes["status"] = _WAITING
    return {"keys": sorted(responses)}


def _cancel_requested(task: Task, changes: _Changes, facts: _Facts, at: float) -> dict[str, Any]:
    # reason
    changes.update(cancel_requested=True, reason=facts["reason"])
    return {"message": facts["reason"]}


def _retrying(task: Task, changes: _Changes, facts: _Facts, at: float) -> dict[str, Any]:
    # cause: "failed" | "interrupted" | "released", message, not_before?
    cause, not_before = facts["cause"], facts.get("not_before", 0.0)
    changes.update(not_before=not_before, input_requests={}, message=facts["message"], estimated_remaining=None)
    if cause == "failed":
        changes["failures"] = task.failures + 1
    elif cause == "interrupted":
        # Nobody knows when the process died; the time since its last word is not work.
        changes.update(interruptions=task.interruptions + 1, worked_seconds=task.worked_seconds)
    return {"cause": cause, "message": facts["message"], "delay_seconds": max(0.0, round(not_before - at, 3))}


def _completed(task: Task, changes: _Changes, facts: _Facts, at: float) -> dict[str, Any]:
    # output, expires_at, message?
    shown = {
        "progress": 100.0,
        "message": facts.get("message") or "Completed",
        "current": task.current,
        "total": task.total,
        "stage": task.stage,
    }
    changes.update(shown, output=facts["output"])
    return {**shown, "elapsed_seconds": _elapsed(task, at)}


def _failed(task: Task, changes: _Changes, facts: _Facts, at: float) -> dict[str, Any]:
    # error: {error_code, message, details}, expires_at
    changes.update(error={**facts["error"], "at": at}, message=facts["error"]["message"])
    return dict(facts["error"])


def _cancelled(task: Task, changes: _Changes, facts: _Facts, at: float) -> dict[str, Any]:
    # reason, expires_at
    changes.update(reason=facts["reason"], message="Cancelled")
    return {"reason": facts["reason"]}


def _elapsed(task: Task, at: float) -> float:
    return round(at - task.started_at, 3) if task.started_at is not None else 0.0


_FOLDS = {
    Kind.QUEUED: _queued,
    Kind.STARTED: _started,
    Kind.PROGRESS: _progress,
    Kind.OUTPUT: _output,
    Kind.CHECKPOINT: _checkpoint,
    Kind.INPUT_REQUIRED: _input_required,
    Kind.INPUT_ANSWERED: _input_answered,
    Kind.CANCEL_REQUESTED: _cancel_requested,
    Kind.RETRYING: _retrying,
    Kind.COMPLETED: _completed,
    Kind.FAILED: _failed,
    Kind.CANCELLED: _cancelled,
}

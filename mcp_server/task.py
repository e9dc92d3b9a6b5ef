"""The life of a task: its statuses, its events, and the one table that joins them.

Everything that ever happens to a task is an event with a per-task number, and a
`Task` is what its events add up to. `events.advance` is the only way to get from one
`Task` to the next.

Read this file first and `events.py` second; the rest of the server moves these values around.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

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
    "replaced",
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
    """The kind of one event."""

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

TRANSITIONS: Mapping[tuple[Status, Kind], Status] = {
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
    # The last answer: while questions are left the task goes on waiting (`InputAnswered`).
    (_WAITING, Kind.INPUT_ANSWERED): _RUNNING,
    (_WAITING, Kind.CANCEL_REQUESTED): _WAITING,
    (_WAITING, Kind.RETRYING): _QUEUED,
    (_WAITING, Kind.COMPLETED): Status.COMPLETED,
    (_WAITING, Kind.FAILED): Status.FAILED,
    (_WAITING, Kind.CANCELLED): Status.CANCELLED,
}
"""Every transition there is. A pair that is not here is a `TransitionError`.

A task is queued from its first event on, so nothing leads to `QUEUED` (see `Event.first_of`).
"""


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

    @classmethod
    def first_of(cls, task: Task) -> Event:
        """The event that creates a task; no other comes before it and none like it later."""
        data = {"status": Status.QUEUED.value}
        return cls(number=1, kind=Kind.QUEUED, at=task.created_at, attempt=0, data=data)


# No slots: `replaced` copies the instance's dict, many times faster than `dataclasses.replace`
# on this many fields, and every progress report makes one copy.
@dataclass(frozen=True, kw_only=True)
class Task:
    """One run of a task type: the sum of its events. A new one is what its first event makes it: queued.

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
    status: Status = Status.QUEUED
    attempt: int = 0
    failures: int = 0
    """Attempts that ended in an exception: what a type's `retries` counts."""
    interruptions: int = 0
    """Attempts whose process died."""
    interruptions_in_a_row: int = 0
    """Those of them since the last checkpoint: what a type's `max_attempts` counts."""
    not_before: float = 0.0
    """A queued task is not claimed before this time."""
    last_event_id: int = 1
    first_event_id: int = 1
    """The first number still held; older events were trimmed."""
    started_at: float | None = None
    updated_at: float
    completed_at: float | None = None
    expires_at: float | None = None
    progress: float = 0.0
    message: str = "Queued"
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


def trimmed(task: Task, max_events: int) -> Task:
    """The task with its oldest events given up, once it holds over a tenth more than it may."""
    if task.last_event_id - task.first_event_id + 1 <= max_events * 1.1:
        return task
    return replaced(task, {"first_event_id": task.last_event_id - max_events + 1})


def replaced(task: Task, changes: dict[str, Any]) -> Task:
    """A copy of the task with these fields changed."""
    after = object.__new__(Task)
    object.__setattr__(after, "__dict__", task.__dict__ | changes)
    return after

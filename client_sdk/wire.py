"""Names and shapes on the wire, written once: the server imports them, never the reverse.

Everything here is what `GET /progress/...`, the SSE stream and the tools' `data`
carry. Times are UTC ISO 8601 with `Z`; durations are seconds. Models ignore fields
they do not know, so an older client reads a newer server. Fields with a default may be
absent, which means the default: the tools leave them out for clients that name themselves.

Longer than other files, because there is one place for shapes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "DEFAULT_BASE_URL",
    "IDEMPOTENCY_META_KEY",
    "LAST_EVENT_ID",
    "TASK_META_KEY",
    "TERMINAL_STATUSES",
    "WAIT_META_KEY",
    "AnswerReply",
    "CancelOutcome",
    "CancelReply",
    "DoneData",
    "ErrorCode",
    "ErrorData",
    "EventPage",
    "Fleet",
    "GapData",
    "Health",
    "InputRequiredData",
    "NotReadyData",
    "Operations",
    "OutputData",
    "Page",
    "Progress",
    "ProgressReply",
    "Queue",
    "Reply",
    "Result",
    "Snapshot",
    "Stage",
    "Stalled",
    "StartReply",
    "StatusData",
    "StreamEvent",
    "TaskDetail",
    "TaskFailure",
    "TaskStatus",
    "TaskTypeInfo",
    "TaskTypes",
    "TasksReply",
    "Waited",
    "WorkerSeen",
    "timestamp",
]

DEFAULT_BASE_URL = "http://127.0.0.1:8081"
LAST_EVENT_ID = "Last-Event-ID"

TASK_META_KEY = "mcp-long-tasks/task"
"""In `_meta` of a task of the tasks extension: the numbers that the extension has no fields for."""
IDEMPOTENCY_META_KEY = "mcp-long-tasks/idempotency_key"
"""In `_meta` of a call of a task type's own tool: as `idempotency_key` of `start_long_task`."""
WAIT_META_KEY = "mcp-long-tasks/wait_seconds"
"""In `_meta` of a call of a task type's own tool: as `wait_seconds` of `start_long_task`."""


class TaskStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    INPUT_REQUIRED = "input_required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL_STATUSES = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})


class ErrorCode(StrEnum):
    """`error_code` of a failed tool call. A failed task's own code may be any string its author chose."""

    NOT_FOUND = "NOT_FOUND"
    NOT_READY = "NOT_READY"
    TASK_FAILED = "TASK_FAILED"
    TASK_CANCELLED = "TASK_CANCELLED"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    UNKNOWN_TASK_TYPE = "UNKNOWN_TASK_TYPE"
    INVALID_STATUS = "INVALID_STATUS"
    IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"
    NOT_RETRYABLE = "NOT_RETRYABLE"
    INSUFFICIENT_SCOPE = "INSUFFICIENT_SCOPE"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as UTC ISO 8601 with `Z` and milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Model(BaseModel):
    # Building all of them at once takes a fifth of the time the client takes to import; each is built when it is used.
    model_config = ConfigDict(extra="ignore", use_enum_values=False, defer_build=True)


class Stage(_Model):
    """The named part of the work a task is in."""

    name: str
    index: int = Field(description="Counts from 1")
    count: int | None = Field(default=None, description="How many stages there are, if the task said so")
    progress: float = Field(description="0 to 100 within the stage")


class TaskFailure(_Model):
    """Why a task failed."""

    error_code: str
    message: str
    details: dict[str, Any] = Field(default_factory=dict)
    timestamp: str


class Snapshot(_Model):
    """A task at one moment."""

    operation_id: str
    task_type: str
    status: TaskStatus
    progress: float = Field(default=0.0, description="0 to 100; never falls within an attempt")
    message: str = ""
    current: float | None = None
    total: float | None = None
    stage: Stage | None = None
    created_at: str
    started_at: str | None = None
    updated_at: str = Field(description="Moves only when the task changes")
    completed_at: str | None = None
    elapsed_seconds: float = Field(default=0.0, description="Since the start, up to now or to the end")
    estimated_remaining: float | None = Field(default=None, description="Seconds, from the task's own rate")
    attempt: int = Field(default=0, description="0 until it starts; grows by one for each execution")
    interruptions: int = Field(default=0, description="Attempts whose process died")
    interruptions_in_a_row: int = Field(default=0, description="Of these, since the last checkpoint")
    output: Any = Field(default=None, description="The result; null until completed")
    error: TaskFailure | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    retry_of: str | None = None
    input_requests: dict[str, Any] = Field(default_factory=dict, description="Open questions by key")
    last_event_id: int = Field(description="The cursor: pass it as `since` or Last-Event-ID to get what came after")
    queue_position: int | None = Field(default=None, description="Tasks ahead of it, 100 for more; null unless queued")
    expires_at: str | None = Field(default=None, description="When it is forgotten; null while it lives")

    def __repr__(self) -> str:
        message = f" {self.message!r}" if self.message else ""
        return (
            f"<{type(self).__name__} {self.operation_id} {self.task_type} {self.status} {self.progress:.0f}%{message}>"
        )

    __str__ = __repr__


class TaskDetail(Snapshot):
    """A task with what it was started with: for people who ask why, and left out where agents would pay for it."""

    arguments: dict[str, Any] = Field(default_factory=dict)
    priority: int = 0
    not_before: str | None = Field(default=None, description="When it may run; null: at once")
    cancel_requested: bool = False
    reason: str | None = Field(default=None, description="Why it was cancelled, if that was said")
    failures: int = Field(default=0, description="Attempts that ended in an exception")
    traceback: str | None = Field(default=None, description="Of the last failure; for operators")


# The stream: event name -> data.


class Progress(_Model):
    """Event `progress`."""

    operation_id: str
    task_type: str
    progress: float
    message: str
    status: TaskStatus
    started_at: str | None
    updated_at: str
    elapsed_seconds: float
    estimated_remaining: float | None
    current: float | None
    total: float | None
    stage: Stage | None


class StatusData(_Model):
    """Event `status`: something other than progress happened. `reason` is what."""

    operation_id: str
    status: TaskStatus
    attempt: int
    reason: str = Field(
        description="queued, started, retrying, cancel_requested, input_answered or checkpoint; more may come"
    )
    message: str | None = None


class OutputData(_Model):
    """Event `output`: what the task emitted."""

    operation_id: str
    topic: str | None
    data: Any


class InputRequiredData(_Model):
    """Event `input_required`: the questions that are open now, by key."""

    operation_id: str
    status: Literal[TaskStatus.INPUT_REQUIRED] = TaskStatus.INPUT_REQUIRED
    input_requests: dict[str, Any]


class GapData(_Model):
    """Event `gap`: events between the cursor and `first_event_id` are no longer kept."""

    operation_id: str
    first_event_id: int
    snapshot: Snapshot


class DoneData(_Model):
    """Event `done`: the end of a completed or cancelled task."""

    status: TaskStatus
    reason: str | None = None


class ErrorData(_Model):
    """Event `error`: the end of a failed task."""

    error: str
    error_code: str
    status: Literal[TaskStatus.FAILED] = TaskStatus.FAILED
    details: dict[str, Any] = Field(default_factory=dict)


class StreamEvent(_Model):
    """One frame as data: what `get_task_progress(since=…)` lists."""

    id: int | None
    event: str
    data: dict[str, Any]


class EventPage(_Model):
    """`GET /tasks/{operation_id}/events`: the events after a number that were there already."""

    events: list[StreamEvent]
    last_event_id: int = Field(description="Pass it as `after` to get the next page")
    has_more: bool


# The tools' `data`.


class Waited(_Model):
    """The seconds a request could be held for the task, and the reason."""

    seconds: float | None = Field(description="What was applied, null for no limit; an answer may come earlier")
    asked: float | None = Field(default=None, description="The `wait_seconds` of the request")
    reason: str


class Page(_Model):
    """Says that `output` is a part of a result: characters of its text, or of its JSON if it is no text."""

    offset: int
    total_characters: int
    next_offset: int | None = Field(description="Where the next page begins; null after the last one")
    resource: str = Field(description="The MCP resource that holds the whole")


class _Advised(_Model):
    next: str | None = Field(default=None, description="Whether all is well, and the one call to make next")
    waited: Waited | None = None


class StartReply(Snapshot, _Advised):
    stream_url: str | None = Field(
        default=None, description="Where its events are streamed; null for a caller that is not on HTTP"
    )
    poll_interval_seconds: float
    page: Page | None = Field(default=None, description="Set when `output` is the beginning of a longer one")


class AnswerReply(Snapshot, _Advised):
    answered: bool = Field(description="False: the question was answered before, by this answer or another")


class TasksReply(_Advised):
    """Several tasks that were waited for together; the ids of each are in one of the three lists."""

    operations: list[Snapshot]
    ended: list[str] = Field(default_factory=list)
    waiting_for_input: list[str] = Field(default_factory=list)
    unfinished: list[str] = Field(default_factory=list)


class ProgressReply(Snapshot, _Advised):
    events: list[StreamEvent] | None = Field(default=None, description="Only with `since`")


class CancelOutcome(StrEnum):
    CANCELLED = "cancelled"
    CANCEL_REQUESTED = "cancel_requested"
    ALREADY_CANCELLED = "already_cancelled"
    ALREADY_ENDED = "already_ended"


class CancelReply(Snapshot, _Advised):
    outcome: CancelOutcome


class Result(_Advised):
    operation_id: str
    status: TaskStatus
    output: Any
    result: Any = Field(default=None, description="The same value as `output`, for bare requests")
    completed_at: str | None
    page: Page | None = Field(default=None, description="Set when `result` is a part: too long, or asked for so")


class NotReadyData(_Model):
    """The `data` of a NOT_READY: how far the task is whose result was asked for. `next` is in `details`."""

    waited: Waited | None = None
    operation_id: str
    status: TaskStatus
    progress: float = 0.0
    message: str = ""
    stage: Stage | None = None
    estimated_remaining: float | None = None
    input_requests: dict[str, Any] = Field(default_factory=dict)
    last_event_id: int


class Operations(_Advised):
    operations: list[Snapshot]
    count: int
    next_cursor: str | None = None


class TaskTypeInfo(_Model):
    name: str
    description: str
    input_schema: dict[str, Any] = Field(description="JSON Schema of the arguments")
    policy: dict[str, Any] = Field(description="timeout, retries, max_attempts, on_interrupt, concurrency …")


class TaskTypes(_Model):
    task_types: list[TaskTypeInfo]


class WorkerSeen(_Model):
    """A process that runs tasks, as it last said."""

    name: str
    host: str
    pid: int
    version: str
    started_at: str
    seen_at: str
    slots: int = Field(description="How many tasks it runs at once")
    task_types: list[str]
    running: int
    operations: list[str] | None = Field(description="Which; null where ids are not for everybody")


class Queue(_Model):
    due: int = Field(description="Tasks that could be taken now")
    delayed: int = Field(description="Queued tasks whose time has not come")
    oldest_waiting_seconds: float | None = Field(description="How long the first in line has waited; null: no line")


class Stalled(_Model):
    """Tasks whose process died and that no other has taken over yet."""

    count: int = Field(description="At most 100 are counted")
    operations: list[str] | None


class Fleet(_Model):
    """Workers and queue, over all processes of a store."""

    workers: list[WorkerSeen] | None = Field(description="null: with SQLite, processes do not announce themselves")
    queue: Queue
    claimed: int = Field(description="Tasks that some process has taken")
    stalled: Stalled


class Health(_Model):
    """`GET /health`, of a server that is well (200) and of one that is not (503)."""

    status: Literal["healthy", "unhealthy"]
    version: str | None = None
    backend: str | None = None
    capabilities: dict[str, int] = Field(default_factory=dict, description="How many tools, prompts, resources")
    task_types: int = 0
    tasks: dict[str, int] = Field(default_factory=dict, description="How many tasks there are in each status")
    fleet: Fleet | None = None
    reason: str | None = Field(default=None, description="Why it is unhealthy")


Data = TypeVar("Data")


class Reply(_Model, Generic[Data]):
    """Every tool result: `data` on success, `error…` on failure."""

    status: Literal["success", "error"]
    action: str
    data: Data | None = None
    error: str | None = None
    error_code: str | None = None
    details: dict[str, Any] | None = None
    timestamp: str

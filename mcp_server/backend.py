"""The seam: what a place that keeps tasks must do, and nothing of what tasks mean.

A backend holds logs and hands out work. It knows nothing of MCP, HTTP, task
functions or which status may follow which: it is given the task before, the task
after and the events between, and makes that one atomic step. Every rule lives above
it, in `task.advance` and the engine, so it exists once however many backends do.

`tests/contract` is the same promise as a test suite; every backend passes it unchanged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from .task import Event, Status, Task

__all__ = ["MOST_AHEAD", "Backend", "Documents", "Fleet", "Limits", "Page", "WorkerSeen", "waiting_since"]

MOST_AHEAD = 100
"""Tasks that a queue position counts; that many stands for more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some tasks, newest first, and the cursor of the page after them (None: there is none)."""

    tasks: Sequence[Task]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The work that `Backend.serve` may take.

    Args:
        total: tasks this process runs at once.
        types: the task types this process can run; one that is missing is left to others.
            The value is how many of the type may run at once over all processes (None: any number).
        per_owner: tasks of one owner that may run at once over all processes (None: any number).
    """

    total: int
    types: Mapping[str, int | None] = field(default_factory=dict)
    per_owner: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSeen:
    """A process that takes tasks, as of its last report. Times are seconds since the epoch."""

    name: str
    host: str
    pid: int
    version: str
    started_at: float
    seen_at: float
    slots: int
    """Tasks it runs at once."""
    types: Sequence[str]
    running: Sequence[str]
    """Ids of the tasks it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Workers and queue, at about one moment. It only informs: no decision is taken on it."""

    workers: Sequence[WorkerSeen] | None
    """None: in this kind of store processes do not say that they are there."""
    due: int
    """Queued tasks that could be claimed now."""
    delayed: int
    """Queued tasks whose time has not come."""
    claimed: int
    oldest_waiting: float | None
    """Seconds the first in line has waited, of the priority where that is longest; None: nothing is due."""
    stalled: Sequence[str]
    """Ids of live tasks that no process holds: theirs died, and no other has taken them over yet. At most 100."""


def waiting_since(task: Task) -> float:
    """The time at which a queued task began to wait for a process."""
    return max(task.updated_at, task.not_before)


class Documents(Protocol):
    """Small documents beside the tasks, such as keys of callers: bytes by kind and id.

    Kinds and ids are 1 to 200 characters of ASCII letters, digits, `.`, `_` and `-`; ids of a
    kind are ordered as text. A document is at most 64 KiB by custom. Every method raises
    `Unavailable` as those of `Backend` do.
    """

    async def put(self, kind: str, id: str, value: bytes, *, only_if_there: bool = False) -> bool:
        """Store or replace a document; durable. False, and nothing done: `only_if_there`, and it is not."""
        ...

    async def get(self, kind: str, id: str) -> bytes | None:
        """The document, or None. Sees every `put` and `delete` that has returned."""
        ...

    async def delete(self, kind: str, id: str) -> bool:
        """Delete a document; False if it is not there. Durable."""
        ...

    async def list(self, kind: str, *, after: str = "", limit: int) -> Sequence[tuple[str, bytes]]:
        """Up to `limit` documents of a kind with ids above `after`, by id."""
        ...


class Backend(Protocol):
    """The place of tasks and their logs.

    An async context manager: entering opens and prepares the store (or raises
    ConfigurationError), leaving stops what it runs and releases everything. Every
    method raises `Unavailable` when the store does not answer or cannot write, and has
    then changed nothing that a reader can see. All methods are safe to call
    concurrently from one event loop; several processes may use one store.
    """

    name: str
    """As shown in `/health`: "sqlite", "redis"."""
    documents: Documents
    """Usable while the backend is open."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def create(self, task: Task, events: Sequence[Event]) -> Task:
        """Store a new task and its first events.

        Atomic and durable: after the return the task survives `kill -9` (and power
        loss with `durability=full`). If the owner already has a task with the same
        `idempotency_key` that has not expired, nothing is stored and that task is
        returned; of several concurrent creates with one key one wins and all get its task.
        A key of None never matches.
        """
        ...

    async def load(self, task_id: str) -> Task | None:
        """The task as of its last commit, or None. Sees every commit that has returned."""
        ...

    async def commit(self, before: Task, after: Task, events: Sequence[Event], *, durable: bool = False) -> None:
        """Replace `before` by `after` and append `events`, in one atomic step.

        Readers see all of it or nothing. What has returned survives `kill -9`; with
        `durable` also power loss (subject to the `durability` setting). Events numbered
        below `after.first_event_id` are dropped from the log.

        Raises:
            Conflict: the stored task's `last_event_id` is not `before.last_event_id`, or
                it is gone. Nothing was changed.
        """
        ...

    async def read(self, task_id: str, after: int, limit: int) -> Sequence[Event]:
        """Up to `limit` events numbered above `after`, in order, beginning with the first still held.

        A page also ends at about 1 MiB, with at least one event if there is any. Events
        that were committed together may be split between pages.
        """
        ...

    async def wait(self, task_id: str, after: int) -> None:
        """Return when the task may have an event numbered above `after`.

        A hint that carries no data: the caller reads. It may return early, and returns
        at once if such an event was already committed. A commit by this process wakes
        at once, one by another within a fraction of a second. Never raises
        `Unavailable`; while the store is away it may return late.
        """
        ...

    async def list(
        self, *, owner: str, status: Status | None, task_type: str | None, limit: int, cursor: str | None
    ) -> Page:
        """The owner's tasks, newest first.

        Raises:
            ValueError: `cursor` is not one that a page gave.
        """
        ...

    async def queue_position(self, task: Task) -> int | None:
        """The number of queued tasks that will be claimed before this one, or None if it is not queued.

        Counted to `MOST_AHEAD`: what a start costs must not depend on how many wait. A task whose time has not come
        is behind all that are due, and behind those whose time comes earlier.
        """
        ...

    async def counts(self) -> Mapping[Status, int]:
        """The number of tasks in each status. Also the health probe."""
        ...

    async def fleet(self) -> Fleet:
        """Workers and queue. Cheap enough for a probe every second."""
        ...

    async def serve(self, handle: Callable[[str], Awaitable[None]], limits: Limits) -> None:
        """Call `handle(task_id)` for every task whose work is due, until cancelled.

        Due are queued tasks whose `not_before` has come, by priority (9 first) then age, and
        live tasks whose process died. While `handle` runs, the task is leased: it
        is given to no other call, here or in another process, even if this event loop is blocked for long. A process
        that dies loses its leases within seconds. A lease that was lost (the machine
        slept) cancels the call. When `handle` returns the lease ends; if the task is
        queued again it is due again at its `not_before`. At least once: `handle` begins by
        committing an event and gives up on `Conflict`. Exceptions from `handle` are
        logged and do not end the loop. Cancelled, it takes no more, lets its calls
        go on for the grace it was made with, cancels them and waits for them to finish.
        """
        ...

    async def purge(self, now: float) -> int:
        """Delete tasks whose `expires_at` has passed and give their space back, some at a time.

        Returns how much was done; 0 when there is nothing left to do.
        """
        ...

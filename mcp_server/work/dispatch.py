"""Takes up the tasks that a backend hands out: runs them, or records the end of those that must not be run again."""

from __future__ import annotations

import time

from ..backend import Backend, Limits
from ..errors import Conflict
from ..events import Cancelled, End, Failed, Happening, Retrying, Started, advance
from ..registry import Policy, Registry
from ..settings import Settings
from ..task import Event, Status, Task
from .attempt import Attempt
from .forking import Children

__all__ = ["Dispatcher"]

MAX_FRESH = 64
"""Tasks that are remembered from their creation until they are claimed here."""


class Dispatcher:
    """Runs the task types of `registry` that `backend` hands out."""

    def __init__(self, registry: Registry, backend: Backend, settings: Settings) -> None:
        self._registry, self._backend, self._settings = registry, backend, settings
        self._children = Children()
        self._fresh: dict[str, Task] = {}

    async def serve(self) -> None:
        """Work until cancelled; running tasks are then given back to the queue with their last checkpoint."""
        limits = Limits(
            total=self._settings.concurrency,
            types={t.name: t.policy.concurrency for t in self._registry},
            per_owner=self._settings.per_owner,
        )
        async with self._children:
            await self._backend.serve(self._take_up, limits)

    def remember(self, task: Task) -> None:
        """Take a task that was created a moment ago, so that its claim need not load it."""
        self._fresh[task.id] = task
        if len(self._fresh) > MAX_FRESH:
            del self._fresh[next(iter(self._fresh))]

    async def _take_up(self, task_id: str) -> None:
        # A remembered task that has moved on is refused by the commit.
        task = self._fresh.pop(task_id, None) or await self._backend.load(task_id)
        if task is None or task.is_over or task.type not in self._registry:
            return
        task_type = self._registry.get(task.type)
        expires_at = task_type.policy.expires_at(time.time(), self._settings.retention)
        now = time.time()
        events: list[Event] = []
        after = task

        def add(happening: Happening) -> None:
            nonlocal after
            after, event = advance(after, happening, at=now)
            events.append(event)

        died = task.status is not Status.QUEUED
        if task.cancel_requested:
            add(Cancelled(task.reason, expires_at))
        elif died and (end := _interrupted_end(task, task_type.policy, expires_at)) is not None:
            add(end)
        else:
            if died:
                add(Retrying("interrupted", "The process that ran it died"))
            add(Started())
        try:
            await self._backend.commit(task, after, events, durable=after.is_over)
        except Conflict:
            return  # it moved on meanwhile; if it is still due it will be claimed again
        if not after.is_over:
            await Attempt(after, task_type, self._backend, self._settings, self._children).run()


def _interrupted_end(task: Task, policy: Policy, expires_at: float) -> End | None:
    """The end of a task whose process died; None if it is run again."""
    if policy.on_interrupt == "fail":
        return Failed("INTERRUPTED", "The process that ran it died", {}, expires_at)
    times = task.interruptions_in_a_row + 1
    if times >= policy.max_attempts:
        message = f"Its process died {times} times while it ran, with no new checkpoint"
        return Failed("MAX_ATTEMPTS", message, {"attempts": times}, expires_at)
    return None

"""All rules about tasks, once: access, start, cancel, answer, retry and listing.

The engine turns callers' requests into events; `work/dispatch.py` runs what they start. Every
transport is a view of it; it knows none of them, and of the backend only the seam.
Callers are principals; a task of another owner does not exist for them. Only a `Log`, which
`Engine.open` gives to those who may see the task, can be read.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio

from client_sdk.wire import CancelOutcome

from .access.principal import ADMIN, Principal
from .backend import Backend, Fleet, Page
from .background import background_tasks
from .errors import (
    Conflict,
    IdempotencyConflict,
    InvalidArgument,
    InvalidStatus,
    LimitExceeded,
    NotFound,
    NotRetryable,
    Unavailable,
)
from .events import Cancelled, CancelRequested, InputAnswered, advance
from .jsonable import argument_to_jsonable, check_text
from .log import Log
from .meter import Meter, metered
from .questions import check_response
from .registry import Policy, Registry
from .settings import Settings
from .task import Event, Status, Task
from .work.dispatch import Dispatcher
from .work.watchdog import watch_loop

__all__ = ["Engine"]

logger = logging.getLogger(__name__)

PURGE_INTERVAL = 30.0
NEWEST = 200
"""Events of a task among which its last failure is looked for."""
NO_ANSWER = ("decline", "cancel", "timeout")


class Engine:
    """Runs the task types of `registry` on `backend`."""

    def __init__(self, registry: Registry, backend: Backend, settings: Settings | None = None) -> None:
        self.registry = registry
        self.meter = Meter()
        """The commits of this process, counted where the setting `metrics` is on."""
        self.is_private = False
        """Whether only this machine's users can call, without a credential; a host that listens sets it."""
        self.use(settings or Settings(), backend)
        self._queued_seen = (0.0, 0)
        self._dispatcher: Dispatcher | None = None

    def use(self, settings: Settings, backend: Backend) -> None:
        """Run on another backend, with other settings, from the next `run` on."""
        self.settings = settings
        self.backend = metered(backend, self.meter) if settings.metrics == "on" else backend

    @asynccontextmanager
    async def run(self, *, work: bool = True) -> AsyncIterator[Engine]:
        """Open the backend, and (with `work`) execute tasks, until the block is left.

        Leaving gives running tasks back to the queue with their last checkpoint.

        Raises:
            ConfigurationError: the backend cannot be opened.
        """
        async with self.backend, background_tasks() as background:
            background.start_soon(self._purge)
            if work:
                self._dispatcher = Dispatcher(self.registry, self.backend, self.settings)
                background.start_soon(self._dispatcher.serve)
                background.start_soon(watch_loop)
            yield self

    # What callers ask.

    async def start(
        self,
        task_type: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        principal: Principal,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        priority: int = 0,
        start_after: float = 0.0,
        answers: Mapping[str, Any] | None = None,
    ) -> Task:
        """Create a task; it is durable when this returns.

        Args:
            arguments: what the type's schema asks for; validated here and again where it runs.
            principal: the task becomes its owner's.
            metadata: anything JSON-clean the caller wants back with the task.
            idempotency_key: the same key from the same owner with the same type and
                arguments gives the first task, for as long as that one is kept.
            priority: 0 to 9; higher is claimed first.
            start_after: seconds to wait before the task may be claimed.
            answers: responses to questions the task would ask, by key.

        Raises:
            UnknownTaskType, InvalidArgument, IdempotencyConflict, LimitExceeded, InsufficientScope, Unavailable
        """
        principal.require("start")
        self.registry.get(task_type).bind(arguments or {})
        arguments, metadata = self._json("arguments", arguments or {}), self._json("metadata", metadata or {})
        if not 0 <= priority <= 9:
            raise InvalidArgument.at("priority", "must be from 0 to 9", "0 to 9", priority)
        if not 0 <= start_after <= 366 * 86_400:
            raise InvalidArgument.at(
                "start_after", "must be 0 or more seconds, at most a year", "0 to 31622400", start_after
            )
        check_text("idempotency_key", idempotency_key, 512)
        await self._check_room()
        now = time.time()
        fresh = Task(
            id=uuid.uuid4().hex,
            type=task_type,
            owner=principal.owner,
            arguments=arguments,
            metadata=metadata,
            created_at=now,
            updated_at=now,
            idempotency_key=idempotency_key,
            priority=priority,
            not_before=now + start_after if start_after else 0.0,
            answers=self._json("answers", answers or {}),
        )
        task = await self._create(fresh)
        if task.id != fresh.id and (task.type != task_type or task.arguments != arguments):
            raise IdempotencyConflict(
                f"The idempotency key {idempotency_key!r} was already used for another {task.type!r} task",
                operation_id=task.id,
            )
        return task

    async def get(self, task_id: str, *, principal: Principal) -> Task:
        """The task as it is now. Raises NotFound, InsufficientScope, Unavailable."""
        return await self._seen_by(principal, "get", task_id)

    async def open(self, task_id: str, *, principal: Principal) -> Log:
        """The log of a task, to be read and followed. Raises NotFound, InsufficientScope, Unavailable."""
        return Log(self.backend, await self._seen_by(principal, "read", task_id))

    async def traceback(self, task: Task, *, principal: Principal) -> str | None:
        """The traceback of the task's last failure, for an administrator, or any caller of a private server.

        None for others, and without a failure among the newest events. Callers of a private server that has
        `mask_errors` on see none.
        """
        everybody = self.is_private and self.settings.mask_errors == "off"
        if not (everybody or ADMIN in principal.scopes) or not (task.failures or task.status is Status.FAILED):
            return None
        newest = await self.backend.read(task.id, max(0, task.last_event_id - NEWEST), NEWEST)
        found: list[str] = [event.data["traceback"] for event in newest if event.data.get("traceback")]
        return found[-1] if found else None

    async def queue_position(self, task: Task) -> int | None:
        """The number of tasks that will be claimed before this one; None unless it is queued."""
        return await self.backend.queue_position(task) if task.status is Status.QUEUED else None

    async def wait(self, task: Task, seconds: float, *, any_event: bool = False) -> Task:
        """Wait until the task has ended or asks a question (`any_event`: until it changes), at most `seconds`.

        Returns the task as it then is. The end of the wait is no error and cancels nothing.
        """
        with anyio.move_on_after(seconds):
            while not task.is_over and not (task.input_requests and not any_event):
                seen = task.last_event_id
                await self.backend.wait(task.id, seen)
                task = await self._existing(task.id)
                if any_event and task.last_event_id > seen:
                    break
        return task

    async def cancel(
        self, task_id: str, reason: str | None = None, *, principal: Principal, patience: float = 0.0
    ) -> tuple[Task, CancelOutcome]:
        """Ask the task to stop; the task, and what became of the request. Harmless when repeated or too late.

        A queued task has ended when this returns, a running one ends soon.

        Args:
            reason: kept with the task; at most 2000 characters.
            patience: seconds to wait for the end of a running task.

        Raises:
            NotFound, InvalidArgument, InsufficientScope, Unavailable
        """
        check_text("reason", reason or None, 2000)
        while True:
            task = await self._seen_by(principal, "cancel", task_id)
            if task.status is Status.CANCELLED:
                return task, CancelOutcome.ALREADY_CANCELLED
            if task.is_over:
                return task, CancelOutcome.ALREADY_ENDED
            if task.cancel_requested:
                break
            after, first = advance(task, CancelRequested(reason), at=time.time())
            events = [first]
            if task.status is Status.QUEUED:
                after, last = advance(after, Cancelled(reason, self._expires_at(task)), at=first.at)
                events.append(last)
            try:
                await self.backend.commit(task, after, events, durable=True)
            except Conflict:
                continue
            task = after
            break
        with anyio.move_on_after(patience):
            while not task.is_over:
                await self.backend.wait(task.id, task.last_event_id)
                task = await self._existing(task.id)
        if task.status is Status.CANCELLED:
            return task, CancelOutcome.CANCELLED
        # A task that completed before it saw the request was over, as far as its canceller is concerned.
        return task, CancelOutcome.ALREADY_ENDED if task.is_over else CancelOutcome.CANCEL_REQUESTED

    async def answer(
        self, task_id: str, responses: Mapping[str, Any], *, principal: Principal
    ) -> tuple[Task, list[str]]:
        """Answer open questions; the task, and the keys that were open. Others are ignored.

        Raises:
            InvalidArgument: an answer does not fit its question, which stays open.
        """
        responses = self._json("responses", responses)
        while True:
            task = await self._seen_by(principal, "answer", task_id)
            known = {key: value for key, value in responses.items() if key in task.input_requests}
            if not known:
                return task, []
            for key, value in known.items():
                check_response(key, task.input_requests[key], value)
            after, event = advance(task, InputAnswered(known), at=time.time())
            try:
                await self.backend.commit(task, after, [event], durable=True)
            except Conflict:
                continue
            return after, sorted(known)

    async def retry(self, task_id: str, *, principal: Principal) -> Task:
        """A new task like a failed or cancelled one, which starts from its last checkpoint.

        Raises:
            NotRetryable: the task is not over, or completed.
        """
        old = await self._seen_by(principal, "retry", task_id)
        if old.status not in (Status.FAILED, Status.CANCELLED):
            raise NotRetryable(f"Only failed and cancelled tasks can be retried; this one is {old.status}")
        self.registry.get(old.type)
        await self._check_room()
        now = time.time()
        fresh = Task(
            id=uuid.uuid4().hex,
            type=old.type,
            owner=old.owner,
            arguments=old.arguments,
            metadata=old.metadata,
            created_at=now,
            updated_at=now,
            retry_of=old.id,
            priority=old.priority,
            state=old.state,
            has_state=old.has_state,
            # Declined and timed-out answers are dropped, so the new task asks those questions again.
            answers={key: answer for key, answer in old.answers.items() if answer.get("action") not in NO_ANSWER},
        )
        return await self._create(fresh)

    async def list(
        self, *, principal: Principal, status: str | None = None, task_type: str | None = None, limit: int = 20,
        cursor: str | None = None,
    ) -> Page:  # fmt: skip
        """The principal's tasks, newest first.

        Raises:
            InvalidStatus, UnknownTaskType, InvalidArgument
        """
        principal.require("list")
        if status is not None and status not in set(Status):
            raise InvalidStatus(status, [s.value for s in Status])
        if not 1 <= limit <= 100:
            raise InvalidArgument.at("limit", "must be from 1 to 100", "1 to 100", limit)
        wanted = None if status is None else Status(status)
        try:
            page = await self.backend.list(
                owner=principal.owner, status=wanted, task_type=task_type, limit=limit, cursor=cursor
            )
        except ValueError:
            raise InvalidArgument.at("cursor", "is not a cursor this server gave", "next_cursor", cursor) from None
        if task_type is not None and not page.tasks:
            self.registry.get(task_type)  # a type that is gone from the code may have tasks; a misspelled one has none
        return replace(page, tasks=[task for task in page.tasks if not _is_forgotten(task)])

    async def census(self) -> tuple[Mapping[Status, int], Fleet]:
        """The number of tasks in each status, of all owners, and the fleet. Raises Unavailable."""
        return await self.backend.counts(), await self.backend.fleet()

    # Within.

    async def _seen_by(self, principal: Principal, operation: str, task_id: str) -> Task:
        """A task, for one operation of a principal. Access to tasks is decided here and nowhere else."""
        principal.require(operation)
        task = await self._existing(task_id)
        if not principal.sees(task.owner, task.id):
            raise NotFound(task_id)
        return task

    async def _existing(self, task_id: str) -> Task:
        if not 0 < len(task_id) <= 200:
            raise NotFound(task_id)
        task = await self.backend.load(task_id)
        if task is None or _is_forgotten(task):
            raise NotFound(task_id)
        return task

    async def _create(self, fresh: Task) -> Task:
        task = await self.backend.create(fresh, [Event.first_of(fresh)])
        if task is fresh and self._dispatcher is not None:
            self._dispatcher.remember(task)
        return task

    def _expires_at(self, task: Task) -> float:
        policy = self.registry.get(task.type).policy if task.type in self.registry else Policy()
        return policy.expires_at(time.time(), self.settings.retention)

    def _json(self, what: str, value: Mapping[str, Any]) -> dict[str, Any]:
        return argument_to_jsonable(value, what, self.settings.max_argument_bytes)

    async def _check_room(self) -> None:
        at, queued = self._queued_seen
        if time.monotonic() - at > 1.0:
            at, queued = time.monotonic(), (await self.backend.counts()).get(Status.QUEUED, 0)
        # Between two counts every start counts as one that waits.
        self._queued_seen = (at, queued + 1)
        if queued >= self.settings.max_queued:
            raise LimitExceeded(
                f"{queued} tasks are waiting already; at most {self.settings.max_queued} may", retry_after_seconds=5
            )

    async def _purge(self) -> None:
        while True:
            done = 0
            try:
                done = await self.backend.purge(time.time())
            except Unavailable as error:
                logger.warning("expired tasks could not be deleted: %s", error)
            # A backlog goes in small bites, so that no other write waits behind it for long.
            await anyio.sleep(0.05 if done else PURGE_INTERVAL)


def _is_forgotten(task: Task) -> bool:
    """Whether its time after the end is over, though it was not deleted yet."""
    return task.expires_at is not None and task.expires_at <= time.time()

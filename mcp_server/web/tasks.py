"""`server.tasks`: tasks for the code of an application, and for its own routes.

The HTTP routes of the server use nothing else. A `Tasks` acts for one owner; what it answers are the
shapes of `client_sdk.wire`, as on every other way to a task.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import anyio
from sse_starlette import EventSourceResponse
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from client_sdk import wire

from ..access.principal import ANONYMOUS, Principal
from ..engine import Engine
from ..errors import LimitExceeded, Unavailable
from ..log import Log
from ..task import Status, Task
from ..views import detail, frames, no_result, snapshot, start_of, task_types
from .feed import Feeds, Reader, Segment
from .sse import HEARTBEAT, RETRY, cursor_of, encode, encode_data, encode_event
from .ui_messages import DONE, UI_MESSAGE_HEADERS, UIMessages
from .watch import Change, Watches

__all__ = ["Sender", "Tasks"]

Sender = Callable[[HTTPConnection], Principal]
OVERLAP = 2000
"""Milliseconds by which the clocks of the processes of one store may differ."""

Body = Callable[[Log, int | None], AsyncIterator[bytes]]


class Tasks:
    """The tasks of one owner.

    `server.tasks` acts for callers who did not authenticate; `of` and `owned_by` give the tasks of others.
    All methods raise `Unavailable` while the store does not answer, and `NotFound` for an id that is
    unknown, expired or another owner's. No wait cancels anything, and each is cut to the setting `max_wait`.
    """

    def __init__(
        self, engine: Engine, feeds: Feeds, watches: Watches, *, sender: Sender, principal: Principal = ANONYMOUS
    ) -> None:
        self._engine, self._feeds, self._watches = engine, feeds, watches
        self._sender, self._principal = sender, principal

    def of(self, request: HTTPConnection) -> Tasks:
        """The tasks of the authenticated sender of a request to this server's own application."""
        return self._acting_for(self._sender(request))

    def owned_by(self, owner: str) -> Tasks:
        """The tasks of this owner: for an application that knows its users by itself.

        Args:
            owner: any name; the empty one stands for all who did not authenticate.
        """
        return self._acting_for(Principal(owner))

    def _acting_for(self, principal: Principal) -> Tasks:
        return Tasks(self._engine, self._feeds, self._watches, sender=self._sender, principal=principal)

    async def start(
        self,
        task_type: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        priority: int = 0,
        start_after: float = 0.0,
        wait: float = 0.0,
    ) -> wire.Snapshot:
        """Start a task; it is durable when this returns.

        Args:
            arguments: what the task type's schema asks for.
            metadata: JSON that comes back with the task.
            idempotency_key: the same key with the same arguments gives the first task again.
            priority: 0 to 9; higher is taken first.
            start_after: seconds before it may run, a year at most.
            wait: seconds to wait for its end, or until it asks something.

        Raises:
            UnknownTaskType, InvalidArgument, IdempotencyConflict, LimitExceeded
        """
        task = await self._engine.start(
            task_type,
            arguments,
            principal=self._principal,
            metadata=metadata,
            idempotency_key=idempotency_key,
            priority=priority,
            start_after=start_after,
        )
        return await self._shown(await self._waited(task, wait))

    async def get(self, operation_id: str) -> wire.Snapshot:
        """The task as it is now."""
        return await self._shown(await self._get(operation_id))

    async def detail(self, operation_id: str) -> wire.TaskDetail:
        """The task as it is now, with its arguments and what else it was started with.

        For administrators, and on a server that only this machine reaches, with the traceback of its last failure.
        """
        task = await self._get(operation_id)
        return detail(
            task,
            queue_position=await self._engine.queue_position(task),
            traceback=await self._engine.traceback(task, principal=self._principal),
        )

    async def wait(self, operation_id: str, seconds: float, *, since: int | None = None) -> wire.Snapshot:
        """The task when it has ended or asks something, or as it is after so many seconds.

        Args:
            since: the number of the last event that is known: the wait ends with any event after it.
        """
        task = await self._get(operation_id)
        if since is None or since >= task.last_event_id:
            task = await self._waited(task, seconds, any_event=since is not None)
        return await self._shown(task)

    async def result(self, operation_id: str, *, wait: float = 0.0) -> Any:
        """The result of the task's function, as JSON data.

        Args:
            wait: seconds to wait for it.

        Raises:
            NotReady: the task has not ended.
            TaskFailed, TaskStopped: it ended without a result.
        """
        task = await self._waited(await self._get(operation_id), wait)
        if task.status is Status.COMPLETED:
            return task.output
        raise no_result(task)

    async def events(self, operation_id: str, *, after: int = 0) -> AsyncGenerator[wire.StreamEvent, None]:
        """Every event after a number, as it comes, to the end of the task; close it with `aclosing`.

        It ends without a terminal event (`done`, `error`) when the server stops.
        """
        async with aclosing(self.follow(operation_id, after)) as segments:
            async for segment in segments:
                for frame in segment.frames if segment else ():
                    yield frame.as_wire()

    async def follow(self, operation_id: str, after: int | None) -> AsyncGenerator[Segment | None, None]:
        """As `events`, in the segments that all readers share; None after silence. `after` None begins with now.

        Raises:
            LimitExceeded: `max_streams` streams are open.
        """
        log = await self._engine.open(operation_id, principal=self._principal)
        if log.task.is_over and after == log.task.last_event_id:
            return
        self._check_room()
        with self._reader(log, after) as segments:
            async for segment in segments:
                yield segment

    async def page(self, operation_id: str, *, after: int = 0, limit: int = 100) -> wire.EventPage:
        """The events after a number that are there already.

        Args:
            limit: how many of the log at most, from 1 to 500.
        """
        log = await self._engine.open(operation_id, principal=self._principal)
        before, after = start_of(log.task, after)
        # An event that came since the log was opened is for the next page: one answer is one moment.
        room = min(max(limit, 1), 500, max(log.task.last_event_id - after, 0))
        found = await log.read(after, room) if room else ()
        shown = [*before, *frames(log.task, found)]
        last = found[-1].number if found else after
        return wire.EventPage(
            events=[frame.as_wire() for frame in shown],
            last_event_id=last,
            has_more=last < log.task.last_event_id,
        )

    async def cancel(self, operation_id: str, reason: str | None = None) -> wire.CancelReply:
        """Ask the task to stop; `outcome` says what became of that. Harmless when repeated or too late.

        Raises:
            InvalidArgument: the reason has more than 2000 characters.
        """
        # Most functions stop at once; then the answer can say so.
        task, outcome = await self._engine.cancel(operation_id, reason, principal=self._principal, patience=0.25)
        return wire.CancelReply(**dict(await self._shown(task)), outcome=outcome)

    async def retry(self, operation_id: str) -> wire.Snapshot:
        """Start a failed or cancelled task again, as a new task that goes on from its last checkpoint.

        Raises:
            NotRetryable, UnknownTaskType, LimitExceeded
        """
        return await self._shown(await self._engine.retry(operation_id, principal=self._principal))

    async def answer(self, operation_id: str, responses: Mapping[str, Any]) -> wire.AnswerReply:
        """Answer open questions of a task, by their keys in `input_requests`. Keys that are not open are ignored.

        Args:
            responses: elicitation results, such as `{"confirm": {"action": "accept", "content": {"value": true}}}`.

        Raises:
            InvalidArgument: an answer does not fit its question, which stays open.
        """
        task, answered = await self._engine.answer(operation_id, responses, principal=self._principal)
        return wire.AnswerReply(**dict(await self._shown(task)), answered=bool(answered))

    async def list(
        self, *, status: str | None = None, task_type: str | None = None, limit: int = 20, cursor: str | None = None
    ) -> wire.Operations:
        """The tasks, newest first.

        Args:
            limit: 1 to 100.
            cursor: `next_cursor` of the page before.

        Raises:
            InvalidStatus, UnknownTaskType, InvalidArgument
        """
        page = await self._engine.list(
            principal=self._principal, status=status, task_type=task_type, limit=limit, cursor=cursor
        )
        shown = [await self._shown(task) for task in page.tasks]
        return wire.Operations(operations=shown, count=len(shown), next_cursor=page.next_cursor)

    def types(self) -> Sequence[wire.TaskTypeInfo]:
        """The task types that can be started, each with the JSON Schema of its arguments."""
        return task_types(self._engine.registry)

    async def sse(self, operation_id: str, request: Request) -> Response:
        """The task's events as a response of server-sent events, resumed where the request says.

        The request brings the number of the last event its sender has, as `Last-Event-ID` or in the query
        (`last_event_id`); `from=now` leaves out what was before. 204 for a sender who has the last event of all.

        Raises:
            InvalidArgument: the number is none.
            LimitExceeded: `max_streams` streams are open.
        """

        return await self._streamed(operation_id, request, lambda log, after: _sse(self._reader(log, after)))

    async def ui_messages(self, operation_id: str, request: Request) -> Response:
        """As `sse`, but in the UI message stream of the AI SDK, which `useChat` reads."""

        def body(log: Log, after: int | None) -> AsyncIterator[bytes]:
            messages = UIMessages(log.task.id, log.task.last_event_id if after is None else after)
            # From the first event on, also for a reader in the middle: which block is open there stands before it.
            return _ui_messages(self._reader(log, 0), messages)

        return await self._streamed(operation_id, request, body, UI_MESSAGE_HEADERS)

    async def sse_of_all(self, request: Request) -> Response:
        """The snapshots of the tasks as they change, as a response of server-sent events (event `task`).

        It begins with the tasks there are, without them for `from=now`, or where the cursor of the request says,
        which is a time: milliseconds since the epoch. A task comes at most four times a second, always as it is
        by then. The newest 200 tasks are watched, and of older ones 100 that run and 100 that ask.

        Raises:
            InvalidArgument, LimitExceeded: as `sse`.
            InsufficientScope: the caller may not list or see tasks.
        """
        # Before the answer begins, which cannot be taken back.
        for operation in ("list", "get"):
            self._principal.require(operation)
        cursor = cursor_of(request)
        since = int(time.time() * 1000) if cursor is None else cursor - OVERLAP if cursor else 0
        self._check_room()

        async def text() -> AsyncIterator[bytes]:
            yield RETRY
            nonlocal since
            look = 0
            with self._watches.of(self._principal) as watch, self._feeds.counted():
                while not self._feeds.is_closed:
                    changes: Sequence[Change] = ()
                    with self._feeds.waiting(self._engine.settings.heartbeat) as wait:
                        try:
                            changes = await watch.after(look)
                        except Unavailable:
                            await anyio.sleep(1)
                            continue
                        look = max(change.look for change in changes)
                    if wait.cancelled_caught and not self._feeds.is_closed:
                        yield HEARTBEAT
                    # Of what was there before, a watcher gets what its cursor says; of what comes then, all.
                    if data := b"".join(encode_event(c.at, "task", c.json) for c in changes if c.at >= since):
                        yield data
                    since = 0 if look else since

        return self._response(text())

    def _check_room(self) -> None:
        if self._feeds.readers >= self._engine.settings.max_streams:
            raise LimitExceeded(f"{self._feeds.readers} streams are open already", retry_after_seconds=5)

    def _response(self, body: AsyncIterator[bytes], headers: Mapping[str, str] | None = None) -> Response:
        return EventSourceResponse(
            body,
            headers={"Cache-Control": "no-cache", **(headers or {})},
            ping=0,  # the stream has a heartbeat of its own, after silence only
            shutdown_event=self._feeds.stopping,
            shutdown_grace_period=1,  # streams end by themselves (`Feeds.close`); to be cut off breaks the response
        )

    async def _streamed(
        self, operation_id: str, request: Request, body: Body, headers: Mapping[str, str] | None = None
    ) -> Response:
        log = await self._engine.open(operation_id, principal=self._principal)
        cursor = cursor_of(request)
        if log.task.is_over and cursor == log.task.last_event_id:
            return Response(status_code=204)
        self._check_room()
        return self._response(body(log, cursor), headers)

    def _reader(self, log: Log, after: int | None) -> Reader:
        return Reader(self._feeds, log, after, heartbeat=self._engine.settings.heartbeat)

    async def _get(self, operation_id: str) -> Task:
        return await self._engine.get(operation_id, principal=self._principal)

    async def _waited(self, task: Task, seconds: float, *, any_event: bool = False) -> Task:
        seconds = min(max(seconds, 0.0), self._engine.settings.max_wait)
        return await self._engine.wait(task, seconds, any_event=any_event) if seconds else task

    async def _shown(self, task: Task) -> wire.Snapshot:
        return snapshot(task, queue_position=await self._engine.queue_position(task))


async def _sse(reader: Reader) -> AsyncIterator[bytes]:
    yield RETRY
    with reader as segments:
        async for segment in segments:
            yield HEARTBEAT if segment is None else segment.encoded(encode)


async def _ui_messages(reader: Reader, messages: UIMessages) -> AsyncIterator[bytes]:
    with reader as segments:
        async for segment in segments:
            if segment is None:
                yield HEARTBEAT
                continue
            chunks = [chunk for frame in segment.frames for chunk in messages.chunks(*frame)]
            if chunks:
                yield encode_data(chunks)
            if segment.is_end:
                yield DONE

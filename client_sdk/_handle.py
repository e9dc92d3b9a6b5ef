"""A handle on one task: an id and a cursor.

Everything else is asked of the server. Many handles of one task may live at once, in
one process or several. Handles keep the journal, if there is one: a request for the
next event acknowledges the one before, and a task leaves the journal once its end
was read.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from . import _poll
from ._events import Event, ProgressEvent, event_of
from ._poll import Callback, call_back
from ._shared import Shared
from ._stream import Frames
from .errors import NotFound
from .wire import TERMINAL_STATUSES, AnswerReply, CancelReply, Result, Snapshot, TaskDetail, TaskStatus

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["EventStream", "TaskHandle", "show", "watched"]


class TaskHandle:
    """A task on the server. `id` is all that has to be kept to get hold of it again.

    Every method raises NotFound, Refused or a TryLater as `client_sdk.errors` says;
    what else it raises is said with it.
    """

    def __init__(self, shared: Shared, operation_id: str, *, task_type: str | None = None, cursor: int = 0):
        self.id = operation_id
        self.task_type = task_type
        """None if the handle was made from an id alone."""
        self.cursor = cursor
        """The number of the last event this handle gave out; `events` goes on after it."""
        self._shared = shared

    def __repr__(self) -> str:
        task_type = f" {self.task_type}" if self.task_type else ""
        return f"<TaskHandle {self.id}{task_type} cursor={self.cursor}>"

    async def status(self) -> Snapshot:
        """The task as it is now."""
        return await self._seen(await self._shared.connection.snapshot(self.id))

    async def detail(self) -> TaskDetail:
        """The task as it is now, with its arguments, priority, reason of a cancel and the like."""
        detail = await self._shared.connection.detail(self.id)
        await self._seen(detail)
        return detail

    def events(self, *, after: int | None = None) -> EventStream:
        """The task's events to its last, each once and in order, over any number of connections.

        Stopping to iterate does not cancel the task.

        Args:
            after: the number of the last event to leave out; 0 for all. Default: `cursor`.

        Raises:
            StreamLost: while iterating; the server stayed away for longer than the client's `patience`.
        """
        return EventStream(self, self._shared, self.cursor if after is None else after)

    async def stream(self, callback: Callback | None = None) -> Snapshot:
        """Follow the task to its end by its stream; `callback` gets the `wire.Progress` of every report."""
        async for event in self.events():
            if isinstance(event, ProgressEvent):
                await call_back(callback, event.data)
        return await self.status()

    async def poll(
        self, *, interval: float | None = None, timeout: float | None = None, callback: Callback | None = None
    ) -> Snapshot:
        """Follow the task to its end by requests the server holds back until there is news.

        Args:
            interval: seconds between requests that are answered at once, for servers or proxies that
                bear no long ones. Default: the server waits, and a ten-minute task costs some thirty requests.
            timeout: seconds to wait at most.
            callback: gets a `wire.Snapshot`, the first and then each that differs from the one before.

        Raises:
            NotReady: the timeout has come. The task goes on.
        """
        async with aclosing(self._states(interval, timeout, prompt=callback is not None)) as states:
            async for state in states:
                await call_back(callback, state)
        return await self.status()

    def states(self, *, interval: float | None = None, timeout: float | None = None) -> AsyncGenerator[Snapshot, None]:
        """The snapshots that `poll` gives to its callback, as an iterator; arguments and errors as there."""
        return self._states(interval, timeout, prompt=True)

    async def wait(self, timeout: float | None = None) -> Snapshot:
        """Wait for the end of the task, and return its last snapshot, however it ended.

        Raises:
            NotReady: `timeout` seconds have passed. The task goes on.
        """
        return await self.poll(timeout=timeout)

    async def result(self, timeout: float | None = None) -> Any:
        """Wait for the end of the task, and return its result.

        Raises:
            TaskFailed, TaskCancelled: it ended without a result.
            NotReady: `timeout` seconds have passed. The task goes on.
        """
        snapshot = await self.wait(timeout)
        if snapshot.status is TaskStatus.COMPLETED:
            return snapshot.output  # the tool would cut a long one into pages
        arguments = {"operation_id": self.id}
        return (await self._shared.connection.call("get_task_result", arguments, Result, operation_id=self.id)).output

    async def cancel(self, reason: str | None = None) -> CancelReply:
        """Ask the server to end the task; the reply's `outcome` says whether it has. A task that has ended stays so."""
        arguments = {"operation_id": self.id, "reason": reason}
        reply = await self._shared.connection.call("cancel_task", arguments, CancelReply, operation_id=self.id)
        await self._seen(reply)
        return reply

    async def retry(self) -> TaskHandle:
        """Start a new task with the arguments of this failed or cancelled one, from its last checkpoint.

        Raises:
            Refused: `NOT_RETRYABLE`, it neither failed nor was cancelled.
        """
        snapshot = await self._shared.connection.call(
            "retry_task", {"operation_id": self.id}, Snapshot, operation_id=self.id, tries=1
        )
        await self._shared.record(snapshot)
        return TaskHandle(self._shared, snapshot.operation_id, task_type=snapshot.task_type)

    async def answer(self, key: str, value: Any) -> AnswerReply:
        """Answer a question of the task. A question that has an answer keeps it, and `answered` is false.

        Args:
            key: of the question in `input_requests`.
            value: the fields that were asked for, the bare value if it was one field, or
                a whole elicitation result such as `{"action": "decline"}`.

        Raises:
            Refused: `INVALID_ARGUMENT`, the answer does not fit the question.
        """
        response = value
        if isinstance(value, Mapping) and value.get("action") not in _ACTIONS:
            response = {"action": "accept", "content": dict(value)}
        arguments = {"operation_id": self.id, "key": key, "response": response}
        return await self._shared.connection.call("respond_to_task", arguments, AnswerReply, operation_id=self.id)

    async def show(self, console: Console | None = None) -> Snapshot:
        """Show the task until it ends; see `client_sdk.show`."""
        from ._display import displayed  # loaded when asked for: rich takes long

        with displayed(self.task_type, console) as display:
            async for event in watched(self, display.away):
                display(event)
        return await self.status()

    def _states(self, interval: float | None, timeout: float | None, *, prompt: bool) -> AsyncGenerator[Snapshot, None]:
        return _poll.states(
            self._shared.connection,
            self.id,
            interval=interval,
            timeout=timeout,
            prompt=prompt,
            patience=self._shared.patience,
        )

    async def _seen(self, snapshot: Snapshot) -> Snapshot:
        if snapshot.status in TERMINAL_STATUSES:
            await self._shared.acknowledge(self.id, snapshot.last_event_id, ended=True)
        return snapshot


_ACTIONS = ("accept", "decline", "cancel")


class EventStream(AsyncIterator[Event]):
    """The events of one task, an asynchronous iterator made by `TaskHandle.events`.

    `async with` closes its connection at the end of the block.
    """

    def __init__(
        self, handle: TaskHandle, shared: Shared, after: int, on_away: Callable[[str | None], None] | None = None
    ) -> None:
        self._handle, self._shared = handle, shared
        self._frames = Frames(
            shared.connection,
            handle.id,
            after=after,
            heartbeat=shared.heartbeat,
            patience=shared.patience,
            on_away=on_away,
        )
        self._acknowledged = after

    @property
    def cursor(self) -> int:
        """The number of the last event it gave out; `handle.events(after=cursor)` goes on from there."""
        return self._frames.cursor

    async def __anext__(self) -> Event:
        await self._note()
        self._shared.streams.opened(self._frames, self)
        try:
            frame = await anext(self._frames)
        except StopAsyncIteration:
            await self._note()
            await self.aclose()
            raise
        except NotFound:
            await self._shared.acknowledge(self._handle.id, self._frames.cursor, ended=True)
            raise
        self._handle.cursor = self._frames.cursor
        return event_of(frame)

    async def _note(self) -> None:
        """Acknowledge the last event: the next one is asked for."""
        cursor, ended = self._frames.cursor, self._frames.ended
        if cursor != self._acknowledged or ended:
            await self._shared.acknowledge(self._handle.id, cursor, ended=ended)
            self._acknowledged = cursor

    async def aclose(self) -> None:
        """Close the connection. The task goes on."""
        await self._shared.streams.close(self._frames)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
        if kind is None:
            await self._note()


def watched(handle: TaskHandle, on_away: Callable[[str | None], None]) -> EventStream:
    """The events after the handle's cursor; `on_away` hears why the server cannot be reached, and None once it can."""
    return EventStream(handle, handle._shared, handle.cursor, on_away)


async def show(handle: TaskHandle, *, console: Console | None = None) -> Snapshot:
    """Show a task's progress until it ends, and return its last snapshot, however it ended.

    A terminal gets a bar, a notebook one line that changes, a pipe a plain line for every
    report, such as `Progress: 20% - Processing step 1/5 - data_analysis`. Partial outputs,
    questions and the reason of a failure get a line of their own in every form.
    An interrupt does not cancel the task.

    Args:
        console: receives the output; its `is_terminal` and `is_jupyter` choose the form. Default: standard output.

    Raises:
        LongTaskClientError: as `handle.events()` does.
    """
    return await handle.show(console)

"""One task in a caller's hand.

A handle is an id and a cursor; everything else is asked of the server. Many handles
of one task may live at once, in one process or several. It keeps the journal, if
there is one: an event counts as dealt with once the next one is asked for, and a
task leaves the journal when its end was seen.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ._events import Event, ProgressEvent, event_of
from ._following import Following
from ._poll import Callback, call_back, snapshots
from ._stream import Frames
from .errors import NotFound
from .wire import TERMINAL_STATUSES, AnswerReply, CancelReply, Result, Snapshot, TaskStatus

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["EventStream", "TaskHandle"]


class TaskHandle:
    """A task on the server. `id` is all that has to be kept to get hold of it again.

    Every method raises NotFound, Refused or a TryLater as `client_sdk.errors` says;
    what else it raises is said with it.
    """

    def __init__(self, following: Following, operation_id: str, *, task_type: str | None = None, cursor: int = 0):
        self.id = operation_id
        self.task_type = task_type
        """None if the handle was made from an id alone."""
        self.cursor = cursor
        """The number of the last event this handle gave out; `events` goes on after it."""
        self._following = following

    def __repr__(self) -> str:
        return f"<TaskHandle {self.id} {self.task_type or ''} cursor={self.cursor}>"

    async def status(self) -> Snapshot:
        """The task as it is now."""
        return await self._seen(await self._following.connection.snapshot(self.id))

    def events(self, *, after: int | None = None) -> EventStream:
        """The task's events to its last, each once and in order, over any number of connections.

        Stopping to iterate does not cancel the task.

        Args:
            after: the number of the last event to leave out; 0 for all. Default: `cursor`.

        Raises:
            StreamLost: while iterating; the server stayed away for longer than the client's `patience`.
        """
        return EventStream(self, self._following, self.cursor if after is None else after)

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
        async with aclosing(self._snapshots(interval, timeout, prompt=callback is not None)) as snapshots:
            async for snapshot in snapshots:
                await call_back(callback, snapshot)
        return await self.status()

    async def wait(self, timeout: float | None = None) -> Snapshot:
        """The task's last snapshot, once it is over; however it ended.

        Raises:
            NotReady: `timeout` seconds have passed. The task goes on.
        """
        return await self.poll(timeout=timeout)

    async def result(self, timeout: float | None = None) -> Any:
        """What the task returned, once it has.

        Raises:
            TaskFailed, TaskCancelled: it ended without a result.
            NotReady: `timeout` seconds have passed. The task goes on.
        """
        snapshot = await self.wait(timeout)
        if snapshot.status is TaskStatus.COMPLETED:
            return snapshot.output  # the tool would cut a long one into pages
        arguments = {"operation_id": self.id}
        return (
            await self._following.connection.call("get_task_result", arguments, Result, operation_id=self.id)
        ).output

    async def cancel(self, reason: str | None = None) -> CancelReply:
        """Ask the server to end the task; `outcome` of the reply says what came of it. Harmless when it is over."""
        arguments = {"operation_id": self.id, "reason": reason}
        reply = await self._following.connection.call("cancel_task", arguments, CancelReply, operation_id=self.id)
        await self._seen(reply)
        return reply

    async def retry(self) -> TaskHandle:
        """A new task that does this failed or cancelled one again, from its last checkpoint.

        Raises:
            Refused: `NOT_RETRYABLE`, it neither failed nor was cancelled.
        """
        snapshot = await self._following.connection.call(
            "retry_task", {"operation_id": self.id}, Snapshot, operation_id=self.id, tries=1
        )
        await self._following.record(snapshot)
        return TaskHandle(self._following, snapshot.operation_id, task_type=snapshot.task_type)

    async def answer(self, key: str, value: Any) -> AnswerReply:
        """Answer a question of the task's. One that was answered before keeps its answer, and `answered` is false.

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
        return await self._following.connection.call("respond_to_task", arguments, AnswerReply, operation_id=self.id)

    async def show(self, console: Console | None = None) -> Snapshot:
        """Follow the task with a progress bar, or line by line where there is no terminal; see `client_sdk.show`."""
        from ._show import show  # loaded when asked for: rich takes long

        return await show(self, console=console)

    def _snapshots(
        self, interval: float | None, timeout: float | None, *, prompt: bool
    ) -> AsyncGenerator[Snapshot, None]:
        return snapshots(
            self._following.connection,
            self.id,
            interval=interval,
            timeout=timeout,
            prompt=prompt,
            patience=self._following.patience,
        )

    async def _seen(self, snapshot: Snapshot) -> Snapshot:
        if snapshot.status in TERMINAL_STATUSES:
            await self._following.dealt_with(self.id, snapshot.last_event_id, is_over=True)
        return snapshot


_ACTIONS = ("accept", "decline", "cancel")


class EventStream(AsyncIterator[Event]):
    """The events of one task, as `TaskHandle.events` gives them out.

    Can be used with `async with` to have its connection closed at a certain point.
    """

    def __init__(self, handle: TaskHandle, following: Following, after: int) -> None:
        self._handle, self._following = handle, following
        self._frames = Frames(
            following.connection,
            handle.id,
            after=after,
            heartbeat=following.heartbeat,
            patience=following.patience,
        )
        self._dealt_with = after

    async def __anext__(self) -> Event:
        await self._note()
        self._following.streams.opened(self._frames, self)
        try:
            frame = await anext(self._frames)
        except StopAsyncIteration:
            await self._note()
            await self.aclose()
            raise
        except NotFound:
            await self._following.dealt_with(self._handle.id, self._frames.cursor, is_over=True)
            raise
        self._handle.cursor = self._frames.cursor
        return event_of(frame)

    async def _note(self) -> None:
        """Asking for the next event says that the last one was dealt with."""
        cursor, is_over = self._frames.cursor, self._frames.is_over
        if cursor != self._dealt_with or is_over:
            await self._following.dealt_with(self._handle.id, cursor, is_over=is_over)
            self._dealt_with = cursor

    async def aclose(self) -> None:
        """Close the connection. The task goes on."""
        await self._following.streams.close(self._frames)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
        if kind is None:
            await self._note()

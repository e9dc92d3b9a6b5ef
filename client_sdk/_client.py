"""The client of one server: starts tasks, finds them again, and hands out handles.

What a task does is the handle's; how a server is talked to is the connection's.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import anyio
import httpx2

from ._backoff import Patience
from ._connection import Connection, as_model
from ._handle import TaskHandle
from ._journal import Journal
from ._shared import OpenStreams, Shared
from .errors import LongTaskClientError, NotFound
from .wire import (
    DEFAULT_BASE_URL,
    TERMINAL_STATUSES,
    Health,
    Operations,
    StartReply,
    TaskStatus,
    TaskTypeInfo,
    TaskTypes,
)

__all__ = ["LongTaskClient", "Starting"]

_CANCEL_WITHIN = 5.0
"""Seconds the cancel at the end of a `cancel_on_exit` block may take."""


class LongTaskClient:
    """A server of long tasks.

        async with LongTaskClient() as client:
            handle = await client.start("data_analysis", {"steps": 5})
            print(await handle.result())

    Every method raises Refused or a TryLater as `client_sdk.errors` says; what else it raises is said with it.

    Args:
        base_url: where the server is, without `/mcp`; with a path if it is mounted under one.
        token: sent as `Authorization: Bearer`.
        journal: a file that keeps the unfinished tasks for `resume_all`; several processes may share it.
        heartbeat: seconds of silence after which the server sends a sign of life (its setting `heartbeat`);
            a stream that is silent for twice as long is opened again.
        patience: seconds the server may stay away before those who wait get an error (None: forever).
        max_delay: seconds between two attempts at most.
        http: a client with TLS settings, proxies or headers of your own; it is yours to close.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_BASE_URL,
        token: str | None = None,
        *,
        journal: str | os.PathLike[str] | None = None,
        heartbeat: float = 15.0,
        patience: float | None = 300.0,
        max_delay: float = 30.0,
        http: httpx2.AsyncClient | None = None,
    ) -> None:
        self._connection = Connection(base_url, token, http)
        self._journal = Journal(journal) if journal is not None else None
        self._shared = Shared(
            connection=self._connection,
            journal=self._journal,
            heartbeat=heartbeat,
            patience=Patience(total=patience, longest=max_delay),
            streams=OpenStreams(),
        )

    def __repr__(self) -> str:
        return f"<LongTaskClient {self._connection.base_url}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. Tasks go on."""
        await self._shared.streams.aclose()
        await self._connection.aclose()

    def start(
        self,
        task_type: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        priority: int | None = None,
        start_after: float | None = None,
        cancel_on_exit: bool = False,
    ) -> Starting:
        """Start a task: `await` it for its handle, or use it with `async with`.

        When the handle is there, the task is durable. A start whose answer was lost is
        sent again under the same key, and makes one task.

        Args:
            metadata: kept with the task and shown in its snapshots.
            idempotency_key: the same key and arguments give the same task (default: a fresh key).
            priority: 0 to 9; higher is run first (default: 0).
            start_after: seconds before it may run (default: at once).
            cancel_on_exit: leaving the `async with` block by an exception cancels the task.

        Raises:
            Refused: `UNKNOWN_TASK_TYPE`, `INVALID_ARGUMENT`, `IDEMPOTENCY_CONFLICT`.
        """
        request = {
            "task_type": task_type,
            "arguments": dict(arguments) if arguments is not None else None,
            "metadata": dict(metadata) if metadata is not None else None,
            "idempotency_key": idempotency_key or uuid.uuid4().hex,
            "priority": priority,
            "start_after": start_after,
        }

        async def start() -> TaskHandle:
            if self._journal is not None:
                await self._journal.check()
            reply = await self._connection.call("start_long_task", request, StartReply)
            await self._shared.record(reply)
            return TaskHandle(self._shared, reply.operation_id, task_type=reply.task_type)

        return Starting(start, cancel_on_exit=cancel_on_exit)

    def task(self, operation_id: str, *, cursor: int = 0) -> TaskHandle:
        """The handle of a task started earlier or elsewhere; nothing is asked of the server.

        Args:
            cursor: the number of the last event that was seen of it.
        """
        return TaskHandle(self._shared, operation_id, cursor=cursor)

    async def resume_all(self) -> Sequence[TaskHandle]:
        """The tasks in the journal whose end was not seen, oldest first; their `events` go on where they stopped.

        A task that ended meanwhile is among them: its last events and its result are
        news. Tasks the server no longer knows leave the journal.

        Raises:
            ValueError: the client has no journal.
        """
        if self._journal is None:
            raise ValueError("This client keeps no journal: LongTaskClient(journal=...)")
        handles = []
        for operation_id, entry in (await self._journal.entries(self._connection.base_url)).items():
            try:
                snapshot = await self._connection.snapshot(operation_id)
            except NotFound:
                await self._journal.forget(operation_id)
                continue
            if snapshot.status in TERMINAL_STATUSES and entry.last_event_id == snapshot.last_event_id:
                await self._journal.forget(operation_id)
                continue
            handles.append(
                TaskHandle(self._shared, operation_id, task_type=snapshot.task_type, cursor=entry.last_event_id)
            )
        return handles

    async def list(
        self,
        *,
        status: TaskStatus | str | None = None,
        task_type: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Operations:
        """One page of the caller's tasks, newest first.

        Args:
            limit: 1 to 100.
            cursor: `next_cursor` of the page before.
        """
        filters = {"status": status, "task_type": task_type, "limit": limit, "cursor": cursor}
        return await self._connection.call("list_operations", filters, Operations)

    async def task_types(self) -> Sequence[TaskTypeInfo]:
        """The task types of the server, with the JSON Schema of their arguments."""
        return (await self._connection.call("list_task_types", {}, TaskTypes)).task_types

    async def health(self) -> Health:
        """The health of the server; an answer of `unhealthy` is an answer.

        Raises:
            Unavailable: there was none.
        """
        return as_model(await self._connection.health(), Health, None)


class Starting(Awaitable[TaskHandle]):
    """A start that is sent when it is awaited, or entered with `async with`; once."""

    def __init__(self, start: Callable[[], Awaitable[TaskHandle]], *, cancel_on_exit: bool) -> None:
        self._start, self._cancel_on_exit = start, cancel_on_exit
        self._handle: TaskHandle | None = None

    def __await__(self) -> Generator[Any, Any, TaskHandle]:
        return self._start().__await__()

    async def __aenter__(self) -> TaskHandle:
        self._handle = await self
        return self._handle

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._cancel_on_exit and error is not None and self._handle is not None:
            # The error that ends the block, a cancellation above all, must neither stop nor be replaced by this.
            with anyio.move_on_after(_CANCEL_WITHIN, shield=True), suppress(LongTaskClientError):
                await self._handle.cancel(f"The caller left by {kind.__name__ if kind else 'an error'}")

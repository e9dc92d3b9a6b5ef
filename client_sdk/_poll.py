"""A task's states by long polls: the server holds each request until there is news.

Without a callback a request is answered at the end of the task, or after the longest
wait. With one it is answered at the next change too, at a pace that slows down, so
that ten minutes cost some thirty requests and not one per report. The end of the task
is answered at once in either case. Knows requests and replies; the cursor and the
journal are its caller's.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import anyio

from ._backoff import Backoff, Patience
from ._connection import AnswerLost, Connection
from .errors import NotReady, TryLater
from .wire import TERMINAL_STATUSES, ProgressReply, Snapshot, TaskStatus

__all__ = ["Callback", "call_back", "states"]

Callback = Callable[[Any], Awaitable[None] | None]
"""A function or coroutine function; what it returns is not looked at."""

_LONGEST_WAIT = 110.0
"""Seconds; what a server grants by default."""
_MIN_WAIT = 10.0
_ANSWER_GRACE = 2.0
_FIRST_PACE, _LAST_PACE, _SLOWER = 1.0, 25.0, 1.5


async def call_back(callback: Callback | None, value: Any) -> None:
    if callback is not None:
        called = callback(value)
        if inspect.isawaitable(called):
            await called


async def states(
    connection: Connection,
    operation_id: str,
    *,
    interval: float | None,
    timeout: float | None,
    prompt: bool,
    patience: Patience,
) -> AsyncGenerator[Snapshot, None]:
    """The task's snapshots, each unlike the one before; the last one is of a task that is over.

    Args:
        interval: ask again after so many seconds, instead of letting the server wait.
        timeout: seconds after which NotReady is raised; the task goes on.
        prompt: a snapshot is wanted soon after an ordinary change, and one at once.

    Raises:
        NotReady: the timeout has come; `snapshot` is the last that was seen.
        NotFound, Refused: as the server says.
        TryLater: the server stayed away for longer than the patience.
    """
    deadline = math.inf if timeout is None else anyio.current_time() + timeout
    asking = _Asking(connection, operation_id, patience, deadline)
    last: ProgressReply | None = None
    while last is None or anyio.current_time() < deadline:
        asked_at, before = anyio.current_time(), last
        # The server is asked for an answer by the deadline; it gets a little longer to give it.
        with anyio.CancelScope(deadline=deadline + _ANSWER_GRACE):
            if interval is not None or (prompt and before is None):
                last = await asking.ask(wait=0.0)
            elif before is not None and before.status is TaskStatus.INPUT_REQUIRED:
                # Until that is answered, a server asked for the end would answer at once.
                last = await asking.ask(since=before.last_event_id)
            elif before is not None and prompt:
                last = await asking.for_change(before)
            else:
                last = await asking.ask()
        if last is None:
            break
        if before is None or last.last_event_id != before.last_event_id:
            yield last
        if last.status in TERMINAL_STATUSES:
            return
        with anyio.CancelScope(deadline=deadline):
            if interval is not None:
                await anyio.sleep(interval)
            elif before is not None and anyio.current_time() - asked_at < _FIRST_PACE:
                await anyio.sleep(_FIRST_PACE)  # it reports in a burst, or the server does not wait
    raise NotReady(f"Not over after {timeout} s", operation_id=operation_id, snapshot=last)


class _Asking:
    """The requests of one poll, and what their answers taught about how to ask."""

    def __init__(self, connection: Connection, operation_id: str, patience: Patience, deadline: float) -> None:
        self._connection, self._operation_id, self._deadline = connection, operation_id, deadline
        self._backoff = Backoff(patience)
        self._longest_wait = _LONGEST_WAIT
        self._pace, self._often = _FIRST_PACE, False

    async def for_change(self, before: ProgressReply) -> ProgressReply:
        """The next snapshot worth showing.

        A task that reports seldom is waited for event by event; of one that reports
        often, the state after the pace is enough.
        """
        asked_at = anyio.current_time()
        if self._often:
            reply = await self.ask(wait=self._pace)
            self._often = reply.last_event_id > before.last_event_id + 1
        else:
            reply = await self.ask(since=before.last_event_id)
            self._often = anyio.current_time() - asked_at < self._pace
        self._pace = min(_LAST_PACE, self._pace * _SLOWER)
        return reply

    async def ask(self, *, wait: float | None = None, since: int | None = None) -> ProgressReply:
        """One answer of the server's, however often it has to be asked for it.

        Args:
            wait: seconds the server may wait for the end of the task (None: as long as it goes).
            since: any event after this number is worth an answer as well.
        """
        while True:
            seconds = max(0.0, min(self._longest_wait if wait is None else wait, self._deadline - anyio.current_time()))
            arguments = {"operation_id": self._operation_id, "wait_seconds": seconds, "since": since}
            try:
                reply = await self._connection.call(
                    "get_task_progress",
                    arguments,
                    ProgressReply,
                    operation_id=self._operation_id,
                    wait=seconds,
                    tries=1,  # trying again is done here, with more patience
                )
            except TryLater as error:
                if isinstance(error, AnswerLost) and wait is None:
                    # Something on the way may not bear requests this long.
                    self._longest_wait = max(_MIN_WAIT, self._longest_wait / 2)
                if not await self._backoff.pause(error.retry_after):
                    raise
            else:
                self._backoff.succeeded()
                return reply

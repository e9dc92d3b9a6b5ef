"""Requests that wait together are answered together, in one turn of a worker thread.

The way into a thread and back costs more than most statements, and a commit's way to the
disk far more; under load both are shared by everybody who asked meanwhile, while an idle
lane takes a single request at once. What a batch does is its owner's `work`.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import anyio
import anyio.to_thread

from ...errors import Unavailable

__all__ = ["Batches", "Request"]


@dataclass(slots=True, eq=False)
class Request:
    """One operation, and what became of it."""

    operation: Callable[[sqlite3.Connection], Any]
    value: Any = None
    error: Exception | None = None
    answered: anyio.Event = field(default_factory=anyio.Event)

    def answer(self) -> None:
        """Called on the event loop once `value` or `error` is final, also if the caller has gone."""
        self.answered.set()


R = TypeVar("R", bound=Request)


class Batches(Generic[R]):
    """A queue of requests, and a few lanes that work on them.

    Args:
        work: sets each request's `value` or `error`; runs in a worker thread and does not raise.
        lanes: batches that are worked on at once.
        most: requests in one batch; the rest wait for the next, so that no answer waits for a very long one.
    """

    def __init__(self, work: Callable[[Sequence[R]], None], *, lanes: int, most: int) -> None:
        self._work, self._lanes, self._most = work, lanes, most
        self._waiting: deque[R] = deque()
        self._parked: list[anyio.Event] = []
        """One for each lane that has nothing to do."""
        self._closing = False
        self.limiter = anyio.CapacityLimiter(lanes)
        """For other calls that must take their turn with the batches."""

    async def ask(self, request: R) -> Any:
        """Wait for the request's answer. A caller that is cancelled does not learn it.

        Raises:
            Unavailable: the database is closed; also whatever `work` found.
        """
        if self._closing:
            raise Unavailable("The task database is closed")
        self._waiting.append(request)
        if self._parked:
            self._parked.pop().set()
        await request.answered.wait()
        if request.error is not None:
            raise request.error
        return request.value

    async def run(self) -> None:
        """Answer requests until `close`, also in a scope that is cancelled: a server that stops still writes."""
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as lanes:
                for _ in range(self._lanes):
                    lanes.start_soon(self._run_lane)

    def close(self) -> None:
        """Take no more requests; `run` ends when those that wait are answered."""
        self._closing = True
        while self._parked:
            self._parked.pop().set()

    async def _run_lane(self) -> None:
        while self._waiting or not self._closing:
            if not self._waiting:
                woken = anyio.Event()
                self._parked.append(woken)
                await woken.wait()
                continue
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))]
            await anyio.to_thread.run_sync(self._work, batch, limiter=self.limiter)
            for request in batch:
                request.answer()

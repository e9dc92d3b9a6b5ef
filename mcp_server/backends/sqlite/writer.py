"""Group commit: the one path by which this process writes.

Requests wait in a list; `run` takes all that wait and makes them one transaction in a
worker thread, so the cost of a commit (and of reaching the disk) is shared by everybody
who asked meanwhile. Each request gets its own answer. It knows nothing of what the
operations do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from ...errors import Conflict, Unavailable
from .database import Database

__all__ = ["Writer"]

T = TypeVar("T")

MAX_BATCH = 1000
"""Requests in one transaction; the rest wait for the next, so no answer waits for a very long one."""


@dataclass(slots=True, eq=False)
class _Request:
    operation: Callable[[sqlite3.Connection], Any]
    durable: bool
    then: Callable[[Any], None] | None
    answered: anyio.Event = field(default_factory=anyio.Event)
    value: Any = None
    error: Exception | None = None


class Writer:
    """The queue before a database's write connection."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Request] = []
        self._wake = anyio.Event()
        self._closing = False
        self._limiter = anyio.CapacityLimiter(1)

    async def write(
        self,
        operation: Callable[[sqlite3.Connection], T],
        *,
        durable: bool = False,
        then: Callable[[T], None] | None = None,
    ) -> T:
        """Run `operation` in the next transaction and return what it returned, once that is committed.

        Others share the transaction, so an operation raises `Conflict` only before it has
        changed anything. A caller that is cancelled does not learn whether it was written;
        `then` is called with the value all the same if it was.

        Raises:
            Unavailable: the transaction could not be committed; nothing of it was.
        """
        if self._closing:
            raise Unavailable("The task database is closed")
        request = _Request(operation, durable, then)
        self._waiting.append(request)
        self._wake.set()
        await request.answered.wait()
        if request.error is not None:
            raise request.error
        value: T = request.value
        return value

    async def data_version(self) -> int:
        """See `Database.data_version`; takes its turn with the transactions."""
        return await anyio.to_thread.run_sync(self._database.data_version, limiter=self._limiter)

    async def run(self) -> None:
        """Write until `close`; what was asked for before that is written."""
        # Only `close` ends it: a cancelled server still writes down what was asked of it.
        with anyio.CancelScope(shield=True):
            while self._waiting or not self._closing:
                if not self._waiting:
                    self._wake = anyio.Event()
                    await self._wake.wait()
                    continue
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await anyio.to_thread.run_sync(self._commit, batch, limiter=self._limiter)
                for request in batch:
                    if request.error is None and request.then is not None:
                        request.then(request.value)
                    request.answered.set()

    def close(self) -> None:
        self._closing = True
        self._wake.set()

    def _commit(self, batch: Sequence[_Request]) -> None:
        try:
            with self._database.transaction(durable=any(request.durable for request in batch)) as connection:
                for request in batch:
                    try:
                        request.value = request.operation(connection)
                    except Conflict as conflict:
                        request.error = conflict
        except Unavailable as error:
            for request in batch:
                request.error = Unavailable(error.message)
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = error
                return
            # A mistake in one request, found halfway: the others must not suffer for it.
            for request in batch:
                request.error = None
                self._commit([request])

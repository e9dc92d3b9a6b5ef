"""The ways into the file from the event loop: one lane that writes, two that read, and look-ups at once.

The way into a thread and back costs more than most statements, and a commit's way to the
disk far more; under load both are shared by the requests that came in meanwhile, while an
idle lane takes a single request at once.

Group commit: all writes that wait become one transaction, the only path by which this
process writes. Each request gets its own answer: a failure in one of them is its caller's
alone, a failure of the commit is that of all. Reads go beside it, over connections of
their own: WAL lets them read while the writer writes, and neither waits for the other.
A look-up by a key has no lane: it is made on the event loop while the file is fast.
Nothing here knows what the operations do.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import anyio
import anyio.to_thread

from ...errors import Conflict, Unavailable
from .database import Database, mapped_errors

__all__ = ["Readers", "Writer"]

T = TypeVar("T")

SLOW = 0.02
"""Seconds for one look-up, beyond which the file counts as slow."""
SLOW_FOR = 1.0
"""Seconds for which the event loop then leaves it alone."""


@dataclass(slots=True, eq=False)
class _Request:
    """One operation, and what became of it."""

    operation: Callable[[sqlite3.Connection], Any]
    value: Any = None
    error: Exception | None = None
    answered: anyio.Event = field(default_factory=anyio.Event)

    def answer(self) -> None:
        """Called on the event loop once `value` or `error` is final, also if the caller has gone."""
        self.answered.set()


R = TypeVar("R", bound=_Request)


class _Batches(Generic[R]):
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
        self.is_closing = False
        self.limiter = anyio.CapacityLimiter(lanes)
        """For other calls that must take their turn with the batches."""

    async def ask(self, request: R) -> Any:
        """Wait for the request's answer. A caller that is cancelled does not learn it.

        Raises:
            Unavailable: the database is closed; also whatever `work` found.
        """
        if self.is_closing:
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
        self.is_closing = True
        while self._parked:
            self._parked.pop().set()

    async def _run_lane(self) -> None:
        while self._waiting or not self.is_closing:
            if not self._waiting:
                woken = anyio.Event()
                self._parked.append(woken)
                await woken.wait()
                continue
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))]
            await anyio.to_thread.run_sync(self._work, batch, limiter=self.limiter)
            for request in batch:
                request.answer()


@dataclass(slots=True, eq=False, kw_only=True)
class _Write(_Request):
    durable: bool
    then: Callable[[Any], None] | None

    def answer(self) -> None:
        if self.error is None and self.then is not None:
            self.then(self.value)
        self.answered.set()


class Writer:
    """The queue before a database's write connection."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batches = _Batches(self._commit, lanes=1, most=1000)
        self.run, self.close = self._batches.run, self._batches.close

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
        value: T = await self._batches.ask(_Write(operation, durable=durable, then=then))
        return value

    async def data_version(self) -> int:
        """See `Database.data_version`; takes its turn with the transactions."""
        return await anyio.to_thread.run_sync(self._database.data_version, limiter=self._batches.limiter)

    def _commit(self, batch: Sequence[_Write]) -> None:
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


class Readers:
    """The read connections of a database, opened as they are needed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._idle: list[sqlite3.Connection] = []
        self._own: sqlite3.Connection | None = None
        """The event loop's."""
        self._slow_until = 0.0
        # More than two would mostly wait for each other's interpreter lock.
        self._batches = _Batches(self._read_all, lanes=2, most=16)
        self.run, self.close = self._batches.run, self._batches.close

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run `query`, which sees everything committed before.

        Raises:
            Unavailable: the file cannot be read.
        """
        value: T = await self._batches.ask(_Request(query))
        return value

    async def look_up(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """As `read`, for a query by a key: on the event loop itself, unless the file has just been slow.

        Such a query takes less time than the way into a thread and back.

        Raises:
            Unavailable: as `read`.
        """
        began = time.monotonic()
        if began >= self._slow_until and not self._batches.is_closing:
            with suppress(Unavailable):  # which `read` says after it has waited for a lock
                value = self._read_at_once(query)
                if time.monotonic() - began > SLOW:
                    self._slow_until = began + SLOW_FOR
                return value
            self._slow_until = began + SLOW_FOR
        return await self.read(query)

    def _read_at_once(self, query: Callable[[sqlite3.Connection], T]) -> T:
        self._database.check_in_place()
        with mapped_errors():
            if self._own is None:
                self._own = self._connect()
                self._own.execute("PRAGMA busy_timeout = 0")
            return query(self._own)

    def close_connections(self) -> None:
        """To be called when `run` has ended."""
        if self._own is not None:
            self._idle.append(self._own)
        while self._idle:
            self._idle.pop().close()

    def _connect(self) -> sqlite3.Connection:
        connection = self._database.connect()
        connection.execute("PRAGMA query_only = ON")
        return connection

    def _read_all(self, batch: Sequence[_Request]) -> None:
        for request in batch:
            try:
                request.value = self._read(request.operation)
            except Exception as error:
                request.error = error

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        self._database.check_in_place()
        with mapped_errors():
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect()
            try:
                return query(connection)
            finally:
                self._idle.append(connection)

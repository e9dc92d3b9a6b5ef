"""Group commit: the one path by which this process writes.

All requests that wait become one transaction. Each gets its own answer: what fails in
one of them is its caller's alone, what fails in the commit is everybody's. It knows
nothing of what the operations do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio.to_thread

from ...errors import Conflict, Unavailable
from .batches import Batches, Request
from .database import Database

__all__ = ["Writer"]

T = TypeVar("T")


@dataclass(slots=True, eq=False, kw_only=True)
class _Write(Request):
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
        self._batches = Batches(self._commit, lanes=1, most=1000)
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

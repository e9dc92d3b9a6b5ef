"""Reads: a few connections of their own, in worker threads of their own number.

WAL lets them read while the writer writes; neither waits for the other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from ...errors import Unavailable
from .database import Database, mapped_errors

__all__ = ["Readers"]

T = TypeVar("T")

MOST = 4
"""Reads that run at once; more threads would only wait for each other's interpreter lock."""


class Readers:
    """The read connections of a database, opened as they are needed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        self._limiter = anyio.CapacityLimiter(MOST)

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run `query`, which sees everything committed before.

        Raises:
            Unavailable: the file cannot be read.
        """
        return await anyio.to_thread.run_sync(self._read, query, limiter=self._limiter)

    def close(self) -> None:
        """Close the connections; no read may be running."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            raise Unavailable("The task database is closed")
        with mapped_errors():
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._database.connect()
                connection.execute("PRAGMA query_only = ON")
            try:
                return query(connection)
            finally:
                self._idle.append(connection)

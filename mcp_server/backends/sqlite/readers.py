"""Reads: connections of their own, beside the writer.

WAL lets them read while the writer writes; neither waits for the other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

from .batches import Batches, Request
from .database import Database, mapped_errors

__all__ = ["Readers"]

T = TypeVar("T")


class Readers:
    """The read connections of a database, opened as they are needed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._idle: list[sqlite3.Connection] = []
        # More than two would mostly wait for each other's interpreter lock.
        self._batches = Batches(self._read_all, lanes=2, most=16)
        self.run, self.close = self._batches.run, self._batches.close

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run `query`, which sees everything committed before.

        Raises:
            Unavailable: the file cannot be read.
        """
        value: T = await self._batches.ask(Request(query))
        return value

    def close_connections(self) -> None:
        """To be called when `run` has ended."""
        while self._idle:
            self._idle.pop().close()

    def _read_all(self, batch: Sequence[Request]) -> None:
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
                connection = self._database.connect()
                connection.execute("PRAGMA query_only = ON")
            try:
                return query(connection)
            finally:
                self._idle.append(connection)

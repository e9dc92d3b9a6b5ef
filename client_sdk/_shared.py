"""State that all handles of one client share: the connection, the journal and the open streams."""

from __future__ import annotations

import asyncio
import weakref
from dataclasses import dataclass

import anyio

from ._backoff import Patience
from ._connection import Connection
from ._journal import Entry, Journal
from ._stream import Frames
from .wire import Snapshot

__all__ = ["OpenStreams", "Shared"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """One connection, journal and set of open streams for every handle of a client."""

    connection: Connection
    journal: Journal | None
    heartbeat: float
    patience: Patience
    streams: OpenStreams

    async def record(self, snapshot: Snapshot) -> None:
        if self.journal is not None:
            entry = Entry(
                base_url=self.connection.base_url, task_type=snapshot.task_type, started_at=snapshot.created_at
            )
            await self.journal.record(snapshot.operation_id, entry)

    async def acknowledge(self, operation_id: str, number: int, *, ended: bool) -> None:
        if self.journal is not None:
            if ended:
                await self.journal.forget(operation_id)
            else:
                await self.journal.advance(operation_id, number)


class OpenStreams:
    """The connections of event streams; none outlives its reader, the client or the event loop.

    Generators that are left to the garbage collector or to the end of the loop are closed
    all at once and in each other's way, with a traceback for each.
    """

    def __init__(self) -> None:
        self._open: set[Frames] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._guard: asyncio.Task[None] | None = None

    def opened(self, frames: Frames, reader: object) -> None:
        """Register frames that are read for as long as the reader exists."""
        if frames not in self._open:
            self._open.add(frames)
            weakref.finalize(reader, self._abandoned, frames, asyncio.get_running_loop()).atexit = False
        if self._guard is None:
            self._guard = asyncio.create_task(self._close_at_the_end_of_the_loop())

    async def close(self, frames: Frames) -> None:
        await frames.aclose()
        self._open.discard(frames)
        if not self._open and self._guard is not None:
            guard, self._guard = self._guard, None
            guard.cancel()

    async def aclose(self) -> None:
        for frames in list(self._open):
            await self.close(frames)
        await asyncio.gather(*self._closing)

    def _abandoned(self, frames: Frames, loop: asyncio.AbstractEventLoop) -> None:
        # The last reference may be dropped in any thread.
        if frames in self._open and not loop.is_closed():
            loop.call_soon_threadsafe(self._close_soon, frames)

    def _close_soon(self, frames: Frames) -> None:
        task = asyncio.ensure_future(self.close(frames))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close_at_the_end_of_the_loop(self) -> None:
        # `asyncio.run` cancels the tasks that are left before it closes generators.
        try:
            await anyio.sleep_forever()
        finally:
            if self._guard is asyncio.current_task():  # and was not ended because there is nothing left to close
                self._guard = None
                await self.aclose()

"""Hands out due work: claims tasks, runs the handler, keeps and ends the leases.

A claim is a row in `leases`. A thread renews the rows, because the event loop may be
blocked by the very function the lease is for. Whoever finds a row expired may take the
task; the old handler's next commit then meets a `Conflict`, and its scope is cancelled
as soon as the thread sees that the row is somebody else's.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from uuid import uuid4

import anyio
import anyio.abc
import anyio.to_thread

from ...backend import Limits
from ...errors import Unavailable
from . import operations
from .database import Database
from .operations import Claim
from .writer import Writer

__all__ = ["Server"]

logger = logging.getLogger(__name__)

RETRY = 0.5
"""Seconds until the next try when the database did not answer or a handler raised."""


class Server:
    """One `serve` call: a holder of leases and the calls that run under them."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        *,
        lease: float,
        drain: float,
        handle: Callable[[str], Awaitable[None]],
        limits: Limits,
    ) -> None:
        self._database, self._writer = database, writer
        self._lease, self._drain, self._handle, self._limits = lease, drain, handle, limits
        self._holder = uuid4().hex
        self._calls: dict[Claim, anyio.CancelScope] = {}
        self._woken = anyio.Event()
        self._stopping = anyio.Event()

    def wake(self) -> None:
        """There may be due work: something was queued or has ended, here or elsewhere."""
        self._woken.set()

    async def run(self) -> None:
        """Claim and call until cancelled; then give the calls `drain` seconds, cancel them and wait for them."""
        async with self._renewal():
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._work)
                    try:
                        await anyio.sleep_forever()
                    finally:
                        self._stopping.set()
            finally:
                # Whatever is left, such as a claim that was cancelled while it was written.
                with anyio.CancelScope(shield=True):
                    await self._released(None)

    async def _work(self) -> None:
        # Shielded, because the calls outlive the cancellation for as long as they are drained.
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as calls:
                async with anyio.create_task_group() as claiming:
                    claiming.start_soon(self._claim_forever, calls)
                    await self._stopping.wait()
                    claiming.cancel_scope.cancel()
                with anyio.move_on_after(self._drain):
                    while self._calls:
                        self._woken = anyio.Event()
                        await self._woken.wait()
                calls.cancel_scope.cancel()

    async def _claim_forever(self, calls: anyio.abc.TaskGroup) -> None:
        while True:
            # Made before the look: what happens during the look is not missed.
            self._woken = anyio.Event()
            pause = await self._claim(calls)
            with anyio.move_on_after(pause):
                await self._woken.wait()

    async def _claim(self, calls: anyio.abc.TaskGroup) -> float:
        """Start a call for every task that is due and fits; how long to sleep if nothing wakes us."""
        free = self._limits.total - len(self._calls)
        if free <= 0:
            return self._lease / 2
        try:
            found = await self._writer.write(
                partial(operations.claim, holder=self._holder, lease=self._lease, limits=self._limits, free=free)
            )
        except Unavailable as error:
            logger.warning("No task can be claimed: %s", error.message)
            return RETRY
        for claim in found.claims:
            self._calls[claim] = anyio.CancelScope()
            calls.start_soon(self._call, claim)
        if found.next_due is None:
            return self._lease / 2
        return min(self._lease / 2, max(0.0, found.next_due - time.time()))

    async def _call(self, claim: Claim) -> None:
        try:
            with self._calls[claim]:
                await self._handle(claim.task_id)
        except Exception:
            logger.exception("The handler of task %s raised", claim.task_id)
            # Without its lease the task is due again at once: a pause, lest it spins.
            await anyio.sleep(min(RETRY, self._lease))
        finally:
            try:
                with anyio.CancelScope(shield=True):
                    released = await self._released(claim.seq)
                while not released:
                    await anyio.sleep(RETRY)
                    released = await self._released(claim.seq)
            finally:
                del self._calls[claim]
                self.wake()

    async def _released(self, seq: int | None) -> bool:
        """End the lease of one task or all of ours; False if the database did not answer."""
        try:
            await self._writer.write(partial(operations.release, holder=self._holder, seq=seq))
        except Unavailable as error:
            logger.warning("A lease could not be ended and runs out in %s s: %s", self._lease, error.message)
            return False
        return True

    @asynccontextmanager
    async def _renewal(self) -> AsyncIterator[None]:
        stop = threading.Event()
        thread = threading.Thread(
            target=self._renew_until, args=(stop, asyncio.get_running_loop()), name="lease renewal", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            stop.set()
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(thread.join, limiter=anyio.CapacityLimiter(1))

    def _renew_until(self, stop: threading.Event, loop: asyncio.AbstractEventLoop) -> None:
        while not stop.wait(self._lease / 3):
            # A copy in one step: the event loop's thread changes the original meanwhile.
            calls = self._calls.copy()
            if not calls:
                continue
            try:
                with self._database.transaction() as connection:
                    held = operations.renew(connection, holder=self._holder, expires_at=time.time() + self._lease)
            except Unavailable as error:
                logger.warning("Leases could not be renewed: %s", error.message)
                continue
            for claim, scope in calls.items():
                if claim.seq not in held:
                    # Or the call has ended meanwhile: then cancelling its scope does nothing.
                    loop.call_soon_threadsafe(scope.cancel)

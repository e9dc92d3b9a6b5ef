"""Claims due tasks: a claim is a row in `leases`.

A process that finds a row expired may take the task; the old handler's next commit then meets a
`Conflict`, and its call is cancelled as soon as the renewal finds the row to be of another holder.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

import anyio

from ...backend import Limits
from ...errors import Unavailable
from ..leases import ClaimLoop, Lease, Leases
from . import operations
from .database import Database
from .lanes import Writer

__all__ = ["Claiming"]

logger = logging.getLogger(__name__)

RETRY = 0.5
"""Seconds until the next try when the database did not answer or a handler raised."""


@dataclass(slots=True, eq=False, kw_only=True)
class RowLease(Lease):
    """A lease with the row of its task."""

    seq: int


class Claiming:
    """One `serve` call: a holder of leases, and its search for due work."""

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
        self._lease, self._limits = lease, limits
        self._holder = uuid4().hex
        self._loop = ClaimLoop(self._claim)
        self.wake = self._loop.wake
        self._leases: Leases[RowLease] = Leases(
            seconds=lease,
            drain=drain,
            handle=handle,
            renew=self._renew,
            give_back=self._give_back,
            ended=lambda _: self.wake(),
        )

    async def run(self) -> None:
        """Claim and call until cancelled; then drain the calls, cancel them and wait for them."""
        stopping = anyio.Event()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._work, stopping)
                try:
                    await anyio.sleep_forever()
                finally:
                    stopping.set()
        finally:
            # Whatever is left, such as a claim that was cancelled while it was written.
            with anyio.CancelScope(shield=True):
                await self._released(None)

    async def _work(self, stopping: anyio.Event) -> None:
        # Shielded, because the calls outlive the cancellation for as long as they are drained.
        with anyio.CancelScope(shield=True):
            async with self._leases.open(), anyio.create_task_group() as claiming:
                claiming.start_soon(self._loop.run)
                await stopping.wait()
                claiming.cancel_scope.cancel()

    async def _claim(self) -> float:
        """Start a call for every task that is due and fits; seconds to the next look."""
        free = self._limits.total - len(self._leases)
        if free <= 0:
            return self._lease / 2
        try:
            found = await self._writer.write(
                partial(operations.claim, holder=self._holder, lease=self._lease, limits=self._limits, free=free)
            )
        except Unavailable as error:
            logger.warning("No task can be claimed: %s", error.message)
            return RETRY
        for seq, task_id in found.claims:
            self._leases.call(RowLease(task_id=task_id, seq=seq))
        if found.next_due is None:
            return self._lease / 2
        return min(self._lease / 2, max(0.0, found.next_due - time.time()))

    def _renew(self, leases: Sequence[RowLease]) -> Collection[RowLease]:
        if not leases:
            return ()
        with self._database.transaction() as connection:
            held = operations.renew(connection, holder=self._holder, expires_at=time.time() + self._lease)
        return [lease for lease in leases if lease.seq not in held]

    async def _give_back(self, lease: RowLease, raised: bool) -> bool:
        if raised:
            # Without its lease the task is due again at once: a pause, lest it spins.
            await anyio.sleep(min(RETRY, self._lease))
        return await self._released(lease)

    async def _released(self, lease: RowLease | None) -> bool:
        """End one lease or all of ours; False if the database did not answer."""
        seq = None if lease is None else lease.seq
        try:
            await self._writer.write(partial(operations.release, holder=self._holder, seq=seq))
        except Unavailable as error:
            logger.warning("A lease could not be ended and runs out in %s s: %s", self._lease, error.message)
            return False
        return True

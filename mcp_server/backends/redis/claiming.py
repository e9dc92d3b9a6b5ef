"""Hands out due work over the fleet: the queue decides which task is next, Docket carries it.

    queue ──admit──► claim (lease, token) ──hand over──► Docket ──deliver──► begin ──► handler
      ▲                                                                                  │
      └───────────────────────── release, or the lease ran out ◄─────────────────────────┘

Docket knows neither priorities nor limits over a fleet, so a task enters it only when
it may run now: a process with room *admits* the next due task in one script that looks
at the order and every limit, and hands its id over. Whichever worker of the pool Docket
delivers it to *begins* it; a delivery that comes twice, late, or after a takeover finds
its token used and does nothing. After the work a worker goes on with the next due task
itself and comes back to Docket when there is none.

What was recorded and never handed over is simply still in the queue: every process
with room looks there when it is woken and once a second. So is a task whose worker
died: its lease runs out and the next look puts it back.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

import anyio
import anyio.abc

from ...backend import Limits
from ...errors import Unavailable
from ..leases import ClaimLoop, Lease, Leases
from ..outage import Outage
from .connection import Connection, Outdated, SyncConnection
from .docket import Carrying, pool_name
from .fleet import REPORT, report, retire
from .scripts import Scripts, renew

__all__ = ["Claiming"]

logger = logging.getLogger(__name__)

LOOK_INTERVAL = 1.0
"""Seconds between two looks at the queue when no wake-up arrives."""
RETRY = 0.5
"""Seconds until the next try when Redis did not answer, and before a task is due whose handler raised."""
GIVE_BACK_TIMEOUT = 2.0
"""Seconds a stopping process tries to give a task back; after that its lease has to run out."""


@dataclass(slots=True, eq=False, kw_only=True)
class TokenLease(Lease):
    """A lease with the token that stands for it in Redis."""

    token: str
    carried: bool = True
    """Docket's worker waits for its end."""


class Claiming:
    """One `serve` call: what this process admits, carries and runs."""

    def __init__(
        self,
        connection: Connection,
        root: str,
        prefix: str,
        *,
        name: str,
        lease: float,
        drain: float,
        handle: Callable[[str], Awaitable[None]],
        limits: Limits,
    ) -> None:
        self._connection, self._root, self._scripts = connection, root, Scripts(connection, root)
        self._name, self._lease = name, lease
        self._limits = limits
        self._carrying = Carrying(
            connection.url,
            docket=pool_name(prefix, limits.types),
            name=name,
            lease=lease,
            slots=limits.total,
            carry=self._carry,
        )
        self._renewals = SyncConnection(connection.url, answer=max(0.2, lease / 4))
        self._leases: Leases[TokenLease] = Leases(
            seconds=lease, drain=drain, handle=handle, renew=self._renew, give_back=self._given_back, ended=self._ended
        )
        self._carriers = 0
        """Deliveries being carried, whether or not they hold a task right now."""
        self._handed: dict[str, tuple[str, float]] = {}
        """Token to task id and time of what was handed over and may not have been begun."""
        self._tokens = (f"{secrets.token_hex(6)}.{n}" for n in itertools.count())
        self._loop = ClaimLoop(self._admit_some)
        self.wake = self._loop.wake
        self._stopping = anyio.Event()
        self._outage = Outage(logger, "No task can be claimed")

    async def run(self) -> None:
        """Serve until cancelled; then take nothing new, give the running calls their grace, end them and wait."""
        async with anyio.create_task_group() as group:
            await group.start(self._hold)
            try:
                async with anyio.create_task_group() as loops:
                    loops.start_soon(self._loop.run)
                    loops.start_soon(self._report_forever)
            finally:
                self._stopping.set()

    async def _hold(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Hold the calls. Shielded: a cancel of `run` reaches them after the grace and not before."""
        with anyio.CancelScope(shield=True):
            async with self._leases.open():
                docket = asyncio.create_task(self._carrying.run(), name="docket worker")
                task_status.started()
                await self._stopping.wait()
                await self._carrying.stop(docket)
            self._renewals.close()
            with anyio.move_on_after(GIVE_BACK_TIMEOUT):
                await retire(self._connection, self._root, self._name)

    # Admission.

    async def _admit_some(self) -> float:
        """Hand over every due task there is room for; seconds to the next look."""
        free = self._limits.total - self._carriers - sum(not lease.carried for lease in self._leases)
        if not self._carrying.is_up or free <= 0:
            return RETRY
        long_ago = time.monotonic() - self._lease
        self._handed = {token: (task, at) for token, (task, at) in self._handed.items() if at > long_ago}
        try:
            admitted = await self._scripts.admit(
                lease=self._lease,
                token=next(self._tokens),
                carrier="-",
                slots=free,
                per_owner=self._limits.per_owner,
                types=self._limits.types,
                handed=[(task, token) for token, (task, _) in self._handed.items()],
            )
        except Unavailable as error:
            self._outage.began(error)
            return RETRY
        self._outage.ended()
        async with anyio.create_task_group() as group:
            for task_id, token in admitted.claims:
                self._handed[token] = (task_id, time.monotonic())
                group.start_soon(self._hand_over, task_id, token)
        return min(LOOK_INTERVAL, admitted.next_due)

    async def _hand_over(self, task_id: str, token: str) -> None:
        if not await self._carrying.hand_over(task_id, token):
            self._handed.pop(token, None)
            await self._give_back(task_id, token, pause=RETRY)

    # Carrying: called by Docket's worker.

    async def _carry(self, task_id: str, token: str) -> None:
        self._carriers += 1
        try:
            lease = await self._begun(task_id, token)
            while lease is not None:
                self._leases.call(lease)
                let_go = self._carrying.let_go
                await _first_of(lease.ended, let_go)
                if not lease.ended.is_set():
                    lease.carried = False
                    self._resize()
                    return
                lease = await self._next()
        finally:
            self._carriers -= 1
            self.wake()

    async def _begun(self, task_id: str, token: str) -> TokenLease | None:
        self._handed.pop(token, None)
        try:
            if self._stopping.is_set():
                await self._scripts.release(task_id, token, 0)
            # It is held when Docket delivers once more what it let go of here.
            elif await self._scripts.begin(task_id, token, self._name, self._lease) and not self._holds(token):
                return TokenLease(task_id=task_id, token=token)
        except Unavailable as error:
            logger.warning("Task %s cannot be begun: %s", task_id, error.message)
        return None

    def _holds(self, token: str) -> bool:
        return any(lease.token == token for lease in self._leases)

    async def _next(self) -> TokenLease | None:
        """The next due task, without another way through Docket."""
        if self._stopping.is_set() or self._carrying.let_go.is_set():
            return None
        try:
            admitted = await self._scripts.admit(
                lease=self._lease,
                token=next(self._tokens),
                carrier=self._name,
                slots=1,
                per_owner=self._limits.per_owner,
                types=self._limits.types,
                handed=[],
            )
        except Unavailable:
            return None
        if not admitted.claims:
            return None
        task_id, token = admitted.claims[0]
        return TokenLease(task_id=task_id, token=token)

    # The leases.

    def _renew(self, leases: Sequence[TokenLease]) -> Collection[TokenLease]:
        # Also without leases: whether this process lives is read from it.
        try:
            claims = [(lease.task_id, lease.token) for lease in leases]
            lost = renew(self._renewals, self._root, claims, self._lease)
        except Outdated:
            return leases  # in a store that a newer program took over
        return [lease for lease in leases if lease.task_id in lost]

    async def _given_back(self, lease: TokenLease, _: bool) -> bool:
        return await self._give_back(lease.task_id, lease.token, pause=RETRY)

    def _ended(self, lease: TokenLease) -> None:
        if not lease.carried:
            self._resize()
            self.wake()

    async def _give_back(self, task_id: str, token: str, pause: float) -> bool:
        """End a claim; False if Redis did not answer and the lease has to run out instead."""
        try:
            with anyio.fail_after(GIVE_BACK_TIMEOUT):
                await self._scripts.release(task_id, token, pause)
        except Outdated:
            return True  # a newer program decides what becomes of it
        except (Unavailable, TimeoutError) as error:
            logger.warning("Task %s cannot be given back yet: %s", task_id, error)
            return False
        return True

    def _resize(self) -> None:
        self._carrying.set_slots(self._limits.total - sum(not lease.carried for lease in self._leases))

    # What the fleet sees of us.

    async def _report_forever(self) -> None:
        while True:
            try:
                running = [lease.task_id for lease in self._leases]
                await report(self._connection, self._root, self._name, self._limits, running)
            except Unavailable as error:
                logger.debug("Redis cannot be told that this worker is alive: %s", error.message)
            await anyio.sleep(REPORT)


async def _first_of(*events: anyio.Event) -> None:
    async with anyio.create_task_group() as group:

        async def end_with(event: anyio.Event) -> None:
            await event.wait()
            group.cancel_scope.cancel()

        for event in events:
            group.start_soon(end_with, event)

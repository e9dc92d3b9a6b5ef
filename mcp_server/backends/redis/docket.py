"""Docket's part: it carries a claimed task's id to a worker that has room, and keeps it until the work ends.

The processes that know the same task types share one docket, so a worker is never
handed a type it does not know, and a deploy with new types forms a docket of its own.
The only argument is the task id; Docket's key for it is the claim's token. Docket
bounds how much a worker carries, redelivers what a dead worker was carrying, and
acknowledges what is done.

Docket's worker ends its loop when Redis fails, and waits for what it carries before it
begins again. Work outlives a failing Redis, so what is carried is let go of
(`let_go`) and goes on under its lease, and the worker is back for other work at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
from docket import CurrentExecution, Docket, Execution, Worker
from docket.dependencies import Dependency

from .connection import TROUBLE, as_unavailable, split_credentials

__all__ = ["Carrying", "pool_name"]

logger = logging.getLogger(__name__)

RETRY = 0.5
"""Seconds until Docket tries Redis again."""
POLL = timedelta(milliseconds=500)
"""Time between two looks of Docket's worker up from its stream, which wakes it at once."""
STOPPING = 5.0
"""Seconds Docket's worker gets to say goodbye to Redis."""

for _name in ("docket.worker", "docket.docket", "docket.strikelist", "docket._redelivery"):
    # Docket tells of every execution and, with a traceback, of every failed heartbeat; we tell of our tasks.
    logging.getLogger(_name).setLevel(logging.CRITICAL)


def pool_name(prefix: str, types: Iterable[str]) -> str:
    """The docket of all processes that know exactly these task types."""
    known = "\n".join(sorted(types)).encode()
    return f"{prefix}:docket:{hashlib.sha1(known, usedforsecurity=False).hexdigest()[:12]}"


class Carrying:
    """Docket's worker in this process.

    Args:
        carry: called with the task id and token of each delivery; the delivery is over when it returns.
    """

    def __init__(
        self,
        url: str,
        *,
        docket: str,
        name: str,
        lease: float,
        slots: int,
        carry: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._url, self._docket_name, self._name = url, docket, name
        self._lease, self._slots, self._carry = timedelta(seconds=lease), slots, carry
        self._docket: Docket | None = None
        self._worker: Worker | None = None
        self.let_go = anyio.Event()
        """Set when the worker stops looking after what it carries; a new one for each start of its loop."""

    @property
    def is_up(self) -> bool:
        return self._docket is not None

    def set_slots(self, slots: int) -> None:
        """Set the number of deliveries that may be carried at once from now on."""
        self._slots = slots
        if self._worker is not None:
            self._worker.concurrency = slots

    async def hand_over(self, task_id: str, token: str) -> bool:
        """Give a claimed task to the docket; False if Redis did not take it."""
        if self._docket is None:
            return False
        try:
            await self._docket.add("carry", key=token)(task_id)
        except TROUBLE as error:
            if as_unavailable(error) is None:
                raise
            return False
        return True

    async def run(self) -> None:
        """Carry until cancelled. Has to run in a task of its own: Docket takes one cancel as "finish and stop"."""
        while True:
            try:
                await self._run_docket()
                return
            except Exception as error:
                if as_unavailable(error) is None:
                    logger.exception("Docket's worker failed")
            await asyncio.sleep(RETRY)

    async def _run_docket(self) -> None:
        async def carry(task_id: str, execution: Execution = CurrentExecution()) -> None:  # noqa: B008
            await self._carry(task_id, execution.key)

        url, user = split_credentials(self._url)
        # The end of a delivery is never asked for, so Docket keeps nothing of it.
        no_results = timedelta(0)
        async with Docket(
            name=self._docket_name, url=url, credential_provider=user, execution_ttl=no_results
        ) as docket:
            docket.register(carry, names=["carry"])
            async with Worker(
                docket,
                name=self._name,
                concurrency=self._slots,
                redelivery_timeout=self._lease,
                reconnection_delay=timedelta(seconds=RETRY),
                minimum_check_interval=POLL,
                # Delays and order are ours: nothing waits in Docket's own schedule.
                scheduling_resolution=timedelta(seconds=10),
                schedule_automatic_tasks=False,
                dependencies=[self._loop_watcher()],
            ) as worker:
                self._docket, self._worker = docket, worker
                worker.concurrency = self._slots
                try:
                    await worker.run_forever()
                finally:
                    self._docket = self._worker = None

    async def stop(self, running: asyncio.Task[None]) -> None:
        """End `run`: no new deliveries; what is carried is let go of."""
        self.let_go.set()
        running.cancel()
        await asyncio.wait([running], timeout=STOPPING)
        if not running.done():
            # Redis does not let it go; there is nothing left worth waiting for.
            running.cancel()
            await asyncio.wait([running], timeout=STOPPING)

    def _loop_watcher(self) -> Dependency[None]:
        carrying = self

        class LoopWatcher(Dependency[None]):
            """Docket enters `worker_lifecycle` around its worker's loop, and leaves it before it waits for the rest."""

            async def __aenter__(self) -> None:
                """Nothing to do for a single delivery."""

            @classmethod
            @asynccontextmanager
            async def worker_lifecycle(cls, docket: Docket, worker: Worker) -> AsyncIterator[None]:
                carrying.let_go = anyio.Event()
                try:
                    yield
                finally:
                    carrying.let_go.set()

        return LoopWatcher()

"""Leases that this process holds: the calls that run under them, their renewal, their end.

A backend claims tasks its own way and hands the claims over; calling the handler, keeping
the lease alive while it runs, draining at a stop and giving back are the same for every
store and are written here.

A thread renews, because the event loop may be blocked by the very function a lease is for.
While the store is away the thread keeps trying and takes nothing from any call: whether a
lease is lost is for the store to say when it is back.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from ..errors import Unavailable
from .outage import Outage

__all__ = ["ClaimLoop", "Lease", "Leases"]

logger = logging.getLogger(__name__)

RETRY = 0.5
"""Seconds until the next try when the store did not answer."""


@dataclass(slots=True, eq=False, kw_only=True)
class Lease:
    """One claim of one task, and the call that runs it. Each is one of its own, also of the same task."""

    task_id: str
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    ended: anyio.Event = field(default_factory=anyio.Event)
    given_back: bool = False
    """Its call has ended, so it is no loss when the store does not have it any more."""


L = TypeVar("L", bound=Lease)


class Leases(Generic[L]):
    """The held leases. Changed by the event loop only; the thread reads copies.

    Args:
        seconds: how long a lease lasts without being renewed.
        drain: seconds that running calls get to finish at the end.
        handle: called with the id of each leased task.
        renew: extends leases in the store, called in the thread; those that are lost. Raises Unavailable.
        give_back: ends a lease in the store, with whether the call raised; False if the store did not answer.
        ended: called on the event loop after a call has ended and its lease was given back.
    """

    def __init__(
        self,
        *,
        seconds: float,
        drain: float,
        handle: Callable[[str], Awaitable[None]],
        renew: Callable[[Sequence[L]], Collection[L]],
        give_back: Callable[[L, bool], Awaitable[bool]],
        ended: Callable[[L], None],
    ) -> None:
        self._seconds, self._drain, self._handle = seconds, drain, handle
        self._renew, self._give_back, self._ended = renew, give_back, ended
        self._held: dict[L, None] = {}
        self._calls: TaskGroup
        self._closing = False

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[L]:
        return iter(list(self._held))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Run calls. At the end of the block they are drained, then cancelled, and waited for.

        To be entered in a shielded scope: the calls outlive the cancellation of the backend's `serve`.
        """
        async with self._renewal(), anyio.create_task_group() as self._calls:
            yield
            self._closing = True
            with anyio.move_on_after(self._drain):
                for lease in self:
                    await lease.ended.wait()
            self._calls.cancel_scope.cancel()

    def call(self, lease: L) -> None:
        """Call the handler under this lease."""
        self._held[lease] = None
        self._calls.start_soon(self._call, lease)

    async def _call(self, lease: L) -> None:
        raised = False
        try:
            with lease.scope:
                await self._handle(lease.task_id)
        except Exception:
            raised = True
            logger.exception("The handler of task %s raised", lease.task_id)
        finally:
            lease.given_back = True
            with anyio.CancelScope(shield=True):
                while not await self._give_back(lease, raised):
                    if self._closing:
                        break  # the lease runs out by itself
                    await anyio.sleep(RETRY)
            del self._held[lease]
            lease.ended.set()
            self._ended(lease)

    @asynccontextmanager
    async def _renewal(self) -> AsyncIterator[None]:
        stop, loop = threading.Event(), asyncio.get_running_loop()
        thread = threading.Thread(target=self._renew_until, args=(stop, loop), name="lease renewal", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(thread.join, limiter=anyio.CapacityLimiter(1))

    def _renew_until(self, stop: threading.Event, loop: asyncio.AbstractEventLoop) -> None:
        outage = Outage(logger, "Leases cannot be renewed")
        pause = interval = self._seconds / 4
        while not stop.wait(pause):
            # A copy in one step: the event loop's thread changes the original meanwhile.
            held = self._held.copy()
            try:
                lost = self._renew(list(held))
            except Unavailable as error:
                outage.began(error)
                pause = min(RETRY, interval)
                continue
            outage.ended()
            pause = interval
            for lease in lost:
                # One that ended meanwhile is not lost; to cancel a scope that was left does nothing.
                if lease in self._held and not lease.given_back:
                    logger.warning("Task %s: its lease was lost, this attempt ends here", lease.task_id)
                    loop.call_soon_threadsafe(lease.scope.cancel)


class ClaimLoop:
    """Looks for due work at once when it is woken, and else after the seconds that the last look returned."""

    def __init__(self, look: Callable[[], Awaitable[float]]) -> None:
        self._look = look
        self._woken = anyio.Event()

    def wake(self) -> None:
        """There may be due work: a task was queued or has ended, here or elsewhere."""
        self._woken.set()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            # Made before the look: what happens during the look is not missed.
            self._woken = anyio.Event()
            pause = await self._look()
            with anyio.move_on_after(pause):
                await self._woken.wait()

"""The claims this process holds, and the thread that keeps their leases.

A thread, because the event loop may be blocked by the very function a lease is for.
While Redis is away the thread keeps trying and takes nothing from anybody: whether a
claim is lost is for Redis to say when it is back. In a store that a newer program took
over every claim is lost.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from ...errors import Unavailable
from .connection import Outage, Outdated, SyncConnection
from .scripts import renew

__all__ = ["Claim", "Claims"]

logger = logging.getLogger(__name__)

RETRY = 0.5
"""Seconds until the next try when Redis did not answer."""


@dataclass(slots=True, eq=False)
class Claim:
    """One task this process runs."""

    task_id: str
    token: str
    carried: bool = True
    """Docket's worker waits for its end."""
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    done: anyio.Event = field(default_factory=anyio.Event)


class Claims:
    """Claims by their token. Changed by the event loop only; the thread reads copies."""

    def __init__(self, url: str, root: str, lease: float) -> None:
        self._url, self._root, self._lease = url, root, lease
        self._held: dict[str, Claim] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Claim]:
        return iter(list(self._held.values()))

    def __contains__(self, token: str) -> bool:
        return token in self._held

    def add(self, claim: Claim) -> None:
        self._held[claim.token] = claim

    def remove(self, claim: Claim) -> None:
        del self._held[claim.token]

    @asynccontextmanager
    async def renewed(self) -> AsyncIterator[None]:
        """Renew the leases of all claims within the block. A lost claim's scope is cancelled."""
        stop = threading.Event()
        loop = asyncio.get_running_loop()
        thread = threading.Thread(target=self._renew_until, args=(stop, loop), name="lease renewal", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(thread.join, limiter=anyio.CapacityLimiter(1))

    def _renew_until(self, stop: threading.Event, loop: asyncio.AbstractEventLoop) -> None:
        connection = SyncConnection(self._url, answer=max(0.2, self._lease / 4))
        outage = Outage(logger, "Leases cannot be renewed")
        pause = self._lease / 4
        while not stop.wait(pause):
            held = self._held.copy()
            try:
                lost = renew(connection, self._root, [(c.task_id, c.token) for c in held.values()], self._lease)
            except Outdated:
                lost = {claim.task_id for claim in held.values()}
            except Unavailable as error:
                outage.met(error)
                pause = min(RETRY, self._lease / 4)
                continue
            outage.over()
            pause = self._lease / 4
            for claim in held.values():
                # One that ended meanwhile is not lost; cancelling a scope that was left would do nothing.
                if claim.task_id in lost and claim.token in self._held:
                    logger.warning("Task %s: its lease was lost, this attempt ends here", claim.task_id)
                    loop.call_soon_threadsafe(claim.scope.cancel)
        connection.close()

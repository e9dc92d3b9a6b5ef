"""Who waits for which task's next event, over one pub/sub connection for the whole process.

A message carries a task's newest event number and nothing else: it says "read again".
A waiter subscribes first and looks the stored number up then, so a commit falls either
before the look or is announced. A subscription outlives its last waiter for a while: a
reader that comes back at once, as streams do, costs Redis nothing.

While the connection is away nobody is woken; when it is back everybody is, because
whatever was announced meanwhile is lost. It knows no task and reads no record.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio

from ...errors import Unavailable
from .connection import TROUBLE, Connection, Outage, error_meaning

__all__ = ["GONE", "Watching"]

logger = logging.getLogger(__name__)

GONE = float("inf")
"""The number of a task that is not there: wakes everybody, who then find out."""
LINGER = 10.0
"""Seconds a subscription outlives its last waiter."""
SILENCE = 5.0
"""Seconds without a message after which the connection is tried; as long again, and it counts as lost."""
RETRY_MAX = 1.0


@dataclass(slots=True)
class _Watched:
    number: float = -1
    watchers: int = 0
    idle_since: float = 0.0
    asked: bool = False
    """A subscription is under way or there."""
    live: bool = False
    """Subscribed and looked up: `number` is kept up to date from here on."""
    confirmed: anyio.Event = field(default_factory=anyio.Event)
    looking: anyio.Lock = field(default_factory=anyio.Lock)
    changed: anyio.Event = field(default_factory=anyio.Event)

    def wake(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()


class Watching:
    """The waiters of one backend instance. For one event loop, not for threads.

    Args:
        stored: looks up the newest number of a task (GONE if there is none); may raise Unavailable.
        on_work: called when there may be work to claim.
    """

    def __init__(
        self,
        connection: Connection,
        root: str,
        stored: Callable[[str], Awaitable[float]],
        on_work: Callable[[], None],
    ) -> None:
        self._connection, self._stored, self._on_work = connection, stored, on_work
        self._work, self._events = f"{root}:work", f"{root}:event:"
        self._watched: dict[str, _Watched] = {}
        self._pubsub: Any = None
        self._sending = anyio.Lock()

    def note(self, task_id: str, number: float) -> None:
        """The task's newest event is `number`; an older number than the one known changes nothing."""
        watched = self._watched.get(task_id)
        if watched is not None and number > watched.number:
            watched.number = number
            watched.wake()

    async def wait(self, task_id: str, after: int) -> None:
        """Return when the task may have an event above `after`, early after the connection was lost."""
        watched = self._watched.get(task_id)
        if watched is None:
            watched = self._watched[task_id] = _Watched()
        watched.watchers += 1
        try:
            if not watched.asked:
                await self._subscribe(task_id, watched)
            if watched.number <= after and not watched.live:
                await watched.confirmed.wait()
                async with watched.looking:
                    if not watched.live:
                        await self._look(task_id, watched)
            if watched.number <= after:
                await watched.changed.wait()
        finally:
            watched.watchers -= 1
            watched.idle_since = time.monotonic()

    async def _look(self, task_id: str, watched: _Watched) -> None:
        while True:
            try:
                number = await self._stored(task_id)
            except Unavailable:
                await anyio.sleep(RETRY_MAX)
                continue
            watched.live = watched.confirmed.is_set()
            self.note(task_id, number)
            return

    async def _subscribe(self, task_id: str, watched: _Watched) -> None:
        async with self._sending:
            if not watched.asked:
                await self._send("subscribe", [task_id])
                # Not before: a waiter that is cancelled meanwhile leaves the asking to the next.
                watched.asked = self._pubsub is not None

    async def _forget_idle(self) -> None:
        long_ago = time.monotonic() - LINGER
        idle = [i for i, w in self._watched.items() if not w.watchers and w.idle_since < long_ago]
        for task_id in idle:
            del self._watched[task_id]
        async with self._sending:
            # Somebody may have come back while this waited for its turn; their subscription stays.
            await self._send("unsubscribe", [task_id for task_id in idle if task_id not in self._watched])

    async def _send(self, verb: str, task_ids: Sequence[str]) -> None:
        # Without a connection there is nothing to send to: the next one begins with all subscriptions.
        if self._pubsub is None or not task_ids:
            return
        # The reader meets the same error and opens a new connection.
        with suppress(*TROUBLE):
            await getattr(self._pubsub, verb)(*(self._events + task_id for task_id in task_ids))

    async def run(self) -> None:
        """Keep the connection, until cancelled."""
        retry, outage = 0.05, Outage(logger, "Wake-ups from Redis are interrupted")
        while True:
            try:
                client = await self._connection.pubsub_client()
                async with aclosing(client), client.pubsub() as pubsub:
                    async with self._sending:
                        wanted = dict(self._watched)
                        await pubsub.subscribe(self._work, *(self._events + task_id for task_id in wanted))
                        for watched in wanted.values():
                            watched.asked = True
                        self._pubsub = pubsub
                    outage.over()
                    self._on_work()
                    retry = 0.05
                    await self._listen(pubsub)
            except TROUBLE as error:
                if error_meaning(error) is None:
                    raise
                outage.met(error)
            finally:
                self._pubsub = None
                for watched in self._watched.values():
                    # What comes back may be a replica that lags: the number is looked up anew.
                    watched.asked, watched.live, watched.number = False, False, -1
                    watched.confirmed = anyio.Event()
            await anyio.sleep(retry)
            retry = min(retry * 2, RETRY_MAX)

    async def _listen(self, pubsub: Any) -> None:
        silent, tidy_at = False, 0.0
        while True:
            message = await pubsub.get_message(timeout=SILENCE)
            if time.monotonic() > tidy_at:
                await self._forget_idle()
                tidy_at = time.monotonic() + SILENCE
            if message is None:
                if silent:
                    raise ConnectionError("no answer to a ping")
                silent = True
                await pubsub.ping()
                continue
            silent = False
            channel = message["channel"].decode(errors="surrogatepass") if message["channel"] else ""
            if message["type"] == "subscribe":
                self._confirm(channel.removeprefix(self._events))
            elif message["type"] == "message" and channel == self._work:
                self._on_work()
            elif message["type"] == "message":
                data, task_id = message["data"], channel.removeprefix(self._events)
                # Anybody may publish anything; what is no number of ours says nothing.
                if data == b"gone" or data.isdigit():
                    self.note(task_id, GONE if data == b"gone" else int(data))

    def _confirm(self, task_id: str) -> None:
        watched = self._watched.get(task_id)
        if watched is not None:
            # Those who waited before the connection was lost may have missed a message.
            watched.confirmed.set()
            watched.wake()

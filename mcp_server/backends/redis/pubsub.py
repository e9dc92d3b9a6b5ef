"""Wake-ups over one pub/sub connection for the whole process.

A message carries a task's newest event number and nothing else: it says "read again".
A waiter subscribes first and looks the stored number up then, so a commit falls either
before the look or is announced. While the connection is away no waiter is woken; when it
is back all are, because whatever was announced meanwhile is lost.

It knows no task and reads no record.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from typing import Any

import anyio

from ...errors import Unavailable
from ..outage import Outage
from ..waiters import GONE, Waiters
from .connection import TROUBLE, Connection, as_unavailable

__all__ = ["PubSub"]

logger = logging.getLogger(__name__)

SILENCE = 5.0
"""Seconds without a message after which the connection is tried; as long again, and it counts as lost."""
RETRY_MAX = 1.0


class PubSub:
    """The waiters of one backend instance, and the connection that wakes them. For one event loop, not for threads.

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
        self._waiters = Waiters(self._look)
        self.note = self._waiters.note
        self.wait = self._waiters.wait
        self._confirmed: dict[str, anyio.Event] = {}
        """One for each subscription, set when Redis has confirmed it."""
        self._pubsub: Any = None
        self._sending = anyio.Lock()

    async def _look(self, task_id: str) -> None:
        """Subscribe, and note the stored number once the subscription stands."""
        while True:
            confirmed = self._confirmed.get(task_id)
            if confirmed is None:
                confirmed = await self._subscribe(task_id)
            await confirmed.wait()
            try:
                number = await self._stored(task_id)
            except Unavailable:
                await anyio.sleep(RETRY_MAX)
                continue
            # A connection that was lost meanwhile may have lost an announcement too.
            if self._confirmed.get(task_id) is confirmed:
                self._waiters.note(task_id, number)
                return

    async def _subscribe(self, task_id: str) -> anyio.Event:
        async with self._sending:
            if task_id not in self._confirmed:
                await self._send("subscribe", [task_id])
                # Not before: a waiter that is cancelled meanwhile leaves the asking to the next.
                self._confirmed[task_id] = anyio.Event()
            return self._confirmed[task_id]

    async def _drop_idle(self) -> None:
        idle = self._waiters.drop_idle()
        async with self._sending:
            # A waiter may have come back while this waited for its turn; its subscription stays.
            gone = [task_id for task_id in idle if task_id not in self._waiters.watched]
            for task_id in gone:
                self._confirmed.pop(task_id, None)
            await self._send("unsubscribe", gone)

    async def _send(self, verb: str, task_ids: Iterable[str]) -> None:
        channels = [self._events + task_id for task_id in task_ids]
        # Without a connection there is nothing to send to: the next one begins with all subscriptions.
        if self._pubsub is None or not channels:
            return
        # The reader meets the same error and opens a new connection.
        with suppress(*TROUBLE):
            await getattr(self._pubsub, verb)(*channels)

    async def run(self) -> None:
        """Keep the connection, until cancelled."""
        retry, outage = 0.05, Outage(logger, "Wake-ups from Redis are interrupted")
        while True:
            try:
                client = await self._connection.pubsub_client()
                async with aclosing(client), client.pubsub() as pubsub:
                    async with self._sending:
                        await pubsub.subscribe(self._work, *(self._events + task_id for task_id in self._confirmed))
                        self._pubsub = pubsub
                    outage.ended()
                    self._on_work()
                    retry = 0.05
                    await self._listen(pubsub)
            except TROUBLE as error:
                if as_unavailable(error) is None:
                    raise
                outage.began(error)
            finally:
                self._pubsub = None
                # What comes back may be a replica that lags: every number is looked up anew.
                for confirmed in self._confirmed.values():
                    confirmed.set()
                self._confirmed = {task_id: anyio.Event() for task_id in self._waiters.watched}
                self._waiters.forget()
            await anyio.sleep(retry)
            retry = min(retry * 2, RETRY_MAX)

    async def _listen(self, pubsub: Any) -> None:
        silent, tidy_at = False, 0.0
        while True:
            message = await pubsub.get_message(timeout=SILENCE)
            if time.monotonic() > tidy_at:
                await self._drop_idle()
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
                if (confirmed := self._confirmed.get(channel.removeprefix(self._events))) is not None:
                    confirmed.set()
            elif message["type"] == "message" and channel == self._work:
                self._on_work()
            elif message["type"] == "message":
                data, task_id = message["data"], channel.removeprefix(self._events)
                # Anybody may publish anything; what is no number of ours says nothing.
                if data == b"gone" or data.isdigit():
                    self.note(task_id, GONE if data == b"gone" else int(data))

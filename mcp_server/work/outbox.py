"""Events a function reported that are not committed yet, and the one writer that commits them.

Events come in from any thread and go out in batches, in their order: the writer folds
whatever waits onto the task and commits it in one step. What waits is bounded, in
number and in bytes. The outbox holds the task as of its last look, and says so when it changes.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import anyio

from ..backend import Backend
from ..context import TaskCancelled
from ..errors import Conflict, StaleAttempt, TransitionError, Unavailable
from ..events import Cancelled, Happening, InputAnswered, Retrying, advance
from ..task import Event, Task, trimmed

__all__ = ["Outbox", "Report", "Reports"]

logger = logging.getLogger(__name__)

MIB = 1024 * 1024
MAX_WAITING, MAX_WAITING_BYTES = 1_000, 8 * MIB
"""The most that waits to be written before a report waits too."""
MAX_BATCH, MAX_BATCH_BYTES = 500, 1 * MIB
"""The most that is folded into one commit: the event loop stands still while it is."""


class Report(NamedTuple):
    happening: Happening
    at: float
    size: int


class Reports:
    """A bounded queue from a function, in all its threads, to the writer of its log."""

    def __init__(self) -> None:
        self._waiting: deque[Report] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self.ended = False
        """The attempt's last event is among those that wait, or was; no other is taken."""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def too_many(self) -> bool:
        return len(self._waiting) > MAX_WAITING or self._bytes > MAX_WAITING_BYTES

    def put(self, report: Report, *, last: bool = False) -> None:
        """Raises TaskCancelled when the last one is in: a thread may come late."""
        with self._lock:
            if self.ended:
                raise TaskCancelled("the attempt is over")
            self.ended = last
            self._waiting.append(report)
            self._bytes += report.size

    def take(self) -> list[Report]:
        """The next batch: at least one report, if there is any."""
        batch: list[Report] = []
        room = MAX_BATCH_BYTES
        with self._lock:
            while self._waiting and len(batch) < MAX_BATCH and (not batch or self._waiting[0].size <= room):
                batch.append(self._waiting.popleft())
                room -= batch[-1].size
            self._bytes -= MAX_BATCH_BYTES - room
        return batch

    def put_back(self, batch: Sequence[Report]) -> None:
        """Make reports that could not be written the next ones again."""
        with self._lock:
            self._waiting.extendleft(reversed(batch))
            self._bytes += sum(report.size for report in batch)


class Outbox:
    """The writer of one attempt's log; made on the event loop that it writes from.

    Args:
        task: as this attempt started it.
        max_events: as the setting of that name.
        expires_at: when a task that ends now is deleted.
        changed: called on the event loop whenever `task` or `closed` is another.
    """

    def __init__(
        self,
        task: Task,
        backend: Backend,
        *,
        max_events: int,
        expires_at: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        self.task, self.attempt = task, task.attempt
        self.closed = False
        """The attempt's last event is written, or the task is another attempt's: no report counts any more."""
        self._backend, self._max_events, self._expires_at, self._changed = backend, max_events, expires_at, changed
        self._reports = Reports()
        self._commit_lock = anyio.Lock()
        self._loop = asyncio.get_running_loop()
        self._wake_pending = threading.Event()
        self._wake = anyio.Event()
        self._began = (time.time(), time.monotonic())

    def now(self) -> float:
        """Seconds since the epoch; they go on where the clock is set back, so that a time limit holds."""
        return max(time.time(), self._began[0] + time.monotonic() - self._began[1])

    @property
    def ended(self) -> bool:
        return self._reports.ended

    @property
    def too_many(self) -> bool:
        return self._reports.too_many

    def put(self, happening: Happening, size: int = 0) -> None:
        """Take an event to be written soon; from any thread, without blocking. Raises TaskCancelled after the last."""
        self._reports.put(Report(happening, self.now(), size))
        if not self._wake_pending.is_set():
            self._wake_pending.set()
            self._loop.call_soon_threadsafe(lambda: self._wake.set())

    def put_last(self, happening: Happening) -> None:
        """Take the attempt's last event, to be written by `flush`. Raises TaskCancelled if there was one already."""
        self._reports.put(Report(happening, self.now(), 0), last=True)

    def close(self) -> None:
        self._reports.ended = self.closed = True

    async def run(self) -> None:
        """Write whatever comes in, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            await self.flush()

    async def flush(self, *, durable: bool = False) -> None:
        """Commit every event that waits. Returns without them once the task is another attempt's."""
        async with self._commit_lock:
            self._wake_pending.clear()
            while self._reports and not self.closed:
                batch = self._reports.take()
                try:
                    await self._commit(batch, durable)
                except BaseException:
                    # The coroutine that flushed was cancelled; what was reported is still to be written.
                    self._reports.put_back(batch)
                    raise

    async def refresh(self, seen: int) -> None:
        """Load the task unless a commit of this attempt has moved it beyond the event `seen`. Raises Unavailable."""
        async with self._commit_lock:
            if self.task.last_event_id == seen:
                await self._load()

    async def _commit(self, batch: list[Report], durable: bool) -> None:
        delay = 0.05
        while not self.closed:
            try:
                if await self._try_commit(batch, durable):
                    return
                await self._load()
            except Unavailable as error:
                # Nothing the function did is lost: the reports stay here until they can be written.
                logger.warning("task %s: cannot record its progress yet: %s", self.task.id, error)
                await anyio.sleep(delay)
                delay = min(delay * 2, 2.0)

    async def _try_commit(self, batch: list[Report], durable: bool) -> bool:
        """Fold the batch onto the task as it is known; False if it is another one by now."""
        before = self.task
        try:
            after, events = self._fold(before, batch)
            # The end is durable whoever flushes it. Shielded: a commit that was given up might still happen, and
            # its events be written twice.
            with anyio.CancelScope(shield=True):
                await self._backend.commit(before, after, events, durable=durable or after.is_over)
        except Conflict:
            return False
        except (StaleAttempt, TransitionError) as error:
            logger.info("task %s: attempt %d lost it: %s", before.id, self.attempt, error)
            self.closed = True
            self._changed()
        else:
            self._set(after)
        return True

    def _fold(self, task: Task, batch: list[Report]) -> tuple[Task, list[Event]]:
        events: list[Event] = []
        for happening, at, _ in batch:
            if isinstance(happening, InputAnswered) and not task.input_requests.keys() & happening.responses.keys():
                continue  # the answer and the deadline met; the answer was first
            if isinstance(happening, Retrying) and task.cancel_requested:
                # They met: a caller who cancels does not wait for the back-off of a retry.
                happening = Cancelled(task.reason, self._expires_at())
            task, event = advance(task, happening, at=at, attempt=self.attempt)
            events.append(event)
        return trimmed(task, self._max_events), events

    async def _load(self) -> None:
        fresh = await self._backend.load(self.task.id)
        if fresh is None:
            self.closed = True
            self._changed()
        else:
            self._set(fresh)

    def _set(self, task: Task) -> None:
        self.task = task
        if task.attempt != self.attempt and not self.closed:
            logger.warning("task %s: attempt %d ends here, %d took it over", task.id, self.attempt, task.attempt)
        if task.is_over or task.attempt != self.attempt:
            self.closed = True
        self._changed()

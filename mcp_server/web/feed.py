"""One log, many readers: events of a watched task are read once for all of them, and encoded once for each format.

There is no pump and no queue. A reader that is up to date finds the others waiting
and waits with them; the first one waits on the log itself and reads for all.
A reader that is behind reads its own pages until it has caught up. So a slow reader
costs a cursor, and a fast task never waits for anyone.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import anyio
from sse_starlette.sse import AppStatus

from ..background import background_tasks
from ..errors import Unavailable
from ..jsonable import to_json_bytes
from ..log import Log
from ..task import TERMINAL, Kind
from ..views import Frame, frames, gap, start_of

__all__ = ["Feeds", "Reader", "Segment"]

logger = logging.getLogger(__name__)

PAGE = 500
"""Events per read."""
HELD_BYTES = 512 * 1024
"""JSON of the events that a feed keeps for readers a little behind."""
RETRY = 0.5
"""Seconds until the next try when the backend does not answer."""


class Segment:
    """Successive events of one task after the number `after`, up to `last`, as frames.

    A segment is shared by all readers: the JSON of its frames is made once for all formats, and each
    format's bytes once for all its readers.
    """

    def __init__(self, after: int, last: int, frames: Sequence[Frame], *, is_end: bool = False) -> None:
        self.after, self.last, self.frames, self.is_end = after, last, frames, is_end
        self.json = [to_json_bytes(frame.data) for frame in frames]
        """The `data` of each frame."""
        self.size = sum(map(len, self.json))
        self._encoded: dict[Callable[[Segment], bytes], bytes] = {}

    def encoded(self, encode: Callable[[Segment], bytes]) -> bytes:
        """The bytes that `encode`, a function at the top of its module, makes of the segment."""
        if (data := self._encoded.get(encode)) is None:
            data = self._encoded[encode] = encode(self)
        return data


class _Feed:
    def __init__(self, log: Log) -> None:
        self.readers = 0
        self.log = log
        self.last = log.task.last_event_id
        """The newest number known to be in the log."""
        self._held: dict[int, Segment] = {}
        self._held_bytes = 0
        self._is_gone = False
        self._someone_waits = False
        self._others: dict[anyio.Event, None] = {}
        """Those who wait for the one who waits on the log, in the order they came."""

    async def after(self, cursor: int) -> Segment | None:
        """The next events after the cursor, waiting for them if need be; None when the log is gone."""
        while True:
            if (segment := self._held.get(cursor)) is not None:
                return segment
            if cursor < self.last:
                try:
                    return await self._read(cursor, min(PAGE, self.last - cursor))
                except Unavailable as error:
                    await self._be_patient(error)
                    continue
            if self._is_gone:
                return None
            if self._someone_waits:
                await self._wait_with_the_others()
            else:
                await self._wait_for_all()

    async def _wait_for_all(self) -> None:
        self._someone_waits = True
        try:
            await self.log.wait(self.last)
            segment = await self._read(self.last, PAGE)
            if segment is None:
                self._is_gone = True
                self._wake_all()
            elif segment.last > self.last:
                self._hold(segment)
        except Unavailable as error:
            await self._be_patient(error)
        finally:
            self._someone_waits = False
            self._pass_on()

    async def _be_patient(self, error: Unavailable) -> None:
        # The stream stays open: its readers see silence and heartbeats, not a false end.
        logger.warning("stream of task %s: %s", self.log.task.id, error)
        await anyio.sleep(RETRY)

    async def _wait_with_the_others(self) -> None:
        turn = anyio.Event()
        self._others[turn] = None
        try:
            await turn.wait()
        except BaseException:
            del self._others[turn]
            if turn.is_set():
                # Cancelled just when it was its turn: another reader has to wait on the log.
                self._pass_on()
            raise
        del self._others[turn]

    def _pass_on(self) -> None:
        """Let one of the others wait on the log; waking all of them for a mere heartbeat would be a stampede."""
        if not self._someone_waits and self._others:
            next(iter(self._others)).set()

    def _wake_all(self) -> None:
        for turn in self._others:
            turn.set()

    async def _read(self, cursor: int, limit: int) -> Segment | None:
        events = await self.log.read(cursor, limit)
        if not events:
            return Segment(cursor, cursor, []) if await self.log.refresh() else None
        lost = events[0].number != cursor + 1
        if lost or (self.log.task.started_at is None and any(event.kind is Kind.STARTED for event in events)):
            await self.log.refresh()
        shown = frames(self.log.task, events)
        if lost:
            shown.insert(0, gap(self.log.task))
        return Segment(cursor, events[-1].number, shown, is_end=events[-1].data["status"] in TERMINAL)

    def _hold(self, segment: Segment) -> None:
        self.last = segment.last
        self._held[segment.after] = segment
        self._held_bytes += segment.size
        self._wake_all()
        while self._held_bytes > HELD_BYTES and len(self._held) > 1:
            oldest = self._held.pop(next(iter(self._held)))
            self._held_bytes -= oldest.size


class Feeds:
    """The feeds of one process, by task; each lives while it has readers."""

    def __init__(self) -> None:
        self._feeds: dict[str, _Feed] = {}
        self._waits: set[anyio.CancelScope] = set()
        self._is_closed = False
        self.stopping = anyio.Event()
        """For sse-starlette, which sets it when the uvicorn it runs under is told to stop."""
        self.readers = 0

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Take readers until the block is left or `close` is called; it may be entered again afterwards."""
        # sse-starlette does not forget a stop by itself: a process that serves again would end every stream.
        AppStatus.should_exit = False
        self._is_closed, self.stopping = False, anyio.Event()
        async with background_tasks() as tasks:
            tasks.start_soon(self._close_in_time)
            yield

    async def _close_in_time(self) -> None:
        await self.stopping.wait()
        self.close()

    def close(self) -> None:
        """End every stream at once, without a terminal event: clients come back, to this server or another."""
        self._is_closed = True
        for wait in self._waits:
            wait.cancel()

    @contextmanager
    def counted(self) -> Iterator[None]:
        """One more open stream, for as long as the block lasts."""
        self.readers += 1
        try:
            yield
        finally:
            self.readers -= 1

    @contextmanager
    def waiting(self, seconds: float) -> Iterator[anyio.CancelScope]:
        """A wait that ends after so many seconds, and with the streams of the server (`is_closed`)."""
        with anyio.move_on_after(seconds) as wait:
            self._waits.add(wait)
            try:
                yield wait
            finally:
                self._waits.discard(wait)

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def join(self, log: Log) -> _Feed:
        """One more reader of that log."""
        if (feed := self._feeds.get(log.task.id)) is None:
            feed = self._feeds[log.task.id] = _Feed(log)
        feed.readers += 1
        self.readers += 1
        return feed

    def leave(self, feed: _Feed) -> None:
        self.readers -= 1
        feed.readers -= 1
        if not feed.readers:
            del self._feeds[feed.log.task.id]


class Reader:
    """One reader's place in the log of a task; iterated over in a `with` block that it is made for.

    It gives the task's events after the cursor (None: from now on) to its terminal event, and ends earlier when the
    task is purged or the server stops. None comes after so many seconds of silence (`heartbeat`).
    `views.start_of` tells of the frames that come before the events.
    """

    # An object and not an async generator: ten thousand streams each hold one while they wait.
    __slots__ = ("_before", "_cursor", "_feed", "_feeds", "_heartbeat", "_is_over", "_log")

    def __init__(self, feeds: Feeds, log: Log, cursor: int | None, *, heartbeat: float) -> None:
        self._feeds, self._log, self._heartbeat = feeds, log, heartbeat
        before, self._cursor = start_of(log.task, cursor)
        self._before = Segment(self._cursor, self._cursor, before) if before else None
        self._is_over = False

    def __enter__(self) -> Reader:
        self._feed = self._feeds.join(self._log)
        self._log = self._feed.log  # one for all its readers
        return self

    def __exit__(self, *raised: object) -> None:
        self._feeds.leave(self._feed)

    def __aiter__(self) -> Reader:
        return self

    async def __anext__(self) -> Segment | None:
        segment: Segment | None = None
        if self._before is not None:
            segment, self._before = self._before, None
            return segment
        feeds = self._feeds
        while not self._is_over and not feeds.is_closed:
            with feeds.waiting(self._heartbeat) as wait:
                segment = await self._feed.after(self._cursor)
            if wait.cancelled_caught:
                if not feeds.is_closed:
                    return None
            elif segment is None:
                self._is_over = True
            elif segment.frames:
                self._cursor, self._is_over = segment.last, segment.is_end
                return segment
        raise StopAsyncIteration

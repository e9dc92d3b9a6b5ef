"""A task's events, each once and in order, over any number of connections.

Owns the cursor and the recovery from everything that happens to a connection: cuts,
silence, refusals, a server that restarts, a proxy that swallows the stream. Frames
come from `GET /progress/{id}/stream`; where that does not get through, from long
polls, after the same cursor. Of the meaning of frames
it knows four facts, which the cursor needs: the number, the closing frame, the gap,
the end.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from typing import cast

import anyio
from httpx2 import Response, ServerSentEvent

from ._backoff import Backoff, Patience
from ._connection import AnswerLost, Connection, Silence, as_model, error_of_response
from .errors import LimitExceeded, Refused, StreamLost, TryLater, Unavailable
from .wire import TERMINAL_STATUSES, GapData, ProgressReply, StreamEvent, TaskStatus

__all__ = ["Frames"]

logger = logging.getLogger(__package__)

_FIRST_FRAME_WITHIN = 10.0
"""Seconds at most; the server sends its first frame at once, so a connection that stays empty is held up."""
_MAX_EMPTY_CONNECTIONS = 2
"""Connections in a row that carry nothing before a long poll is tried."""
_POLL_WAIT = 25.0
"""Below the 30 s after which the strictest proxies in use give a request up."""
_LEAST_POLL_INTERVAL = 1.0
_TERMINAL_FRAMES = ("done", "error")


class _NoStream(AnswerLost):
    """Something answered, but not with a stream."""


class Frames(AsyncIterator[StreamEvent]):
    """The frames of one task after a cursor, to its last.

    Iteration ends after the terminal frame, or at once if the cursor is that frame's.
    It raises NotFound, Refused, or StreamLost once the server has stayed away for
    longer than the patience. A cancelled `anext` loses nothing: the next one goes on.

    Args:
        heartbeat: seconds of silence after which the server sends a comment; a
            connection that is silent for twice as long is given up.
        on_away: called with the reason when the server cannot be reached, and with None when it answers.
    """

    def __init__(
        self,
        connection: Connection,
        operation_id: str,
        *,
        after: int,
        heartbeat: float,
        patience: Patience,
        on_away: Callable[[str | None], None] | None = None,
    ) -> None:
        self.cursor = after
        """The number of the last frame handed out that has one."""
        self.ended = False
        """Whether the terminal frame was handed out, or the cursor is its number."""
        self._connection, self._operation_id, self._silence = connection, operation_id, 2 * heartbeat
        self._backoff = Backoff(patience)
        self._on_away = on_away or (lambda reason: None)
        self._closing_sent = False
        self._polling = False
        self._empty_connections = 0
        self._reading = False
        self._running: AsyncGenerator[StreamEvent, None] | None = None

    async def __anext__(self) -> StreamEvent:
        if self.ended:
            raise StopAsyncIteration
        if self._reading:
            raise RuntimeError("Another task is reading this stream; each reader needs `handle.events()` of its own")
        running = self._running = self._running or self._follow()
        self._reading = True
        try:
            frame = await anext(running)
        except BaseException:
            # A generator that was cancelled is exhausted, which must not look like the end of the task.
            self._reading = False
            await self.aclose()
            raise
        self._reading = False
        if frame.event in _TERMINAL_FRAMES:
            await self.aclose()
        return frame

    async def aclose(self) -> None:
        """Close the connection. The task goes on; so does iteration, over a new connection, if it is asked to."""
        running, self._running = self._running, None
        # A connection that is being read, by another task, is closed by closing the client.
        if running is not None and not self._reading:
            with anyio.CancelScope(shield=True):
                await running.aclose()

    async def _follow(self) -> AsyncGenerator[StreamEvent, None]:
        while not self.ended:
            before, began = self.cursor, anyio.current_time()
            polls = self._polling or self._empty_connections >= _MAX_EMPTY_CONNECTIONS
            trouble: TryLater = AnswerLost("The connection was closed", operation_id=self._operation_id)
            try:
                async with aclosing(self._polled() if polls else self._streamed()) as frames:
                    async for frame in frames:
                        if self._is_news(frame):
                            self._backoff.succeeded()
                            yield frame
            except TryLater as error:
                trouble = error
            if not self.ended:
                # One that stood for a heartbeat's time did its work, even if the task said nothing.
                stood = not polls and anyio.current_time() - began >= self._silence / 2
                silent = isinstance(trouble, Silence)
                await self._recover(trouble, polls, empty=self.cursor == before and (silent or not stood))

    async def _recover(self, trouble: TryLater, polls: bool, *, empty: bool) -> None:
        """Choose the kind of the next connection after one that ended, and wait before it."""
        logger.info("Task %s: %s; resuming after event %d", self._operation_id, trouble.message, self.cursor)
        if not empty:
            self._empty_connections = 0
            self._backoff.succeeded()
        elif polls:
            # Whether polls fail or streams do, they have to be tried in turn to find out which works again.
            self._polling, self._empty_connections = False, _MAX_EMPTY_CONNECTIONS - 1
        elif isinstance(trouble, AnswerLost | LimitExceeded):
            self._empty_connections += 1
            if self._empty_connections >= _MAX_EMPTY_CONNECTIONS:
                return  # the poll must follow at once: it tells a swallowed stream from an absent server
        if empty and isinstance(trouble, Unavailable) and not isinstance(trouble, Silence | _NoStream):
            self._on_away(trouble.message)
        if not await self._backoff.pause(trouble.retry_after):
            message = f"The server stayed away for too long: {trouble.message}"
            raise StreamLost(message, operation_id=self._operation_id, cursor=self.cursor) from trouble

    async def _streamed(self) -> AsyncGenerator[StreamEvent, None]:
        async with AsyncExitStack() as stack:
            try:
                with anyio.fail_after(min(_FIRST_FRAME_WITHIN, self._silence)):
                    source = await stack.enter_async_context(
                        self._connection.stream(self._operation_id, after=self.cursor, silence=self._silence)
                    )
                    if source.response.status_code == 204:
                        self.ended = True
                        return
                    await self._check_is_stream(source.response)
                    received = cast(AsyncGenerator[ServerSentEvent, None], aiter(source))
                    await stack.enter_async_context(aclosing(received))
                    sent: ServerSentEvent | None = await anext(received, None)
            except TimeoutError:
                raise Silence("The stream stays empty", operation_id=self._operation_id) from None
            self._on_away(None)
            while sent is not None:
                if sent.retry is not None:
                    self._backoff.base = sent.retry / 1000
                if sent.data:
                    yield self._frame(sent)
                sent = await anext(received, None)

    async def _check_is_stream(self, response: Response) -> None:
        content_type = response.headers.get("Content-Type", "")
        if response.status_code == 200 and content_type.startswith("text/event-stream"):
            return
        await response.aread()
        error = error_of_response(response, self._operation_id)
        if isinstance(error, AnswerLost) or (isinstance(error, Refused) and error.error_code.startswith("HTTP_")):
            # Not our server's words. Its tools may be reachable where its stream is not, and they know better.
            raise _NoStream(
                f"Asked for a stream, got HTTP {response.status_code} {content_type}",
                operation_id=self._operation_id,
                retry_after=getattr(error, "retry_after", None),
            )
        raise error

    def _frame(self, sent: ServerSentEvent) -> StreamEvent:
        # A frame that was cut off is not handed out by the decoder, so one that cannot be read stays so.
        try:
            frame = StreamEvent(id=int(sent.id) if sent.id else None, event=sent.event, data=json.loads(sent.data))
        except ValueError as error:
            message = f"The stream has an event {sent.event!r} that is no JSON object with a number"
            raise Refused(message, operation_id=self._operation_id, error_code="UNREADABLE") from error
        # To a reader of text/event-stream an id holds until the next one; here it belongs to its own frame.
        closing = frame.event == "progress" and frame.data.get("status") == TaskStatus.COMPLETED
        return frame.model_copy(update={"id": None}) if closing or frame.event == "gap" else frame

    async def _polled(self) -> AsyncGenerator[StreamEvent, None]:
        while True:
            wait, asked_at = _POLL_WAIT if self._polling else 0.0, anyio.current_time()
            reply = await self._connection.call(
                "get_task_progress",
                {"operation_id": self._operation_id, "since": self.cursor, "wait_seconds": wait},
                ProgressReply,
                operation_id=self._operation_id,
                wait=wait,
                tries=3 if self._polling else 2,  # the first is to tell what works now, not in a second
            )
            self._backoff.succeeded()
            self._on_away(None)
            if not self._polling:
                self._polling = True
                logger.warning(
                    "Task %s: the progress stream does not get through to this client; going on by long poll after %d",
                    self._operation_id,
                    self.cursor,
                )
            for frame in reply.events or ():
                yield frame
            if reply.status in TERMINAL_STATUSES and not reply.events:
                self.ended = True
                return
            if not reply.events and anyio.current_time() - asked_at < _LEAST_POLL_INTERVAL:
                # A server that does not wait (`max_wait=0`, an open question) must not be asked in a tight loop.
                await anyio.sleep(_LEAST_POLL_INTERVAL)

    def _is_news(self, frame: StreamEvent) -> bool:
        if frame.event == "gap":
            # The cursor lay before what is kept, or past the end of a log that was set back, whose end is news.
            gap = as_model(frame.data, GapData, self._operation_id)
            last = gap.snapshot.last_event_id - (gap.snapshot.status in TERMINAL_STATUSES)
            self.cursor = max(min(self.cursor, last), gap.first_event_id - 1)
            return True
        if frame.id is None:
            first, self._closing_sent = not self._closing_sent, True
            return first
        if frame.id <= self.cursor:
            return False
        self.cursor, self.ended = frame.id, frame.event in _TERMINAL_FRAMES
        return True

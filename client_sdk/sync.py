"""The client without `await`, for scripts and notebooks.

    from client_sdk.sync import LongTaskClient

    with LongTaskClient() as client:
        handle = client.start("data_analysis", {"steps": 5})
        print(handle.result())

The same names with the same arguments, results and errors; what they do is said there.
Each client runs the asynchronous one in an event loop of its own, in a thread of its
own, so it can be used within a running loop, as in a notebook, and from several
threads. A keyboard interrupt ends the wait and nothing else. Nothing but the crossing
between the threads is in this file.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar

import httpx2
from anyio import CancelScope
from anyio.from_thread import start_blocking_portal

from . import _client, _handle
from ._events import Event, ProgressEvent
from .wire import DEFAULT_BASE_URL, Snapshot

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["EventStream", "LongTaskClient", "TaskHandle"]

P = ParamSpec("P")
T = TypeVar("T")
Async = TypeVar("Async")


class _Loop:
    """An event loop in a thread, which ends with the last object that uses it, or with the program."""

    def __init__(self) -> None:
        self._exit = ExitStack()
        self._portal = self._exit.enter_context(start_blocking_portal())
        self._exit.callback(self._portal.call, self._portal.stop, True)  # what other threads wait for is cancelled
        # Also at exit: a loop whose thread the interpreter has stopped can no longer be left.
        self.close = weakref.finalize(self, self._exit.close)

    @property
    def is_closed(self) -> bool:
        return not self.close.alive

    def before_close(self, function: Callable[[], Awaitable[None]]) -> None:
        self._exit.callback(self._portal.call, function)

    def run(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return self.outcome(_Call(functools.partial(function, *args, **kwargs)))
        except CancelledError:
            raise RuntimeError(_CLOSED) from None

    def outcome(self, call: _Call[T]) -> T:
        """The value that the call gave, now or when it was handed over before.

        An interrupt ends the wait and cancels the call; a value it has by then stays in it.
        """
        try:
            self._hand_over(call.run)
            return call.done.result()
        except BaseException:
            # The interrupt may have come at any point, even before the call was handed over.
            if not call.done.done():
                with suppress(RuntimeError):  # the loop is gone, and the call with it
                    self._hand_over(call.cancel)
            raise

    def _hand_over(self, function: Callable[[], Awaitable[None]]) -> None:
        try:
            self._portal.start_task_soon(function)
        except RuntimeError:
            raise RuntimeError(_CLOSED) from None


_CLOSED = "This client is closed"


class _Call(Generic[T]):
    """One call in the other thread, where it runs once, however often it is handed over."""

    def __init__(self, function: Callable[[], Awaitable[T]]) -> None:
        self._function = function
        self._scope: CancelScope | None = None
        self._is_cancelled = False
        self.done: Future[T] = Future()

    async def run(self) -> None:
        if self._scope is not None:
            return
        try:
            with CancelScope() as self._scope:
                if self._is_cancelled:
                    self._scope.cancel()
                self.done.set_result(await self._function())
        except Exception as error:
            self.done.set_exception(error)
        finally:
            if not self.done.done():
                self.done.cancel()

    async def cancel(self) -> None:
        self._is_cancelled = True
        if self._scope is not None:
            self._scope.cancel()


class _Blocking(Generic[Async]):
    """Something asynchronous, and the loop it lives in."""

    def __init__(self, loop: _Loop, asynchronous: Async) -> None:
        self._loop, self._async = loop, asynchronous


def _blocking(method: Callable[Concatenate[Async, P], Awaitable[T]]) -> Callable[Concatenate[_Blocking[Async], P], T]:
    @functools.wraps(method)
    def call(self: _Blocking[Async], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._loop.run(method, self._async, *args, **kwargs)

    return call


class LongTaskClient(_Blocking[_client.LongTaskClient]):
    """See `client_sdk.LongTaskClient`. Works with `with`, or until `close`."""

    def __init__(
        self,
        base_url: str = DEFAULT_BASE_URL,
        token: str | None = None,
        *,
        journal: str | os.PathLike[str] | None = None,
        heartbeat: float = 15.0,
        patience: float | None = 300.0,
        max_delay: float = 30.0,
        http: httpx2.AsyncClient | None = None,
    ) -> None:
        client = _client.LongTaskClient(
            base_url,
            token,
            journal=journal,
            heartbeat=heartbeat,
            patience=patience,
            max_delay=max_delay,
            http=http,
        )
        super().__init__(_Loop(), client)
        self._loop.before_close(client.aclose)

    def __repr__(self) -> str:
        return repr(self._async)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread. Tasks go on."""
        self._loop.close()

    def start(
        self,
        task_type: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        priority: int | None = None,
        start_after: float | None = None,
        cancel_on_exit: bool = False,
    ) -> TaskHandle:
        """See `client_sdk.LongTaskClient.start`. The handle can be used with `with`."""
        starting = self._async.start(
            task_type,
            arguments,
            metadata=metadata,
            idempotency_key=idempotency_key,
            priority=priority,
            start_after=start_after,
            cancel_on_exit=cancel_on_exit,
        )
        return TaskHandle(self._loop, self._loop.run(starting.__aenter__), starting)

    def task(self, operation_id: str, *, cursor: int = 0) -> TaskHandle:
        """See `client_sdk.LongTaskClient.task`."""
        return TaskHandle(self._loop, self._async.task(operation_id, cursor=cursor))

    def resume_all(self) -> Sequence[TaskHandle]:
        """See `client_sdk.LongTaskClient.resume_all`."""
        return [TaskHandle(self._loop, handle) for handle in self._loop.run(self._async.resume_all)]

    list = _blocking(_client.LongTaskClient.list)
    task_types = _blocking(_client.LongTaskClient.task_types)
    health = _blocking(_client.LongTaskClient.health)


class TaskHandle(_Blocking[_handle.TaskHandle]):
    """See `client_sdk.TaskHandle`. Callbacks are called in the caller's thread."""

    def __init__(self, loop: _Loop, asynchronous: _handle.TaskHandle, starting: _client.Starting | None = None) -> None:
        super().__init__(loop, asynchronous)
        self._starting = starting
        self.cursor = asynchronous.cursor
        """The number of the last event this handle gave out; the other thread may be one ahead."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._starting is not None:
            self._loop.run(self._starting.__aexit__, kind, error, traceback)

    def __repr__(self) -> str:
        return repr(self._async)

    @property
    def id(self) -> str:
        return self._async.id

    @property
    def task_type(self) -> str | None:
        return self._async.task_type

    status = _blocking(_handle.TaskHandle.status)
    detail = _blocking(_handle.TaskHandle.detail)
    wait = _blocking(_handle.TaskHandle.wait)
    result = _blocking(_handle.TaskHandle.result)
    cancel = _blocking(_handle.TaskHandle.cancel)
    answer = _blocking(_handle.TaskHandle.answer)

    def retry(self) -> TaskHandle:
        """See `client_sdk.TaskHandle.retry`."""
        return TaskHandle(self._loop, self._loop.run(self._async.retry))

    def events(self, *, after: int | None = None) -> EventStream:
        """See `client_sdk.TaskHandle.events`; the iterator is a plain one."""
        return EventStream(self, self._loop, self._async.events(after=self.cursor if after is None else after))

    def stream(self, callback: Callable[[Any], None] | None = None) -> Snapshot:
        """See `client_sdk.TaskHandle.stream`."""
        for event in self.events():
            if callback is not None and isinstance(event, ProgressEvent):
                callback(event.data)
        return self.status()

    def poll(
        self,
        *,
        interval: float | None = None,
        timeout: float | None = None,
        callback: Callable[[Any], None] | None = None,
    ) -> Snapshot:
        """See `client_sdk.TaskHandle.poll`."""
        if callback is None:
            return self._loop.run(self._async.poll, interval=interval, timeout=timeout)
        for state in self.states(interval=interval, timeout=timeout):
            callback(state)
        return self.status()

    def states(self, *, interval: float | None = None, timeout: float | None = None) -> Iterator[Snapshot]:
        """See `client_sdk.TaskHandle.states`; the iterator is a plain one."""
        states = self._async.states(interval=interval, timeout=timeout)
        try:
            while (state := self._loop.run(_next_or_none, states)) is not None:
                yield state
        finally:
            if not self._loop.is_closed:
                self._loop.run(states.aclose)

    def show(self, console: Console | None = None) -> Snapshot:
        """See `client_sdk.TaskHandle.show`."""
        from ._display import displayed  # loaded when asked for: rich takes long

        with displayed(self.task_type, console) as display:
            for event in EventStream(self, self._loop, _handle.watched(self._async, display.away)):
                display(event)
        return self.status()


async def _next_or_none(values: AsyncIterator[T]) -> T | None:
    return await anext(values, None)


async def _fetch(stream: _handle.EventStream) -> tuple[Event | None, int, Exception | None]:
    """The next event, or none at the end; the cursor then; or the error, a value here: raised, it is of the wait."""
    try:
        return await anext(stream, None), stream.cursor, None
    except Exception as error:
        return None, 0, error


class EventStream(Iterator[Event], _Blocking[_handle.EventStream]):
    """See `client_sdk.EventStream`. Works with `with` as well; it is read by one thread at a time."""

    def __init__(self, handle: TaskHandle, loop: _Loop, asynchronous: _handle.EventStream) -> None:
        super().__init__(loop, asynchronous)
        self._handle = handle
        self._step: _Call[tuple[Event | None, int, Exception | None]] | None = None
        """The call that fetches the next event; kept over an interrupt, since it may have it already."""
        self._reader: dict[str, int] = {}
        """The thread that reads; no lock, since giving that back is a call."""

    def __next__(self) -> Event:
        me = threading.get_ident()
        if self._reader.setdefault("thread", me) != me:
            raise RuntimeError("Another thread is reading this stream; each reader needs `handle.events()` of its own")
        try:
            if self._step is None:
                self._step = _Call(functools.partial(_fetch, self._async))
            event, cursor, error = self._loop.outcome(self._step)
            # From here to the return nothing is called, so no interrupt comes between.
            self._step = None
            if event is not None:
                self._handle.cursor = cursor
                return event
        except CancelledError:
            # An earlier interrupt cancelled it in time, or the client was closed, which the next call says.
            self._step = None
            return next(self)
        finally:
            self._reader = {}
        raise StopIteration if error is None else error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.run(self._async.__aexit__, kind, error, traceback)

    @property
    def cursor(self) -> int:
        """See `client_sdk.EventStream`; the other thread may be one ahead."""
        return self._async.cursor

    def close(self) -> None:
        """Close the connection. The task goes on."""
        if not self._loop.is_closed:
            self._loop.run(self._async.aclose)

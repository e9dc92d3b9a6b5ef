"""One attempt of one task: from the claimed record to its terminal event.

The function's facts come in through `put`, from any thread; one writer folds whatever
is waiting onto the task and commits it in one step. Everything that ends the work
from outside (cancel, time limit, a takeover by another process, shutdown) arrives
here and is turned into the same two steps: ask the function to stop, and after a
grace stop waiting for it.

Knows the backend and the task's rules; knows nothing of who watches or asks.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Literal

import anyio
from anyio.lowlevel import EventLoopToken, checkpoint, current_token

from ..backend import Backend
from ..context import SyncTaskContext, TaskCancelled, TaskContext, TaskInfo
from ..errors import Conflict, StaleAttempt, TaskError, TransitionError, Unavailable, log_incident
from ..jsonable import clean, text
from ..registry import TaskType
from ..settings import Settings
from ..task import Event, Kind, Status, Task, advance, trimmed
from .outbox import MOST_OF_A_CODE, Fact, Facts, checked, error_told_by
from .runners import run_async, run_in_process, run_in_thread

__all__ = ["Execution"]

logger = logging.getLogger(__name__)

PROCESS_GRACE = 0.5
"""Seconds a process gets to end at most: it can be killed without harm to anyone."""

Stop = Literal["cancelled", "timeout", "lost", "shutdown"]


class Execution:
    """Runs `task`, which has just been started by its engine. Implements `context.Channel`."""

    def __init__(self, task: Task, task_type: TaskType, backend: Backend, settings: Settings) -> None:
        self.task, self.type = task, task_type
        self.attempt = task.attempt
        self._backend, self._settings = backend, settings
        self._facts = Facts()
        self._commit_lock = anyio.Lock()
        self._token: EventLoopToken | None = None
        self._loop: asyncio.AbstractEventLoop
        self._wake_pending = threading.Event()
        self._wake = anyio.Event()
        self._changed = anyio.Event()
        self._began = (time.time(), time.monotonic())
        self._asked = 0
        self._questions: set[str] = set()
        self._stop: Stop | None = None
        self._stopping = anyio.Event()
        self._closed = False
        """The attempt's last event is written, or the task is somebody else's: nothing is left to do."""

    async def run(self) -> None:
        """Run the function and record how it ended.

        Cancelled (the server stops), it gives the task back to the queue with its last
        checkpoint, so that another process takes it up at once.
        """
        self._token, self._loop = current_token(), asyncio.get_running_loop()
        try:
            async with anyio.create_task_group() as background:
                background.start_soon(self._write_out)
                background.start_soon(self._watch)
                end = await self._outcome()
                await self._finish(*end)
                background.cancel_scope.cancel()
        except anyio.get_cancelled_exc_class():
            self._request_stop("shutdown")
            with anyio.move_on_after(self._settings.cancel_grace, shield=True):
                await self._finish(Kind.RETRYING, {"cause": "released", "message": "The server stopped"})
            raise
        finally:
            self._facts.ended = self._closed = True

    # What the function sees: context.Channel.

    def put(self, kind: Kind, facts: Mapping[str, Any]) -> None:
        if self._facts.ended or self._must_raise:
            raise TaskCancelled(self._stop or "the attempt is over")
        says, size = checked(kind, facts, self._settings.max_event_bytes)
        self._facts.put(Fact(kind, self._now(), says, size))
        if not self._wake_pending.is_set():
            self._wake_pending.set()
            self._loop.call_soon_threadsafe(lambda: self._wake.set())

    @property
    def _must_raise(self) -> bool:
        """Whether the function must stop, and only an exception out of its own calls can tell it."""
        return self._stop is not None and self.type.runner != "async"

    async def drain(self, *, everything: bool = False) -> None:
        if everything or self._facts.too_many:
            await self._flush()
        else:
            await checkpoint()

    def drain_sync(self, *, everything: bool = False) -> None:
        if everything or self._facts.too_many:
            anyio.from_thread.run(self._flush, token=self._token)

    async def answer(self, key: str | None, request: Mapping[str, Any], timeout: float | None) -> Mapping[str, Any]:
        self._asked += 1
        key = text(key or f"q{self._asked}", "key of the question", MOST_OF_A_CODE)
        if key not in self.task.answers:
            if key in self._questions:
                raise TaskError(f"There is already an open question with the key {key!r}", code="DUPLICATE_QUESTION")
            self.put(Kind.INPUT_REQUIRED, {"requests": {key: request}})
            self._questions.add(key)
            await self._flush()
            with anyio.move_on_after(timeout):
                while key not in self.task.answers:
                    if self._must_raise:
                        raise TaskCancelled(self._stop)
                    await self._changed.wait()
            if key not in self.task.answers:
                # The deadline is an answer too, so the question is closed for everybody.
                self.put(Kind.INPUT_ANSWERED, {"responses": {key: {"action": "timeout"}}})
                await self._flush()
        response: Mapping[str, Any] = self.task.answers[key]
        if response.get("action") == "timeout":
            raise TimeoutError(key)
        return response

    def answer_sync(self, key: str | None, request: Mapping[str, Any], timeout: float | None) -> Mapping[str, Any]:
        return anyio.from_thread.run(self.answer, key, request, timeout, token=self._token)

    # Writing.

    async def _write_out(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            await self._flush()

    async def _flush(self, *, durable: bool = False) -> None:
        """Commit every fact that is waiting. Returns without them once the task is somebody else's."""
        async with self._commit_lock:
            self._wake_pending.clear()
            while self._facts and not self._closed:
                batch = self._facts.take()
                try:
                    await self._commit(batch, durable)
                except BaseException:
                    # Whoever flushed was cancelled; what was reported is still to be written.
                    self._facts.put_back(batch)
                    raise

    async def _commit(self, batch: list[Fact], durable: bool) -> None:
        delay = 0.05
        while not self._closed:
            try:
                if await self._try_commit(batch, durable):
                    return
                await self._reload()
            except Unavailable as error:
                # Nothing the function did is lost: the facts stay here until they can be written.
                logger.warning("task %s: cannot record its progress yet: %s", self.task.id, error)
                await anyio.sleep(delay)
                delay = min(delay * 2, 2.0)

    async def _try_commit(self, batch: list[Fact], durable: bool) -> bool:
        """Fold the batch onto the task as we know it; False if it is another one by now."""
        before = self.task
        try:
            after, events = self._fold(before, batch)
            # Shielded: a commit that was given up might still happen, and its facts be written twice.
            with anyio.CancelScope(shield=True):
                await self._backend.commit(before, after, events, durable=durable)
        except Conflict:
            return False
        except (StaleAttempt, TransitionError) as error:
            logger.info("task %s: attempt %d lost it: %s", before.id, self.attempt, error)
            self._lose()
        else:
            self._set_task(after)
        return True

    def _fold(self, task: Task, batch: list[Fact]) -> tuple[Task, list[Event]]:
        events: list[Event] = []
        for kind, at, facts, _ in batch:
            if kind is Kind.INPUT_ANSWERED and not task.input_requests.keys() & facts["responses"].keys():
                continue  # the answer and the deadline met; the answer was first
            if kind is Kind.RETRYING and task.cancel_requested:
                # They met: nobody who cancels waits for the back-off of a retry.
                kind, facts = Kind.CANCELLED, {"reason": task.reason, "expires_at": self._expiry()}
            task, event = advance(task, kind, at=at, attempt=self.attempt, **facts)
            events.append(event)
        return trimmed(task, self._settings.max_events), events

    async def _reload(self) -> None:
        fresh = await self._backend.load(self.task.id)
        if fresh is None:
            self._lose()
        else:
            self._set_task(fresh)

    def _set_task(self, task: Task) -> None:
        self.task = task
        if task.is_over or task.attempt != self.attempt:
            if task.attempt != self.attempt and not self._closed:
                logger.warning("task %s: attempt %d ends here, %d took it over", task.id, self.attempt, task.attempt)
            self._lose()
        elif task.cancel_requested:
            self._request_stop("cancelled")
        self._tell_askers()

    def _lose(self) -> None:
        """The task is over, gone or somebody else's: nothing this attempt says counts any more."""
        self._closed = True
        self._request_stop("lost")

    # What reaches the function from outside.

    async def _watch(self) -> None:
        """Notice cancels, answers and takeovers by others, and the time limit."""
        while not self._closed:
            seen = self.task.last_event_id
            with anyio.move_on_after(self._work_left()) as limit:
                await self._backend.wait(self.task.id, seen)
            if limit.cancelled_caught and self._work_left() <= 0:
                self._request_stop("timeout")
            async with self._commit_lock:
                # A commit of our own ends the wait as well; only what others wrote has to be read.
                if self.task.last_event_id == seen and not limit.cancelled_caught:
                    try:
                        await self._reload()
                    except Unavailable:
                        await anyio.sleep(0.5)

    def _work_left(self) -> float:
        """Seconds until the limit if the task goes on working; it is looked at again on every change."""
        if self.type.policy.timeout is None or self.task.status is not Status.RUNNING or self._stop:
            return math.inf
        working_since_last_event = max(0.0, self._now() - self.task.updated_at)
        return max(0.0, self.type.policy.timeout - self.task.worked_seconds - working_since_last_event)

    def _request_stop(self, why: Stop) -> None:
        if self._stop is None:
            self._stop = why
            self._stopping.set()
            self._tell_askers()

    def _tell_askers(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _enforce(self, scope: anyio.CancelScope) -> None:
        """Cooperative first; after the grace nobody waits for the function any more."""
        await self._stopping.wait()
        if self.type.runner == "async":
            scope.cancel()
        grace = self._settings.cancel_grace
        if self.type.runner == "process":
            grace = min(grace, PROCESS_GRACE)
        await anyio.sleep(grace)
        logger.warning(
            "task %s (%s) did not stop within %g s of being asked to; its end is recorded without it",
            self.task.id, self.type.name, grace,
        )  # fmt: skip
        scope.cancel()
        await self._finish(*self._stopped_end())

    # The end.

    async def _outcome(self) -> tuple[Kind, dict[str, Any]]:
        """Run the function; the fact it ends with."""
        context: TaskContext | SyncTaskContext
        info = TaskInfo(
            id=self.task.id,
            type=self.task.type,
            attempt=self.attempt,
            owner=self.task.owner,
            metadata=self.task.metadata,
            state=self.task.state,
        )
        context = TaskContext(self, info) if self.type.runner == "async" else SyncTaskContext(self, info)
        async with anyio.create_task_group() as guard:
            with anyio.CancelScope() as scope:
                guard.start_soon(self._enforce, scope)
                end = await self._run_function(context)
            guard.cancel_scope.cancel()
        return self._stopped_end() if scope.cancelled_caught else end

    async def _run_function(self, context: TaskContext | SyncTaskContext) -> tuple[Kind, dict[str, Any]]:
        limit = self._settings.max_event_bytes
        try:
            arguments = self.type.bind(self.task.arguments)
            output = await self._call(arguments, context)
            summary = None if context.summary is None else text(context.summary, "summary", limit)
            return Kind.COMPLETED, {"output": output, "message": summary, "expires_at": self._expiry()}
        except anyio.get_cancelled_exc_class():
            if anyio.current_effective_deadline() == -math.inf:
                raise
            # Nobody cancelled us: the function raised the exception itself.
            return self._failed(self._incident())
        except BaseException as raised:  # whatever a function raises, the server goes on
            if anyio.current_effective_deadline() == -math.inf:
                self._request_stop("shutdown")
            if self._stop:
                return self._stopped_end()
            return self._failed(error_told_by(only(raised), limit) or self._incident())

    async def _call(self, arguments: dict[str, Any], context: TaskContext | SyncTaskContext) -> Any:
        """What the function returns, JSON-clean."""
        function, limit = self.type.function, self._settings.max_event_bytes
        if self.type.context_parameter is not None:
            arguments[self.type.context_parameter] = context
        match self.type.runner:
            case "async":
                return clean(await run_async(function, arguments), "result", limit)
            case "thread":
                # In the thread as well, since a large value takes long to be written as JSON.
                cleaned = partial(_cleaned, function, limit)
                return await run_in_thread(cleaned, arguments, name=f"task {self.type.name} {self.task.id}")
            case "process":
                assert isinstance(context, SyncTaskContext)
                return await run_in_process(self.type, self.task.arguments, context, self._stopping, limit)

    def _incident(self) -> TaskError:
        incident = log_incident(logger, f"task {self.task.id} ({self.type.name})")
        return TaskError(f"The task failed unexpectedly (incident {incident})", details={"incident": incident})

    def _failed(self, error: TaskError) -> tuple[Kind, dict[str, Any]]:
        policy = self.type.policy
        if error.retry and self.task.failures < policy.retries:
            delay = policy.backoff(self.task.failures + 1)
            return Kind.RETRYING, {"cause": "failed", "message": error.message, "not_before": time.time() + delay}
        return failure(error.code, error.message, error.details, self._expiry())

    def _stopped_end(self) -> tuple[Kind, dict[str, Any]]:
        if self._stop == "timeout":
            limit = self.type.policy.timeout
            return failure("TIMEOUT", f"Stopped after its limit of {limit:g} seconds of work", {}, self._expiry())
        if self._stop == "shutdown":
            return Kind.RETRYING, {"cause": "released", "message": "The server stopped"}
        return Kind.CANCELLED, {"reason": self.task.reason, "expires_at": self._expiry()}

    async def _finish(self, kind: Kind, facts: dict[str, Any]) -> None:
        """Record the end, after everything reported before it; of several ends the first one counts."""
        with suppress(TaskCancelled):
            self._facts.put(Fact(kind, self._now(), facts, 0), last=True)
        await self._flush(durable=True)

    def _now(self) -> float:
        """Seconds since the epoch; they go on where the clock is set back, so that a time limit holds."""
        return max(time.time(), self._began[0] + time.monotonic() - self._began[1])

    def _expiry(self) -> float:
        return self.type.policy.expires_at(time.time(), self._settings.retention)


def failure(code: str, message: str, details: Mapping[str, Any], expires_at: float) -> tuple[Kind, dict[str, Any]]:
    error = {"error_code": code, "message": message, "details": dict(details)}
    return Kind.FAILED, {"error": error, "expires_at": expires_at}


def _cleaned(function: Callable[..., Any], limit: int, /, **arguments: Any) -> Any:
    return clean(function(**arguments), "result", limit)


def only(error: BaseException) -> BaseException:
    """What a task group of the function's own wrapped, if it is a single exception."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error

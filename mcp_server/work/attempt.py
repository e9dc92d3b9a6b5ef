"""One attempt of one task: runs its function, stops it, and decides how the attempt ends.

Everything that ends the work from outside (cancel, time limit, a takeover by another
process, shutdown) arrives here and is turned into the same two steps: ask the function
to stop, and after a grace stop waiting for it. What the function reports goes through
`outbox.py` into the log.

Knows the backend and the task's rules; knows no transport and no reader of the log.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Literal

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import EventLoopToken, checkpoint, current_token

from ..backend import Backend
from ..channel import Question, Request
from ..context import SyncTaskContext, TaskCancelled, TaskContext, TaskInfo
from ..errors import TaskError, Unavailable, log_incident
from ..events import Cancelled, Completed, End, Failed, Happening, InputAnswered, InputRequired, Retrying
from ..jsonable import bounded_text
from ..questions import numbered_key
from ..registry import TaskType
from ..settings import Settings
from ..task import Status, Task
from .forking import Children
from .outbox import Outbox
from .process import run_in_process
from .raised import only, told_by, traced, unexpected
from .runners import call_plain, run_async, run_in_thread

__all__ = ["Attempt"]

logger = logging.getLogger(__name__)

PROCESS_GRACE = 0.5
"""Seconds a process gets to end at most: it can be killed without harm to anything else."""

Stop = Literal["cancelled", "timeout", "lost", "shutdown"]


class Attempt:
    """Runs `task`, which its engine has just started. Implements `channel.Channel`."""

    def __init__(
        self, task: Task, task_type: TaskType, backend: Backend, settings: Settings, children: Children
    ) -> None:
        self.type, self.number = task_type, task.attempt
        self.max_bytes = settings.max_event_bytes
        self._backend, self._settings, self._children = backend, settings, children
        self._outbox = Outbox(
            task, backend, max_events=settings.max_events, expires_at=self._expires_at, changed=self._look
        )
        self._changed = anyio.Event()
        self._asked = 0
        self._questions: set[str] = set()
        self._stop: Stop | None = None
        self._stopping, self._ended = anyio.Event(), anyio.Event()
        self._scope = anyio.CancelScope()
        """Around the function."""
        self._beside: TaskGroup

    @property
    def task(self) -> Task:
        """The task as of the last look."""
        return self._outbox.task

    async def run(self) -> None:
        """Run the function and record how it ended.

        Cancelled (the server stops), it gives the task back to the queue with its last
        checkpoint, so that another process takes it up at once.
        """
        try:
            async with anyio.create_task_group() as self._beside:
                self._beside.start_soon(self._outbox.run)
                self._beside.start_soon(self._watch)
                with self._scope:
                    end = await self._run_function()
                self._ended.set()
                # Before the rest of the group is unwound: callers wait for this.
                await self._finish(self._stopped_end() if self._scope.cancelled_caught else end)
                self._beside.cancel_scope.cancel()
        except anyio.get_cancelled_exc_class():
            self._request_stop("shutdown")
            with anyio.move_on_after(self._settings.cancel_grace, shield=True):
                await self._finish(Retrying("released", "The server stopped"))
            raise
        finally:
            self._outbox.close()

    # What the function sees: channel.Channel, and `put` and `full` for its other faces.

    async def tell(self, happening: Happening, size: int) -> None:
        self.put(happening, size)
        if self._outbox.too_many:
            await self._outbox.flush()
        else:
            await checkpoint()

    async def request(self, request: Request, size: int) -> Any:
        if isinstance(request, Question):
            return await self._ask(request, size)
        self.put(request, size)
        return await self._outbox.flush()

    def put(self, happening: Happening, size: int) -> None:
        """`tell` that never waits; from any thread. Raises TaskCancelled when the function must stop."""
        if self._outbox.ended or self._must_raise:
            raise TaskCancelled(self._stop or "the attempt is over")
        self._outbox.put(happening, size)

    @property
    def too_many(self) -> bool:
        return self._outbox.too_many

    async def flush(self) -> None:
        await self._outbox.flush()

    @property
    def _must_raise(self) -> bool:
        """Whether the function must stop, and only an exception out of its own calls can tell it."""
        return self._stop is not None and self.type.runner != "async"

    async def _ask(self, question: Question, size: int) -> Mapping[str, Any]:
        self._asked += 1
        key = question.key or numbered_key(self._asked)
        if key not in self.task.answers:
            if key in self._questions:
                raise TaskError(f"There is already an open question with the key {key!r}", code="DUPLICATE_QUESTION")
            self.put(InputRequired({key: question.request}), size)
            self._questions.add(key)
            await self._outbox.flush()
            with anyio.move_on_after(question.timeout):
                while key not in self.task.answers:
                    if self._must_raise:
                        raise TaskCancelled(self._stop)
                    await self._changed.wait()
            if key not in self.task.answers:
                # The deadline is an answer too, so the question is closed for every caller.
                self.put(InputAnswered({key: {"action": "timeout"}}), 0)
                await self._outbox.flush()
        response: Mapping[str, Any] = self.task.answers[key]
        return response

    # What reaches the function from outside.

    def _look(self) -> None:
        """The outbox has seen another state of the task."""
        if self._outbox.closed:
            self._request_stop("lost")
        elif self.task.cancel_requested:
            self._request_stop("cancelled")
        self._wake_askers()

    async def _watch(self) -> None:
        """Notice cancels, answers and takeovers by others, and the time limit."""
        while not self._outbox.closed:
            seen = self.task.last_event_id
            with anyio.move_on_after(self._work_left()) as limit:
                await self._backend.wait(self.task.id, seen)
            if limit.cancelled_caught:
                if self._work_left() <= 0:
                    self._request_stop("timeout")
                continue
            try:
                await self._outbox.refresh(seen)
            except Unavailable:
                await anyio.sleep(0.5)

    def _work_left(self) -> float:
        """Seconds until the limit if the task goes on working; it is looked at again on every change."""
        if self.type.policy.timeout is None or self.task.status is not Status.RUNNING or self._stop:
            return math.inf
        working_since_last_event = max(0.0, self._outbox.now() - self.task.updated_at)
        return max(0.0, self.type.policy.timeout - self.task.worked_seconds - working_since_last_event)

    def _request_stop(self, why: Stop) -> None:
        if self._stop is None:
            self._stop = why
            self._stopping.set()
            self._wake_askers()
            if why != "shutdown":  # which cancels everything here already
                self._beside.start_soon(self._enforce)

    def _wake_askers(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _enforce(self) -> None:
        """Cooperative first; after the grace the function is no longer waited for."""
        if self.type.runner == "async":
            self._scope.cancel()
        grace = self._settings.cancel_grace
        if self.type.runner == "process":
            grace = min(grace, PROCESS_GRACE)
        with anyio.move_on_after(grace):
            await self._ended.wait()
            return
        logger.warning(
            "task %s (%s) did not stop within %g s of being asked to; its end is recorded without it",
            self.task.id, self.type.name, grace,
        )  # fmt: skip
        self._scope.cancel()
        await self._finish(self._stopped_end())

    # The end.

    async def _run_function(self) -> End:
        """Run the function; the event the attempt ends with."""
        try:
            output, summary = await self._call()
            summary = None if summary is None else bounded_text(summary, "summary", self.max_bytes)
            return Completed(output, self._expires_at(), summary)
        except anyio.get_cancelled_exc_class() as raised:
            if anyio.current_effective_deadline() == -math.inf:
                raise
            # Nothing cancelled this attempt: the function raised the exception itself.
            return self._failed(self._incident(raised), raised)
        except BaseException as raised:  # whatever a function raises, the server goes on
            if anyio.current_effective_deadline() == -math.inf:
                self._request_stop("shutdown")
            if self._stop:
                return self._stopped_end()
            return self._failed(told_by(only(raised), self.max_bytes) or self._incident(only(raised)), only(raised))

    async def _call(self) -> tuple[Any, str | None]:
        """The result of the function, JSON-clean, and its summary."""
        task = self.task
        arguments = self.type.bind(task.arguments)
        info = TaskInfo(
            id=task.id,
            type=task.type,
            attempt=self.number,
            owner=task.owner,
            metadata=task.metadata,
            state=task.state,
        )
        if self.type.runner == "process":
            return await run_in_process(self._children, self.type, task.arguments, info, self, self._stopping)
        context: TaskContext | SyncTaskContext
        if self.type.runner == "async":
            context = TaskContext(self, info)
        else:
            context = SyncTaskContext(_FromThread(self, current_token()), info)
        if self.type.context_parameter is not None:
            arguments[self.type.context_parameter] = context
        if isinstance(context, TaskContext):
            output = self.type.to_json(await run_async(self.type.function, arguments), self.max_bytes)
            context.check_awaited()
        else:
            # Written in the thread as well, since a large value takes long to be written as JSON.
            function = partial(_written, self.type, self.max_bytes)
            output = await run_in_thread(function, arguments, name=f"task {self.type.name} {task.id}")
        return output, context.summary

    def _incident(self, raised: BaseException) -> TaskError:
        incident = log_incident(logger, f"task {self.task.id} ({self.type.name})")
        return unexpected(raised, incident, masked=self._settings.mask_errors == "on")

    def _failed(self, error: TaskError, raised: BaseException) -> End:
        policy, trace = self.type.policy, traced(raised)
        if error.retry and self.task.failures < policy.retries:
            delay = policy.backoff(self.task.failures + 1)
            return Retrying("failed", error.message, time.time() + delay, trace)
        return Failed(error.code, error.message, error.details, self._expires_at(), trace)

    def _stopped_end(self) -> End:
        if self._stop == "timeout":
            message = f"Stopped after its limit of {self.type.policy.timeout:g} seconds of work"
            return Failed("TIMEOUT", message, {}, self._expires_at())
        if self._stop == "shutdown":
            return Retrying("released", "The server stopped")
        return Cancelled(self.task.reason, self._expires_at())

    async def _finish(self, end: End) -> None:
        """Record the end, after everything reported before it; of several ends the first one counts."""
        with suppress(TaskCancelled):
            self._outbox.put_last(end)
        await self._outbox.flush(durable=True)

    def _expires_at(self) -> float:
        return self.type.policy.expires_at(time.time(), self._settings.retention)


class _FromThread:
    """The channel of an attempt for a function in another thread. Implements `channel.SyncChannel`."""

    def __init__(self, attempt: Attempt, token: EventLoopToken) -> None:
        self._attempt, self._token = attempt, token
        self.max_bytes = attempt.max_bytes

    def tell(self, happening: Happening, size: int) -> None:
        # The event loop is visited only when it has to be waited for.
        self._attempt.put(happening, size)
        if self._attempt.too_many:
            anyio.from_thread.run(self._attempt.flush, token=self._token)

    def request(self, request: Request, size: int) -> Any:
        return anyio.from_thread.run(self._attempt.request, request, size, token=self._token)


def _written(task_type: TaskType, limit: int, /, **arguments: Any) -> Any:
    return task_type.to_json(call_plain(task_type.function, arguments), limit)

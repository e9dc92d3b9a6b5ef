"""What a running task function holds: progress, stages, output, checkpoints, questions, cancellation.

`TaskContext` is for `async def`, `SyncTaskContext` for plain functions in a thread or
a process; they have the same names. Both only turn calls into facts and hand them to
a `Channel`; what becomes of the facts is none of their business.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, overload

from pydantic import BaseModel, ValidationError

from .errors import TaskError
from .questions import elicitation
from .task import Kind

__all__ = [
    "Channel",
    "InputDeclined",
    "Stage",
    "SyncStage",
    "SyncTaskContext",
    "TaskCancelled",
    "TaskContext",
    "TaskInfo",
    "elicitation",
]

Model = TypeVar("Model", bound=BaseModel)


class TaskCancelled(BaseException):
    """Raised in a plain function, at its next call on the context, when its task must stop.

    Not an `Exception`, so that `except Exception` does not swallow it: clean up in
    `finally`, or catch it and raise it again. `async def` functions see their
    framework's own cancellation instead.
    """


class InputDeclined(TaskError):
    """The question was declined or dismissed, or nobody answered before its deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInfo:
    """What a function may know about the task it runs for."""

    id: str
    type: str
    attempt: int
    owner: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    state: Any = None


class Channel(Protocol):
    """Where a context's facts go."""

    def put(self, kind: Kind, facts: Mapping[str, Any]) -> None:
        """Take a fact; from any thread, without blocking. Raises TaskCancelled when the task must stop."""
        ...

    async def drain(self, *, everything: bool = False) -> None:
        """Let others run, and wait while too many facts are unwritten (`everything`: until none is)."""
        ...

    def drain_sync(self, *, everything: bool = False) -> None:
        """`drain` for a thread."""
        ...

    async def answer(self, key: str | None, request: Mapping[str, Any], timeout: float | None) -> Mapping[str, Any]:
        """Ask, and wait for the response: an elicitation result. Raises TimeoutError."""
        ...

    def answer_sync(self, key: str | None, request: Mapping[str, Any], timeout: float | None) -> Mapping[str, Any]:
        """`answer` for a thread."""
        ...


class _Span:
    """A part of the whole, from `low` to `high` percent, and the stages within it."""

    def __init__(self, channel: Channel, low: float, high: float, path: tuple[str, ...] = (), index: int = 0) -> None:
        self._channel, self._low, self._high, self._path = channel, low, high, path
        self._index, self._count = index, None if not path else 1
        self._plan: dict[str, float] = {}
        self._reached, self._opened = low, 0

    def plan(self, **weights: float) -> None:
        """Say which stages there will be and how much of the work each is.

        `plan(extract=3, index=1)` gives `stage("extract")` the first three quarters.
        """
        if not weights or any(not w > 0 for w in weights.values()):
            raise ValueError(f"every stage needs a weight above 0, got {weights}")
        self._plan = weights

    def _open(self, name: str, weight: float | None) -> tuple[float, float, int, int | None]:
        self._opened += 1
        size = self._high - self._low
        if name in self._plan:
            names, total = list(self._plan), sum(self._plan.values())
            index = names.index(name)
            low = self._low + size * sum(self._plan[n] for n in names[:index]) / total
            return low, low + size * self._plan[name] / total, index + 1, len(names)
        if weight is None:
            return self._reached, self._high, self._opened, None
        return self._reached, min(self._high, self._reached + size * weight / 100.0), self._opened, None

    def _facts(self, current: float | None, total: float | None, message: str | None) -> dict[str, Any]:
        current, total = _number(current), _number(total)
        share = None
        if current is not None and total is not None and total > 0:
            share = min(1.0, max(0.0, current / total))
            self._reached = max(self._reached, self._low + (self._high - self._low) * share)
        stage = None
        if self._path:
            done = 100.0 * (self._reached - self._low) / ((self._high - self._low) or 1.0)
            name = "/".join(map(str, self._path))
            stage = {"name": name, "index": self._index, "count": self._count, "progress": round(done, 3)}
        return {
            "progress": self._reached if share is not None or self._path else None,
            "message": message,
            "current": current,
            "total": total if current is not None else None,
            "stage": stage,
        }

    def _report(self, current: float | None, total: float | None, message: str | None) -> None:
        self._channel.put(Kind.PROGRESS, self._facts(current, total, message))


class Stage(_Span):
    """A named part of an `async def` task; made by `task.stage(...)`."""

    async def report(
        self, current: float | None = None, total: float | None = 100.0, message: str | None = None
    ) -> None:
        """Say how far the work is: `report(3, total=10, message="page 3")`, `report(30)` percent, `report(message=…)`.

        Every report is one event in the log and one frame in the stream, none is
        skipped, and progress never falls. Costs tens of microseconds; waits only
        while more reports are unwritten than fit in memory.

        Args:
            current: units done, of `total`.
            total: units in all; 100 by default. None when it is unknown.
            message: one short line; None keeps the last one.
        """
        self._report(current, total, message)
        await self._channel.drain()

    @asynccontextmanager
    async def stage(self, name: str, *, weight: float | None = None) -> AsyncIterator[Stage]:
        """A stage within this one; reports in it move its share of the whole.

        The share is what `plan` gave the name; else `weight` percent of what encloses
        it; else all that is left of it. Leaving the stage fills its share.
        """
        low, high, index, count = self._open(name, weight)
        inner = Stage(self._channel, low, high, (*self._path, name), index)
        inner._count = count
        await inner.report(0, total=None, message=None)
        yield inner
        self._reached = high


class _TaskFacts:
    """What both contexts know of their task."""

    info: TaskInfo
    summary: str | None = None
    """The closing message; set it before returning."""

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def attempt(self) -> int:
        """1 for the first execution, one more for each after a failure or a dead process."""
        return self.info.attempt

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the caller attached to the task."""
        return self.info.metadata

    @property
    def state(self) -> Any:
        """The last checkpoint of an earlier attempt (or of the task this one retries), or None."""
        return self.info.state


class TaskContext(_TaskFacts, Stage):
    """The running task, for an `async def` function."""

    def __init__(self, channel: Channel, info: TaskInfo) -> None:
        super().__init__(channel, 0.0, 100.0)
        self.info = info

    async def emit(self, data: Any, *, topic: str | None = None) -> None:
        """Send partial output to whoever watches; kept in the log like everything else.

        Raises:
            TaskError: `NOT_JSON` or `TOO_LARGE`.
        """
        self._channel.put(Kind.OUTPUT, {"data": data, "topic": topic})
        await self._channel.drain()

    async def checkpoint(self, state: Any) -> None:
        """Store `state` for the next attempt, which finds it in `task.state`.

        On disk when this returns, together with everything reported before it.

        Raises:
            TaskError: `NOT_JSON` or `TOO_LARGE`.
        """
        self._channel.put(Kind.CHECKPOINT, {"state": state})
        await self._channel.drain(everything=True)

    @overload
    async def ask(
        self,
        message: str,
        schema: type[Model],
        *,
        key: str | None = None,
        timeout: float | None = None,
        default: Model | None = None,
    ) -> Model: ...

    @overload
    async def ask(
        self,
        message: str,
        schema: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        timeout: float | None = None,
        default: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]: ...

    async def ask(
        self,
        message: str,
        schema: Any = None,
        *,
        key: str | None = None,
        timeout: float | None = None,
        default: Any = None,
    ) -> Any:
        """Ask the caller, park until the answer, and return it.

        The work clock stands still meanwhile. The answer is kept under `key`: an
        attempt that comes to the same question again gets it without asking. Several
        questions are open at once when they are asked from several child tasks.

        Args:
            message: the question.
            schema: what the answer looks like: a pydantic model with flat fields, or a
                JSON Schema of type object. Omitted: a yes without content.
            key: names the question; by default `q1`, `q2`… in the order of asking.
            timeout: seconds to wait for an answer. None: as long as it takes.
            default: what to go on with when time is up.

        Raises:
            InputDeclined: declined, dismissed, or not answered in time and no default.
        """
        request = elicitation(message, schema)
        try:
            response = await self._channel.answer(key, request, timeout)
        except TimeoutError:
            return _timed_out(message, default)
        return _accepted(message, schema, response)


class SyncStage(_Span):
    """A named part of a plain task function; made by `task.stage(...)`. See `Stage`."""

    def report(self, current: float | None = None, total: float | None = 100.0, message: str | None = None) -> None:
        """See `Stage.report`. Raises TaskCancelled when the task must stop."""
        self._report(current, total, message)
        self._channel.drain_sync()

    @contextmanager
    def stage(self, name: str, *, weight: float | None = None) -> Iterator[SyncStage]:
        """See `Stage.stage`."""
        low, high, index, count = self._open(name, weight)
        inner = SyncStage(self._channel, low, high, (*self._path, name), index)
        inner._count = count
        inner.report(0, total=None, message=None)
        yield inner
        self._reached = high


class SyncTaskContext(_TaskFacts, SyncStage):
    """The running task, for a plain function in a thread or a process. See `TaskContext`."""

    def __init__(self, channel: Channel, info: TaskInfo) -> None:
        super().__init__(channel, 0.0, 100.0)
        self.info = info

    def emit(self, data: Any, *, topic: str | None = None) -> None:
        """See `TaskContext.emit`."""
        self._channel.put(Kind.OUTPUT, {"data": data, "topic": topic})
        self._channel.drain_sync()

    def checkpoint(self, state: Any) -> None:
        """See `TaskContext.checkpoint`."""
        self._channel.put(Kind.CHECKPOINT, {"state": state})
        self._channel.drain_sync(everything=True)

    @overload
    def ask(
        self,
        message: str,
        schema: type[Model],
        *,
        key: str | None = None,
        timeout: float | None = None,
        default: Model | None = None,
    ) -> Model: ...

    @overload
    def ask(
        self,
        message: str,
        schema: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        timeout: float | None = None,
        default: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]: ...

    def ask(
        self,
        message: str,
        schema: Any = None,
        *,
        key: str | None = None,
        timeout: float | None = None,
        default: Any = None,
    ) -> Any:
        """See `TaskContext.ask`."""
        request = elicitation(message, schema)
        try:
            response = self._channel.answer_sync(key, request, timeout)
        except TimeoutError:
            return _timed_out(message, default)
        return _accepted(message, schema, response)


def _number(value: float | None) -> float | None:
    """A plain finite number, also from a Decimal or a numpy scalar; None for what is not finite."""
    if value is None or type(value) is int:
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def _accepted(message: str, schema: Any, response: Mapping[str, Any]) -> Any:
    action, content = response.get("action"), response.get("content") or {}
    if action != "accept":
        raise InputDeclined(
            f"The question {message!r} was answered with {action!r}", code="INPUT_DECLINED", retry=False
        )
    if not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        return content
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        raise TaskError(f"The answer to {message!r} does not fit: {error}", code="INVALID_INPUT", retry=False) from None


def _timed_out(message: str, default: Any) -> Any:
    if default is None:
        raise InputDeclined(f"Nobody answered {message!r} in time", code="INPUT_TIMEOUT", retry=False)
    return default

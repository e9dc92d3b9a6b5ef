"""The running task, as its function sees it: progress, stages, output, checkpoints, questions, cancellation.

`TaskContext` is for `async def`, `SyncTaskContext` for plain functions in a thread or
a process; they have the same names. Both turn calls into events that can be stored, and
hand them to a channel of two verbs: `tell`, and `request` where a reply is awaited. A new
capability is one more method here and one more `Request`.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from pydantic import BaseModel, ValidationError

from .channel import Channel, SyncChannel, checkpoint, output, question
from .errors import TaskError
from .events import Progress
from .jsonable import bounded_text, to_json_bytes
from .questions import elicitation

__all__ = [
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
    """The question was declined or dismissed, or not answered before its deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInfo:
    """The facts about a task that its function may know."""

    id: str
    type: str
    attempt: int
    owner: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    state: Any = None


class _Span:
    """A part of the whole, and the stages within it.

    Args:
        max_bytes: the most that one event may hold.
        low: percent of the whole at which it begins.
        high: percent of the whole at which it ends.
        path: the names of the stages from the outermost to this one.
        index: which of the stages beside it this is, from 1.
        count: how many there are; None when that is unknown.
    """

    def __init__(
        self,
        max_bytes: int,
        low: float = 0.0,
        high: float = 100.0,
        path: tuple[str, ...] = (),
        index: int = 0,
        count: int | None = None,
    ) -> None:
        self._max_bytes, self._low, self._high, self._path = max_bytes, low, high, path
        self._index, self._count = index, count
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

    def _progress(self, current: float | None, total: float | None, message: str | None) -> tuple[Progress, int]:
        """The report, and about how many bytes it is."""
        current, total = _number(current), _number(total)
        share = None
        if current is not None and total is not None and total > 0:
            share = min(1.0, max(0.0, current / total))
            self._reached = max(self._reached, self._low + (self._high - self._low) * share)
        stage, size = None, 0
        if message is not None:
            message = bounded_text(message, "progress message", self._max_bytes)
            size += len(message)
        if self._path:
            done = 100.0 * (self._reached - self._low) / ((self._high - self._low) or 1.0)
            name = bounded_text("/".join(map(str, self._path)), "name of the stage", self._max_bytes)
            stage = {"name": name, "index": self._index, "count": self._count, "progress": round(done, 3)}
            size += len(name)
        progress = self._reached if share is not None or self._path else None
        return Progress(progress, message, current, total if current is not None else None, stage), size


class Stage(_Span):
    """A named part of an `async def` task; made by `task.stage(...)`."""

    def __init__(self, channel: Channel, unawaited: dict[str, int], *span: Any) -> None:
        super().__init__(channel.max_bytes, *span)
        self._channel, self._unawaited = channel, unawaited

    def report(
        self, current: float | None = None, total: float | None = 100.0, message: str | None = None
    ) -> Coroutine[Any, Any, None]:
        """Say how far the work is: `report(3, total=10, message="page 3")`, `report(30)` percent, `report(message=…)`.

        Every report is one event in the log and one frame in the stream, none is
        skipped, and progress never falls. Costs tens of microseconds; waits only
        while more reports are unwritten than fit in memory.

        Args:
            current: units done, of `total`.
            total: units in all; 100 by default. None when it is unknown.
            message: one short line; None keeps the last one.
        """
        self._unawaited["report"] += 1
        return self._report(current, total, message)

    async def _report(self, current: float | None, total: float | None, message: str | None) -> None:
        self._unawaited["report"] -= 1
        await self._channel.tell(*self._progress(current, total, message))

    @asynccontextmanager
    async def stage(self, name: str, *, weight: float | None = None) -> AsyncIterator[Stage]:
        """A stage within this one; reports in it move its share of the whole.

        The share is what `plan` gave the name; else `weight` percent of what encloses
        it; else all that is left of it. Leaving the stage fills its share.
        """
        low, high, index, count = self._open(name, weight)
        inner = Stage(self._channel, self._unawaited, low, high, (*self._path, name), index, count)
        await inner.report(0, total=None, message=None)
        yield inner
        self._reached = high


class _AboutTask:
    """The part of both contexts that describes their task."""

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
        """The metadata that the caller attached to the task."""
        return self.info.metadata

    @property
    def state(self) -> Any:
        """The last checkpoint of an earlier attempt (or of the task this one retries), or None."""
        return self.info.state


class TaskContext(_AboutTask, Stage):
    """The running task, for an `async def` function."""

    def __init__(self, channel: Channel, info: TaskInfo) -> None:
        super().__init__(channel, {"report": 0, "emit": 0, "checkpoint": 0})
        self.info = info

    def emit(self, data: Any, *, topic: str | None = None) -> Coroutine[Any, Any, None]:
        """Send partial output to everyone who watches; kept in the log like everything else.

        Raises:
            TaskError: `NOT_JSON` or `TOO_LARGE`.
        """
        self._unawaited["emit"] += 1
        return self._emit(data, topic)

    async def _emit(self, data: Any, topic: str | None) -> None:
        self._unawaited["emit"] -= 1
        await self._channel.tell(*output(data, topic, self._max_bytes))

    def checkpoint(self, state: Any) -> Coroutine[Any, Any, None]:
        """Store `state` for the next attempt, which finds it in `task.state`.

        On disk when this returns, together with everything reported before it.

        Raises:
            TaskError: `NOT_JSON` or `TOO_LARGE`.
        """
        self._unawaited["checkpoint"] += 1
        return self._checkpoint(state)

    async def _checkpoint(self, state: Any) -> None:
        self._unawaited["checkpoint"] -= 1
        await self._channel.request(*checkpoint(state, self._max_bytes))

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
        response = await self._channel.request(*question(key, message, schema, timeout, self._max_bytes))
        return _answer(message, schema, default, response)

    def check_awaited(self) -> None:
        """Raise TaskError (`NOT_AWAITED`) if a call was made whose coroutine never began."""
        for name, count in self._unawaited.items():
            if count > 0:
                raise TaskError(
                    f"task.{name}(...) was never awaited, so it did nothing: write `await task.{name}(...)`",
                    code="NOT_AWAITED",
                    retry=False,
                )


class SyncStage(_Span):
    """A named part of a plain task function; made by `task.stage(...)`. See `Stage`."""

    def __init__(self, channel: SyncChannel, *span: Any) -> None:
        super().__init__(channel.max_bytes, *span)
        self._channel = channel

    def report(self, current: float | None = None, total: float | None = 100.0, message: str | None = None) -> None:
        """See `Stage.report`. Raises TaskCancelled when the task must stop."""
        self._channel.tell(*self._progress(current, total, message))

    @contextmanager
    def stage(self, name: str, *, weight: float | None = None) -> Iterator[SyncStage]:
        """See `Stage.stage`."""
        low, high, index, count = self._open(name, weight)
        inner = SyncStage(self._channel, low, high, (*self._path, name), index, count)
        inner.report(0, total=None, message=None)
        yield inner
        self._reached = high


class SyncTaskContext(_AboutTask, SyncStage):
    """The running task, for a plain function in a thread or a process. See `TaskContext`."""

    def __init__(self, channel: SyncChannel, info: TaskInfo) -> None:
        super().__init__(channel)
        self.info = info

    def emit(self, data: Any, *, topic: str | None = None) -> None:
        """See `TaskContext.emit`."""
        self._channel.tell(*output(data, topic, self._max_bytes))

    def checkpoint(self, state: Any) -> None:
        """See `TaskContext.checkpoint`."""
        self._channel.request(*checkpoint(state, self._max_bytes))

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
        response = self._channel.request(*question(key, message, schema, timeout, self._max_bytes))
        return _answer(message, schema, default, response)


def _number(value: float | None) -> float | None:
    """A plain finite number, also from a Decimal or a numpy scalar; None for what is not finite."""
    if value is None or type(value) is int:
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def _answer(message: str, schema: Any, default: Any, response: Mapping[str, Any]) -> Any:
    """The return value of `ask` for a response."""
    action, content = response.get("action"), response.get("content") or {}
    if action == "timeout":
        if default is None:
            raise InputDeclined(f"{message!r} was not answered in time", code="INPUT_TIMEOUT", retry=False)
        return default
    if action != "accept":
        raise InputDeclined(
            f"The question {message!r} was answered with {action!r}", code="INPUT_DECLINED", retry=False
        )
    if not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        return content
    try:
        return schema.model_validate_json(to_json_bytes(content))
    except ValidationError as error:
        raise TaskError(f"The answer to {message!r} does not fit: {error}", code="INVALID_INPUT", retry=False) from None

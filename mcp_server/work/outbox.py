"""What a function has said and its log does not hold yet.

Facts come in from any thread and go out in batches, in their order. They are checked on
the way in, so that what cannot be stored is an error at the very call that said it; and
what waits is bounded, in number and in bytes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..context import TaskCancelled
from ..errors import InvalidArgument, TaskError, protocol_error
from ..jsonable import clean, measured, storable, text
from ..task import Kind

__all__ = ["Fact", "Facts", "as_dict", "checked", "error_told_by"]

MIB = 1024 * 1024
MOST_WAITING, MOST_WAITING_BYTES = 1_000, 8 * MIB
"""What may wait to be written before a report waits too."""
BATCH, BATCH_BYTES = 500, 1 * MIB
"""What is folded into one commit: the event loop stands still while it is."""
MOST_OF_A_MESSAGE, MOST_OF_A_CODE = 10_000, 200
"""Characters kept of what an error says."""


class Fact(NamedTuple):
    kind: Kind
    at: float
    says: Mapping[str, Any]
    size: int


class Facts:
    """A queue from a function, in whatever threads it runs, to the one who writes its log."""

    def __init__(self) -> None:
        self._waiting: deque[Fact] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self.ended = False
        """The attempt's last fact is among those that wait, or was; no other is taken."""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def too_many(self) -> bool:
        return len(self._waiting) > MOST_WAITING or self._bytes > MOST_WAITING_BYTES

    def put(self, fact: Fact, *, last: bool = False) -> None:
        """Raises TaskCancelled when the last one is in: a thread may come late."""
        with self._lock:
            if self.ended:
                raise TaskCancelled("the attempt is over")
            self.ended = last
            self._waiting.append(fact)
            self._bytes += fact.size

    def take(self) -> list[Fact]:
        """The next batch: at least one fact, if there is any."""
        batch: list[Fact] = []
        room = BATCH_BYTES
        with self._lock:
            while self._waiting and len(batch) < BATCH and (not batch or self._waiting[0].size <= room):
                batch.append(self._waiting.popleft())
                room -= batch[-1].size
            self._bytes -= BATCH_BYTES - room
        return batch

    def put_back(self, batch: Sequence[Fact]) -> None:
        """They could not be written and are the next again."""
        with self._lock:
            self._waiting.extendleft(reversed(batch))
            self._bytes += sum(fact.size for fact in batch)


def checked(kind: Kind, says: Mapping[str, Any], max_bytes: int) -> tuple[Mapping[str, Any], int]:
    """What a function says, in a form that can be stored, and about how many bytes that is.

    Raises:
        TaskError: `NOT_JSON` or `TOO_LARGE`.
    """
    match kind:
        case Kind.PROGRESS:
            message, stage = says["message"], says["stage"]
            size = 0
            if message is not None:
                message = text(message, "progress message", max_bytes)
                size += len(message)
            if stage is not None:
                stage = {**stage, "name": text(stage["name"], "name of the stage", max_bytes)}
                size += len(stage["name"])
            return {**says, "message": message, "stage": stage}, size
        case Kind.OUTPUT:
            topic = None if says["topic"] is None else text(says["topic"], "topic", max_bytes)
            data, size = measured(says["data"], "output event", max_bytes)
            return {"topic": topic, "data": data}, size + len(topic or "")
        case Kind.CHECKPOINT:
            state, size = measured(says["state"], "checkpoint", max_bytes)
            return {"state": state}, size
        case Kind.INPUT_REQUIRED:
            requests, size = measured(says["requests"], "question", max_bytes)
            return {"requests": requests}, size
        case _:
            return says, 0


def error_told_by(raised: BaseException, max_bytes: int) -> TaskError | None:
    """What a function tells its callers by raising this, in a form that can be stored; None if it tells nothing."""
    match raised:
        case TaskError():
            error = raised
        case InvalidArgument():
            error = TaskError(raised.message, code=raised.code, details=raised.details, retry=False)
        case SystemExit():
            error = TaskError(f"The function called exit({raised.code!r})", code="EXIT")
        case _:
            if (found := protocol_error(raised)) is None:
                return None
            error = found
    try:
        details = clean(error.details, "details", max_bytes)
    except TaskError as unclean:
        details = {"dropped": unclean.message}
    return TaskError(
        storable(error.message, MOST_OF_A_MESSAGE),
        code=storable(error.code, MOST_OF_A_CODE),
        details=details,
        retry=error.retry,
    )


def as_dict(error: TaskError) -> dict[str, Any]:
    """What `TaskError(**…)` makes it of again."""
    return {"message": error.message, "code": error.code, "details": error.details, "retry": error.retry}

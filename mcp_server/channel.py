"""The way from a task function to the log of its task: two verbs, and what is sent with them.

What cannot be stored is refused here, so that it is an error of the very call that said it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from .errors import TaskError
from .events import Checkpoint, Happening, Output
from .jsonable import bounded_text, to_jsonable_sized
from .questions import check_key, elicitation

__all__ = ["Channel", "Question", "Request", "SyncChannel", "checkpoint", "output", "question"]

MAX_KEY_CHARS = 200
"""Characters of a question's key."""


class Question(NamedTuple):
    """A question to the caller; the reply is the response, an elicitation result.

    A question whose `timeout` (seconds) passed has the reply `{"action": "timeout"}`.
    """

    key: str | None
    """None: `q1`, `q2`… in the order of asking. No key of an author's own has this form."""
    request: Mapping[str, Any]
    timeout: float | None


Request = Checkpoint | Question
"""The messages that have a reply: that of a checkpoint is None, once it is on disk."""


class Channel(Protocol):
    """The way from an `async def` function to the log of its task."""

    max_bytes: int
    """The most that one event may hold."""

    async def tell(self, happening: Happening, size: int) -> None:
        """Report an event of about `size` bytes; waits only while too much is unwritten."""
        ...

    async def request(self, request: Request, size: int) -> Any:
        """Ask for something, after everything told before it, and return the reply. Raises TaskError."""
        ...


class SyncChannel(Protocol):
    """`Channel` for a plain function, in any of its threads. Both verbs raise TaskCancelled when the task must stop."""

    max_bytes: int

    def tell(self, happening: Happening, size: int) -> None: ...

    def request(self, request: Request, size: int) -> Any: ...


def output(data: Any, topic: str | None, max_bytes: int) -> tuple[Output, int]:
    topic = None if topic is None else bounded_text(topic, "topic", max_bytes)
    data, size = to_jsonable_sized(data, "output event", max_bytes)
    return Output(topic, data), size + len(topic or "")


def checkpoint(state: Any, max_bytes: int) -> tuple[Checkpoint, int]:
    state, size = to_jsonable_sized(state, "checkpoint", max_bytes)
    return Checkpoint(state), size


def question(key: str | None, message: str, schema: Any, timeout: float | None, max_bytes: int) -> tuple[Question, int]:
    if key is not None:
        key = bounded_text(key, "key of the question", MAX_KEY_CHARS)
        try:
            check_key(key)
        except ValueError as error:
            raise TaskError(str(error), code="RESERVED_KEY", retry=False) from None
    request, size = to_jsonable_sized(elicitation(message, schema), "question", max_bytes)
    return Question(key, request, timeout), size

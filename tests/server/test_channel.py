"""What a function says, checked on its way out: refused where it was said, or made storable."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from mcp_server import SyncTaskContext, TaskContext, TaskError
from mcp_server.channel import Request
from mcp_server.context import TaskInfo
from mcp_server.events import Happening, Progress

INFO = TaskInfo(id="t", type="work", attempt=1)


class Recorded:
    """A channel that keeps what it was told."""

    max_bytes = 99

    def __init__(self) -> None:
        self.told: list[tuple[Happening, int]] = []

    def tell(self, happening: Happening, size: int) -> None:
        self.told.append((happening, size))

    def request(self, request: Request, size: int) -> Any:
        return {"action": "accept"}


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda task: task.emit("x" * 100), "TOO_LARGE"),
        (lambda task: task.emit(1, topic="x" * 100), "TOO_LARGE"),
        (lambda task: task.emit(object()), "NOT_JSON"),
        (lambda task: task.checkpoint("x" * 100), "TOO_LARGE"),
        (lambda task: task.checkpoint(object()), "NOT_JSON"),
        (lambda task: task.report(message="x" * 100), "TOO_LARGE"),
        (lambda task: task.stage("x" * 100).__enter__(), "TOO_LARGE"),
        (lambda task: task.ask("x" * 100), "TOO_LARGE"),
        (lambda task: task.ask("?", {"type": "object", "properties": {"a": object()}}), "NOT_JSON"),
        (lambda task: task.ask("?", key="x" * 201), "TOO_LARGE"),
        (lambda task: task.ask("?", key="q2"), "RESERVED_KEY"),
    ],
)
def test_what_cannot_be_stored_is_refused_where_it_is_said(call: Callable[[Any], Any], code: str) -> None:
    """Every part of every kind that an author fills; nothing is told of it."""
    channel = Recorded()
    with pytest.raises(TaskError) as refused:
        call(SyncTaskContext(channel, INFO))
    assert (refused.value.code, refused.value.retry, channel.told) == (code, False, [])


def test_names_and_messages_are_made_storable() -> None:
    """A name may be a number, a message an exception."""
    channel = Recorded()
    with SyncTaskContext(channel, INFO).stage(7) as stage:  # type: ignore[arg-type]
        stage.report(message=ValueError("a\ud800"))  # type: ignore[arg-type]
    ((_, first), (report, size)) = channel.told
    assert isinstance(report, Progress)
    assert (report.message, report.stage and report.stage["name"]) == ("a\ufffd", "7")
    assert (first, size) == (1, 3)


class RecordedAsync(Recorded):
    async def tell(self, happening: Happening, size: int) -> None:  # type: ignore[override]
        self.told.append((happening, size))

    async def request(self, request: Request, size: int) -> Any:
        return {"action": "accept"}


@pytest.mark.parametrize("name", ["report", "emit", "checkpoint"])
async def test_a_call_that_was_not_awaited_is_known(name: str) -> None:
    """Until its coroutine begins; also a call on a stage."""
    task = TaskContext(RecordedAsync(), INFO)
    async with task.stage("a") as stage:
        pending = stage.report(1) if name == "report" else getattr(task, name)(1)
    with pytest.raises(TaskError, match=f"never awaited.*await task.{name}") as refused:
        task.check_awaited()
    assert refused.value.code == "NOT_AWAITED"
    with suppress(TaskError):
        await pending
    task.check_awaited()

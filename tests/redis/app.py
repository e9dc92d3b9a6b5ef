"""The application of the fleet tests: that of the crash tests, with more task types."""

from __future__ import annotations

import time

import anyio

from mcp_server import TaskContext
from tests.crash.application import Name, server

__all__ = ["server"]


@server.task(concurrency=1)
async def single(pause: float, *, task: TaskContext) -> int:
    """One at a time over the whole fleet."""
    await anyio.sleep(pause)
    return task.attempt


@server.task
async def confirm(*, task: TaskContext) -> bool:
    """Asks once and returns the answer."""
    answer = await task.ask("Go on?", {"type": "object", "properties": {"yes": {"type": "boolean"}}}, key="go")
    return bool(answer["yes"])


@server.task(ask_first={"who": ("Who?", Name)})
async def greet(*, task: TaskContext) -> str:
    """Asks before there is a task."""
    return f"Hello {(await task.ask('Who?', Name, key='who')).name}"


@server.task
async def stamp(times: int, pause: float, report: bool = False, *, task: TaskContext) -> None:
    """Says the time, again and again."""
    for number in range(1, times + 1):
        if report:
            await task.report(number, total=times, message=repr(time.time()))
        else:
            await task.emit(time.time(), topic="stamp")
        await anyio.sleep(pause)


@server.task
async def noop() -> None:
    """Does nothing."""

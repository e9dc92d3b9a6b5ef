"""Task types that go beyond a bound, for a server whose events may have 100 000 bytes."""

from __future__ import annotations

import time

import anyio

from mcp_server import LongTaskServer, SyncTaskContext, TaskContext

server = LongTaskServer("limits")

HUGE = "x" * 200_000


@server.task
async def returns_much(*, task: TaskContext) -> str:
    await task.emit("before", topic="part")
    return HUGE


@server.task
async def emits_much(*, task: TaskContext) -> None:
    await task.emit("before", topic="part")
    await task.emit(HUGE)


@server.task
async def keeps_much(*, task: TaskContext) -> None:
    await task.emit("before", topic="part")
    await task.checkpoint(HUGE)


@server.task
async def says_much(*, task: TaskContext) -> None:
    await task.emit("before", topic="part")
    await task.report(1, message=HUGE)


@server.task(process=True)
def returns_much_from_a_process(*, task: SyncTaskContext) -> str:
    task.emit("before", topic="part")
    return HUGE


@server.task(process=True)
def emits_much_from_a_process(*, task: SyncTaskContext) -> None:
    task.emit("before", topic="part")
    task.emit(HUGE)


@server.task
async def returns_just_enough(size: int, *, task: TaskContext) -> str:
    await task.emit("before", topic="part")
    return "x" * (size - 2)  # the quotes of JSON


@server.task
async def blocks_the_loop(seconds: float, *, task: TaskContext) -> str:
    await task.report(50)
    a_computation_that_never_awaits(seconds)
    await anyio.lowlevel.checkpoint()
    return "done"


def a_computation_that_never_awaits(seconds: float) -> None:
    time.sleep(seconds)

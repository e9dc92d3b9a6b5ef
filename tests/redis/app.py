"""The application of the fleet tests. `newer` is its next version, which also knows the task type `later`."""

from __future__ import annotations

import time
from typing import Any

import anyio

from mcp_server import LongTaskServer, TaskContext


def make(*, new: bool = False) -> LongTaskServer:
    server = LongTaskServer("fleet")

    @server.task(max_attempts=1000)
    async def count(steps: int, pause: float = 0.0, *, task: TaskContext) -> dict[str, Any]:
        """Counts, one output and one checkpoint per step, and goes on from the checkpoint."""
        first = task.state["next"] if task.state else 1
        for step in range(first, steps + 1):
            await anyio.sleep(pause)
            await task.emit(step, topic="step")
            await task.checkpoint({"next": step + 1})
        return {"steps": steps, "attempt": task.attempt, "first": first}

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

    @server.task
    async def stamp(times: int, pause: float, *, task: TaskContext) -> None:
        """Emits the time, again and again."""
        for _ in range(times):
            await task.emit(time.time(), topic="stamp")
            await anyio.sleep(pause)

    if new:

        @server.task
        async def later(number: int) -> int:
            """A type that old workers do not know."""
            return number + 1

    return server


server = make()
newer = make(new=True)

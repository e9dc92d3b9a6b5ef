"""The application of the fleet tests, and its processes.

Run as `python -m tests.redis.app replica|worker [new]`; everything else comes from
`LONGTASKS_…` variables. With `new`, it also knows the task type `later`.
"""

from __future__ import annotations

import sys
from typing import Any

import anyio

from mcp_server import LongTaskServer, TaskContext
from mcp_server.cli_fleet import work
from mcp_server.serving import serve, set_up_logging


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

    if new:

        @server.task
        async def later(number: int) -> int:
            """A type that old workers do not know."""
            return number + 1

    return server


def main() -> None:
    role, *options = sys.argv[1:]
    server = make(new="new" in options)
    set_up_logging(server.engine.settings.log_level)
    if role == "worker":
        anyio.run(work, server)
    else:
        anyio.run(lambda: serve(server, work="work" in options))


if __name__ == "__main__":
    main()

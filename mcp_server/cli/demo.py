"""The stock server: two demonstration task types, for trying things out and for tests of clients."""

from __future__ import annotations

from typing import Annotated, Any

import anyio
from pydantic import Field

from ..app import LongTaskServer
from ..context import TaskContext
from ..settings import Settings

__all__ = ["demo_server"]

Duration = Annotated[float, Field(ge=0, le=3600, description="How long it takes in all, in seconds")]
Steps = Annotated[int, Field(ge=1, le=10_000, description="How many steps it reports")]


def demo_server(settings: Settings | None = None) -> LongTaskServer:
    """A server with the task types `data_analysis` and `data_processing`."""
    server = LongTaskServer("longtasks", settings=settings)

    @server.task
    async def data_analysis(duration_seconds: Duration = 30, steps: Steps = 10, *, task: TaskContext) -> dict[str, Any]:
        """A demonstration: pretends to analyse data, one step after the other."""
        return await _pretend("data_analysis", duration_seconds, steps, task)

    @server.task
    async def data_processing(
        duration_seconds: Duration = 30, steps: Steps = 10, *, task: TaskContext
    ) -> dict[str, Any]:
        """A demonstration: pretends to process data, one step after the other."""
        return await _pretend("data_processing", duration_seconds, steps, task)

    return server


async def _pretend(task_type: str, duration_seconds: float, steps: int, task: TaskContext) -> dict[str, Any]:
    for step in range(1, steps + 1):
        await anyio.sleep(duration_seconds / steps)
        await task.report(step, total=steps, message=f"Processing step {step}/{steps} - {task_type}")
    task.summary = f"Completed {steps} steps successfully"
    return {"task_type": task_type, "steps": steps, "duration_seconds": duration_seconds}

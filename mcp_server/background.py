"""Work that goes on beside a block, and ends with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup

__all__ = ["background_tasks"]


@asynccontextmanager
async def background_tasks() -> AsyncIterator[TaskGroup]:
    """A task group that is cancelled when the block is left.

    Unlike a bare one it does not wrap what the block itself raises into an
    ExceptionGroup: that exception is the caller's own, and `except` must find it.
    """
    raised: Exception | None = None
    async with anyio.create_task_group() as tasks:
        try:
            yield tasks
        except Exception as error:
            raised = error
        tasks.cancel_scope.cancel()
    if raised is not None:
        raise raised

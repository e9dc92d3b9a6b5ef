"""What the tests of the Redis backend do with it again and again."""

from __future__ import annotations

import anyio

from mcp_server.backend import Limits
from mcp_server.backends.redis import RedisBackend
from tests.contract.tasks import TYPE, finish

__all__ = ["LIMITS", "PATIENCE", "serve_one", "until_over"]

PATIENCE = 60.0
"""Seconds after which something counts as never happening."""
LIMITS = Limits(total=4, types={TYPE: None})


async def serve_one(backend: RedisBackend) -> None:
    """Serve until one task was finished."""
    over = anyio.Event()

    async def handle(task_id: str) -> None:
        await finish(backend, task_id)
        over.set()

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as serving:
            serving.start_soon(backend.serve, handle, LIMITS)
            await over.wait()
            serving.cancel_scope.cancel()


async def until_over(backend: RedisBackend, task_id: str) -> None:
    while (seen := await backend.load(task_id)) is None or not seen.is_over:
        await backend.wait(task_id, seen.last_event_id if seen else 0)

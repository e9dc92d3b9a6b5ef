"""The application of the end-to-end tests."""

from __future__ import annotations

import time

import anyio

from mcp_server import LongTaskServer, SyncTaskContext, TaskContext

server = LongTaskServer("e2e")


@server.task
async def stubborn(*, task: TaskContext) -> None:
    """Does not let itself be cancelled."""
    await task.report(1)
    while True:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            pass


@server.task(process=True)
def deaf_process(*, task: SyncTaskContext) -> None:
    """A process that hears nothing."""
    task.report(1)
    while True:
        time.sleep(3600)

"""A server with one task type; an interrupted task goes on where its last checkpoint was."""

from __future__ import annotations

import asyncio

from mcp_server import LongTaskServer, TaskContext

server = LongTaskServer("quickstart")


@server.task(timeout=600)
async def summarize(pages: int = 5, *, task: TaskContext) -> dict[str, int]:
    """Summarize a report, page by page."""
    done = task.state or 0
    for page in range(done + 1, pages + 1):
        await asyncio.sleep(0.1)  # the real work
        await task.emit(f"Page {page} says something.", topic="summary")
        await task.report(page, total=pages, message=f"page {page} of {pages}")
        await task.checkpoint(page)
    return {"pages": pages}

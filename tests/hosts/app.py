"""The application that the agent hosts are given: one slow task type, as people write them."""

from __future__ import annotations

import anyio

from mcp_server import LongTaskServer, TaskContext

__all__ = ["REPORT", "server"]

REPORT = "The quarter was good: revenue is up 12 percent."

server = LongTaskServer("longtasks")


@server.task
async def build_report(seconds: float = 60, *, task: TaskContext) -> dict[str, str]:
    """Build the quarterly report, which takes a minute or longer."""
    sections = max(1, round(seconds))
    for section in range(1, sections + 1):
        await anyio.sleep(seconds / sections)
        await task.report(section, total=sections, message=f"section {section}")
    return {"report": REPORT}

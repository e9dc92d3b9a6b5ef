"""A server of the official SDK with an ordinary tool, and one whose calls run in the background.

`python examples/sdk_server/server.py` speaks MCP over stdio, `… streamable-http` over HTTP on port 8000.
"""

from __future__ import annotations

import asyncio
import sys

from mcp.server.mcpserver import MCPServer

from mcp_server import Engine, Registry, Settings, TaskContext, TasksExtension, open_backend

registry = Registry()


@registry.task(timeout=600)
async def render(pages: int = 3, *, task: TaskContext) -> dict[str, int]:
    """Render a book, page by page."""
    for page in range(1, pages + 1):
        await asyncio.sleep(0.1)  # the real work
        await task.report(page, total=pages, message=f"page {page}")
    return {"pages": pages}


settings = Settings.load()  # LONGTASKS_BACKEND and the others
tasks = TasksExtension(Engine(registry, open_backend(settings), settings))
server = MCPServer("books", extensions=[tasks], middleware=[tasks.listen], lifespan=tasks.lifespan)


@server.tool()
def titles() -> list[str]:
    """The books there are."""
    return ["Moby-Dick"]


if __name__ == "__main__":
    server.run("streamable-http" if "streamable-http" in sys.argv else "stdio")

"""What the benchmarks measure against each other: our server with a no-op task, a bare `MCPServer` with an empty
tool, and a bare Starlette stream of ready bytes.

Usage: python servers.py bare|noop|plain
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import anyio
import uvicorn
from mcp.server.mcpserver import MCPServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from mcp_server import LongTaskServer, TaskContext

server = LongTaskServer("bench")


@server.task
async def noop() -> None:
    """Does nothing."""


@server.task(process=True)
def noop_process() -> None:
    """Does nothing, in a process of its own."""


@server.task
async def burst(events: int, pause: float = 0.0, *, task: TaskContext) -> int:
    """Reports so many times, after a pause."""
    await anyio.sleep(pause)
    for number in range(1, events + 1):
        await task.report(number, total=events, message=f"step {number} of {events}")
    return events


@server.task
async def idle(*, task: TaskContext) -> None:
    """Waits to be cancelled."""
    await task.report(1, total=2, message="waiting")
    await anyio.sleep_forever()


def bare() -> Starlette:
    mcp = MCPServer("bare", log_level="WARNING")

    @mcp.tool()
    async def empty() -> str:
        """Does nothing."""
        return ""

    return mcp.streamable_http_app(json_response=True, stateless_http=True)


FRAME = (
    b'id: 12345\nevent: progress\ndata: {"operation_id":"0123456789abcdef0123456789abcdef","task_type":"burst",'
    b'"progress":50.0,"message":"step 5000 of 10000","status":"running",'
    b'"started_at":"2026-01-01T00:00:00.000Z","updated_at":"2026-01-01T00:00:01.000Z","elapsed_seconds":1.0,"estimated_remaining":1.0,"current":5000.0,"total":10000.0,'
    b'"stage":null}\n\n'
)


def plain() -> Starlette:
    async def stream(request: Request) -> Response:
        events = int(request.query_params["events"])

        async def ready() -> AsyncIterator[bytes]:
            for _ in range(events):
                yield FRAME

        return StreamingResponse(ready(), media_type="text/event-stream")

    return Starlette(routes=[Route("/stream", stream)])


if __name__ == "__main__":
    uvicorn.run({"bare": bare, "plain": plain}[sys.argv[1]](), port=0, log_level="info", access_log=False)

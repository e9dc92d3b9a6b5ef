# mypy: ignore-errors
"""The official Python SDK 1.x, over HTTP or stdio: `mcp1.py URL` or `mcp1.py stdio COMMAND...`.

Not type-checked: the environment that checks has the SDK's 2.x.
"""

import asyncio
import sys
from contextlib import asynccontextmanager
from datetime import timedelta

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client
from story import follow_tools, reply_of


@asynccontextmanager
async def connected(target):
    if target[0] == "stdio":
        transport = stdio_client(StdioServerParameters(command=target[1], args=target[2:]))
    else:
        transport = streamablehttp_client(target[0])
    async with transport as streams, ClientSession(*streams[:2]) as session:
        await session.initialize()
        yield session


async def main() -> None:
    async with connected(sys.argv[1:]) as session:
        assert "start_long_task" in [tool.name for tool in (await session.list_tools()).tools]

        async def call(tool, arguments):
            result = await session.call_tool(tool, dict(arguments), timedelta(seconds=60))
            return reply_of(result.structuredContent, [block.text for block in result.content])

        await follow_tools(call)
        reports = []

        async def on_progress(progress, total, message) -> None:
            reports.append(progress)

        # A task type's own tool: a caller that shows progress is answered with the result itself.
        result = await session.call_tool(
            "data_analysis", {"duration_seconds": 1, "steps": 4}, progress_callback=on_progress
        )
        assert result.structuredContent["steps"] == 4, result
        assert reports == sorted(reports), reports


asyncio.run(main())

# mypy: ignore-errors
"""FastMCP 4's client, which speaks the tasks extension by itself: `fastmcp4.py URL` or `fastmcp4.py stdio COMMAND...`.

Not type-checked: FastMCP cannot be installed beside what checks.
"""

import asyncio
import sys

from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from fastmcp_tasks.client import call_tool_task
from story import follow_tools, reply_of


async def main() -> None:
    target = sys.argv[1:]
    transport = StdioTransport(target[1], target[2:]) if target[0] == "stdio" else target[0]
    async with Client(transport) as client:

        async def call(tool, arguments):
            result = await client.call_tool(tool, dict(arguments), raise_on_error=False)
            return reply_of(result.structured_content, [block.text for block in result.content])

        await follow_tools(call)

        # A task that its caller never hears of ...
        result = await client.call_tool("data_analysis", {"duration_seconds": 1, "steps": 4})
        assert result.structured_content["steps"] == 4, result
        # ... one that is held as a task ...
        task = await call_tool_task(client, "data_analysis", {"duration_seconds": 1, "steps": 3})
        assert (await task.status()).status in ("working", "completed")
        assert (await task.result()).structured_content["steps"] == 3
        # ... and one that is cancelled.
        task = await call_tool_task(client, "data_analysis", {"duration_seconds": 600})
        await task.cancel()
        assert (await task.wait()).status == "cancelled"


asyncio.run(main())

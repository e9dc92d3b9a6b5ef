"""The official Python SDK 2.x: `mcp2.py MODE URL` or `mcp2.py MODE stdio COMMAND...`; MODE is the client's."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import Any

from mcp import Client, StdioServerParameters
from mcp_types import TextContent

from tests.clients.story import follow_tools, reply_of


def server(target: list[str]) -> StdioServerParameters | str:
    return StdioServerParameters(command=target[1], args=target[2:]) if target[0] == "stdio" else target[0]


async def main(mode: Any, target: list[str]) -> None:
    async with Client(server(target), mode=mode, read_timeout_seconds=60) as client:
        expected = "2025-11-25" if mode == "legacy" else "2026-07-28"
        assert client.protocol_version == expected, client.protocol_version
        assert "start_long_task" in [tool.name for tool in (await client.list_tools()).tools]

        async def call(tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
            result = await client.call_tool(tool, dict(arguments))
            texts = [block.text for block in result.content if isinstance(block, TextContent)]
            return reply_of(result.structured_content, texts)

        await follow_tools(call)
        reports: list[float] = []

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            reports.append(progress)

        # A task type's own tool: a caller that shows progress is answered with the result itself.
        result = await client.call_tool(
            "data_analysis", {"duration_seconds": 1, "steps": 4}, progress_callback=on_progress
        )
        assert result.structured_content is not None
        assert result.structured_content["steps"] == 4, result
        assert reports == sorted(reports), reports


asyncio.run(main(sys.argv[1], sys.argv[2:]))

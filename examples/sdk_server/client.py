"""Starts `server.py`, calls both of its tools, and exits non-zero unless all went well."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from mcp import Client, StdioServerParameters

from client_sdk.mcp import TasksExtension

SERVER = Path(__file__).with_name("server.py")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name.startswith(("LONGTASKS_", "PYTHON"))}


async def main() -> None:
    command = StdioServerParameters(command=sys.executable, args=[str(SERVER)], env=ENVIRONMENT)
    # A client that speaks the tasks extension: the call becomes a task, which is followed to its result.
    async with Client(command, extensions=[TasksExtension()]) as client:
        books = await client.call_tool("titles")
        result = await client.call_tool("render", {"pages": 3})
    assert books.structured_content == {"result": ["Moby-Dick"]}, books
    assert result.structured_content == {"pages": 3}, result
    # One that does not: the call is held until the task is over, and answers with the result all the same.
    async with Client(command) as client:
        result = await client.call_tool("render", {"pages": 2})
    assert result.structured_content == {"pages": 2}, result
    print("rendered twice")


asyncio.run(main())

"""The MCP Inspector's command line: `inspector.py "NODE CLI" URL` or `inspector.py "NODE CLI" stdio COMMAND...`.

Each call is a process and a connection of its own, so over stdio each has a server of
its own as well: what one started, the next finds in the store.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

import anyio

from tests.clients.story import follow_across_processes, follow_tools, reply_of

PATIENT = ("--connect-timeout", "60000")
"""Over stdio it starts a server for each call and by default gives it 15 s, which a busy machine may need."""


async def inspect(cli: list[str], target: list[str], *options: str) -> dict[str, Any]:
    server = target[1:] if target[0] == "stdio" else [target[0], "--transport", "http"]
    result = await anyio.run_process([*cli, *server, *PATIENT, *options], check=False)
    try:
        found: dict[str, Any] = json.loads(result.stdout)
    except ValueError:
        raise AssertionError(f"{options}: {result.stdout.decode()} {result.stderr.decode()}") from None
    return found


async def main(cli: list[str], target: list[str]) -> None:
    listed = await inspect(cli, target, "--method", "tools/list")
    assert "start_long_task" in [tool["name"] for tool in listed["tools"]]

    async def call(tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        pairs = [f"{key}={json.dumps(value)}" for key, value in arguments.items()]
        options = ["--method", "tools/call", "--tool-name", tool]
        result = await inspect(cli, target, *options, *(o for pair in pairs for o in ("--tool-arg", pair)))
        return reply_of(result["structuredContent"], [block["text"] for block in result["content"]])

    await (follow_across_processes if target[0] == "stdio" else follow_tools)(call)


asyncio.run(main(sys.argv[1].split(), sys.argv[2:]))

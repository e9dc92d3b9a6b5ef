# mypy: ignore-errors
"""A FastMCP 4 server with one empty background task, for the benchmark: `fastmcp4.py REDIS_URL PORT CONCURRENCY`.

Not type-checked: FastMCP lives in an environment of its own.
"""

import sys

from fastmcp import FastMCP
from fastmcp_tasks import TasksExtension

url, port, concurrency = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
server = FastMCP("bench")
server.add_extension(TasksExtension(url=url, concurrency=concurrency))


@server.tool(task=True)
async def noop() -> None:
    """Does nothing."""


server.run(transport="http", port=port, json_response=True, show_banner=False, log_level="WARNING")

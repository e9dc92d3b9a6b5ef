"""Long tasks for the official SDK's `mcp.Client`, on any server that speaks the tasks extension (SEP-2663).

    from client_sdk.mcp import TasksExtension
    from mcp import Client

    async with Client(url, extensions=[TasksExtension()]) as client:
        result = await client.call_tool("ingest", {"path": "report.pdf"})

A call the server turns into a task is followed to its end and returns what it would
have returned at once. Needs the package `mcp`, which nothing else in `client_sdk` does.
Knows the extension's specification and nothing of our own server.
"""

from ._tasks import TasksExtension, TaskState
from ._transport import patient_http

__all__ = ["TaskState", "TasksExtension", "patient_http"]

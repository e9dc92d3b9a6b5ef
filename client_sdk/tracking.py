"""The functions of the older progress-tracking document, with their arguments and return values.

Scripts written after that document run when only their imports change. The functions return
plain dictionaries as they are on the wire and answer failure with
`{"status": "error", "error": …}` rather than an exception. They use the same
connection and the same resuming stream as `LongTaskClient`, which new code should use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio

from ._backoff import Patience
from ._connection import Connection, parsed
from ._poll import Callback, call_back
from ._stream import Frames
from .errors import LongTaskClientError, NotFound, Refused, Unavailable
from .wire import TERMINAL_STATUSES, TaskStatus

__all__ = ["MCPClient", "poll_progress", "safe_stream", "start_and_stream", "stream_progress"]

_DEFAULT_URL = "http://localhost:8081"

Data = dict[str, Any]


class MCPClient:
    """Tool calls to one server, each over a connection of its own, so that nothing has to be closed.

    Args:
        base_url: where the server is, without `/mcp`.
        token: sent as `Authorization: Bearer`.
    """

    def __init__(self, base_url: str = _DEFAULT_URL, token: str | None = None) -> None:
        self.base_url, self._token = base_url, token

    async def call_tool(self, name: str, arguments: Mapping[str, Any] | None = None) -> Data:
        """Call a tool; the whole JSON-RPC answer.

        Raises:
            Unavailable, Refused: there was no such answer.
        """
        connection = Connection(self.base_url, self._token)
        try:
            # Tools may hold the answer back for as long as they were asked to.
            wait = float((arguments or {}).get("wait_seconds") or 0.0)
            return await connection.call_raw(name, arguments or {}, wait=wait)
        finally:
            await connection.aclose()

    async def call_and_parse(self, name: str, arguments: Mapping[str, Any] | None = None) -> Data:
        """Call a tool; what it answered: `status`, `data` and, with status `error`, `error`."""
        message = await self.call_tool(name, arguments)
        if "error" in message:
            return {"status": "error", "error": message["error"].get("message"), "data": None}
        answer = parsed(message)
        if isinstance(answer, dict):
            return answer
        if message.get("result", {}).get("isError"):
            return {"status": "error", "error": answer, "data": None}
        return {"status": "success", "data": answer}

    async def get_health(self) -> Data:
        """The body of `GET /health`.

        Raises:
            Unavailable: there was none.
        """
        connection = Connection(self.base_url, self._token)
        try:
            return await connection.health()
        finally:
            await connection.aclose()


async def stream_progress(
    base_url: str | None = None, operation_id: str | None = None, callback: Callback | None = None
) -> Data:
    """Follow a task by its stream, through lost connections; `callback` gets the data of each `progress` event.

    With one positional argument that is the operation id, and the server is the one on
    port 8081 of this machine.

    Returns:
        The data of the last progress event with `final_status`, or
        `{"status": "error", "error": …}` when the task failed or there is no such task.
    """
    if operation_id is None:
        base_url, operation_id = None, base_url
    if operation_id is None:
        raise TypeError("stream_progress() needs an operation_id")
    connection = Connection(base_url or _DEFAULT_URL)
    frames = Frames(connection, operation_id, after=0, heartbeat=15.0, patience=Patience())
    last: Data | None = None
    try:
        async for frame in frames:
            if frame.event == "progress":
                last = frame.data
                await call_back(callback, frame.data)
            elif frame.event == "done":
                if last is None:
                    return frame.data
                return {**last, "final_status": frame.data.get("status")}
            elif frame.event == "error":
                return {"status": "error", "error": frame.data.get("error")}
    except NotFound:
        return {"status": "error", "error": "HTTP 404"}
    except Refused as error:
        return {"status": "error", "error": error.error_code.replace("HTTP_", "HTTP ")}
    except LongTaskClientError as error:
        return {"status": "error", "error": error.message}
    finally:
        await frames.aclose()
        await connection.aclose()
    return last or {"status": "error", "error": "Stream ended"}


async def start_and_stream(
    base_url: str,
    task_type: str,
    duration_seconds: float = 30,
    steps: int = 10,
    callback: Callback | None = None,
) -> Data:
    """Start a task, follow it by its stream, and fetch its result.

    Returns:
        What `get_task_result` answered for a completed task, what `start_long_task`
        answered if that was no success, else what `stream_progress` returned.
    """
    client = MCPClient(base_url)
    started = await client.call_and_parse(
        "start_long_task", {"task_type": task_type, "duration_seconds": duration_seconds, "steps": steps}
    )
    if started.get("status") != "success":
        return started
    operation_id = started["data"]["operation_id"]
    end = await stream_progress(base_url, operation_id, callback)
    if end.get("status") != TaskStatus.COMPLETED:
        return end
    return await client.call_and_parse("get_task_result", {"operation_id": operation_id})


async def poll_progress(
    client: MCPClient | str, operation_id: str | None = None, interval: float = 1.0, timeout: float = 300.0
) -> Data:
    """Ask for a task's progress every `interval` seconds and print a line each time.

    With one positional argument that is the operation id, and the server is the one on
    port 8081 of this machine.

    Returns:
        The task's data once it has completed, else `{"status": "error", "error": …}`:
        why it failed or that it was cancelled or not found, or `Timeout` after `timeout` seconds.

    Raises:
        Unavailable: there was no server from the start; one that goes away later is waited for.
    """
    client, operation_id = (MCPClient(), client) if isinstance(client, str) else (client, operation_id)
    if operation_id is None:
        raise TypeError("poll_progress() needs an operation_id")
    was_there = False
    with anyio.move_on_after(timeout):
        while True:
            try:
                answer = await client.call_and_parse("get_task_progress", {"operation_id": operation_id})
            except Unavailable:
                if not was_there:
                    raise
                await anyio.sleep(interval)
                continue
            was_there = True
            if answer.get("status") != "success":
                return {"status": "error", "error": answer.get("error")}
            data: Data = answer["data"]
            print(f"{data['progress']:.0f}% - {data['message']} [{data['status']}]")  # noqa: T201 the document's output
            if data["status"] == TaskStatus.COMPLETED:
                return data
            if data["status"] in TERMINAL_STATUSES:
                return {"status": "error", "error": data.get("error") or data["message"]}
            await anyio.sleep(interval)
    return {"status": "error", "error": "Timeout"}


async def safe_stream(operation_id: str, timeout: float = 300.0, *, base_url: str = _DEFAULT_URL) -> Data:
    """`stream_progress` that gives up after `timeout` seconds; the task goes on."""
    with anyio.move_on_after(timeout):
        return await stream_progress(base_url, operation_id)
    return {"status": "error", "error": "Operation timed out"}

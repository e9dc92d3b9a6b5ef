"""A client as someone writes it who has read nothing but the old progress-tracking document.

Line by line, with no cursor and no reconnecting: what it relies on must go on to hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import httpx2

__all__ = ["DocumentedClient"]

Callback = Callable[[dict[str, Any]], None]


class DocumentedClient:
    """Calls tools with bare requests, without `initialize` or a session."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    async def call_and_parse(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The object in the first content block."""
        request = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": tool, "arguments": arguments},
        }
        headers = {"Accept": "application/json, text/event-stream"}
        async with httpx2.AsyncClient(timeout=30) as http:
            response = await http.post(f"{self.base_url}/mcp", json=request, headers=headers)
        # The answer may be plain JSON or one server-sent event.
        lines = response.text.splitlines()
        payload = next((line[len("data:") :] for line in lines if line.startswith("data:")), response.text)
        parsed: dict[str, Any] = json.loads(json.loads(payload)["result"]["content"][0]["text"])
        return parsed

    async def watch(self, operation_id: str, callback: Callback) -> dict[str, Any]:
        """Follow the stream, knowing `progress`, `done` and `error` only; the last progress with its final status."""
        name, latest = "", dict[str, Any]()
        address = f"{self.base_url}/progress/{operation_id}/stream"
        async with httpx2.AsyncClient(timeout=300) as http, http.stream("GET", address) as response:
            if response.status_code != 200:
                return {"status": "error", "error": f"HTTP {response.status_code}"}
            async for line in response.aiter_lines():
                field, _, value = line.partition(":")
                if field == "event":
                    name = value.strip()
                elif field == "data":
                    data = json.loads(value)
                    if name == "progress":
                        latest = data
                        callback(data)
                    elif name == "done":
                        return {**latest, "final_status": data["status"]}
                    elif name == "error":
                        return {"status": "error", "error": data["error"]}
        raise AssertionError("the stream ended without an end")

    async def start_and_watch(
        self, task_type: str, duration_seconds: float, steps: int, callback: Callback
    ) -> dict[str, Any]:
        """Start, follow, and get the result."""
        shorthand = {"task_type": task_type, "duration_seconds": duration_seconds, "steps": steps}
        reply = await self.call_and_parse("start_long_task", shorthand)
        if reply["status"] != "success":
            return reply
        operation_id = reply["data"]["operation_id"]
        last = await self.watch(operation_id, callback)
        if last.get("status") != "completed":
            return last
        return await self.call_and_parse("get_task_result", {"operation_id": operation_id})

    async def poll(self, operation_id: str, interval: float, callback: Callback) -> dict[str, Any]:
        """Ask at a fixed interval until the task is over."""
        while True:
            reply = await self.call_and_parse("get_task_progress", {"operation_id": operation_id})
            if reply["status"] == "success":
                callback(reply["data"])
                if reply["data"]["status"] == "completed":
                    data: dict[str, Any] = reply["data"]
                    return data
                if reply["data"]["status"] == "failed":
                    return {"status": "error", "error": reply["data"]["error"]}
            await anyio.sleep(interval)

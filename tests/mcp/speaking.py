"""The modern protocol by the letter, for tests: one POST per request, with everything it needs inside.

`Modern` is a client of whatever capabilities a test gives it; it knows no SDK, so that
what is tested is the wire.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2

__all__ = ["FORMS", "TASKS", "Modern", "Refused"]

TASKS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
FORMS: dict[str, Any] = {"elicitation": {"form": {}}}

_NAMES = {"tools/call": "name", "resources/read": "uri"}


class Refused(Exception):
    """A JSON-RPC error."""

    def __init__(self, error: Mapping[str, Any], status: int) -> None:
        super().__init__(error["message"])
        self.code, self.status = error["code"], status
        self.data: Any = error.get("data")


class Modern:
    """A client of protocol 2026-07-28."""

    def __init__(
        self, http: httpx2.AsyncClient, capabilities: Mapping[str, Any] | None = None, name: str = "tests"
    ) -> None:
        self.http, self.name = http, name
        self.capabilities = {**TASKS, **FORMS} if capabilities is None else capabilities

    def message(self, method: str, params: Mapping[str, Any], meta: Mapping[str, Any] | None = None) -> dict[str, Any]:
        stamped = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": self.name, "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": self.capabilities,
            **(meta or {}),
        }
        return {"jsonrpc": "2.0", "id": 7, "method": method, "params": {**params, "_meta": stamped}}

    def headers(self, method: str, params: Mapping[str, Any]) -> dict[str, str]:
        found = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": method,
        }
        key = _NAMES.get(method, "taskId")
        return {**found, "Mcp-Name": params[key]} if key in params else found

    async def request(
        self,
        method: str,
        params: Mapping[str, Any],
        *,
        meta: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The result of a request; notifications before it go to nobody.

        Raises:
            Refused: the answer is an error.
        """
        shown = self.headers(method, params) if headers is None else dict(headers)
        response = await self.http.post("/mcp", json=self.message(method, params, meta), headers=shown)
        messages = _messages(response)
        if "error" in messages[-1]:
            raise Refused(messages[-1]["error"], response.status_code)
        result: dict[str, Any] = messages[-1]["result"]
        return result

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        return await self.request("tools/call", {"name": tool, "arguments": dict(arguments or {}), **more}, meta=meta)

    async def reply(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The reply object of one of our tools."""
        structured: dict[str, Any] = (await self.call(tool, arguments))["structuredContent"]
        return structured

    async def start(self, tool: str, arguments: Mapping[str, Any] | None = None) -> str:
        """Call a tool that becomes a task; the task's id."""
        result = await self.call(tool, arguments)
        assert result["resultType"] == "task", result
        task_id: str = result["taskId"]
        return task_id

    async def get(self, task_id: str) -> dict[str, Any]:
        return await self.request("tasks/get", {"taskId": task_id})

    async def update(self, task_id: str, **responses: Any) -> dict[str, Any]:
        return await self.request("tasks/update", {"taskId": task_id, "inputResponses": responses})

    async def cancel(self, task_id: str) -> dict[str, Any]:
        return await self.request("tasks/cancel", {"taskId": task_id})

    async def until(self, task_id: str, *statuses: str) -> dict[str, Any]:
        """The task once it has one of the statuses."""
        return await self.until_it(task_id, lambda task: task["status"] in statuses)

    async def until_it(self, task_id: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The task as soon as something about it is so; in between, the server is asked to wait for news."""
        with anyio.fail_after(20):
            while True:
                task = await self.get(task_id)
                if is_so(task):
                    return task
                cursor = task["_meta"]["mcp-long-tasks/task"]["cursor"]
                await self.reply("get_task_progress", operation_id=task_id, since=cursor, wait_seconds=20)

    @asynccontextmanager
    async def listen(self, **wanted: Any) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """The messages of a `subscriptions/listen` stream."""
        params = {"notifications": wanted}
        body = self.message("subscriptions/listen", params)
        head = self.headers("subscriptions/listen", params)
        async with self.http.stream("POST", "/mcp", json=body, headers=head, timeout=30) as response:
            if "text/event-stream" not in response.headers["content-type"]:
                raise Refused(json.loads(await response.aread())["error"], response.status_code)
            yield _events(response)


async def _events(response: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def _messages(response: httpx2.Response) -> list[dict[str, Any]]:
    if "text/event-stream" not in response.headers["content-type"]:
        return [response.json()]
    lines = response.text.splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]

"""Servers for tests, and the plain HTTP a test speaks to them.

`serve` puts an application on a free port of 127.0.0.1 under uvicorn, in the test's own
event loop; `Caller` sends what `curl` would and reads server-sent events by the letter.
Nothing here knows the client SDK: the wire is what is tested.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from starlette.types import ASGIApp

from mcp_server import LongTaskServer, Settings

__all__ = ["Caller", "Frame", "Stream", "make_server", "serve"]


def make_server(directory: Path, **settings: Any) -> LongTaskServer:
    """A server without task types whose tasks are in a file of that directory."""
    values: dict[str, Any] = {"backend": f"sqlite:///{directory / 'tasks.db'}", "lease": 1.0, "cancel_grace": 0.3}
    return LongTaskServer("tests", settings=Settings(**{**values, **settings}))


@dataclass(frozen=True, slots=True)
class Frame:
    """One server-sent event; a comment has the name `comment` and its text as data."""

    id: int | None
    event: str
    data: Any


class Stream:
    """An open stream: its response head, and its frames."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self.retry: int | None = None
        self._lines = response.aiter_lines()

    async def __aiter__(self) -> AsyncIterator[Frame]:
        number: int | None = None
        event, data = "message", ""
        async for line in self._lines:
            name, _, value = line.partition(": ")
            match name:
                case "id":
                    number = int(value)
                case "event":
                    event = value
                case "data":
                    assert not data, "data is one line"
                    data = value
                case "retry":
                    self.retry = int(value)
                case "" if value:
                    yield Frame(None, "comment", value)
                case "":
                    if data:
                        yield Frame(number, event, json.loads(data))
                    number, event, data = None, "message", ""
                case _:
                    raise AssertionError(f"no line of an event stream: {line[:80]!r}")

    async def until(self, event: str) -> list[Frame]:
        """The frames up to and including the first of that name."""
        frames = []
        async for frame in self:
            frames.append(frame)
            if frame.event == event:
                break
        return frames

    async def upto(self, number: int) -> list[Frame]:
        """The frames up to and including the one with that number."""
        frames = []
        async for frame in self:
            frames.append(frame)
            if frame.id == number:
                break
        return frames

    async def rest(self) -> list[Frame]:
        """The frames up to the end of the stream."""
        return [frame async for frame in self]


class Caller:
    """Speaks to one server, as nobody or with a bearer token."""

    def __init__(self, url: str, http: httpx2.AsyncClient) -> None:
        self.url, self.http = url, http

    async def post(self, body: bytes, **headers: str) -> httpx2.Response:
        """Any body to `/mcp`, as JSON."""
        head = {"Content-Type": "application/json", "Accept": "application/json", **headers}
        return await self.http.post("/mcp", content=body, headers=head)

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What a tool answers a bare `tools/call` with: the whole reply object."""
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        response = await self.post(json.dumps(message).encode())
        assert response.status_code == 200, response.text
        reply: dict[str, Any] = response.json()["result"]["structuredContent"]
        return reply

    async def start(self, task_type: str, arguments: Mapping[str, Any] | None = None, **more: Any) -> str:
        """Start a task; its id."""
        reply = await self.call("start_long_task", task_type=task_type, arguments=arguments or {}, **more)
        assert reply["status"] == "success", reply
        operation_id: str = reply["data"]["operation_id"]
        return operation_id

    async def snapshot(self, operation_id: str) -> dict[str, Any]:
        response = await self.http.get(f"/progress/{operation_id}")
        assert response.status_code == 200, response.text
        shown: dict[str, Any] = response.json()
        return shown

    @asynccontextmanager
    async def stream(
        self, operation_id: str, cursor: int | str | None = None, *, query: str = ""
    ) -> AsyncIterator[Stream]:
        """The task's stream, after the cursor in a `Last-Event-ID` header if there is one."""
        headers = {} if cursor is None else {"Last-Event-ID": str(cursor)}
        async with self.http.stream("GET", f"/progress/{operation_id}/stream{query}", headers=headers) as response:
            yield Stream(response)

    async def frames(self, operation_id: str, cursor: int | str | None = None, *, query: str = "") -> list[Frame]:
        """All that the stream sends until it ends."""
        async with self.stream(operation_id, cursor, query=query) as stream:
            assert stream.response.status_code == 200, await stream.response.aread()
            return await stream.rest()


@asynccontextmanager
async def calling(url: str, *, token: str | None = None, host: str | None = None) -> AsyncIterator[Caller]:
    headers = {"Host": host} if host else {}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=30, trust_env=False) as http:
        yield Caller(url, http)


@asynccontextmanager
async def serve(app: LongTaskServer | ASGIApp) -> AsyncIterator[Caller]:
    """Put the application on a free port; a caller without credentials."""
    application = app.http_app() if isinstance(app, LongTaskServer) else app
    config = uvicorn.Config(application, host="127.0.0.1", port=0, log_config=None, access_log=False, lifespan="on")
    # What `uvicorn.Server.serve` does, but for its signals and for its clock, which ends only at the next tick.
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    assert server.started, "the application's lifespan failed; the log says why"
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        async with calling(f"http://127.0.0.1:{port}") as caller:
            yield caller
    finally:
        await server.shutdown()

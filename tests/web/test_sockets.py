"""A task over a WebSocket, with a client that nobody here wrote."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
from mcp.server.auth.settings import AuthSettings
from pydantic import AnyHttpUrl

from mcp_server import LongTaskServer, Settings
from tests.mcp.task_types import add_task_types
from tests.mcp.test_owners import Tokens
from tests.server.servers import Caller, calling, serve
from tests.server.stock import open_gate, stock_server

connections = pytest.importorskip("websockets.asyncio.client")
ConnectionClosed = pytest.importorskip("websockets.exceptions").ConnectionClosed


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[Caller]:
    async with serve(stock_server(tmp_path)) as caller:
        yield caller


@asynccontextmanager
async def talking(caller: Caller, operation_id: str, query: str = "", **more: Any) -> AsyncIterator[Any]:
    address = f"{caller.url.replace('http', 'ws', 1)}/tasks/{operation_id}/ws{query}"
    with anyio.fail_after(30):
        async with connections.connect(address, proxy=None, **more) as socket:
            yield socket


async def until(socket: Any, kind: str, name: str) -> dict[str, Any]:
    """The first event, or reply, of that name."""
    async for text in socket:
        message: dict[str, Any] = json.loads(text)
        if message["type"] == kind and name in (message.get("event"), message.get("action")):
            return message
    raise AssertionError(f"closed with {socket.close_code} before {name}")


async def say(socket: Any, **message: Any) -> None:
    await socket.send(json.dumps(message))


async def rest(socket: Any) -> tuple[list[dict[str, Any]], int]:
    """All messages to the end, and the code it was closed with."""
    messages: list[dict[str, Any]] = []
    with suppress(ConnectionClosed):
        async for text in socket:
            messages.append(json.loads(text))
    return messages, socket.close_code


async def refused(caller: Caller, operation_id: str, query: str = "") -> int:
    async with talking(caller, operation_id, query) as socket:
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        code: int = socket.close_code
        return code


async def test_the_events_are_those_of_the_stream(caller: Caller) -> None:
    """With the same numbers, names and data; then it is closed."""
    gate = uuid4().hex
    operation_id = await caller.start("counts", {"n": 5, "gate": gate})
    async with talking(caller, operation_id) as socket:
        await until(socket, "event", "progress")
        open_gate(gate)
        await rest(socket)
    async with talking(caller, operation_id) as socket:
        messages, code = await rest(socket)
    frames = await caller.frames(operation_id)
    assert [(m["id"], m["event"], m["data"]) for m in messages] == [(f.id, f.event, f.data) for f in frames]
    assert code == 1000


async def test_a_reader_begins_and_begins_again_where_it_wants(caller: Caller) -> None:
    """With the number in the address, and with `resume` at any time; the reply comes before the events."""
    gate = uuid4().hex
    operation_id = await caller.start("counts", {"n": 5, "gate": gate})
    async with caller.stream(operation_id) as stream:
        await stream.upto(7)
    async with talking(caller, operation_id, "?last_event_id=5") as socket:
        assert [json.loads(await socket.recv())["id"] for _ in range(2)] == [6, 7]
        await say(socket, type="resume", after=3)
        reply = json.loads(await socket.recv())
        assert (reply["type"], reply["action"], reply["status"]) == ("reply", "resume", "success")
        assert [json.loads(await socket.recv())["id"] for _ in range(4)] == [4, 5, 6, 7]
        open_gate(gate)
        messages, _ = await rest(socket)
    assert [m["event"] for m in messages] == ["progress", "done"]
    async with talking(caller, operation_id, "?last_event_id=8") as socket:
        assert await rest(socket) == ([], 1000)


async def test_a_task_is_cancelled_over_it(caller: Caller) -> None:
    """The reply has the outcome; the events have the end."""
    operation_id = await caller.start("counts", {"n": 1, "gate": uuid4().hex})
    async with talking(caller, operation_id) as socket:
        await until(socket, "event", "progress")
        await say(socket, type="cancel", reason="enough")
        messages, code = await rest(socket)
    (reply,) = [m for m in messages if m["type"] == "reply"] or [{"data": {"outcome": "cancelled"}}]
    assert reply["data"]["outcome"] in ("cancelled", "cancel_requested")
    ends = [m["data"] for m in messages if m.get("event") == "done"]
    assert (ends, code) == ([{"status": "cancelled", "reason": "enough"}], 1000)


async def test_a_question_is_answered_over_it(caller: Caller) -> None:
    """A wrong answer gets our error object, and the conversation goes on."""
    operation_id = await caller.start("asks")
    async with talking(caller, operation_id) as socket:
        await until(socket, "event", "input_required")
        await say(socket, type="answer", responses={"go": {"action": "perhaps"}})
        wrong = await until(socket, "reply", "answer")
        assert (wrong["status"], wrong["error_code"]) == ("error", "INVALID_ARGUMENT")
        await say(socket, type="answer", responses={"go": {"action": "accept", "content": {"value": "yes"}}})
        assert (await until(socket, "event", "done"))["data"]["status"] == "completed"


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "{}", '{"type": "x"}', '{"type": "resume"}', '{"type": "resume", "after": -1}']
)
async def test_a_message_that_is_not_understood_is_answered_so(caller: Caller, text: str) -> None:
    """And changes nothing."""
    gate = uuid4().hex
    operation_id = await caller.start("counts", {"n": 1, "gate": gate})
    async with talking(caller, operation_id) as socket:
        await socket.send(text)
        reply = await until(socket, "reply", "message")
        assert (reply["status"], reply["error_code"]) == ("error", "INVALID_ARGUMENT")
        open_gate(gate)
        assert (await rest(socket))[1] == 1000


async def test_a_close_code_says_why(tmp_path: Path) -> None:
    """An unknown task, a number that is none, too many streams, and the end of the server."""
    server = stock_server(tmp_path, max_streams=1)
    async with serve(server) as caller:
        assert await refused(caller, "nothing") == 4404
        operation_id = await caller.start("counts", {"n": 1, "gate": uuid4().hex})
        assert await refused(caller, operation_id, "?last_event_id=x") == 4400
        async with talking(caller, operation_id) as socket:
            await until(socket, "event", "progress")
            assert await refused(caller, operation_id) == 4429
            server.close_streams()
            assert (await rest(socket))[1] == 1001


async def test_bytes_are_not_understood(caller: Caller) -> None:
    """Messages are text."""
    operation_id = await caller.start("counts", {"n": 1, "gate": uuid4().hex})
    async with talking(caller, operation_id) as socket:
        await until(socket, "event", "progress")
        await socket.send(b"bytes")
        assert (await rest(socket))[1] == 1003


async def test_a_page_of_another_site_gets_no_socket(caller: Caller) -> None:
    """A browser sends the page's origin, and asks nobody before it opens a socket."""
    operation_id = await caller.start("counts", {"n": 1})
    with pytest.raises(Exception, match="403"):
        async with talking(caller, operation_id, origin="https://evil.example"):
            pass


async def test_a_reader_that_does_not_read_holds_up_nobody(caller: Caller) -> None:
    """The task ends and others read it whole, while one reader leaves megabytes unread; it then gets all of them."""
    gate = uuid4().hex
    operation_id = await caller.start("talks", {"n": 400, "size": 20_000, "gate": gate})
    async with talking(caller, operation_id, max_queue=1) as slow:
        open_gate(gate)
        frames = await caller.frames(operation_id)
        assert frames[-1].event == "done"
        messages, code = await rest(slow)
    assert ([m["id"] for m in messages], code) == ([f.id for f in frames], 1000)


async def test_a_socket_needs_what_the_other_routes_need(tmp_path: Path) -> None:
    """With authentication: 4401 without a credential, 4404 for another's task, and the events for its owner."""
    server = LongTaskServer(
        "owned",
        settings=Settings(backend=f"sqlite:///{tmp_path / 'tasks.db'}"),
        token_verifier=Tokens(),
        auth=AuthSettings(issuer_url=AnyHttpUrl("https://example.com"), resource_server_url=None),
    )
    add_task_types(server)
    async with serve(server) as outside, calling(outside.url, token="ann") as ann:
        begun = await ann.http.post("/tasks", json={"task_type": "text", "wait_seconds": 20})
        operation_id = begun.json()["operation_id"]
        assert await refused(outside, operation_id) == 4401
        for name, code in (("bob", 4404), ("ann", 1000)):
            headers = {"Authorization": f"Bearer {name}"}
            async with talking(outside, operation_id, additional_headers=headers) as socket:
                messages, closed_with = await rest(socket)
            assert (closed_with, bool(messages)) == (code, code == 1000)

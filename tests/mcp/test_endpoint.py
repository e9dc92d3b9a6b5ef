"""`/mcp` for every kind of client: bare requests, sessions, JSON only, the modern protocol; and what is no request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pytest
from mcp import Client
from mcp_types import HEADER_MISMATCH
from pydantic import Field
from starlette.applications import Starlette
from starlette.routing import Mount

from mcp_server.mcp.endpoint import may_be_held
from tests.mcp.conftest import Served
from tests.mcp.speaking import Modern, Refused
from tests.mcp.task_types import add_task_types
from tests.server.servers import calling, make_server, serve

JSON = "application/json"
BOTH = "application/json, text/event-stream"
MEGABYTES = "y" * 5_000_000
OUR_TOOLS = {
    "start_long_task", "get_task_progress", "get_task_result", "cancel_task", "list_operations", "list_task_types",
    "retry_task",
}  # fmt: skip


def message(method: str, params: Mapping[str, Any] | None = None) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}).encode()


INITIALIZE = message(
    "initialize",
    {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}},
)


@pytest.mark.parametrize("accept", [JSON, "*/*", ""])
async def test_a_bare_request_is_answered_with_json(served: Served, accept: str) -> None:
    """No handshake, no session, no `_meta`: the list of tools, in one JSON body."""
    response = await served.bare.post(message("tools/list"), Accept=accept)
    assert (response.status_code, response.headers["content-type"]) == (200, JSON)
    assert "mcp-session-id" not in response.headers
    assert {tool["name"] for tool in response.json()["result"]["tools"]} >= OUR_TOOLS


async def test_a_bare_call_may_be_answered_as_a_stream(served: Served) -> None:
    """A caller that reads server-sent events gets the same answer in one."""
    call = message("tools/call", {"name": "list_task_types", "arguments": {}})
    response = await served.bare.post(call, Accept=BOTH)
    assert response.headers["content-type"].startswith("text/event-stream")
    data = next(line for line in response.text.splitlines() if line.startswith("data: "))
    assert json.loads(data.removeprefix("data: "))["result"]["structuredContent"]["status"] == "success"


@pytest.mark.parametrize("accept", [JSON, BOTH])
async def test_a_handshake_opens_a_session_that_can_be_ended(served: Served, accept: str) -> None:
    """The session keeps the dialect it was opened in, has a stream of its own, and is gone after DELETE."""
    opened = await served.bare.post(INITIALIZE, Accept=accept)
    assert b'"tasks"' not in opened.content, "the capability of an earlier protocol"
    kind = JSON if accept == JSON else "text/event-stream"
    assert opened.headers["content-type"].startswith(kind)
    session = {"Mcp-Session-Id": opened.headers["mcp-session-id"], "MCP-Protocol-Version": "2025-06-18"}
    ready = await served.bare.post(b'{"jsonrpc":"2.0","method":"notifications/initialized"}', Accept=accept, **session)
    assert ready.status_code == 202
    listed = await served.bare.post(message("tools/list"), Accept=accept, **session)
    assert (listed.status_code, listed.headers["content-type"].startswith(kind)) == (200, True)
    async with served.bare.http.stream("GET", "/mcp", headers={"Accept": "text/event-stream", **session}) as stream:
        assert (stream.status_code, stream.headers["content-type"]) == (200, "text/event-stream")
    ended = await served.bare.http.delete("/mcp", headers=session)
    assert ended.status_code == 200
    gone = await served.bare.post(message("tools/list"), Accept=accept, **session)
    assert gone.status_code == 404


@pytest.mark.parametrize(
    "body",
    [b"", b"hello", b"{", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"null", b"[]", b'"text"', b"1" * 10_000],
    ids=lambda body: repr(body[:8]),
)
async def test_what_is_no_message_is_refused_and_the_server_serves_on(served: Served, body: bytes) -> None:
    """A 4xx with a JSON-RPC error, for anything that is not JSON, is nested too deeply or is no request."""
    response = await served.bare.post(body)
    assert 400 <= response.status_code < 500
    assert "error" in response.json()
    assert (await served.bare.call("list_task_types"))["status"] == "success"


async def test_a_body_without_bounds_is_not_read(served: Served) -> None:
    """Above the limit a body is refused with 413, whatever is in it."""
    response = await served.bare.post(b" " * (17 * 1024 * 1024))
    assert response.status_code == 413


@pytest.mark.parametrize(
    ("tool", "arguments", "code", "path"),
    [
        ("start_long_task", {}, "INVALID_ARGUMENT", "task_type"),
        ("start_long_task", {"task_type": 5}, "INVALID_ARGUMENT", "task_type"),
        ("start_long_task", {"task_type": "gated", "arguments": [1]}, "INVALID_ARGUMENT", "arguments"),
        ("start_long_task", {"task_type": "gated", "arguments": {"pages": []}}, "INVALID_ARGUMENT", "pages"),
        ("start_long_task", {"task_type": "text", "arguments": {"x": MEGABYTES}}, "INVALID_ARGUMENT", "x"),
        ("start_long_task", {"task_type": "greet", "arguments": {"name": MEGABYTES}}, "INVALID_ARGUMENT", "arguments"),
        ("get_task_progress", {"operation_id": "x", "since": "soon"}, "INVALID_ARGUMENT", "since"),
        ("get_task_progress", {"operation_id": "x", "since": -1}, "INVALID_ARGUMENT", "since"),
        ("get_task_result", {"operation_id": "x", "wait_seconds": "long"}, "INVALID_ARGUMENT", "wait_seconds"),
        ("get_task_result", {"operation_id": "x", "offset": -1}, "INVALID_ARGUMENT", "offset"),
        ("list_operations", {"limit": 0}, "INVALID_ARGUMENT", "limit"),
        ("list_operations", {"cursor": "nonsense"}, "INVALID_ARGUMENT", "cursor"),
        ("wait_for_tasks", {"operation_ids": ["x"], "mode": "some"}, "INVALID_ARGUMENT", "mode"),
        ("get_task_progress", {"operation_id": "x" * 1_000_000}, "NOT_FOUND", None),
        ("get_task_progress", {"operation_id": "../../etc/passwd"}, "NOT_FOUND", None),
        ("cancel_task", {"operation_id": ""}, "NOT_FOUND", None),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
async def test_bad_arguments_are_answered_in_our_envelope(
    served: Served, tool: str, arguments: dict[str, Any], code: str, path: str | None
) -> None:
    """Never a 500: a tool error with the code, and for each argument path, message, expected and got."""
    response = await served.bare.post(message("tools/call", {"name": tool, "arguments": arguments}))
    assert response.status_code == 200
    result = response.json()["result"]
    reply = result["structuredContent"]
    assert json.loads(result["content"][0]["text"]) == reply
    assert (result["isError"], reply["status"], reply["action"], reply["error_code"]) == (True, "error", tool, code)
    assert len(response.content) < 5_000, "what was sent is not sent back"
    if path is not None:
        error = reply["details"]["errors"][0]
        assert error["path"] == path
        assert set(error) == {"path", "message", "expected", "got"}


async def test_what_may_be_left_out_may_be_null(served: Served) -> None:
    """Models fill in every argument they see; null is what nothing is."""
    listed = {tool["name"]: tool for tool in (await served.modern.request("tools/list", {}))["tools"]}
    task = await served.bare.start("text")
    await served.bare.call("get_task_result", operation_id=task, wait_seconds=60)
    given = {"task_type": "text", "operation_id": task, "operation_ids": [task], "key": "go", "response": True}
    for tool in OUR_TOOLS - {"retry_task"} | {"wait_for_tasks"}:
        schema = listed[tool]["inputSchema"]
        arguments = {name: given[name] if name in schema.get("required", []) else None for name in schema["properties"]}
        reply = (await served.bare.post(message("tools/call", {"name": tool, "arguments": arguments}))).json()
        assert reply["result"]["isError"] is False, reply


async def test_numbers_that_json_has_no_name_for_are_refused_as_arguments(served: Served) -> None:
    """NaN in a task's arguments is an argument error; in a list of ours it never comes back as one."""
    body = message("tools/call", {"name": "start_long_task", "arguments": {"task_type": "gated"}})
    spoiled = body.replace(b'{"task_type": "gated"}', b'{"task_type":"gated","arguments":{"pages":NaN}}')
    reply = (await served.bare.post(spoiled)).json()["result"]["structuredContent"]
    assert reply["error_code"] == "INVALID_ARGUMENT"
    assert reply["details"]["errors"][0]["path"] == "pages"


async def test_an_unknown_tool_is_an_error_of_the_call(served: Served) -> None:
    """It is named, and the server serves on."""
    response = await served.bare.post(message("tools/call", {"name": "unknown", "arguments": {}}))
    assert response.json()["result"]["isError"] is True


async def test_the_stream_url_is_where_this_caller_finds_the_stream(tmp_path: Path) -> None:
    """It has the prefix under which the server is mounted; a caller that did not come over HTTP is told of none."""
    server = make_server(tmp_path)
    add_task_types(server)
    application = Starlette(routes=[Mount("/jobs", server.http_app())], lifespan=server.lifespan)
    async with serve(application) as outer, calling(f"{outer.url}/jobs") as mounted:
        created = await Modern(mounted.http).call("text")
        started = await mounted.call("start_long_task", task_type="text")
        for url in (created["_meta"]["mcp-long-tasks/task"]["stream_url"], started["data"]["stream_url"]):
            assert url.startswith("/jobs/progress/")
            assert (await outer.http.get(url)).status_code == 200
        async with Client(server) as in_memory:
            replied = await in_memory.call_tool("start_long_task", {"task_type": "text"})
        assert replied.structured_content is not None
        assert "stream_url" not in replied.structured_content["data"]


async def test_the_modern_protocol_is_spoken_beside_the_others(served: Served) -> None:
    """A request with everything in it is answered as JSON when it is quick, without a session."""
    listed = await served.modern.request("tools/list", {})
    assert {tool["name"] for tool in listed["tools"]} >= OUR_TOOLS
    assert listed["resultType"] == "complete"


async def test_a_parameter_that_travels_in_a_header_is_compared_with_it(tmp_path: Path) -> None:
    """A tool whose schema names a header has it checked on each call; tools that name none are spared the search."""
    server = make_server(tmp_path)

    @server.tool()
    async def place(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
        return region

    async with serve(server.http_app()) as bare:
        caller = Modern(bare.http)
        params = {"name": "place", "arguments": {"region": "eu"}}
        headers = caller.headers("tools/call", params)
        with pytest.raises(Refused) as refused:
            await caller.request("tools/call", params, headers={**headers, "Mcp-Param-Region": "us"})
        assert (refused.value.status, refused.value.code) == (400, HEADER_MISMATCH)
        same = await caller.request("tools/call", params, headers={**headers, "Mcp-Param-Region": "eu"})
        assert same["content"][0]["text"] == "eu"


@pytest.mark.parametrize(
    ("body", "held"),
    [
        ('{"wait_seconds":0}', False),
        ('{"wait_seconds": 0 ,"since":1}', False),
        ('{"since":1}', False),
        ('{"wait_seconds":0.5}', True),
        ('{"wait_seconds": 30}', True),
        ('{"wait_seconds":null}', True),
        ('{"wait_seconds":0,"x":"\\"wait_seconds\\":1"}', False),
        ('{"wait_seconds":0},{"wait_seconds":1}', True),
        ('{"_meta":{"progressToken":0}}', True),
    ],
)
def test_only_a_call_that_asks_to_wait_is_made_ready_for_a_stream(body: str, held: bool) -> None:
    """That costs a third of a quick answer. When in doubt it is made ready."""
    assert may_be_held(body.encode()) == held

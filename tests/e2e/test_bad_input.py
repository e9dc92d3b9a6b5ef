"""Whatever is sent: the contract's error or the protocol's, never a 500, and the server serves on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from mcp_server import Settings
from mcp_server.cli.demo import demo_server
from tests.server.servers import Caller, serve


@pytest.fixture(scope="module")
async def caller(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Caller]:
    """The stock server."""
    path = tmp_path_factory.mktemp("bad") / "tasks.db"
    async with serve(demo_server(Settings(backend=f"sqlite:///{path}"))) as caller:
        yield caller


@pytest.fixture(autouse=True)
async def _serves_on(caller: Caller) -> AsyncIterator[None]:
    """After every test a task still runs from start to end."""
    yield
    operation_id = await caller.start("data_analysis", {"duration_seconds": 0, "steps": 1})
    with anyio.fail_after(10):
        assert (await caller.frames(operation_id))[-1].data == {"status": "completed"}


def call(arguments: str, tool: str = "start_long_task") -> bytes:
    """A `tools/call` whose arguments are any text."""
    head = f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{json.dumps(tool)},"arguments":'
    return head.encode() + arguments.encode("utf-8", "surrogatepass") + b"}}"


BODIES: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"this is no JSON",
    "half of it": call("{")[:-5],
    "no UTF-8": b'{"jsonrpc":"2.0","id":1,"method":"\xff\xfe"}',
    "a surrogate": call('{"task_type":"\\ud800"}'),
    "a raw surrogate": call('{"task_type":"\ud800"}'),
    "null": b"null",
    "a number": b"17",
    "a list": b"[]",
    "a list of nothing": b"[[],[]]",
    "deeply nested": b"[" * 200_000,
    "deeply nested arguments": call(
        '{"task_type":"data_analysis","arguments":' + '{"a":' * 50_000 + "1" + "}" * 50_000 + "}"
    ),
    "no method": b'{"jsonrpc":"2.0","id":1}',
    "a wrong version": b'{"jsonrpc":"1.0","id":1,"method":"tools/list"}',
    "an unknown method": b'{"jsonrpc":"2.0","id":1,"method":"no/such"}',
    "params of a wrong type": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[1]}',
    "an id of a wrong type": b'{"jsonrpc":"2.0","id":{},"method":"tools/list"}',
    "an unknown tool": call("{}", tool="no_such_tool"),
    "a tool of a megabyte": call("{}", tool="x" * 1_000_000),
    "zero bytes": b"\x00" * 1000,
    "beyond the limit": b" " * 30_000_000,
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_that_is_no_call_is_refused(caller: Caller, name: str) -> None:
    """With a status below 500, or with a JSON-RPC error."""
    response = await caller.post(BODIES[name])
    assert response.status_code < 500, response.text[:500]
    assert len(response.content) < len(BODIES[name]) + 10_000
    assert b"Traceback" not in response.content
    if response.status_code == 200:
        body = response.json()
        assert "error" in body or body["result"]["isError"], body


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("path", ["/mcp", "/health", "/", "/progress", "/progress/", "/progress//stream", "/nothing"])
async def test_other_methods_and_paths_are_refused(caller: Caller, method: str, path: str) -> None:
    """Without harm."""
    with anyio.fail_after(10):
        response = await caller.http.request(method, path)
    assert response.status_code < 500


@pytest.mark.parametrize(
    "headers", [{"Content-Type": "text/plain"}, {"Accept": "image/png"}, {"Accept": "*/*"}], ids=str
)
async def test_odd_headers_do_no_harm(caller: Caller, headers: dict[str, str]) -> None:
    """They are answered or refused."""
    assert (await caller.post(call('{"task_type":"x"}'), **headers)).status_code < 500


NAN, INF = float("nan"), float("inf")
"""Written as NaN and Infinity, which Python's JSON knows and JSON does not."""

STARTS: list[tuple[dict[str, Any], str, str]] = [
    ({"task_type": "no_such"}, "UNKNOWN_TASK_TYPE", ""),
    ({"task_type": "x" * 1_000_000}, "UNKNOWN_TASK_TYPE", ""),
    ({"task_type": ""}, "UNKNOWN_TASK_TYPE", ""),
    ({"task_type": None}, "INVALID_ARGUMENT", "task_type"),
    ({}, "INVALID_ARGUMENT", "task_type"),
    ({"task_type": "data_analysis", "arguments": {"steps": 0}}, "INVALID_ARGUMENT", "steps"),
    ({"task_type": "data_analysis", "arguments": {"steps": 10**9}}, "INVALID_ARGUMENT", "steps"),
    ({"task_type": "data_analysis", "arguments": {"steps": 10**400}}, "INVALID_ARGUMENT", "steps"),
    ({"task_type": "data_analysis", "arguments": {"steps": "ten"}}, "INVALID_ARGUMENT", "steps"),
    ({"task_type": "data_analysis", "arguments": {"steps": 1.5}}, "INVALID_ARGUMENT", "steps"),
    ({"task_type": "data_analysis", "steps": 0}, "INVALID_ARGUMENT", "steps"),
    ({"task_type": "data_analysis", "arguments": {"duration_seconds": -1}}, "INVALID_ARGUMENT", "duration_seconds"),
    (
        {"task_type": "data_analysis", "arguments": {"duration_seconds": float("nan")}},
        "INVALID_ARGUMENT",
        "duration_seconds",
    ),
    (
        {"task_type": "data_analysis", "arguments": {"duration_seconds": float("inf")}},
        "INVALID_ARGUMENT",
        "duration_seconds",
    ),
    ({"task_type": "data_analysis", "arguments": {"colour": "red"}}, "INVALID_ARGUMENT", "colour"),
    ({"task_type": "data_analysis", "arguments": []}, "INVALID_ARGUMENT", "arguments"),
    ({"task_type": "data_analysis", "arguments": "x"}, "INVALID_ARGUMENT", "arguments"),
    ({"task_type": "data_analysis", "arguments": {"steps": 1, "x": "y" * 5_000_000}}, "INVALID_ARGUMENT", "x"),
    ({"task_type": "data_analysis", "metadata": {"x": "y" * 5_000_000}}, "INVALID_ARGUMENT", "metadata"),
    ({"task_type": "data_analysis", "metadata": 3}, "INVALID_ARGUMENT", "metadata"),
    ({"task_type": "data_analysis", "idempotency_key": "k" * 600}, "INVALID_ARGUMENT", "idempotency_key"),
    ({"task_type": "data_analysis", "wait_seconds": "long"}, "INVALID_ARGUMENT", "wait_seconds"),
]


@pytest.mark.parametrize(("arguments", "code", "path"), STARTS, ids=lambda value: str(value)[:60])
async def test_a_start_that_cannot_be_is_refused_by_name(
    caller: Caller, arguments: dict[str, Any], code: str, path: str
) -> None:
    """The contract's code, which argument it was, and an answer of modest size."""
    response = await caller.post(call(json.dumps(arguments)))
    assert response.status_code == 200, response.text[:300]
    result = response.json()["result"]
    reply = result["structuredContent"]
    assert (result["isError"], reply["status"], reply["error_code"]) == (True, "error", code)
    assert json.loads(result["content"][0]["text"]) == reply
    assert len(response.content) < 10_000
    if path:
        assert path in {error["path"].split(".")[-1] for error in reply["details"]["errors"]}


@pytest.mark.parametrize("tool", ["get_task_progress", "get_task_result", "cancel_task", "retry_task"])
@pytest.mark.parametrize("operation_id", ["", "x", "a/b", "../..", "\x00", "\ud800", "a" * 1_000_000, 7, None])
async def test_an_id_that_was_never_given_is_not_found(caller: Caller, tool: str, operation_id: Any) -> None:
    """Or is no id at all."""
    body = json.dumps({"operation_id": operation_id})
    response = await caller.post(call(body, tool=tool))
    assert response.status_code < 500
    if response.status_code == 200 and "result" in response.json():
        reply = response.json()["result"]["structuredContent"]
        assert reply["error_code"] == ("NOT_FOUND" if isinstance(operation_id, str) else "INVALID_ARGUMENT")
        assert len(response.content) < 2_000


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"status": "done"}, "INVALID_STATUS"),
        ({"limit": 0}, "INVALID_ARGUMENT"),
        ({"limit": 101}, "INVALID_ARGUMENT"),
        ({"limit": 10**30}, "INVALID_ARGUMENT"),
        ({"cursor": "abc"}, "INVALID_ARGUMENT"),
        ({"cursor": "x" * 1_000_000}, "INVALID_ARGUMENT"),
        ({"task_type": "no_such"}, "UNKNOWN_TASK_TYPE"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_listing_that_cannot_be_is_refused(caller: Caller, arguments: dict[str, Any], code: str) -> None:
    """With the code the contract has for it."""
    assert (await caller.call("list_operations", **arguments))["error_code"] == code


@pytest.mark.parametrize("since", [-1, "abc", 1.5, 10**30])
async def test_a_cursor_that_is_no_number_is_refused(caller: Caller, since: Any) -> None:
    """A number beyond every log is one that is answered with a gap."""
    operation_id = await caller.start("data_analysis", {"duration_seconds": 0, "steps": 1})
    reply = await caller.call("get_task_progress", operation_id=operation_id, since=since)
    if reply["status"] == "success":
        assert reply["data"]["events"][0]["event"] == "gap"
    else:
        assert reply["error_code"] == "INVALID_ARGUMENT"

"""The functions of the progress-tracking document, as a script written after it uses them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from client_sdk import Unavailable
from client_sdk.tracking import MCPClient, poll_progress, safe_stream, start_and_stream, stream_progress
from tests.client_sdk.processes import ServerProcess
from tests.client_sdk.proxy import PASS, Fault, Request, proxying

STEPS = [(20.0 * k, f"Processing step {k}/5 - data_analysis") for k in range(1, 6)]


@pytest.fixture
def old(server: ServerProcess) -> MCPClient:
    return MCPClient(server.url)


async def started(client: MCPClient, task_type: str = "data_analysis", **arguments: Any) -> str:
    answer = await client.call_and_parse("start_long_task", {"task_type": task_type, "arguments": arguments})
    assert answer["status"] == "success"
    operation_id: str = answer["data"]["operation_id"]
    return operation_id


async def test_start_and_stream_gives_the_result(server: ServerProcess) -> None:
    """The document's complete example: each step calls back, the answer is that of get_task_result."""
    seen: list[tuple[float, str]] = []
    answer = await start_and_stream(
        base_url=server.url,
        task_type="data_analysis",
        duration_seconds=0.1,
        steps=5,
        callback=lambda data: seen.append((data["progress"], data["message"])),
    )
    assert seen == [*STEPS, (100.0, "Completed 5 steps successfully")]
    assert answer["status"] == "success"
    assert answer["data"]["status"] == "completed"
    assert answer["data"]["output"]["steps"] == 5


async def test_a_start_that_is_refused_is_answered_as_it_came(server: ServerProcess) -> None:
    """No exception: these functions answer with dictionaries."""
    answer = await start_and_stream(server.url, "nothing")
    assert (answer["status"], answer["error_code"]) == ("error", "UNKNOWN_TASK_TYPE")


async def test_stream_progress_gives_the_last_progress(server: ServerProcess, old: MCPClient) -> None:
    """With the final status added, and the fields of the document."""
    operation_id = await started(old, duration_seconds=0, steps=5)
    last = await stream_progress(server.url, operation_id)
    assert last["final_status"] == last["status"] == "completed"
    assert (last["progress"], last["message"]) == (100.0, "Completed 5 steps successfully")
    assert last.keys() >= {"operation_id", "started_at", "elapsed_seconds"}


async def test_stream_progress_says_how_else_it_ended(server: ServerProcess, old: MCPClient) -> None:
    """Failed, cancelled, unknown."""
    failed = await started(old, "failing")
    assert await stream_progress(server.url, failed) == {"status": "error", "error": "no such file"}
    cancelled = await started(old, "idle")
    await old.call_and_parse("cancel_task", {"operation_id": cancelled})
    end = await stream_progress(server.url, cancelled)
    assert end.get("final_status", end["status"]) == "cancelled"
    assert await stream_progress(server.url, "unknown") == {"status": "error", "error": "HTTP 404"}


async def test_stream_progress_resumes(server: ServerProcess, old: MCPClient) -> None:
    """Old scripts get the new stream: cuts are mended and nothing calls back twice, coroutine functions included."""
    operation_id = await started(old, duration_seconds=0, steps=5)
    seen: list[float] = []

    async def note(data: dict[str, Any]) -> None:
        seen.append(data["progress"])

    async with proxying(server.port, lambda request: Fault(cut=900) if request.count < 2 else PASS) as proxy:
        await stream_progress(proxy.url, operation_id, note)
        assert proxy.streams > 1
    assert seen == [20, 40, 60, 80, 100, 100]


async def test_poll_progress_prints_a_line_per_poll(
    server: ServerProcess, old: MCPClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the document's words; the answer is the data of the completed task."""
    operation_id = await started(old, duration_seconds=0, steps=2)
    await stream_progress(server.url, operation_id)
    data = await poll_progress(old, operation_id)
    assert data["status"] == "completed"
    assert capsys.readouterr().out == "100% - Completed 2 steps successfully [completed]\n"
    idle, lines = await started(old, "idle"), list[str]()
    async with anyio.create_task_group() as polling:
        polling.start_soon(poll_progress, old, idle, 0.02)
        while lines.count("10% - waiting [running]") < 2:
            await anyio.sleep(0.02)
            lines += capsys.readouterr().out.splitlines()
        await old.call_and_parse("cancel_task", {"operation_id": idle})


async def test_poll_progress_says_how_else_it_ended(old: MCPClient) -> None:
    """Failed, cancelled, unknown, and not within the time given."""
    answer = await poll_progress(old, await started(old, "failing"), interval=0.05)
    assert answer["status"] == "error"
    assert answer["error"]["message"] == "no such file"
    idle = await started(old, "idle")
    assert await poll_progress(old, idle, interval=0.05, timeout=0.3) == {"status": "error", "error": "Timeout"}
    await old.call_and_parse("cancel_task", {"operation_id": idle})
    assert (await poll_progress(old, idle, interval=0.05))["status"] == "error"
    unknown = await poll_progress(old, "unknown", interval=0.05)
    assert unknown["status"] == "error"


async def test_poll_progress_bears_with_a_server_that_is_away(server: ServerProcess, old: MCPClient) -> None:
    """Once it was there: a wrong address shows at once, a restart costs no task."""
    operation_id = await started(old, duration_seconds=0, steps=2)
    await stream_progress(server.url, operation_id)
    idle = await started(old, "idle")
    async with proxying(server.port) as proxy:
        proxy.plan = lambda request: Fault(status=502)
        with pytest.raises(Unavailable):
            await poll_progress(MCPClient(proxy.url), operation_id)

        is_back = anyio.Event()

        def plan(request: Request) -> Fault:
            if request.count > 5:
                is_back.set()
            return Fault(status=502) if 1 < request.count < 5 else PASS

        proxy.plan = plan
        async with anyio.create_task_group() as polling:
            polling.start_soon(poll_progress, MCPClient(proxy.url), idle, 0.02)
            await is_back.wait()
            await old.call_and_parse("cancel_task", {"operation_id": idle})


async def test_safe_stream_gives_up_and_the_task_goes_on(server: ServerProcess, old: MCPClient) -> None:
    """The document's words for it."""
    idle = await started(old, "idle")
    answer = await safe_stream(idle, timeout=0.3, base_url=server.url)
    assert answer == {"status": "error", "error": "Operation timed out"}
    snapshot = await old.call_and_parse("get_task_progress", {"operation_id": idle})
    assert snapshot["data"]["status"] == "running"
    await old.call_and_parse("cancel_task", {"operation_id": idle})


async def test_without_a_base_url_the_default_server_is_asked() -> None:
    """`stream_progress(id)` and `poll_progress(id)`, as the document's best practices write them."""
    with pytest.raises(TypeError):
        await stream_progress()
    with pytest.raises(TypeError):
        await poll_progress(MCPClient())
    assert MCPClient().base_url == "http://localhost:8081"


async def test_call_tool_gives_the_whole_answer(old: MCPClient) -> None:
    """And call_and_parse what is in it; errors of the protocol are answers too."""
    message = await old.call_tool("list_task_types")
    assert message["jsonrpc"] == "2.0"
    parsed = await old.call_and_parse("list_task_types")
    assert parsed["data"] == json.loads(message["result"]["content"][0]["text"])["data"]
    refused = await old.call_and_parse("no_such_tool")
    assert refused["status"] == "error"
    assert (await old.get_health())["status"] == "healthy"


async def test_no_server_is_an_error_and_no_dictionary(tmp_path: Path) -> None:
    """As with the document's own client, whose connection would have failed."""
    nobody = MCPClient(ServerProcess(tmp_path).url)
    for call in (nobody.call_tool("list_task_types"), nobody.get_health()):
        with pytest.raises(Unavailable):
            await call


async def test_a_client_written_by_hand_gets_along(server: ServerProcess) -> None:
    """One that reads the stream line by line, knows three events and nothing of ids, retries and comments."""
    async with httpx2.AsyncClient(base_url=server.url, timeout=30) as http:

        async def tool(name: str, arguments: dict[str, Any]) -> Any:
            body = {"jsonrpc": "2.0", "method": "tools/call", "id": 1, "params": {"name": name, "arguments": arguments}}
            answer = await http.post("/mcp", json=body, headers={"Accept": "application/json"})
            return json.loads(answer.json()["result"]["content"][0]["text"])

        started = await tool("start_long_task", {"task_type": "data_analysis", "duration_seconds": 0.2, "steps": 5})
        operation_id = started["data"]["operation_id"]
        seen, kind, end = [], "", None
        async with http.stream("GET", f"/progress/{operation_id}/stream") as response:
            async for line in response.aiter_lines():
                if line.startswith("event:"):
                    kind = line.removeprefix("event:").strip()
                elif line.startswith("data:"):
                    data = json.loads(line.removeprefix("data:"))
                    if kind == "progress":
                        seen.append((data["progress"], data["message"]))
                    elif kind in ("done", "error"):
                        end = data
                        break
        assert end == {"status": "completed"}
        assert seen == [*STEPS, (100.0, "Completed 5 steps successfully")]
        result = await tool("get_task_result", {"operation_id": operation_id})
        assert result["data"]["status"] == "completed"

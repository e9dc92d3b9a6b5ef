"""A task type's own tool, called by clients that do not follow tasks by themselves.

The clients are the official SDK's, in both of its modes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from mcp import Client, MCPError
from mcp.client import ClientRequestContext
from mcp_types import (
    CallToolResult,
    ElicitRequestParams,
    ElicitResult,
    Icon,
    Implementation,
    TextContent,
    ToolAnnotations,
)
from pydantic import ValidationError

from mcp_server import LongTaskServer
from mcp_server.mcp import wait
from tests.mcp.conftest import Served
from tests.mcp.speaking import FORMS, Modern
from tests.mcp.task_types import add_task_types
from tests.server.servers import make_server, serve

WAIT = {"mcp-long-tasks/wait_seconds": 20}
MODES = pytest.mark.parametrize("mode", ["auto", "legacy"])
Mode = Literal["auto", "legacy"]


async def test_a_result_that_comes_in_time_is_the_answer(served: Served) -> None:
    """Asked to wait, the call answers as an ordinary tool does."""
    served.gate.open()
    result = await Modern(served.bare.http, {}).call("gated", {"pages": 5}, meta=WAIT)
    assert result["structuredContent"] == {"pages": 5, "title": None}
    assert result["content"][0]["text"] == '{"pages":5,"title":null}'
    assert "taskId" not in result


async def test_one_that_does_not_is_answered_with_a_handle(served: Served) -> None:
    """The task goes on; the answer says so, with the id, the stream and the one call to make."""
    result = await Modern(served.bare.http, {}).call("gated")
    assert result["isError"] is False
    reply = result["structuredContent"]
    assert (reply["status"], reply["action"]) == ("success", "gated")
    operation_id = reply["data"]["operation_id"]
    assert reply["data"]["stream_url"] == f"/progress/{operation_id}/stream"
    assert f'get_task_result(operation_id="{operation_id}"' in reply["data"]["next"]
    served.gate.open()
    collected = await served.bare.call("get_task_result", operation_id=operation_id, wait_seconds=20)
    assert collected["data"]["result"] == {"pages": 28, "title": None}


@MODES
async def test_a_caller_with_a_progress_token_is_kept_posted_and_gets_the_result(served: Served, mode: Mode) -> None:
    """Progress comes by notification while the call is held, each value above the one before."""
    told: list[tuple[float, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, message))
        served.gate.open()

    async with Client(served.url, mode=mode) as client:
        with anyio.fail_after(30):
            result = await client.call_tool("gated", {}, progress_callback=on_progress)
    assert result.structured_content == {"pages": 28, "title": None}
    assert told[0][0] == pytest.approx(42.857, abs=0.01)
    assert (told[0][1] or "").startswith("43 % · page 12 of 28")
    assert [progress for progress, _ in told] == sorted({progress for progress, _ in told})


async def test_silence_is_broken_by_time(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that reports nothing still has its caller's clock reset, with values that grow as MCP wants them to."""
    monkeypatch.setattr(wait, "NOTIFY_INTERVAL", 0.05)
    monkeypatch.setattr(wait, "NOTIFY_PAUSE", 0.01)
    told: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)
        if len(told) == 5:
            served.gate.open()

    async with Client(served.url, mode="legacy") as client:
        with anyio.fail_after(30):
            await client.call_tool("gated", {}, progress_callback=on_progress)
    assert len(told) >= 5
    assert told == sorted(set(told))


async def test_silence_is_broken_in_the_queue_and_while_a_user_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call is held for a task that waits its turn and then for a person; its caller hears of it all the time."""
    monkeypatch.setattr(wait, "NOTIFY_INTERVAL", 0.05)
    monkeypatch.setattr(wait, "NOTIFY_PAUSE", 0.01)
    server = make_server(tmp_path, concurrency=1)
    gate = add_task_types(server)
    told: list[float] = []
    enough = {"queued": anyio.Event(), "asking": anyio.Event()}

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)
        waits_for = "asking" if (message or "").startswith("Waits for an answer") else "queued"
        if len(told) % 3 == 0:
            enough[waits_for].set()

    async def slow_user(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        await enough["asking"].wait()
        return ElicitResult(action="accept", content={"confirm": True})

    async with serve(server.http_app()) as bare:
        await bare.start("gated")
        await gate.reached.wait()
        async with Client(f"{bare.url}/mcp", mode="legacy", elicitation_callback=slow_user) as client:
            with anyio.fail_after(30):
                async with anyio.create_task_group() as beside:

                    async def let_go() -> None:
                        await enough["queued"].wait()
                        gate.open()

                    beside.start_soon(let_go)
                    result = await client.call_tool("asks", {}, progress_callback=on_progress)
    assert _text(result) == "confirmed: True"
    assert told == sorted(set(told))


@MODES
async def test_a_client_that_can_ask_its_user_is_asked_for_the_running_task(served: Served, mode: Mode) -> None:
    """In a session by a request of ours, in the modern protocol as the answer to the call; the task then goes on."""
    asked: list[str] = []
    async with Client(served.url, mode=mode, elicitation_callback=_answering(asked, {"confirm": True})) as client:
        with anyio.fail_after(30):
            result = await client.call_tool("asks", {}, meta=_meta(WAIT))
    assert _text(result) == "confirmed: True"
    assert asked == ["Go on?"]


async def test_a_question_is_not_put_twice_by_two_held_calls(served: Served) -> None:
    """While the call of the type's own tool puts a question to its user, a call of get_task_result does not."""
    asked: list[str] = []
    other = Client(served.url, mode="legacy", elicitation_callback=_answering(asked, {"confirm": False}))

    async def meanwhile(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        operation_id = (await served.bare.call("list_operations"))["data"]["operations"][0]["operation_id"]
        second = await other.call_tool("get_task_result", {"operation_id": operation_id, "wait_seconds": 20})
        assert second.structured_content is not None
        assert second.structured_content["data"]["status"] == "input_required"
        return ElicitResult(action="accept", content={"confirm": True})

    with anyio.fail_after(30):
        async with other, Client(served.url, mode="legacy", elicitation_callback=meanwhile) as client:
            result = await client.call_tool("asks", {}, meta=_meta(WAIT))
    assert (asked, _text(result)) == (["Go on?"], "confirmed: True")


async def test_questions_that_come_first_are_put_to_a_modern_client(served: Served) -> None:
    """`ask_first` needs no tasks extension: both are asked before anything runs."""
    asked: list[str] = []
    answers = {"name": "Alice", "confirm": True}
    async with Client(served.url, elicitation_callback=_answering(asked, answers)) as client:
        with anyio.fail_after(30):
            result = await client.call_tool("asks_first", {"greeting": "Good day"}, meta=_meta(WAIT))
    assert _text(result) == "Good day Alice"
    assert sorted(asked) == ["Go on?", "Who?"]


async def test_a_dismissed_question_stays_open(served: Served) -> None:
    """The user closed the form: the call answers with what to do, and somebody may still answer."""

    async def dismiss(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action="cancel")

    async with Client(served.url, mode="legacy", elicitation_callback=dismiss) as client:
        with anyio.fail_after(30):
            result = await client.call_tool("asks", {}, meta=_meta(WAIT))
    assert result.structured_content is not None
    data = result.structured_content["data"]
    assert data["status"] == "input_required"
    assert f'respond_to_task(operation_id="{data["operation_id"]}", key="go"' in data["next"]


async def test_a_question_nobody_can_be_asked_ends_the_wait(served: Served) -> None:
    """Without elicitation the call does not hang until its time is up."""
    with anyio.fail_after(15):
        result = await Modern(served.bare.http, {}).call("asks", meta={**WAIT, "mcp-long-tasks/wait_seconds": 60})
    assert result["structuredContent"]["data"]["status"] == "input_required"


@MODES
async def test_failures_are_tool_errors_and_protocol_errors_stay_errors(served: Served, mode: Mode) -> None:
    """A task that failed answers `isError` with its code; an `MCPError` is raised as one."""
    async with Client(served.url, mode=mode) as client:
        result = await client.call_tool("refuses", {}, meta=_meta(WAIT))
        assert result.is_error
        assert result.structured_content is not None
        assert result.structured_content["details"]["error_code"] == "NO_FILE"
        assert "retry_task" in result.structured_content["details"]["next"]
        with pytest.raises(MCPError, match="somebody has to log in") as raised:
            await client.call_tool("breaks", {}, meta=_meta(WAIT))
        assert (raised.value.code, raised.value.data) == (-32042, {"url": "https://example.com"})
        with pytest.raises(MCPError) as required:
            await client.call_tool("required", {})
        assert required.value.code == -32021


async def test_a_type_that_never_becomes_a_task_is_waited_for(served: Served) -> None:
    """Also for a bare request, which otherwise is answered at once."""
    reply = await served.bare.post(
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet","arguments":{"name":"Ann"}}}'
    )
    assert reply.json()["result"]["content"][0]["text"] == "Hello, Ann!"


async def test_cancelling_the_call_ends_the_wait_and_not_the_task(served: Served) -> None:
    """`notifications/cancelled` gives up the held call; the task goes on until somebody cancels it."""
    async with Client(served.url, mode="legacy") as client:
        async with anyio.create_task_group() as calls:
            calls.start_soon(_call, client, "gated", {**WAIT, "mcp-long-tasks/wait_seconds": 60})
            await served.gate.reached.wait()
            calls.cancel_scope.cancel()  # the SDK's client then sends notifications/cancelled
        found = await client.call_tool("list_operations", {"status": "running"})
        assert found.structured_content is not None
        (task,) = found.structured_content["data"]["operations"]
        served.gate.open()
        done = await client.call_tool("get_task_result", {"operation_id": task["operation_id"], "wait_seconds": 20})
    assert done.structured_content is not None
    assert done.structured_content["data"]["output"]["pages"] == 28


async def test_a_host_we_know_waits_as_long_as_the_table_says(served: Served) -> None:
    """Its call of a task's tool answers with the result without being asked to wait."""
    served.gate.open()
    async with Client(served.url, mode="legacy", client_info=Implementation(name="goose", version="1")) as client:
        result = await client.call_tool("gated", {})
    assert result.structured_content == {"pages": 28, "title": None}


async def test_an_answer_that_does_not_fit_is_refused(served: Served) -> None:
    """A modern client that answers a running task's question wrongly is told so; the task still waits."""
    caller = Modern(served.bare.http, FORMS)
    asked = await caller.call("asks", meta=WAIT)
    assert set(asked["inputRequests"]) == {"go"}
    wrong = {"go": {"action": "accept", "content": {"confirm": "maybe"}}}
    refused = await caller.call("asks", meta=WAIT, inputResponses=wrong, requestState=asked["requestState"])
    assert refused["structuredContent"]["error_code"] == "INVALID_ARGUMENT"
    right = {"go": {"action": "accept", "content": {"confirm": False}}}
    done = await caller.call("asks", meta=WAIT, inputResponses=right, requestState=asked["requestState"])
    assert done["content"][0]["text"] == "confirmed: False"


def _answering(asked: list[str], content: dict[str, Any]) -> Any:
    async def answer(_: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        fields = params.requested_schema["properties"]  # type: ignore[union-attr]
        return ElicitResult(action="accept", content={name: content[name] for name in fields})

    return answer


async def _call(client: Client, tool: str, meta: dict[str, Any]) -> None:
    await client.call_tool(tool, {}, meta=_meta(meta))


def _meta(values: dict[str, Any]) -> Any:
    return values


def _text(result: CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


async def test_the_tool_says_of_itself_what_its_author_gave(tmp_path: Path) -> None:
    """Title, hints, icons and `_meta`, by the SDK's classes or as mappings; without them, careful hints."""
    server = make_server(tmp_path)
    icon = {"src": "https://example.com/i.png", "mimeType": "image/png"}

    @server.task(title="Look", annotations=ToolAnnotations(read_only_hint=True), icons=[icon], meta={"team": "a"})
    async def look() -> int:
        return 1

    @server.task(annotations={"destructiveHint": False})
    async def touch() -> int:
        return 1

    @server.task
    async def plain() -> int:
        return 1

    async with Client(server) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    look_tool, touch_tool, plain_tool = (tools[name] for name in ("look", "touch", "plain"))
    assert (look_tool.title, look_tool.meta) == ("Look", {"team": "a"})
    assert look_tool.annotations is not None
    assert look_tool.annotations.read_only_hint
    assert [shown.src for shown in look_tool.icons or ()] == [icon["src"]]
    assert touch_tool.annotations is not None
    assert touch_tool.annotations.destructive_hint is False
    assert plain_tool.annotations is not None
    assert (plain_tool.title, plain_tool.icons, plain_tool.annotations.open_world_hint) == (None, None, True)
    with pytest.raises(ValidationError):
        server.task(name="odd", icons=[{"source": 3}])(look)


async def test_the_server_says_of_itself_what_its_author_gave(tmp_path: Path) -> None:
    """Instructions, title, icons and a version of its own reach clients."""
    icon = Icon(src="https://example.com/i.png")
    settings = make_server(tmp_path).engine.settings
    server = LongTaskServer("own", settings=settings, instructions="Ask first.", title="Own", icons=[icon], version="7")
    async with Client(server) as client:
        assert client.instructions == "Ask first."
        info = client.server_info
    assert info is not None
    assert (info.name, info.title, info.version) == ("own", "Own", "7")
    assert [shown.src for shown in info.icons or ()] == [icon.src]

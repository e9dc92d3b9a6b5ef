"""Streams as text: lines that every reader splits in the same places, and a task as a chat message."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mcp_server import LongTaskServer, TaskContext, TaskError
from mcp_server.web.ui_messages import UIMessages
from tests.server.servers import Caller, make_server, serve

ODD = "a\x85b\u2028c\u2029d\n\r\x0be"


def chat_server(directory: Path) -> LongTaskServer:
    server = make_server(directory)

    @server.task
    async def chat(end: str = "well", *, task: TaskContext) -> str:
        """Thinks, calls a tool, answers in pieces."""
        await task.report(10, message="thinking")
        await task.emit("Let me ", topic="reasoning")
        await task.emit("look.", topic="reasoning")
        await task.emit({"toolCallId": "t1", "toolName": "search", "input": {"q": "x"}}, topic="tool")
        await task.emit({"toolCallId": "t1", "output": [1]}, topic="tool")
        for piece in ("Found ", "one", "."):
            await task.emit(piece, topic="text")
            await task.report(50, message="writing")
        await task.emit({"tokens": 3}, topic="data-usage")
        await task.emit({"any": "thing"})
        if end == "badly":
            raise TaskError("no luck", code="NO_LUCK")
        return "Found one."

    @server.task
    async def odd(*, task: TaskContext) -> None:
        """Says what some readers take for several lines."""
        await task.emit(ODD, topic=ODD)

    return server


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[Caller]:
    async with serve(chat_server(tmp_path)) as caller:
        yield caller


async def ended(caller: Caller, task_type: str, **arguments: Any) -> str:
    operation_id = await caller.start(task_type, arguments)
    await caller.call("get_task_result", operation_id=operation_id, wait_seconds=30)
    return operation_id


async def chunks(caller: Caller, operation_id: str, query: str = "") -> list[dict[str, Any]]:
    response = await caller.http.get(f"/progress/{operation_id}/ui-messages{query}")
    assert response.headers["x-vercel-ai-ui-message-stream"] == "v1"
    lines = [line for line in response.text.split("\n\n") if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


async def test_a_line_of_a_stream_is_one_for_every_reader(caller: Caller) -> None:
    """Split as Python splits text, at NEL and U+2028 too, a stream has the same fields and the data is whole."""
    operation_id = await ended(caller, "odd")
    text = (await caller.http.get(f"/progress/{operation_id}/stream")).text
    fields = ("retry", "id", "event", "data", "")
    assert {line.partition(":")[0] for line in text.splitlines()} == set(fields)
    data = next(line for line in text.splitlines() if line.startswith("data: ") and "topic" in line)
    assert json.loads(data.removeprefix("data: "))["data"] == ODD


async def test_a_task_is_a_chat_message(caller: Caller) -> None:
    """Reasoning, tool, text and data parts in their order; one block per run of text, one part for all progress."""
    found = await chunks(caller, await ended(caller, "chat"))
    shown = [chunk for chunk in found if not chunk.get("transient") and chunk["type"] != "data-progress"]
    assert [chunk["type"] for chunk in shown] == [
        "start", "reasoning-start", "reasoning-delta", "reasoning-delta", "reasoning-end", "tool-input-available",
        "tool-output-available", "text-start", "text-delta", "text-delta", "text-delta", "data-usage", "data-output",
        "text-end", "finish",
    ]  # fmt: skip
    assert "".join(c["delta"] for c in shown if c["type"] == "text-delta") == "Found one."
    assert {c["id"] for c in found if c["type"] == "data-progress"} == {"progress"}


async def test_a_message_that_fails_says_why_and_ends(caller: Caller) -> None:
    """The open block is closed, then comes the error, then the finish."""
    found = await chunks(caller, await ended(caller, "chat", end="badly"))
    assert [chunk["type"] for chunk in found[-3:]] == ["text-end", "error", "finish"]
    assert found[-2]["errorText"] == "no luck"


async def test_a_message_goes_on_from_any_cursor(caller: Caller) -> None:
    """The pieces before the cursor and those after it are the whole; a block open there is opened under its name."""
    operation_id = await ended(caller, "chat")
    whole = await chunks(caller, operation_id)
    last = (await caller.snapshot(operation_id))["last_event_id"]
    for cursor in range(1, last):
        rest = await chunks(caller, operation_id, f"?last_event_id={cursor}")
        assert rest[0]["type"] == "start"
        opened = {chunk["id"] for chunk in rest if chunk["type"] in ("text-start", "reasoning-start")}
        assert {c["id"] for c in rest if c["type"].endswith(("-delta", "-end"))} <= opened
        assert [c for c in rest if c["type"].endswith("-delta")] == [c for c in whole if c["type"].endswith("-delta")][
            -sum(c["type"].endswith("-delta") for c in rest) or len(whole) :
        ]
    at_the_end = await caller.http.get(f"/progress/{operation_id}/ui-messages?last_event_id={last}")
    assert at_the_end.status_code == 204


def test_a_cancelled_task_is_an_aborted_message() -> None:
    """Neither a failure nor a finish: the reader sees that it was stopped, and why."""
    messages = UIMessages("x")
    assert messages.chunks(3, "done", {"status": "cancelled", "reason": "enough"}) == [
        {"type": "start", "messageId": "x"},
        {"type": "abort", "reason": "enough"},
    ]

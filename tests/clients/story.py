"""What every foreign Python client does, whichever library speaks for it.

It starts a task, follows it to its end, gets the result, cancels another and asks for
what is not there; everything through tools, as a host does that knows nothing else.
Runs inside other people's environments: standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

__all__ = ["Call", "follow_across_processes", "follow_tools", "reply_of"]

Reply = dict[str, Any]
Call = Callable[[str, Mapping[str, Any]], Awaitable[Reply]]
"""Calls a tool and gives its whole reply object."""

STEPS = 5


def reply_of(structured: Any, texts: list[str]) -> Reply:
    """The reply object, which a result has to carry twice: as structured content and as JSON text."""
    assert isinstance(structured, dict), f"no structured content, only {texts}"
    assert json.loads(texts[0]) == structured, "the text is not the structured content"
    return structured


async def follow_tools(call: Call) -> None:
    started = await call(
        "start_long_task",
        {"task_type": "data_analysis", "arguments": {"duration_seconds": 1, "steps": STEPS}, "wait_seconds": 0},
    )
    operation_id = started["data"]["operation_id"]
    assert started["status"] == "success", started
    await _follow(call, operation_id)
    result = await call("get_task_result", {"operation_id": operation_id})
    assert result["data"]["output"]["steps"] == STEPS, result
    listed = await call("list_operations", {"status": "completed"})
    assert operation_id in [task["operation_id"] for task in listed["data"]["operations"]], listed
    await _cancel(call)
    missing = await call("get_task_progress", {"operation_id": "nobody-has-this-id"})
    assert missing["error_code"] == "NOT_FOUND", missing


async def _follow(call: Call, operation_id: str) -> None:
    """By long poll with a cursor: every event once, in order, to the end."""
    numbers: list[int] = []
    messages: list[str] = []
    status = "queued"
    while status not in ("completed", "failed", "cancelled"):
        progress = await call(
            "get_task_progress",
            {"operation_id": operation_id, "since": numbers[-1] if numbers else 0, "wait_seconds": 20},
        )
        status = progress["data"]["status"]
        for event in progress["data"]["events"]:
            if event["id"] is not None:
                numbers.append(event["id"])
            if event["event"] == "progress":
                messages.append(event["data"]["message"])
    assert status == "completed", status
    assert numbers == list(range(1, len(numbers) + 1)), numbers
    assert messages[0] == f"Processing step 1/{STEPS} - data_analysis", messages
    assert messages[-1] == f"Completed {STEPS} steps successfully", messages


async def _cancel(call: Call) -> None:
    started = await call(
        "start_long_task", {"task_type": "data_processing", "duration_seconds": 600, "wait_seconds": 0}
    )
    operation_id = started["data"]["operation_id"]
    cancelled = await call("cancel_task", {"operation_id": operation_id, "reason": "enough"})
    assert cancelled["data"]["outcome"] in ("cancelled", "cancel_requested"), cancelled
    ended = await call("get_task_progress", {"operation_id": operation_id, "wait_seconds": 20})
    assert ended["data"]["status"] == "cancelled", ended
    result = await call("get_task_result", {"operation_id": operation_id})
    assert result["error_code"] == "TASK_CANCELLED", result


async def follow_across_processes(call: Call) -> None:
    """For a client whose every call has a server process of its own, which runs tasks no longer than the call.

    What one process started and finished, the next one finds; what one left behind, the next one cancels.
    """
    started = await call(
        "start_long_task",
        {"task_type": "data_analysis", "arguments": {"duration_seconds": 1, "steps": STEPS}, "wait_seconds": 30},
    )
    assert started["data"]["status"] == "completed", started
    result = await call("get_task_result", {"operation_id": started["data"]["operation_id"]})
    assert result["data"]["output"]["steps"] == STEPS, result
    await _cancel(call)

"""Answers of tools fit the output schemas that the tools declare; clients that check it refuse anything else."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from tests.mcp.conftest import Served
from tests.mcp.speaking import Modern

FREE = {"wait_seconds": 0}


@pytest.mark.parametrize("speaks", ["bare", "named"])
async def test_every_answer_of_a_tool_fits_the_schema_it_declares(served: Served, speaks: str) -> None:
    """Every tool, in every state of a task, with all fields for a bare request and with few for a named client."""
    listed = (await Modern(served.bare.http, {}).request("tools/list", {}))["tools"]
    schemas = {tool["name"]: tool["outputSchema"] for tool in listed if "outputSchema" in tool}
    codes: list[str | None] = []

    async def check(tool: str, **arguments: Any) -> dict[str, Any]:
        if speaks == "bare":
            reply = await served.bare.call(tool, **arguments)
        else:
            reply = await Modern(served.bare.http, {}, "some-agent").reply(tool, **arguments)
        jsonschema.validate(reply, schemas[tool])
        codes.append(reply.get("error_code"))
        return reply

    task = {"operation_id": (await check("start_long_task", task_type="gated", **FREE))["data"]["operation_id"]}
    await served.gate.reached.wait()
    await check("get_task_progress", **task, since=0)
    await check("get_task_result", **task, **FREE)
    await check("list_operations")
    await check("list_operations", status="failed")
    await check("list_task_types")
    await check("wait_for_tasks", operation_ids=[task["operation_id"]], **FREE)
    await check("cancel_task", **task)
    await check("get_task_result", **task, wait_seconds=20)
    await check("cancel_task", **task)
    await check("retry_task", **task)
    asking = {"operation_id": await served.bare.start("asks")}
    await check("get_task_progress", **asking, wait_seconds=20)
    await check("get_task_result", **asking, wait_seconds=20)
    await check("respond_to_task", **asking, key="go", response=True)
    await check("get_task_result", **asking, wait_seconds=20)
    await check("start_long_task", task_type="text", arguments={"size": 30_000}, wait_seconds=20)
    await check("gated", pages="x")
    failed = {"operation_id": await served.bare.start("refuses")}
    await check("get_task_progress", **failed, wait_seconds=20)
    await check("get_task_result", **failed, wait_seconds=20)
    await check("get_task_result", operation_id="unknown")
    found = [code for code in codes if code is not None]
    assert found == [
        "NOT_READY", "TASK_CANCELLED", "NOT_READY", "INVALID_ARGUMENT", "TASK_FAILED", "NOT_FOUND",
    ]  # fmt: skip

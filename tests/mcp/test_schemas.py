"""What tools answer fits the output schemas they declare; clients that check it refuse anything else."""

from __future__ import annotations

from mcp.client import Client

from tests.mcp.conftest import Served

FREE = {"wait_seconds": 0}


async def test_every_answer_of_a_tool_fits_the_schema_it_declares(served: Served) -> None:
    """The official client validates each result that is no error against the declared schema, and raises otherwise."""
    async with Client(served.url) as client:
        started = await client.call_tool("start_long_task", {"task_type": "gated", **FREE})
        assert started.structured_content is not None
        task = {"operation_id": started.structured_content["data"]["operation_id"]}
        answers = [
            await client.call_tool("get_task_progress", {**task, "since": 0}),
            await client.call_tool("get_task_result", {**task, **FREE}),  # NOT_READY is no error
            await client.call_tool("list_operations", {}),
            await client.call_tool("list_task_types", {}),
            await client.call_tool("wait_for_tasks", {"operation_ids": [task["operation_id"]], **FREE}),
            await client.call_tool("cancel_task", task),
            await client.call_tool("cancel_task", task),
            await client.call_tool("retry_task", task),
        ]
        assert [answer.is_error for answer in answers] == [False] * len(answers)
        assert answers[1].structured_content is not None
        assert answers[1].structured_content["error_code"] == "NOT_READY"

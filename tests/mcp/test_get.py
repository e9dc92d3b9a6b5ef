"""`tasks/get` and `tasks/cancel`: every state in its shape, for its owner only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from mcp.shared.inbound import encode_header_value

from tests.mcp.conftest import Served
from tests.mcp.speaking import Refused
from tests.mcp.tasks_schema import DETAILED, valid

OURS = "mcp-long-tasks/task"


async def test_a_working_task_has_numbers_and_a_readable_message(served: Served) -> None:
    """Progress is said to people in `statusMessage` and to programs in `_meta`, with cursor and stream."""
    task_id = await served.modern.start("gated")
    await served.gate.reached.wait()
    task = valid(await _with_progress(served, task_id), DETAILED)
    assert task["status"] == "working"
    assert task["statusMessage"].startswith("43 % · page 12 of 28")
    ours = task["_meta"][OURS]
    assert (ours["status"], ours["current"], ours["total"]) == ("running", 12, 28)
    assert ours["progress"] == pytest.approx(42.857, abs=0.01)
    assert (ours["cursor"], ours["stream_url"]) == (3, f"/progress/{task_id}/stream")


async def test_looking_does_not_move_the_task(served: Served) -> None:
    """`lastUpdatedAt` stays the same from poll to poll while nothing happens."""
    task_id = await served.modern.start("gated")
    await served.gate.reached.wait()
    first, second = await _with_progress(served, task_id), await served.modern.get(task_id)
    assert first["lastUpdatedAt"] == second["lastUpdatedAt"]


async def test_a_completed_task_brings_the_result_of_the_call(served: Served) -> None:
    """The result is what the tool would have answered, and the time it is kept now counts."""
    task_id = await served.modern.start("gated", {"pages": 2})
    served.gate.open()
    task = valid(await served.modern.until(task_id, "completed"), DETAILED)
    assert task["result"]["structuredContent"] == {"pages": 2, "title": None}
    assert task["result"]["isError"] is False
    assert task["ttlMs"] >= 86_400_000
    assert "io.modelcontextprotocol/related-task" not in str(task["result"])


@pytest.mark.parametrize(
    ("tool", "arguments", "text", "structured"),
    [
        ("text", {"size": 3}, "xxx", {"result": "xxx"}),
        ("text", {"size": 0}, "", {"result": ""}),
        ("anything", {"value": 4}, '{"value":4}', {"value": 4}),
        ("anything", {}, "null", {"result": None}),
    ],
)
async def test_any_output_is_text_and_structured_content(
    served: Served, tool: str, arguments: Mapping[str, Any], text: str, structured: Any
) -> None:
    """Falsy results are results; what is no object is wrapped, as the output schema says."""
    task = await served.modern.until(await served.modern.start(tool, arguments), "completed")
    valid(task, DETAILED)
    assert task["result"]["content"] == [{"type": "text", "text": text}]
    assert task["result"]["structuredContent"] == structured


@pytest.mark.parametrize(
    ("tool", "code", "message"),
    [
        ("refuses", "NO_FILE", "there is no such file"),
        ("crashes", "TASK_FAILED", "ValueError: a secret (incident "),
    ],
)
async def test_a_failure_of_the_tool_is_a_completed_task_with_an_error_result(
    served: Served, tool: str, code: str, message: str
) -> None:
    """`failed` is kept for errors of the protocol; our own status in `_meta` still says failed."""
    task = valid(await served.modern.until(await served.modern.start(tool), "completed", "failed"), DETAILED)
    assert (task["status"], task["result"]["isError"]) == ("completed", True)
    reply = task["result"]["structuredContent"]
    assert reply["error"].startswith(message)
    assert (reply["error_code"], reply["details"]["error_code"]) == ("TASK_FAILED", code)
    assert task["_meta"][OURS]["status"] == "failed"
    assert "Traceback" not in str(task)


async def test_an_error_of_the_protocol_is_a_failed_task(served: Served) -> None:
    """An `MCPError` keeps code, message and data, and there is no result."""
    task = valid(await served.modern.until(await served.modern.start("breaks"), "completed", "failed"), DETAILED)
    assert task["status"] == "failed"
    assert task["error"] == {
        "code": -32042,
        "message": "somebody has to log in",
        "data": {"url": "https://example.com"},
    }
    assert task["statusMessage"] == "somebody has to log in"


async def test_cancelling_is_acknowledged_with_nothing_and_can_be_repeated(served: Served) -> None:
    """The acknowledgement is empty for a running and for a finished task alike; the task ends cancelled."""
    task_id = await served.modern.start("gated")
    first = await served.modern.cancel(task_id)
    task = valid(await served.modern.until(task_id, "cancelled"), DETAILED)
    again = await served.modern.cancel(task_id)
    for acknowledgement in (first, again):
        assert acknowledgement["resultType"] == "complete"
        assert set(acknowledgement) == {"resultType", "_meta"}
    assert task["statusMessage"] == "Cancelled"


@pytest.mark.parametrize("task_id", ["unknown", "", "../etc/passwd", "x" * 5000, "ü"])
async def test_an_unknown_id_is_invalid_params_for_every_method(served: Served, task_id: str) -> None:
    """Get, update and cancel give the same answer for whatever was never a task."""
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        params: dict[str, Any] = {"taskId": task_id, "inputResponses": {}}
        headers = served.modern.headers(method, {"taskId": "x"})
        with pytest.raises(Refused) as refused:
            await served.modern.request(method, params, headers={**headers, "Mcp-Name": encode_header_value(task_id)})
        assert (refused.value.code, refused.value.status) == (-32602, 400)


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
async def test_a_name_header_that_is_not_the_task_is_refused(served: Served, method: str) -> None:
    """No proxy routes by what is not in the request. A missing header is let pass: clients in the field omit it."""
    task_id = await served.modern.start("gated")
    params: dict[str, Any] = {"taskId": task_id, "inputResponses": {}}
    headers = served.modern.headers(method, params)
    for name in ("other", "=?base64?b3RoZXI=?=", "=?base64?broken"):
        with pytest.raises(Refused) as refused:
            await served.modern.request(method, params, headers={**headers, "Mcp-Name": name})
        assert (refused.value.code, refused.value.status) == (-32020, 400)
    assert (await served.modern.get(task_id))["status"] == "working", "nothing was cancelled"
    del headers["Mcp-Name"]
    assert (await served.modern.request(method, params, headers=headers))["resultType"] == "complete"


async def test_a_notification_that_a_request_is_cancelled_cancels_no_task(served: Served) -> None:
    """It is taken, and the task that the request made goes on; only `tasks/cancel` cancels."""
    task_id = await served.modern.start("gated")
    told = served.modern.message("notifications/cancelled", {"requestId": 7, "reason": "enough"})
    del told["id"]
    response = await served.modern.http.post(
        "/mcp", json=told, headers=served.modern.headers("notifications/cancelled", {})
    )
    assert response.status_code == 202
    served.gate.open()
    assert (await served.modern.until(task_id, "completed", "cancelled"))["status"] == "completed"


@pytest.mark.parametrize("method", ["tasks/result", "tasks/list"])
async def test_methods_of_the_older_protocol_do_not_exist(served: Served, method: str) -> None:
    """They are answered as any unknown method is."""
    with pytest.raises(Refused) as refused:
        await served.modern.request(method, {"taskId": "x"})
    assert (refused.value.code, refused.value.status) == (-32601, 404)


async def test_the_methods_do_not_exist_for_clients_of_older_protocols(served: Served) -> None:
    """A bare `tasks/get` is an unknown method."""
    response = await served.bare.post(b'{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"x"}}')
    assert response.json()["error"]["code"] == -32601


async def _with_progress(served: Served, task_id: str) -> dict[str, Any]:
    return await served.modern.until_it(task_id, lambda task: task["_meta"][OURS]["current"] is not None)

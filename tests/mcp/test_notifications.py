"""`notifications/tasks` over `subscriptions/listen`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from mcp_server import LongTaskServer
from tests.mcp.conftest import Served
from tests.mcp.speaking import FORMS, Modern, Refused
from tests.mcp.task_types import add_task_types
from tests.mcp.tasks_schema import PUSHED, valid
from tests.server.servers import serve

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


async def test_the_acknowledgement_comes_first_and_names_the_tasks(served: Served) -> None:
    """Ids that are no task of the caller's are left out; every frame carries the subscription's id."""
    task_id = await served.modern.start("gated")
    async with served.modern.listen(taskIds=[task_id, "unknown"]) as messages:
        acknowledged = await anext(messages)
        assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
        assert acknowledged["params"]["notifications"] == {"taskIds": [task_id]}
        first = await anext(messages)
        assert first["method"] == "notifications/tasks"
        for message in (acknowledged, first):
            assert message["params"]["_meta"][SUBSCRIPTION] == 7


async def test_each_notification_is_the_whole_task_and_the_end_ends_the_stream(served: Served) -> None:
    """From the present state to the result, each as `tasks/get` shows it; then the request is answered."""
    task_id = await served.modern.start("gated", {"pages": 3})
    with anyio.fail_after(20):
        async with served.modern.listen(taskIds=[task_id]) as messages:
            await anext(messages)
            assert _shown(await anext(messages))["status"] == "working"
            served.gate.open()
            seen = [message async for message in messages]
    last = _shown(seen[-2])
    assert last["result"]["structuredContent"] == {"pages": 3, "title": None}
    polled = await served.modern.get(task_id)
    assert {k: v for k, v in polled.items() if k not in ("_meta", "resultType")} == {
        k: v for k, v in last.items() if k != "_meta"
    }
    assert seen[-1]["result"]["_meta"][SUBSCRIPTION] == 7
    assert {message["method"] for message in seen[:-1]} == {"notifications/tasks"}, "no progress, no log messages"


async def test_questions_are_pushed(served: Served) -> None:
    """A listener sees the question without polling, and the rest after the answer."""
    task_id = await served.modern.start("asks")
    with anyio.fail_after(20):
        async with served.modern.listen(taskIds=[task_id]) as messages:
            await anext(messages)
            asked = await _until(messages, "input_required")
            assert set(asked["inputRequests"]) == {"go"}
            await served.modern.update(task_id, go={"action": "accept", "content": {"confirm": True}})
            assert (await _until(messages, "completed"))["result"]["isError"] is False


async def test_several_tasks_share_a_stream(served: Served) -> None:
    """It ends with the last of them; one that was over before is told of once."""
    over = await served.modern.start("text")
    await served.modern.until(over, "completed")
    running = await served.modern.start("gated")
    with anyio.fail_after(20):
        async with served.modern.listen(taskIds=[over, running, over]) as messages:
            acknowledged = await anext(messages)
            assert acknowledged["params"]["notifications"]["taskIds"] == [over, running]
            served.gate.open()
            shown = [_shown(message) async for message in messages if "method" in message]
    assert [task["status"] for task in shown if task["taskId"] == over] == ["completed"]
    assert [task["status"] for task in shown if task["taskId"] == running][-1] == "completed"


async def test_other_subscriptions_go_on_beside_tasks(served: Served) -> None:
    """A filter with both is acknowledged with both, and stays open when the tasks are over."""
    task_id = await served.modern.start("text")
    await served.modern.until(task_id, "completed")
    with anyio.fail_after(20):
        async with served.modern.listen(taskIds=[task_id], toolsListChanged=True) as messages:
            acknowledged = await anext(messages)
            assert acknowledged["params"]["notifications"] == {"taskIds": [task_id], "toolsListChanged": True}
            assert _shown(await anext(messages))["status"] == "completed"
            with anyio.move_on_after(0.3) as quiet:
                await anext(messages)
            assert quiet.cancelled_caught


async def test_a_client_without_the_extension_is_refused(served: Served) -> None:
    """-32021, with what it would have to declare; other subscriptions are none of our business."""
    caller = Modern(served.bare.http, FORMS)
    with pytest.raises(Refused) as refused:
        async with caller.listen(taskIds=["any"]):
            raise AssertionError("it was let in")
    assert (refused.value.code, refused.value.status) == (-32021, 400)
    async with caller.listen(toolsListChanged=True) as messages:
        assert (await anext(messages))["params"]["notifications"] == {"toolsListChanged": True}


@pytest.mark.parametrize("task_ids", ["one", [1], [{}], [str(n) for n in range(101)]], ids=lambda v: str(v)[:20])
async def test_what_is_no_list_of_ids_is_refused(served: Served, task_ids: Any) -> None:
    """Wrong types and more tasks than one stream follows are invalid params."""
    with pytest.raises(Refused) as refused:
        async with served.modern.listen(taskIds=task_ids):
            raise AssertionError("it was let in")
    assert refused.value.code == -32602


async def test_a_task_that_another_process_runs_is_followed_all_the_same(served: Served) -> None:
    """A replica that runs nothing pushes what the other one's tasks do: they meet in the store only."""
    replica = LongTaskServer("replica", settings=served.server.engine.settings)
    add_task_types(replica)
    application = replica.http_app()
    async with replica.running(work=False), serve(application) as elsewhere:
        other = Modern(elsewhere.http)
        task_id = await other.start("gated")
        with anyio.fail_after(20):
            async with other.listen(taskIds=[task_id]) as messages:
                await anext(messages)
                await served.gate.reached.wait()
                served.gate.open()
                assert (await _until(messages, "completed"))["result"]["structuredContent"]["pages"] == 28


def _shown(message: dict[str, Any]) -> dict[str, Any]:
    params: dict[str, Any] = message["params"]
    valid(params, PUSHED)
    assert "resultType" not in params
    return params


async def _until(messages: AsyncIterator[dict[str, Any]], status: str) -> dict[str, Any]:
    async for message in messages:
        if (shown := _shown(message))["status"] == status:
            return shown
    raise AssertionError(f"the stream ended without {status}")

"""What agents are answered with: results of a bearable length, and ways to say what a person said."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from mcp import Client, MCPError

from tests.mcp.conftest import Served
from tests.mcp.speaking import Modern

BUDGET = 20_000


async def test_a_long_result_is_paged_and_the_pages_are_the_whole(served: Served) -> None:
    """Each page says where the next begins; joined they are the result."""
    size = 2 * BUDGET + 17
    operation_id = await _done(served, "text", {"size": size})
    agent = Modern(served.bare.http, {}, "some agent")
    pages: list[str] = []
    offset: int | None = 0
    while offset is not None:
        data = (await agent.reply("get_task_result", operation_id=operation_id, offset=offset))["data"]
        assert len(data["output"]) <= BUDGET
        assert "result" not in data
        pages.append(data["output"])
        offset = data["page"]["next_offset"]
        assert offset is None or f"offset={offset})" in data["next"]
    assert "".join(pages) == "x" * size
    assert len(pages) == 3


async def test_a_page_may_be_asked_for_by_anybody(served: Served) -> None:
    """Offset and limit count characters of a text, or of the JSON of what is no text."""
    operation_id = await _done(served, "anything", {"value": 12345})
    data = (await served.bare.call("get_task_result", operation_id=operation_id, offset=2, limit=5))["data"]
    assert (data["result"], data["page"]["total_characters"]) == ("value", len('{"value":12345}'))
    beyond = (await served.bare.call("get_task_result", operation_id=operation_id, offset=10**9))["data"]
    assert (beyond["result"], beyond["page"]["next_offset"]) == ("", None)


async def test_a_bare_request_gets_everything(served: Served) -> None:
    """A program that asks without a handshake is not spared anything."""
    operation_id = await _done(served, "text", {"size": BUDGET + 1})
    data = (await served.bare.call("get_task_result", operation_id=operation_id))["data"]
    assert (len(data["result"]), data["page"]) == (BUDGET + 1, None)


async def test_a_long_result_is_left_out_of_other_answers(served: Served) -> None:
    """Progress and lists stay short too; a start and a direct call that were done in time give the first page."""
    operation_id = await _done(served, "text", {"size": BUDGET + 1})
    agent = Modern(served.bare.http, {}, "some agent")
    assert "output" not in (await agent.reply("get_task_progress", operation_id=operation_id))["data"]
    assert "output" not in (await agent.reply("list_operations"))["data"]["operations"][0]
    long = {"size": BUDGET + 1}
    direct = await agent.call("text", long, meta={"mcp-long-tasks/wait_seconds": 20})
    started = await agent.reply("start_long_task", task_type="text", arguments=long, wait_seconds=20)
    for data in (direct["structuredContent"]["data"], started["data"]):
        assert (len(data["output"]), data["page"]["next_offset"]) == (BUDGET, BUDGET)
        assert f'get_task_result(operation_id="{data["operation_id"]}", offset={BUDGET})' in data["next"]


async def test_the_whole_result_is_a_resource(served: Served) -> None:
    """`longtask://{id}/result` holds the text, or the JSON of what is no text; only of completed tasks."""
    long, small = await _done(served, "text", {"size": BUDGET + 1}), await _done(served, "anything", {"value": 3})
    running = await served.bare.start("gated")
    async with Client(served.url) as client:
        (template,) = (await client.list_resource_templates()).resource_templates
        assert template.uri_template == "longtask://{operation_id}/result"
        assert await _read(client, long) == "x" * (BUDGET + 1)
        assert await _read(client, small) == '{"value":3}'
        with pytest.raises(MCPError, match="No task with the id"):
            await _read(client, "unknown")
        with pytest.raises(MCPError, match="only a completed task has a result"):
            await _read(client, running)


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        ({"action": "accept", "content": {"confirm": True}}, "confirmed: True"),
        ({"confirm": False}, "confirmed: False"),
        (True, "confirmed: True"),
        ('{"confirm": true}', "confirmed: True"),
        ("decline", None),
        ({"action": "decline"}, None),
    ],
    ids=str,
)
async def test_an_answer_may_be_given_as_it_comes(served: Served, response: Any, outcome: str | None) -> None:
    """A value, the fields, their JSON or an elicitation result are all understood."""
    operation_id = await _asking(served)
    data = (await served.bare.call("respond_to_task", operation_id=operation_id, key="go", response=response))["data"]
    assert data["answered"] is True
    done = await served.bare.call("get_task_result", operation_id=operation_id, wait_seconds=20)
    if outcome is None:
        assert done["details"]["error_code"] == "INPUT_DECLINED"
    else:
        assert done["data"]["result"] == outcome


async def test_an_answer_that_does_not_fit_is_refused_and_can_be_corrected(served: Served) -> None:
    """The error lists path, expected and got; an unknown key is told the open ones; a second answer changes nothing."""
    operation_id = await _asking(served)
    wrong = await served.bare.call("respond_to_task", operation_id=operation_id, key="go", response={"confirm": 7})
    assert wrong["error_code"] == "INVALID_ARGUMENT"
    (error,) = wrong["details"]["errors"]
    assert (error["path"], error["got"]) == ("responses.go.content.confirm", "7")
    assert "boolean" in error["expected"]
    unknown = await served.bare.call("respond_to_task", operation_id=operation_id, key="stop", response=True)
    assert unknown["details"]["errors"][0]["expected"] == "go"
    first = await served.bare.call("respond_to_task", operation_id=operation_id, key="go", response=True)
    again = await served.bare.call("respond_to_task", operation_id=operation_id, key="go", response=False)
    assert (first["data"]["answered"], again["data"]["answered"]) == (True, False)
    done = await served.bare.call("get_task_result", operation_id=operation_id, wait_seconds=20)
    assert done["data"]["result"] == "confirmed: True"


async def test_a_question_is_put_as_the_call_that_answers_it(served: Served) -> None:
    """The fields to fill in are named with their types; what else may be said, and what else is asked, too."""
    operation_id = await _asking(served)
    asked = (await served.bare.call("get_task_progress", operation_id=operation_id))["data"]["next"]
    assert f'respond_to_task(operation_id="{operation_id}", key="go", response={{"confirm": <boolean>}})' in asked
    assert 'response="decline"' in asked
    both = await served.bare.start("asks_twice")
    for last_seen in (2, 3):
        await served.bare.call("get_task_progress", operation_id=both, since=last_seen, wait_seconds=20)
    asked = (await served.bare.call("get_task_progress", operation_id=both))["data"]["next"]
    assert asked.endswith("(1 more question is open.)")


async def test_an_answer_says_things_once(served: Served) -> None:
    """The advice is in one place of a reply, and a page's text nowhere but in the result."""
    running, long = await served.bare.start("gated"), await _done(served, "text", {"size": BUDGET + 1})
    agent = Modern(served.bare.http, {}, "some agent")
    waiting = str(await agent.reply("get_task_result", operation_id=running))
    assert waiting.count("All is well") == waiting.count("wait_seconds=25") == 1
    reply = str(await agent.reply("get_task_result", operation_id=long))
    assert reply.count("x" * BUDGET) == 1
    assert len(reply) < BUDGET + 1_000


async def test_events_come_in_bearable_portions_that_lose_nothing(served: Served) -> None:
    """An agent gets as many as fit an answer, at least one, and the call for the next; a program gets 200."""
    operation_id = await _done(served, "talks", {"times": 250, "size": 1_000})
    agent = Modern(served.bare.http, {}, "some agent")
    seen: list[int] = []
    advice = "since=0)"
    while "get_task_progress" in advice or not seen:
        since = seen[-1] if seen else 0
        assert f"since={since})" in advice
        data = (await agent.reply("get_task_progress", operation_id=operation_id, since=since))["data"]
        assert len(str(data["events"])) < 2 * BUDGET
        seen += [event["id"] for event in data["events"] if event["id"] is not None]
        advice = data["next"]
    assert seen == list(range(1, 254)), "queued, started, what it said, and the end"
    assert (
        len((await served.bare.call("get_task_progress", operation_id=operation_id, since=0))["data"]["events"]) == 200
    )
    large = await _done(served, "talks", {"times": 1, "size": 2 * BUDGET})
    alone = (await agent.reply("get_task_progress", operation_id=large, since=2))["data"]["events"]
    assert [event["id"] for event in alone] == [3]


async def test_a_list_says_what_to_do_with_it(served: Served) -> None:
    """Follow a task, look for more of them, or start one."""
    empty = (await served.bare.call("list_operations", status="failed"))["data"]
    assert (empty["count"], "list_task_types()" in empty["next"]) == (0, True)
    for _ in range(2):
        await served.bare.start("gated")
    first = (await served.bare.call("list_operations", limit=1))["data"]
    assert "get_task_result(operation_id=…, wait_seconds=25)" in first["next"]
    assert f'list_operations(cursor="{first["next_cursor"]}")' in first["next"]


async def test_refusals_say_what_to_do_next(served: Served) -> None:
    """Every error an agent can meet carries one sentence in `details.next`."""
    running = await served.bare.start("gated")
    refusals: list[tuple[str, dict[str, Any], str, str]] = [
        ("get_task_progress", {"operation_id": "unknown"}, "NOT_FOUND", "list_operations"),
        ("start_long_task", {"task_type": "unknown"}, "UNKNOWN_TASK_TYPE", "list_task_types"),
        ("start_long_task", {"task_type": "gated", "arguments": {"pages": "x"}}, "INVALID_ARGUMENT", "details.errors"),
        ("list_operations", {"status": "unknown"}, "INVALID_STATUS", "details.valid"),
        ("retry_task", {"operation_id": running}, "NOT_RETRYABLE", "get_task_result"),
    ]
    for tool, arguments, code, advice in refusals:
        reply = await served.bare.call(tool, **arguments)
        assert reply["error_code"] == code
        assert advice in reply["details"]["next"]


@pytest.mark.parametrize(
    ("tool", "name", "meant"),
    [
        ("get_task_result", "wait", "wait_seconds"),
        ("get_task_result", "operationId", "operation_id"),
        ("start_long_task", "args", "arguments"),
        ("start_long_task", "idempotencyKey", "idempotency_key"),
        ("list_operations", "stauts", "status"),
        ("list_task_types", "limit", None),
        ("cancel_task", "zzz", None),
    ],
)
async def test_a_misspelled_argument_is_refused_with_the_name_that_was_meant(
    served: Served, tool: str, name: str, meant: str | None
) -> None:
    """Nothing is dropped in silence, and nothing is done."""
    required = {"start_long_task": {"task_type": "gated"}, "list_operations": {}, "list_task_types": {}}
    arguments = required.get(tool, {"operation_id": "unknown"})
    arguments.pop(meant or "", None)
    reply = await served.bare.call(tool, **arguments, **{name: 1})
    hint = f"; did you mean `{meant}`?" if meant else ""
    assert reply["error_code"] == "INVALID_ARGUMENT"
    assert reply["error"] == f"Invalid arguments: {name}: There is no argument `{name}`{hint}"
    assert [error["path"] for error in reply["details"]["errors"]] == [name]
    assert (await served.bare.call("list_operations"))["data"]["count"] == 0


async def test_a_misspelled_type_or_status_is_told_the_nearest(served: Served) -> None:
    """The messages list what is known, and end with the name that was probably meant."""
    for tool, arguments, meant in (
        ("start_long_task", {"task_type": "Gatd"}, "gated"),
        ("list_operations", {"task_type": "asks-twice"}, "asks_twice"),
        ("list_operations", {"status": "complete"}, "completed"),
        ("list_operations", {"status": "canceled"}, "cancelled"),
    ):
        assert (await served.bare.call(tool, **arguments))["error"].endswith(f"; did you mean `{meant}`?")
    argument = await served.bare.call("start_long_task", task_type="gated", arguments={"page": 3})
    assert argument["details"]["errors"][0]["message"] == "There is no such argument; did you mean `pages`?"


async def test_an_answer_is_one_moment(served: Served) -> None:
    """While a task emits, no answer has events newer than its own `last_event_id`, and none comes twice."""
    operation_id = await served.bare.start("talks", {"times": 1_500, "size": 10})
    seen: list[int] = []
    with anyio.fail_after(60):
        while True:
            since = seen[-1] if seen else 0
            data = (await served.bare.call("get_task_progress", operation_id=operation_id, since=since))["data"]
            seen += [event["id"] for event in data["events"] if event["id"] is not None]
            assert not seen or seen[-1] <= data["last_event_id"]
            if data["completed_at"] is not None and seen[-1] == data["last_event_id"]:
                break
    assert seen == list(range(1, 1_504)), "queued, started, what it said, and the end"


async def _done(served: Served, task_type: str, arguments: dict[str, Any]) -> str:
    operation_id = await served.bare.start(task_type, arguments)
    reply = await served.bare.call("get_task_progress", operation_id=operation_id, wait_seconds=20)
    assert reply["data"]["status"] == "completed"
    return operation_id


async def _asking(served: Served) -> str:
    operation_id = await served.bare.start("asks")
    reply = await served.bare.call("get_task_progress", operation_id=operation_id, wait_seconds=20)
    assert reply["data"]["status"] == "input_required"
    return operation_id


async def _read(client: Client, operation_id: str) -> str:
    (content,) = (await client.read_resource(f"longtask://{operation_id}/result")).contents
    return str(content.text)  # type: ignore[union-attr]

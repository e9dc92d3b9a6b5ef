"""Calls that become tasks: for whom, in which shape, and what is settled before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mcp_server import ConfigurationError
from tests.mcp.conftest import Served
from tests.mcp.speaking import FORMS, TASKS, Modern, Refused
from tests.mcp.task_types import add_task_types
from tests.mcp.tasks_schema import CREATED, valid
from tests.server.servers import make_server, serve


async def test_a_declared_call_is_answered_with_a_flat_task(served: Served) -> None:
    """CreateTaskResult has the shape of the extension, nothing else, and `tasks/get` knows the task at once."""
    created = valid(await served.modern.call("gated"), CREATED)
    assert (created["status"], created["ttlMs"]) == ("working", None)
    assert (await served.modern.get(created["taskId"]))["taskId"] == created["taskId"]


async def test_the_server_advertises_the_extension_and_no_older_slot(served: Served) -> None:
    """`server/discover` names the extension; the `tasks` capability of an earlier protocol is not there."""
    capabilities = (await served.modern.request("server/discover", {}))["capabilities"]
    assert capabilities["extensions"]["io.modelcontextprotocol/tasks"] == {}
    assert "tasks" not in capabilities


@pytest.mark.parametrize(
    "capabilities",
    [
        {},
        {"tasks": {"requests": {"tools": {"call": {}}}}},
        {"extensions": None},
        {"extensions": {"io.modelcontextprotocol/ui": {}}},
    ],
    ids=str,
)
async def test_what_is_no_declaration_gets_no_task(served: Served, capabilities: dict[str, Any]) -> None:
    """Without the extension in this very request, a call has an ordinary result and the methods refuse."""
    caller = Modern(served.bare.http, capabilities)
    assert (await caller.call("greet", {"name": "you"}))["resultType"] == "complete"
    assert (await caller.call("gated"))["resultType"] == "complete"
    await _refused_for_want_of_the_extension(caller)


async def test_a_misshapen_declaration_is_none(served: Served) -> None:
    """Capabilities that are not what the protocol says they are count as no capabilities."""
    await _refused_for_want_of_the_extension(
        Modern(served.bare.http, {"extensions": {"io.modelcontextprotocol/tasks": True}})
    )


async def _refused_for_want_of_the_extension(caller: Modern) -> None:
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        with pytest.raises(Refused) as refused:
            await caller.request(method, {"taskId": "any", "inputResponses": {}})
        assert (refused.value.code, refused.value.status) == (-32021, 400)
        assert refused.value.data == {"requiredCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}


async def test_a_declaration_counts_for_its_own_request_only(served: Served) -> None:
    """The same connection with and without the extension: a task, and none."""
    served.modern.capabilities = TASKS
    assert (await served.modern.call("gated"))["resultType"] == "task"
    served.modern.capabilities = {}
    assert (await served.modern.call("gated"))["resultType"] == "complete"


async def test_a_task_type_says_whether_it_becomes_a_task(served: Served) -> None:
    """`never` answers with the result to everybody, `required` refuses who cannot take a task."""
    greeted = await served.modern.call("greet", {"name": "Ann"})
    assert (greeted["resultType"], greeted["content"][0]["text"]) == ("complete", "Hello, Ann!")
    assert (await served.modern.call("required"))["resultType"] == "task"
    with pytest.raises(Refused) as refused:
        await Modern(served.bare.http, FORMS).call("required")
    assert refused.value.code == -32021


async def test_bad_arguments_are_refused_before_there_is_a_task(served: Served) -> None:
    """The answer is a tool error that lists what is wrong, and no task is left behind."""
    result = await served.modern.call("gated", {"pages": "many", "extra": 1})
    assert result["isError"] is True
    reply = result["structuredContent"]
    assert reply["error_code"] == "INVALID_ARGUMENT"
    assert [(e["path"], e["got"]) for e in reply["details"]["errors"]] == [("pages", "'many'"), ("extra", "1")]
    assert (await served.modern.reply("list_operations"))["data"]["count"] == 0


async def test_a_task_parameter_of_the_older_protocol_is_ignored(served: Served) -> None:
    """It neither fails the call nor makes a task of what never becomes one."""
    result = await served.modern.call("greet", {"name": "you"}, task={"ttl": 60_000})
    assert result["resultType"] == "complete"


async def test_a_call_with_an_idempotency_key_makes_one_task(served: Served) -> None:
    """Named in `_meta`, the key works for a task type's own tool as for `start_long_task`."""
    meta = {"mcp-long-tasks/idempotency_key": "once"}
    first = await served.modern.call("gated", meta=meta)
    again = await served.modern.call("gated", meta=meta)
    assert first["taskId"] == again["taskId"]
    conflict = await served.modern.call("gated", {"pages": 2}, meta=meta)
    assert conflict["structuredContent"]["error_code"] == "IDEMPOTENCY_CONFLICT"


async def test_every_task_type_is_a_tool_with_its_schemas(served: Served) -> None:
    """The list shows description and input schema, and an output schema that a result and a handle both fit."""
    tools = {tool["name"]: tool for tool in (await served.modern.request("tools/list", {}))["tools"]}
    gated = tools["gated"]
    assert gated["description"] == "Reports, and waits at the gate."
    assert gated["inputSchema"]["properties"]["pages"] == {"default": 28, "title": "Pages", "type": "integer"}
    assert "task" not in gated["inputSchema"]["properties"]
    result, envelope = gated["outputSchema"]["anyOf"]
    assert set(result["properties"]) == {"pages", "title"}
    assert "operation_id" in envelope["properties"]["data"]["properties"]
    assert tools["text"]["outputSchema"]["anyOf"][0]["properties"]["result"] == {"type": "string"}
    assert "outputSchema" not in tools["anything"]


async def test_questions_that_come_first_are_asked_before_there_is_a_task(served: Served) -> None:
    """Round 1 asks, round 2 brings the answers, and the task has them without asking."""
    first = await served.modern.call("asks_first")
    assert first["resultType"] == "input_required"
    assert "taskId" not in first
    assert first["inputRequests"]["who"]["params"]["message"] == "Who?"
    created = await served.modern.call(
        "asks_first",
        inputResponses={
            "who": {"action": "accept", "content": {"name": "Alice"}},
            "go": {"action": "accept", "content": {"confirm": True}},
        },
        requestState=first["requestState"],
    )
    valid(created, CREATED)
    done = await served.modern.until(created["taskId"], "completed", "input_required")
    assert done["result"]["content"][0]["text"] == "Hello Alice"


async def test_a_misfit_or_missing_answer_is_asked_for_again(served: Served) -> None:
    """What was answered well travels in the request state; the rest is asked in the next round."""
    first = await served.modern.call("asks_first")
    second = await served.modern.call(
        "asks_first",
        inputResponses={
            "who": {"action": "accept", "content": {"name": "A"}},
            "go": {"action": "accept", "content": {"confirm": True}},
        },
        requestState=first["requestState"],
    )
    assert set(second["inputRequests"]) == {"who"}
    answer = {"who": {"action": "accept", "content": {"name": "Bo"}}}
    last = {"inputResponses": answer, "requestState": second["requestState"]}
    created = await served.modern.call("asks_first", **last)
    assert (await served.modern.until(created["taskId"], "completed"))["result"]["content"][0]["text"] == "Hello Bo"
    assert (await served.modern.call("asks_first", **last))["taskId"] == created["taskId"], "sent twice, one task"


async def test_a_request_state_is_worth_nothing_for_another_call(served: Served) -> None:
    """State that was changed, or that belongs to other arguments, is refused as the protocol says."""
    first = await served.modern.call("asks_first")
    with pytest.raises(Refused) as tampered:
        await served.modern.call("asks_first", requestState=first["requestState"] + "x")
    with pytest.raises(Refused) as moved:
        await served.modern.call("asks_first", {"greeting": "Hi"}, requestState=first["requestState"])
    assert (tampered.value.code, moved.value.code) == (-32602, -32602)


async def test_a_client_that_cannot_ask_gets_its_task_at_once(served: Served) -> None:
    """No elicitation declared: nothing is asked of it; the task itself asks, and somebody else may answer."""
    caller = Modern(served.bare.http, TASKS)
    created = valid(await caller.call("asks_first"), CREATED)
    waiting = await served.modern.until(created["taskId"], "input_required")
    assert set(waiting["inputRequests"]) == {"who"}


async def test_replicas_with_one_key_answer_each_others_rounds(tmp_path: Path) -> None:
    """What one process asked may be answered to another, if they share the secret; else the round is refused."""
    key = "a secret that all replicas share!"
    replicas = [make_server(tmp_path, request_state_key=keys) for keys in (key, f"{'n' * 32},{key}")]
    stranger = make_server(tmp_path)
    for server in (*replicas, stranger):
        add_task_types(server)
    async with serve(replicas[0]) as a, serve(replicas[1]) as b, serve(stranger) as c:
        asked = await Modern(a.http).call("asks_first")
        answers = {
            "who": {"action": "accept", "content": {"name": "Alice"}},
            "go": {"action": "accept", "content": {"confirm": True}},
        }
        second = {"inputResponses": answers, "requestState": asked["requestState"]}
        with pytest.raises(Refused) as refused:
            await Modern(c.http).call("asks_first", **second)
        assert refused.value.code == -32602
        valid(await Modern(b.http).call("asks_first", **second), CREATED)


def test_a_key_that_is_too_short_is_a_clear_error(tmp_path: Path) -> None:
    """The server does not start with a secret that protects nothing, and says how long it has to be."""
    with pytest.raises(ConfigurationError, match=r"request_state_key: .*32 bytes"):
        make_server(tmp_path, request_state_key="short")


async def test_task_types_need_not_be_tools(tmp_path: Path) -> None:
    """With `task_tools` off only the tools for tasks are offered, and calls of others find nothing."""
    server = make_server(tmp_path, task_tools="off")
    add_task_types(server)
    async with serve(server) as bare:
        tools = {tool["name"] for tool in (await Modern(bare.http).request("tools/list", {}))["tools"]}
        assert "start_long_task" in tools
        assert "gated" not in tools
        assert (await Modern(bare.http).call("gated"))["isError"] is True
        assert (await bare.call("start_long_task", task_type="text"))["status"] == "success"


def test_a_name_is_a_tool_or_a_task_type_and_never_both(tmp_path: Path) -> None:
    """Whichever came second is refused at once: it would answer calls that its caller meant for the other."""
    server = make_server(tmp_path)

    def cancel_task() -> None:
        """As one of the server's own."""

    def mine() -> None:
        """Of the application's author."""

    for register in (server.task, server.add_tool, server.tool()):
        with pytest.raises(ValueError, match=r"'cancel_task' is a tool of the server's own already; .* another name"):
            register(cancel_task)
    server.tool()(mine)
    with pytest.raises(ValueError, match="'mine' is a tool of yours already"):
        server.task(mine)
    server.task(name="work")(mine)
    with pytest.raises(ValueError, match="'work' is a task type already"):
        server.tool(name="work")(mine)


def test_a_task_type_that_is_no_tool_shares_its_name_with_one(tmp_path: Path) -> None:
    """With `task_tools` off nothing else answers to it."""
    server = make_server(tmp_path, task_tools="off")

    def work() -> None:
        """Either."""

    server.task(work)
    server.tool()(work)

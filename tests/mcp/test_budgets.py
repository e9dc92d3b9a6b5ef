"""The cost of our answers to an agent: the characters it reads, and the calls it has to make."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcp_server import Settings
from mcp_server.cli.demo import demo_server
from tests.mcp.conftest import Served
from tests.mcp.obedient import Agent, named_call
from tests.mcp.speaking import Modern
from tests.mcp.task_types import add_task_types
from tests.server.servers import make_server, serve

TEN_MINUTES, SCALE = 600, 200
"""A ten-minute task is played in three seconds, with waits that are cut to match."""


async def test_the_definitions_are_short(tmp_path: Path) -> None:
    """The stock server's `tools/list` is 14 KB at most, and what a model sees of our nine tools 5,000 characters."""
    async with serve(demo_server(_stored_in(tmp_path)).http_app()) as bare:
        tools = (await Modern(bare.http, {}).request("tools/list", {}))["tools"]
    ours = [tool for tool in tools if not tool["name"].startswith("data_")]
    assert (len(tools), len(ours)) == (11, 9)
    assert len(_compact({"tools": tools}).encode()) <= 14_000
    assert sum(len(tool["name"] + tool["description"] + _compact(tool["inputSchema"])) for tool in ours) <= 5_000
    for tool in ours:
        schemas = _compact([tool["inputSchema"], tool["outputSchema"]])
        assert '"title"' not in schemas
        assert '"anyOf"' not in schemas
    described = {tool["name"]: tool["description"] for tool in ours}
    for name in ("start_long_task", "get_task_progress", "get_task_result", "wait_for_tasks", "list_operations"):
        assert "wait" in described[name].lower(), f"{name} does not teach to wait"


async def test_a_poll_and_a_last_answer_are_short(tmp_path: Path) -> None:
    """A named client reads 600 characters of a running task, and 250 and the result, once, of one that has ended."""
    async with serve(demo_server(_stored_in(tmp_path)).http_app()) as bare:
        task = {"operation_id": await bare.start("data_analysis", {"duration_seconds": 3600, "steps": 10_000})}
        await bare.call("get_task_progress", **task, since=2, wait_seconds=20)
        agent = Agent(Modern(bare.http, {}, "some-agent"))
        for tool in ("get_task_progress", "get_task_result"):
            await agent.call(tool, {**task, "wait_seconds": 0})
            assert agent.read[-1] <= 600, tool
        await bare.call("cancel_task", **task)
        done = {"operation_id": await bare.start("data_analysis", {"duration_seconds": 0, "steps": 1})}
        reply = await agent.call("get_task_result", {**done, "wait_seconds": 20})
        assert agent.read[-1] <= 250 + len(_compact(reply["data"]["output"]))
        whole = (await bare.call("get_task_result", **done))["data"]
    assert whole["result"] == whole["output"] == reply["data"]["output"]


async def test_a_named_client_is_spared_what_says_nothing(served: Served) -> None:
    """Empty fields are left out, falsy results are not; a bare request gets every field."""
    agent = Modern(served.bare.http, {}, "some-agent")
    running = await served.bare.start("gated")
    await served.gate.reached.wait()
    brief = (await agent.reply("get_task_progress", operation_id=running, wait_seconds=0))["data"]
    assert not [name for name, value in brief.items() if value in (None, "", [], {})]
    full = (await served.bare.call("get_task_progress", operation_id=running))["data"]
    assert {"output", "error", "stage", "metadata", "input_requests", "queue_position", "events"} <= set(full)
    nothing = await served.bare.start("anything", {"value": 0})
    reply = await agent.reply("get_task_result", operation_id=nothing, wait_seconds=20)
    assert reply["data"]["output"] is None


@pytest.mark.parametrize(
    ("name", "token", "wait", "calls", "characters"),
    [
        ("claude-code", True, 110, 7, 3_600),
        ("codex-mcp-client", True, 280, 4, 2_100),
        ("gemini-cli-mcp-client", True, 570, 3, 1_600),
        ("opencode", True, 570, 3, 1_600),
        ("cursor-vscode", False, 45, 15, 7_800),
        ("somebody", False, 25, 26, 13_000),
    ],
)
async def test_ten_minutes_cost_few_calls(
    tmp_path: Path, name: str, token: bool, wait: float, calls: int, characters: int
) -> None:
    """Each class of callers follows `next` to the result; the numbers are those of docs/mcp-clients.md."""
    duration = TEN_MINUTES / SCALE
    settings = _stored_in(tmp_path, max_wait=wait / SCALE, start_grace=0.0)
    async with serve(demo_server(settings).http_app()) as bare:
        agent = Agent(Modern(bare.http, {}, name), token=token)
        began = time.monotonic()
        start = {"task_type": "data_analysis", "arguments": {"duration_seconds": duration, "steps": 60}}
        reply: dict[str, Any] | None = await agent.call("start_long_task", start)
        with anyio.fail_after(60):
            while reply is not None:
                last, reply = reply, await agent.step(reply)
        # On a machine that is slow the task takes longer than it says; each wait is as long as it says at least.
        late = int((time.monotonic() - began - duration) / (wait / SCALE))
    assert last["data"]["output"]["steps"] == 60
    assert len(agent.calls) <= calls + late
    assert sum(agent.read) <= characters + 600 * late
    assert len({_compact(call) for call in agent.calls}) == len(agent.calls)


async def test_no_two_calls_are_equal_while_nothing_happens(tmp_path: Path) -> None:
    """A queued task reports nothing: still each call that `next` names differs from all before it, in every tool."""
    server = make_server(tmp_path, concurrency=1, max_wait=0.01)
    gate = add_task_types(server)
    async with serve(server.http_app()) as bare:
        first = await bare.start("gated")
        await gate.reached.wait()
        second, third = [await bare.start("gated") for _ in range(2)]
        agent = Agent(Modern(bare.http, {}, "some-agent"))
        begins: list[tuple[str, dict[str, Any]]] = [
            ("get_task_result", {"operation_id": second}),
            ("get_task_progress", {"operation_id": third, "since": 1}),
            ("wait_for_tasks", {"operation_ids": [first, second, third], "mode": "all"}),
        ]
        for tool, arguments in begins:
            reply: dict[str, Any] | None = await agent.call(tool, arguments)
            for _ in range(12):
                assert reply is not None
                reply = await agent.step(reply)
        gate.open()
    assert len(agent.calls) == len(begins) * 13
    assert len({_compact(call) for call in agent.calls}) == len(agent.calls)


async def test_the_cursor_of_next_does_not_end_a_wait_on_progress(served: Served) -> None:
    """`since` of get_task_result and wait_for_tasks only makes a call differ from the one before."""
    operation_id = await served.bare.start("gated")
    await served.gate.reached.wait()
    for tool, task in (
        ("get_task_result", {"operation_id": operation_id}),
        ("wait_for_tasks", {"operation_ids": [operation_id]}),
    ):
        for since in (0, 1.0003):
            reply = await served.bare.call(tool, **task, since=since, wait_seconds=0.1)
            assert reply["data"]["waited"]["seconds"] == 0.1
            next_call = named_call((reply.get("details") or reply["data"])["next"])
            assert next_call is not None
            assert next_call[1]["since"] == 3


def _stored_in(directory: Path, **settings: Any) -> Settings:
    return Settings(backend=f"sqlite:///{directory / 'tasks.db'}", port=0, **settings)


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)

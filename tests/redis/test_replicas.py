"""MCP over several replicas, by the letter of the protocol: every request of a conversation goes to another one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import httpx2
import pytest

from tests.mcp.speaking import FORMS, Modern

from .processes import balancer, fleet
from .server import redis_server

PATIENCE = 60.0
"""Seconds after which something counts as never happening."""
YES = {"action": "accept", "content": {"yes": True}}
HELD = {"mcp-long-tasks/wait_seconds": PATIENCE}
ALICE = {"action": "accept", "content": {"name": "Alice"}}


@dataclass(frozen=True)
class Running:
    """Three replicas that run nothing, and a worker that answers nobody."""

    replicas: list[str]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("replicas")
    secret = "a secret that all replicas share!"
    with (
        redis_server(directory / "redis") as server,
        fleet(server.url, directory, request_state_key=secret) as members,
    ):
        worker, replicas = members.worker(), [members.replica() for _ in range(3)]
        worker.ready()
        yield Running([replica.url for replica in replicas])


@asynccontextmanager
async def speaking(url: str, capabilities: dict[str, Any] | None = None) -> AsyncIterator[Modern]:
    """A client that opens a connection for each request, so that a balancer sends each to the next replica."""
    limits = httpx2.Limits(max_keepalive_connections=0)
    async with httpx2.AsyncClient(base_url=url, limits=limits, timeout=PATIENCE, trust_env=False) as http:
        yield Modern(http, capabilities)


async def until(messages: AsyncIterator[dict[str, Any]], status: str) -> dict[str, Any]:
    async for message in messages:
        shown: dict[str, Any] = message["params"]
        if shown.get("status") == status:
            return shown
    raise AssertionError(f"the stream ended before the task was {status}")


async def test_a_listener_on_one_replica_follows_what_others_start_answer_and_run(running: Running) -> None:
    """Started on A, run by the worker, listened to on B; what it asks is pushed to B and answered on C."""
    a, b, c = running.replicas
    async with speaking(a) as on_a, speaking(b) as on_b, speaking(c) as on_c:
        with anyio.fail_after(PATIENCE):
            task_id = await on_a.start("confirm")
            async with on_b.listen(taskIds=[task_id]) as messages:
                asked = await until(messages, "input_required")
                assert set(asked["inputRequests"]) == {"go"}
                await on_c.update(task_id, go=YES)
                done = await until(messages, "completed")
            assert done["result"]["structuredContent"] == {"result": True}
            assert (await on_a.get(task_id))["result"] == done["result"]


async def test_a_cancel_on_one_replica_reaches_the_worker_and_the_listener_on_another(running: Running) -> None:
    """Started on A, listened to on B, cancelled on C."""
    a, b, c = running.replicas
    async with speaking(a) as on_a, speaking(b) as on_b, speaking(c) as on_c:
        with anyio.fail_after(PATIENCE):
            task_id = await on_a.start("count", {"steps": 10_000, "pause": 0.05})
            async with on_b.listen(taskIds=[task_id]) as messages:
                await until(messages, "working")
                await on_c.cancel(task_id)
                await until(messages, "cancelled")
            assert (await on_a.get(task_id))["status"] == "cancelled"


async def test_a_conversation_needs_no_sticky_balancer(running: Running) -> None:
    """One address, a replica in turn for each request: start, listen, answer, poll, cancel, and none minds."""
    async with balancer(lambda: running.replicas) as url, speaking(url) as client:
        with anyio.fail_after(PATIENCE):
            asking, counting = await client.start("confirm"), await client.start("count", {"steps": 9999, "pause": 0.1})
            async with client.listen(taskIds=[asking, counting]) as messages:
                await until(messages, "input_required")
                await client.update(asking, go=YES)
                await client.cancel(counting)
                ends = {}
                async for message in messages:
                    ends[message.get("params", {}).get("taskId")] = message.get("params", {}).get("status")
            assert (ends[asking], ends[counting]) == ("completed", "cancelled")
            assert (await client.get(asking))["status"] == "completed"
            assert (await client.reply("get_task_result", operation_id=asking))["data"]["output"] is True


async def test_what_one_replica_asks_before_there_is_a_task_is_answered_to_the_next(running: Running) -> None:
    """The question's state travels with the client; the replicas share the key it is sealed with."""
    async with balancer(lambda: running.replicas) as url, speaking(url) as client:
        with anyio.fail_after(PATIENCE):
            first = await client.call("greet")
            assert set(first["inputRequests"]) == {"who"}
            created = await client.call("greet", inputResponses={"who": ALICE}, requestState=first["requestState"])
            done = await client.until(created["taskId"], "completed")
            assert done["result"]["content"][0]["text"] == "Hello Alice"


async def test_a_held_call_that_asks_is_continued_on_the_next_replica(running: Running) -> None:
    """A client without the tasks extension: its call is held, asks in the middle, and goes on elsewhere."""
    async with balancer(lambda: running.replicas) as url, speaking(url, FORMS) as client:
        with anyio.fail_after(PATIENCE):
            asked = await client.call("confirm", meta=HELD)
            assert set(asked["inputRequests"]) == {"go"}
            answer = {"inputResponses": {"go": YES}, "requestState": asked["requestState"]}
            answered = await client.call("confirm", meta=HELD, **answer)
            assert answered["structuredContent"] == {"result": True}

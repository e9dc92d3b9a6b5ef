"""What becomes of a fleet when Redis goes: starts are refused clearly, work waits, and nothing acknowledged is lost."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from client_sdk import LongTaskClient
from tests.crash.audit import attempts, audited, check_witness
from tests.crash.clients import result, says, until
from tests.server.servers import Caller, Frame, calling

from .processes import Fleet, fleet
from .server import RedisServer

PATIENCE = 120.0
"""Seconds after which something counts as never happening."""
LEASE = 4.0
"""Seconds. Half of it is what holders get after an outage to say that they live: enough on a busy machine."""
OUTAGE = float(os.environ.get("LONGTASKS_OUTAGE_SECONDS", 1.5 * LEASE))
"""Seconds Redis is away: longer than any lease."""
AT_ONCE = 10.0
"""Seconds within which a start is refused."""


@pytest.fixture
def members(redis: RedisServer, tmp_path: Path) -> Iterator[Fleet]:
    with fleet(redis.url, tmp_path, lease=LEASE) as members:
        yield members


async def refused(caller: Caller) -> None:
    """A start is refused at once, as one that may succeed later."""
    asked = time.monotonic()
    reply = await caller.call("start_long_task", task_type="count", arguments={"steps": 1})
    assert reply["error_code"] == "UNAVAILABLE", reply
    assert "Redis" in reply["error"]
    assert time.monotonic() - asked < AT_ONCE


@asynccontextmanager
async def reading(caller: Caller, task_id: str) -> AsyncIterator[list[Frame]]:
    """One connection to the task's stream that is read meanwhile; afterwards to its end. Gives the durable frames."""
    seen: list[Frame] = []

    async def read() -> None:
        seen.extend(frame for frame in await caller.frames(task_id) if frame.id is not None)

    async with anyio.create_task_group() as reader:
        reader.start_soon(read)
        yield seen


async def test_redis_is_killed_and_comes_back_with_its_file(redis: RedisServer, members: Fleet, tmp_path: Path) -> None:
    """Again and again: acknowledged starts end, running work goes on in the same attempt, readers miss nothing."""
    replica, _ = members.replica(), members.worker().ready()
    seen: list[int] = []
    async with LongTaskClient(replica.url) as client, calling(replica.url) as caller:
        with anyio.fail_after(PATIENCE):
            task_ids = [await caller.start("count", {"steps": 30, "pause": 0.05}) for _ in range(5)]

            async def follow() -> None:
                async for event in client.task(task_ids[0]).events(after=0):
                    if event.number is not None:
                        seen.append(event.number)

            async with anyio.create_task_group() as following:
                following.start_soon(follow)
                await until(caller, task_ids[0], says(5))
                for _ in range(3):
                    await anyio.to_thread.run_sync(redis.kill)
                    await anyio.to_thread.run_sync(redis.start)
            logs = await audited(caller, task_ids)
    assert [attempts(log) for log in logs] == [[1]] * 5
    assert seen == [frame.id for frame in logs[0]]
    check_witness(tmp_path)


async def test_while_redis_is_down_starts_are_refused_and_work_waits(
    redis: RedisServer, members: Fleet, tmp_path: Path
) -> None:
    """For longer than a lease: the replica says so, streams stay open; afterwards the attempt records its progress."""
    replica, _ = members.replica(), [members.worker().ready(), members.worker().ready()]
    async with calling(replica.url) as caller:
        with anyio.fail_after(PATIENCE + 2 * OUTAGE):
            task_id = await caller.start("count", {"steps": 50, "pause": 0.05})
            async with reading(caller, task_id) as seen:
                await until(caller, task_id, says(5))
                await anyio.to_thread.run_sync(redis.kill)
                await refused(caller)
                health = await caller.http.get("/health")
                assert health.status_code == 503
                assert health.json()["status"] == "unhealthy"
                await anyio.sleep(OUTAGE)  # the outage is the claim, not a wait for something
                await refused(caller)
                await anyio.to_thread.run_sync(redis.start)
            (log,) = await audited(caller, [task_id])
            assert attempts(log) == [1]
            assert seen == log
            assert (await result(caller, await caller.start("count", {"steps": 1})))["result"]["sum"] == 1
    check_witness(tmp_path)


async def test_while_redis_is_full_starts_are_refused_and_work_waits(
    redis: RedisServer, members: Fleet, tmp_path: Path
) -> None:
    """The same, but what is there can be read; when there is room everything goes on."""
    replica, _ = members.replica(), members.worker(concurrency=1).ready()
    async with calling(replica.url) as caller:
        with anyio.fail_after(PATIENCE + 2 * OUTAGE):
            running = await caller.start("count", {"steps": 50, "pause": 0.05})
            waiting = [await caller.start("count", {"steps": 2}) for _ in range(3)]
            async with reading(caller, running) as seen:
                await until(caller, running, says(5))
                redis.command("CONFIG", "SET", "maxmemory", "1")
                await refused(caller)
                assert (await caller.http.get("/health")).status_code == 200
                await anyio.sleep(OUTAGE)  # the outage is the claim, not a wait for something
                assert (await caller.snapshot(running))["status"] == "running"
                redis.command("CONFIG", "SET", "maxmemory", "0")
            logs = await audited(caller, [running, *waiting])
            assert [attempts(log) for log in logs] == [[1]] * 4
            assert seen == logs[0]
            assert (await result(caller, await caller.start("count", {"steps": 1})))["result"]["sum"] == 1
    check_witness(tmp_path)

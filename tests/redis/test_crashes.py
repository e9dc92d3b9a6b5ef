"""What gets lost when something dies: nothing that was acknowledged. Real processes, really killed.

Each test ends by reading the whole log of its tasks (`audit`): numbers without a hole,
one end, attempts one after the other, every step of the work recorded once.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from client_sdk import LongTaskClient, OutputEvent, StatusEvent, TaskHandle, Unavailable
from client_sdk.wire import TaskStatus
from mcp_server.backends.redis import RedisBackend

from .audit import audit
from .processes import LEASE, Fleet, Process, balancer, fleet
from .server import RedisServer, redis_server

PATIENCE = 120.0
"""Seconds after which something counts as never happening."""
OUTAGE = 3 * LEASE
"""Seconds Redis is away: longer than any lease."""


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis", "appendonly yes") as server:
        yield server


@pytest.fixture
def members(redis: RedisServer, tmp_path: Path) -> Iterator[Fleet]:
    with fleet(redis.url, tmp_path, drain_grace=0.2) as members:
        yield members


async def until_step(handle: TaskHandle, step: int) -> None:
    async with handle.events(after=0) as events:
        async for event in events:
            if isinstance(event, OutputEvent) and event.data.data == step:
                return


async def runner(redis: RedisServer, task_id: str, workers: list[Process]) -> Process:
    """The worker that runs the task now."""
    async with RedisBackend(redis.url) as backend:
        while True:
            for seen in (await backend.fleet()).workers:
                if task_id in seen.running:
                    return next(worker for worker in workers if worker.pid == seen.pid)


async def test_the_tasks_of_a_killed_worker_go_on_elsewhere_from_their_checkpoint(
    redis: RedisServer, members: Fleet
) -> None:
    """Within the lease, as a new attempt; the stream shows every step once."""
    replica, workers = members.replica(), [members.worker(), members.worker()]
    async with LongTaskClient(replica.url) as client:
        with anyio.fail_after(PATIENCE):
            handle = await client.start("count", {"steps": 100, "pause": 0.05})
            victim = await runner(redis, handle.id, [worker.ready() for worker in workers])
            await until_step(handle, 10)
            killed = time.time()
            victim.kill()
            result = await handle.result()
    assert result["attempt"] == 2
    assert result["first"] > 10
    (log,) = await audit(redis.url, [handle.id])
    taken_up = next(event.at for event in log if event.kind == "started" and event.attempt == 2)
    # The lease, and what it takes to notice, admit and start on a busy machine.
    assert taken_up - killed <= 2 * LEASE


async def test_a_worker_that_comes_back_too_late_is_refused(redis: RedisServer, members: Fleet) -> None:
    """Stopped for longer than its lease, it wakes up in the middle of its attempt, and adds nothing to the log."""
    replica, workers = members.replica(), [members.worker(), members.worker()]
    async with LongTaskClient(replica.url) as client:
        with anyio.fail_after(PATIENCE):
            handle = await client.start("count", {"steps": 150, "pause": 0.05})
            victim = await runner(redis, handle.id, [worker.ready() for worker in workers])
            victim.signal(signal.SIGSTOP)
            async for event in handle.events(after=0):
                if isinstance(event, StatusEvent) and event.data.reason == "started" and event.data.attempt == 2:
                    break
            victim.signal(signal.SIGCONT)
            assert (await handle.result())["attempt"] == 2
            assert victim.is_alive
            # It is of use again.
            assert (await (await client.start("count", {"steps": 1})).result())["steps"] == 1
    await audit(redis.url, [handle.id])


async def test_the_readers_of_a_killed_replica_go_on_at_another(redis: RedisServer, members: Fleet) -> None:
    """Through a balancer, with the cursor they have: nothing lost, nothing repeated, whoever is killed and when."""
    replicas = [members.replica(), members.replica()]
    assert all(replica.url for replica in replicas)
    members.worker()
    chance = random.Random(1)
    async with balancer(lambda: [replica.url for replica in replicas]) as url, LongTaskClient(url) as client:
        with anyio.fail_after(PATIENCE):
            handle = await client.start("count", {"steps": 150, "pause": 0.05})
            seen: list[object] = []
            kill_at = {chance.randrange(10, 60), chance.randrange(70, 120)}
            async for event in handle.events(after=0):
                if isinstance(event, OutputEvent):
                    seen.append(event.data.data)
                    if event.data.data in kill_at:
                        replicas.pop(0).kill()
                        replica = members.replica()
                        await anyio.to_thread.run_sync(attrgetter("url"), replica)
                        replicas.append(replica)
    assert seen == list(range(1, 151))
    await audit(redis.url, [handle.id])


async def test_redis_is_killed_and_comes_back_with_its_file(redis: RedisServer, members: Fleet) -> None:
    """Acknowledged starts are there and end; running work goes on in the same attempt; readers miss nothing."""
    replica = members.replica()
    members.worker().ready()
    async with LongTaskClient(replica.url) as client:
        with anyio.fail_after(PATIENCE):
            handles = [await client.start("count", {"steps": 40, "pause": 0.05}) for _ in range(5)]
            follower: list[object] = []

            async def follow() -> None:
                async for event in handles[0].events(after=0):
                    if isinstance(event, OutputEvent):
                        follower.append(event.data.data)

            async with anyio.create_task_group() as following:
                following.start_soon(follow)
                await until_step(client.task(handles[0].id), 10)
                for _ in range(3):
                    await anyio.to_thread.run_sync(redis.kill)
                    await anyio.to_thread.run_sync(redis.start)
            results = [await handle.result() for handle in handles]
    assert follower == list(range(1, 41))
    assert [result["attempt"] for result in results] == [1] * 5
    await audit(redis.url, [handle.id for handle in handles])


async def test_while_redis_is_down_starts_are_refused_and_work_waits(redis: RedisServer, members: Fleet) -> None:
    """For longer than a lease: `UNAVAILABLE` at once, health says so, and the work records its progress afterwards."""
    replica, worker = members.replica(), members.worker()
    members.worker().ready()
    worker.ready()
    async with LongTaskClient(replica.url) as client:
        with anyio.fail_after(PATIENCE):
            handle = await client.start("count", {"steps": 100, "pause": 0.05})
            await until_step(handle, 10)
            await anyio.to_thread.run_sync(redis.kill)
            down = time.monotonic()
            with pytest.raises(Unavailable):
                await client.start("count", {"steps": 1})
            assert time.monotonic() - down < OUTAGE
            await anyio.sleep(OUTAGE)  # the outage is the claim, not a wait for something
            await anyio.to_thread.run_sync(redis.start)
            result = await handle.result()
            assert result["attempt"] == 1
            assert (await (await client.start("count", {"steps": 1})).result())["steps"] == 1
    await audit(redis.url, [handle.id])


async def test_while_redis_is_full_starts_are_refused_and_work_waits(redis: RedisServer, members: Fleet) -> None:
    """The same, for longer than a lease; when there is room everything that was acknowledged is there."""
    replica = members.replica()
    members.worker().ready()
    async with LongTaskClient(replica.url) as client:
        with anyio.fail_after(PATIENCE):
            handle = await client.start("count", {"steps": 100, "pause": 0.05})
            await until_step(handle, 10)
            redis.command("CONFIG", "SET", "maxmemory", "1mb")
            with pytest.raises(Unavailable):
                await client.start("count", {"steps": 1})
            await anyio.sleep(OUTAGE)  # the outage is the claim, not a wait for something
            assert (await handle.status()).status is TaskStatus.RUNNING
            redis.command("CONFIG", "SET", "maxmemory", "0")
            assert (await handle.result())["attempt"] == 1
            assert (await (await client.start("count", {"steps": 1})).result())["steps"] == 1
    await audit(redis.url, [handle.id])


async def test_a_worker_that_is_told_to_stop_lets_its_tasks_finish(redis: RedisServer, tmp_path: Path) -> None:
    """Within the grace: the running task ends in its first attempt, the waiting one is left to the next worker."""
    with fleet(redis.url, tmp_path, drain_grace=30, concurrency=1) as members:
        replica, worker = members.replica(), members.worker().ready()
        async with LongTaskClient(replica.url) as client:
            with anyio.fail_after(PATIENCE):
                running = await client.start("count", {"steps": 30, "pause": 0.05})
                waiting = await client.start("count", {"steps": 1})
                await until_step(running, 3)
                assert await anyio.to_thread.run_sync(worker.terminate) == 0
                assert (await running.result())["attempt"] == 1
                assert (await waiting.status()).status is TaskStatus.QUEUED
                members.worker()
                assert (await waiting.result())["attempt"] == 1
    await audit(redis.url, [running.id, waiting.id])


async def test_after_the_grace_tasks_are_given_back_at_once(redis: RedisServer, tmp_path: Path) -> None:
    """Not when the lease has run out, here an hour; the next worker goes on from the checkpoint."""
    with fleet(redis.url, tmp_path, drain_grace=0.2, lease=3600) as members:
        replica, worker = members.replica(), members.worker().ready()
        async with LongTaskClient(replica.url) as client:
            with anyio.fail_after(PATIENCE):
                handle = await client.start("count", {"steps": 100, "pause": 0.05})
                await until_step(handle, 5)
                assert await anyio.to_thread.run_sync(worker.terminate) == 0
                members.worker()
                result = await handle.result()
    assert result["attempt"] == 2
    assert result["first"] > 5
    await audit(redis.url, [handle.id])

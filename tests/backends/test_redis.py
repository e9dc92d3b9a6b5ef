"""How a store lies in Redis: its format, its keys and when they go, and what is sent twice.

The contract suite says what the backend does on a Redis that is well.
"""

from __future__ import annotations

import time
from functools import partial

import anyio
import anyio.to_thread
import pytest
import redis.asyncio

from mcp_server.backend import Limits
from mcp_server.backends.redis import RedisBackend
from mcp_server.errors import ConfigurationError, Conflict, Unavailable
from mcp_server.task import Kind, Status
from tests.contract.tasks import TYPE, create, finish, move, moved, queued
from tests.redis.server import RedisServer

from .steps import LIMITS, PATIENCE, until_over


async def test_a_store_of_a_newer_program_is_left_alone(server: RedisServer) -> None:
    """An old program neither opens it nor, if it is running, writes or claims in it; reading goes on."""
    async with RedisBackend(server.url) as old:
        task = await create(old)
        server.command("HSET", "{longtasks}", "format", "3")
        with pytest.raises(ConfigurationError):
            async with RedisBackend(server.url):
                pass
        with pytest.raises(Unavailable):
            await create(old)
        with pytest.raises(Unavailable):
            await move(old, task, Kind.STARTED)
        assert await old.load(task.id) == task


async def test_a_worker_changes_nothing_in_a_store_that_a_newer_program_took_over(server: RedisServer) -> None:
    """What it was running ends and records nothing; it gives nothing back, claims nothing and deletes nothing."""
    held, ended = anyio.Event(), anyio.Event()

    async def hold(task_id: str) -> None:
        held.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with RedisBackend(server.url, lease=1.0) as old:
        await move(old, await create(old), Kind.CANCELLED, expires_at=time.time() - 1)
        running = await create(old)
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as serving:
                serving.start_soon(old.serve, hold, Limits(total=2, types={TYPE: None}))
                await held.wait()
                await create(old, not_before=time.time() + 0.2)
                server.command("HSET", "{longtasks}", "format", "3")
                before = await contents(server)
                await ended.wait()
                with pytest.raises(Unavailable):
                    await move(old, running, Kind.STARTED)
                with pytest.raises(Unavailable):
                    await old.purge(time.time())
                serving.cancel_scope.cancel()
        assert await contents(server) == before


async def test_two_prefixes_are_two_stores(server: RedisServer) -> None:
    """They share a Redis and nothing else."""
    async with RedisBackend(server.url, prefix="a") as a, RedisBackend(server.url, prefix="b") as b:
        task = await create(a)
        assert await b.load(task.id) is None
        assert (await b.counts())[Status.QUEUED] == 0


async def test_a_commit_that_is_sent_twice_counts_once(server: RedisServer) -> None:
    """An answer that was lost on its way is asked for again; somebody else's commit is still a conflict."""
    async with RedisBackend(server.url) as backend, RedisBackend(server.url) as other:
        task, events = queued()
        assert await backend.create(task, events) == task
        assert await backend.create(task, events) == task
        after, events = moved(task, Kind.STARTED)
        await backend.commit(task, after, events)
        await backend.commit(task, after, events)
        with pytest.raises(Conflict):
            await other.commit(task, after, events)
        assert [event.number for event in await backend.read(task.id, 0, 10)] == [1, 2]


async def test_a_wake_up_that_makes_no_sense_harms_nobody(server: RedisServer) -> None:
    """Whoever else publishes on our channels: those who wait go on waiting, for the next event."""
    async with RedisBackend(server.url) as backend, RedisBackend(server.url) as other:
        task = await create(backend)
        channel = f"{{longtasks}}:event:{task.id}"
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as waiting:
                waiting.start_soon(backend.wait, task.id, 1)
                await anyio.to_thread.run_sync(server.wait_for, ":1", "PUBLISH", channel, "what?")
                await move(other, task, Kind.STARTED)


async def test_keys_get_a_time_to_live_at_the_end_of_a_task_and_not_before(server: RedisServer) -> None:
    """A live task never expires, however long it lives."""
    async with RedisBackend(server.url) as backend:
        task = await move(backend, await create(backend, idempotency_key="k"), Kind.STARTED)
        keys = [f"{{longtasks}}:{name}" for name in (f"task:{task.id}", f"log:{task.id}", "idempotency::=k")]
        assert [server.command("TTL", key) for key in keys] == [":-1"] * 3
        await move(backend, task, Kind.COMPLETED, expires_at=time.time() + 1000)
        for key in keys:
            assert 1000 < int(server.command("TTL", key).removeprefix(":")) <= 1001 + 3600


async def test_what_expired_by_itself_leaves_the_lists_at_the_next_purge(server: RedisServer) -> None:
    """Nobody purged for so long that Redis dropped the record: lists and counts are put right nevertheless."""
    async with RedisBackend(server.url) as backend:
        task = await move(backend, await create(backend), Kind.CANCELLED, expires_at=time.time() - 1)
        server.command("DEL", f"{{longtasks}}:task:{task.id}", f"{{longtasks}}:log:{task.id}")
        page = await backend.list(owner="", status=None, task_type=None, limit=5, cursor=None)
        assert not page.tasks
        assert await backend.purge(time.time()) == 1
        assert set((await backend.counts()).values()) == {0}


async def contents(server: RedisServer) -> dict[bytes, bytes | None]:
    """Every key of the store as it is stored, but for the list of who is alive."""
    async with redis.asyncio.from_url(server.url) as client:
        keys = [key async for key in client.scan_iter("{longtasks}*") if key != b"{longtasks}:workers"]
        return {key: await client.dump(key) for key in keys}


async def test_a_store_of_an_older_program_goes_on(server: RedisServer) -> None:
    """Its waiting, delayed and abandoned tasks are claimed by this program."""
    async with RedisBackend(server.url) as backend:
        tasks = [
            await create(backend),
            await create(backend, not_before=time.time() + 0.2),
            await move(backend, await create(backend), Kind.STARTED),
        ]
    for task in tasks:
        server.command("HDEL", f"{{longtasks}}:task:{task.id}", "claimable")
    server.command("HSET", "{longtasks}", "format", "1")
    async with RedisBackend(server.url) as backend:
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as serving:
                serving.start_soon(backend.serve, partial(finish, backend), LIMITS)
                for task in tasks:
                    await until_over(backend, task.id)
                serving.cancel_scope.cancel()

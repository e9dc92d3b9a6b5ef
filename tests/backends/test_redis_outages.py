"""Losing Redis, filling it, and starting before it: nothing acknowledged is lost and nobody is told a false end."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from mcp_server.backends.redis import RedisBackend
from mcp_server.errors import ConfigurationError, Unavailable
from mcp_server.log import Log
from mcp_server.task import Kind, Status, Task
from mcp_server.web.feed import Feeds, Reader
from tests.contract.tasks import create, finish, move, moved
from tests.redis.server import RedisServer, redis_server

from .steps import LIMITS, PATIENCE, until_over


async def test_without_a_redis_the_server_does_not_start_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some patience, one line that names the address and hides the password."""
    monkeypatch.setattr("mcp_server.backends.redis.backend.PATIENCE", 0.3)
    backend = RedisBackend("redis://ann:secret@127.0.0.1:1/0")
    with pytest.raises(ConfigurationError) as caught:
        async with backend:
            pass
    assert "127.0.0.1:1" in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_a_server_that_starts_before_its_redis_waits_for_it(tmp_path: Path) -> None:
    """Machines that boot together need no order."""
    with redis_server(tmp_path / "redis") as server:
        server.stop()
        async with anyio.create_task_group() as booting:
            booting.start_soon(anyio.to_thread.run_sync, server.start)
            async with RedisBackend(server.url) as backend:
                assert (await backend.counts())[Status.QUEUED] == 0


async def test_a_full_redis_refuses_starts_and_keeps_what_it_acknowledged(server: RedisServer) -> None:
    """`UNAVAILABLE` while it is full; when there is room again everything goes on where it was."""
    async with RedisBackend(server.url) as backend:
        task = await move(backend, await create(backend), Kind.STARTED)
        server.command("CONFIG", "SET", "maxmemory", "1")  # an empty server may use less than a megabyte
        with pytest.raises(Unavailable, match="full"):
            await create(backend)
        after, events = moved(task, Kind.OUTPUT)
        with pytest.raises(Unavailable, match="full"):
            await backend.commit(task, after, events)
        assert await backend.load(task.id) == task
        assert (await backend.counts())[Status.RUNNING] == 1
        assert (await backend.counts())[Status.QUEUED] == 0
        server.command("CONFIG", "SET", "maxmemory", "0")
        await backend.commit(task, after, events)
        assert [event.number for event in await backend.read(task.id, 0, 10)] == [1, 2, 3]


async def test_while_redis_is_away_requests_are_refused_and_waits_go_on(server: RedisServer) -> None:
    """`Unavailable` for whoever asks; a wait neither raises nor ends the watching, and wakes after the restart."""
    async with RedisBackend(server.url) as backend, RedisBackend(server.url) as other:
        task = await create(backend)
        woken = anyio.Event()

        async def watch() -> None:
            await backend.wait(task.id, 1)
            woken.set()

        async with anyio.create_task_group() as watching:
            watching.start_soon(watch)
            await anyio.wait_all_tasks_blocked()
            await anyio.to_thread.run_sync(server.kill)
            with pytest.raises(Unavailable):
                await create(backend)
            with pytest.raises(Unavailable):
                await backend.load(task.id)
            assert not woken.is_set()
            await anyio.to_thread.run_sync(server.start)
            with anyio.fail_after(PATIENCE):
                await move(other, task, Kind.STARTED)
                await woken.wait()
        assert [event.number for event in await backend.read(task.id, 0, 10)] == [1, 2]


async def test_a_redis_that_hangs_is_an_outage_too(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections are open and nothing answers: the caller is told within the time an answer may take."""
    monkeypatch.setattr("mcp_server.backends.redis.connection.ANSWER", 0.3)
    async with RedisBackend(server.url) as backend:
        task = await create(backend)
        server.freeze()
        with anyio.fail_after(PATIENCE), pytest.raises(Unavailable):
            await backend.load(task.id)
        server.thaw()
        assert await backend.load(task.id) == task


async def test_work_outlives_a_restart_of_redis_and_nobody_else_is_given_it(server: RedisServer) -> None:
    """Redis is away for longer than a lease: the call goes on, keeps its claim and records its end afterwards."""
    lease = 1.0
    given: list[str] = []
    held, over = anyio.Event(), anyio.Event()
    async with RedisBackend(server.url, lease=lease) as backend, RedisBackend(server.url, lease=lease) as rival:
        task = await create(backend)

        async def work(task_id: str) -> None:
            given.append(task_id)
            if task_id == task.id:
                held.set()
                await over.wait()
            await finish(backend, task_id)

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as serving:
                serving.start_soon(backend.serve, work, LIMITS)
                await held.wait()
                serving.start_soon(rival.serve, work, LIMITS)
                server.kill()
                await anyio.sleep(2 * lease)  # the outage is the claim, not a wait for something
                await anyio.to_thread.run_sync(server.start)
                # New work is done, so somebody is back to claim; the old claim stands.
                await until_over(rival, (await created_again(rival)).id)
                await anyio.sleep(2 * lease)  # and stands longer than it would if nobody kept it
                over.set()
                await until_over(backend, task.id)
                serving.cancel_scope.cancel()
    assert given.count(task.id) == 1


async def created_again(backend: RedisBackend) -> Task:
    while True:
        try:
            return await create(backend)
        except Unavailable:
            await anyio.sleep(0.05)


async def test_a_reader_in_the_middle_of_a_log_gets_heartbeats_while_redis_is_away(server: RedisServer) -> None:
    """Not only one at its end: a page that cannot be read is waited for, and the connection is kept."""
    async with RedisBackend(server.url) as backend:
        task = await move(backend, await create(backend), Kind.STARTED)
        server.kill()
        # Longer than one try to read takes.
        feeds = Feeds()
        with anyio.fail_after(PATIENCE):
            with Reader(feeds, Log(backend, task), 0, heartbeat=1.5) as stream:
                assert await anext(stream) is None
                await anyio.to_thread.run_sync(server.start)
                while (segment := await anext(stream)) is None:
                    pass
    assert [frame.number for frame in segment.frames] == [1, 2]

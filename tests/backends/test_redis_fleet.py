"""What Redis sees of a fleet: its workers' reports and its connections."""

from __future__ import annotations

import json
import time

import anyio
import pytest
import redis.asyncio

from mcp_server.backend import Limits
from mcp_server.backends.redis import RedisBackend
from mcp_server.task import Kind
from tests.contract.tasks import TYPE, create, move
from tests.redis.server import RedisServer

from .steps import PATIENCE


async def test_the_fleet_shows_its_workers_and_its_queue(server: RedisServer) -> None:
    """Who is alive and what each runs; a worker that stops leaves the list."""
    held = anyio.Event()
    async with RedisBackend(server.url) as backend:
        task = await create(backend)

        async def hold(task_id: str) -> None:
            held.set()
            await anyio.sleep_forever()

        async with anyio.create_task_group() as serving:
            serving.start_soon(backend.serve, hold, Limits(total=1, types={TYPE: None}))
            with anyio.fail_after(PATIENCE):
                await held.wait()
                fleet = await backend.fleet()
                while not fleet.workers or not fleet.workers[0].running:
                    fleet = await backend.fleet()
            assert [(list(worker.running), worker.slots) for worker in fleet.workers] == [([task.id], 1)]
            serving.cancel_scope.cancel()
        assert not (await backend.fleet()).workers


async def test_a_worker_that_stopped_reporting_is_forgotten_and_a_newer_one_is_shown(server: RedisServer) -> None:
    """What a newer version reports beyond what this one knows is left out."""
    report = {
        "host": "h", "pid": 1, "version": "9.0", "started_at": 1.0, "slots": 4, "types": [TYPE], "running": [],
    }  # fmt: skip
    newer = {**report, "seen_at": time.time(), "mood": "good"}
    async with RedisBackend(server.url) as backend:
        server.command("HSET", "{longtasks}:workers", "newer", json.dumps(newer))
        server.command("HSET", "{longtasks}:workers", "dead", json.dumps({**report, "seen_at": time.time() - 60}))
        assert [worker.name for worker in (await backend.fleet()).workers or ()] == ["newer"]
        assert server.command("HLEN", "{longtasks}:workers") == ":1"


@pytest.mark.parametrize("tasks", [1, 40])
async def test_all_watchers_of_a_process_share_one_connection_that_waits(server: RedisServer, tasks: int) -> None:
    """However many tasks are watched by however many; none of its other connections blocks."""
    async with RedisBackend(server.url) as backend, redis.asyncio.from_url(server.url) as observer:
        watched = [await create(backend) for _ in range(tasks)]
        own = await observer.client_id()

        async def connections() -> list[dict[str, str]]:
            return [client for client in await observer.client_list() if client["id"] != str(own)]

        async with anyio.create_task_group() as watching:
            for task in watched * 3:
                watching.start_soon(backend.wait, task.id, 1)
            with anyio.fail_after(PATIENCE):
                subscribed: list[int] = []
                # Its other channel says that there may be work.
                while max(subscribed, default=0) < tasks + 1:
                    subscribed = [int(client["sub"]) for client in await connections()]
            assert [number for number in subscribed if number] == [tasks + 1]
            assert not [client for client in await connections() if "b" in client["flags"]]
            for task in watched:
                await move(backend, task, Kind.STARTED)


async def test_a_worker_waits_on_two_connections_more_which_are_docket_s(server: RedisServer) -> None:
    """One for deliveries and one for strikes, which nobody makes: as many for fifty tasks as for one."""
    async with (
        RedisBackend(server.url) as backend,
        redis.asyncio.from_url(server.url) as observer,
        anyio.create_task_group() as serving,
    ):
        serving.start_soon(backend.serve, no_work, Limits(total=50, types={TYPE: None}))
        blocked: list[str] = []
        with anyio.fail_after(PATIENCE):
            while len(blocked) < 2:
                blocked = [client["cmd"] for client in await observer.client_list() if "b" in client["flags"]]
        assert sorted(blocked) == ["xread", "xreadgroup"]
        serving.cancel_scope.cancel()


async def no_work(task_id: str) -> None:
    pytest.fail(f"nothing was created, and {task_id} was given out")

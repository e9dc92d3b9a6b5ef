"""Several replicas and workers on one Redis: any of them answers anything, and each takes its share."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from client_sdk import InputRequiredEvent, LongTaskClient, OutputEvent, TaskHandle
from client_sdk.wire import TaskStatus
from tests.cli.commands import command
from tests.server.servers import Caller, calling

from .processes import Fleet, balancer, fleet
from .server import RedisServer, redis_server

PATIENCE = 60.0
"""Seconds after which something counts as never happening."""


@dataclass(frozen=True)
class Running:
    """Addresses of two replicas with two workers behind them; the tests that kill nothing share them."""

    a: str
    b: str


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("fleet")
    with redis_server(directory / "redis") as server, fleet(server.url, directory) as members:
        a, b = members.replica(), members.replica()
        workers = [members.worker(), members.worker()]
        assert all(worker.ready() for worker in workers)
        yield Running(a.url, b.url)


async def steps(handle: TaskHandle) -> list[object]:
    """The steps of a `count`, followed to its end."""
    return [event.data.data["step"] async for event in handle.events() if isinstance(event, OutputEvent)]


async def test_a_task_is_started_here_watched_there_and_run_elsewhere(running: Running) -> None:
    """Start on A, stream from B, run by a worker; both replicas know the result."""
    async with LongTaskClient(running.a) as on_a, LongTaskClient(running.b) as on_b:
        with anyio.fail_after(PATIENCE):
            handle = await on_a.start("count", {"steps": 50})
            assert await steps(on_b.task(handle.id)) == list(range(1, 51))
            assert await handle.result() == await on_b.task(handle.id).result()


async def test_a_cancel_reaches_a_worker_through_any_replica(running: Running) -> None:
    """Start on A, cancel on B: the work ends in the worker, and A's watcher sees the end."""
    async with LongTaskClient(running.a) as on_a, LongTaskClient(running.b) as on_b:
        with anyio.fail_after(PATIENCE):
            handle = await on_a.start("count", {"steps": 10_000, "pause": 0.05})
            async for event in handle.events():
                if isinstance(event, OutputEvent):
                    await on_b.task(handle.id).cancel("enough")
                    break
            assert (await handle.wait()).status is TaskStatus.CANCELLED


async def test_a_question_is_answered_through_any_replica(running: Running) -> None:
    """Asked by a worker, seen on A, answered on B."""
    async with LongTaskClient(running.a) as on_a, LongTaskClient(running.b) as on_b:
        with anyio.fail_after(PATIENCE):
            handle = await on_a.start("confirm")
            async for event in handle.events():
                if isinstance(event, InputRequiredEvent):
                    await on_b.task(handle.id).answer("go", {"action": "accept", "content": {"yes": True}})
                    break
            assert await handle.result() is True


async def test_two_replicas_behind_a_balancer_are_one_server(running: Running) -> None:
    """Clients know one address and every connection of theirs goes to another replica."""
    async with balancer(lambda: [running.a, running.b]) as url:
        with anyio.fail_after(PATIENCE):
            seen: list[list[object]] = []

            async def use(number: int) -> None:
                async with LongTaskClient(url) as client:
                    handle = await client.start("count", {"steps": number})
                    seen.append(await steps(handle))
                    assert (await handle.result())["sum"] == number * (number + 1) // 2

            async with anyio.create_task_group() as clients:
                for number in range(1, 13):
                    clients.start_soon(use, number)
            assert sorted(map(len, seen)) == list(range(1, 13))


async def test_a_replica_with_a_worker_of_its_own_needs_no_other(members: Fleet) -> None:
    """`longtasks serve` alone does everything."""
    replica = members.replica(works=True)
    async with LongTaskClient(replica.url) as client:
        with anyio.fail_after(PATIENCE):
            assert (await (await client.start("count", {"steps": 3})).result())["sum"] == 6


async def test_a_worker_that_does_not_know_a_type_leaves_it_to_one_that_does(members: Fleet) -> None:
    """In the middle of a deploy the old workers go on with what they know, and the new type waits for a new one."""
    replica, _ = members.replica("newer"), members.worker()
    async with LongTaskClient(replica.url) as client:
        with anyio.fail_after(PATIENCE):
            unknown = await client.start("later", {"number": 1})
            known = await client.start("count", {"steps": 2})
            assert (await known.result())["sum"] == 3
            assert (await unknown.status()).status is TaskStatus.QUEUED
            members.worker("newer")
            assert await unknown.result() == 2


async def test_a_type_s_limit_holds_over_all_workers(running: Running) -> None:
    """`concurrency=1` means one in the whole fleet: no task starts before the one before it has ended."""
    async with LongTaskClient(running.a) as client:
        with anyio.fail_after(PATIENCE):
            handles = [await client.start("single", {"pause": 0.2}) for _ in range(6)]
            ends = [await handle.wait() for handle in handles]
    spans = sorted((end.started_at or "", end.completed_at or "") for end in ends)
    assert all(ended <= started for (_, ended), (started, _) in itertools.pairwise(spans))


async def test_workers_lists_the_fleet(members: Fleet, redis: RedisServer, tmp_path: Path) -> None:
    """`longtasks workers` names each worker and what it runs; one that is killed disappears."""
    replica, worker = members.replica(), members.worker()
    workers = ("workers", "--backend", redis.url)

    async def listed(caller: Caller, wanted: Callable[[list[Any]], bool]) -> list[Any]:
        """The workers, once they are as wanted: they report every few seconds."""
        while True:
            health = (await caller.http.get("/health")).json()
            if wanted(health["fleet"]["workers"]):
                found: list[Any] = json.loads((await command(tmp_path, *workers, "--json")).out)["workers"]
                return found
            await anyio.sleep(0.1)

    async with calling(replica.url) as caller:
        with anyio.fail_after(PATIENCE):
            task_id = await caller.start("count", {"steps": 2, "hold_at": 1})
            (seen,) = await listed(caller, lambda workers: any(worker["running"] for worker in workers))
            assert (seen["pid"], seen["operations"]) == (worker.pid, [task_id])
            assert task_id in (await command(tmp_path, *workers)).out
            worker.kill()
            assert await listed(caller, lambda workers: not workers) == []


async def test_a_fleet_that_is_a_file_shows_its_queue(tmp_path: Path) -> None:
    """Its processes do not announce themselves, which the first line says."""
    done = await command(tmp_path, "workers", "--backend", "sqlite:///x.db")
    assert done.code == 0
    first, queue = done.out.splitlines()
    assert "do not announce themselves" in first
    assert queue == "0 waiting; 0 delayed; 0 claimed"
